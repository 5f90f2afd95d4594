"""The transfer: one file under one upload. It carries out what its `Session` decides, in an engine's threads.

It has no threads of its own. An upload that is still to begin has a `prepare`, which is the first thing done, and is done
again when the server does not answer. What people see of it is `progress`; who waits for it waits by its engine's handle,
as `follow` does.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from rushes.client.actions import Action, Ask, Complete, Drive, End, Look, Prepare, Put, Read, Room, Wait, Work
from rushes.client.api import Uploads
from rushes.client.calls import ONCE, Caller
from rushes.client.courier import Courier, Wanted, direct, judged
from rushes.client.digest import WholeDigest
from rushes.client.engine import Engine, Handle
from rushes.client.hedge import Flight
from rushes.client.http import Reply, Request, Stopped, Transport
from rushes.client.limits import Limits, backoff
from rushes.client.messages import UploadMessages
from rushes.client.progress import Meter, OnProgress, Progress, no_progress, unreached
from rushes.client.session import Session
from rushes.client.source import LocalFile
from rushes.client.verdict import Verdict
from rushes.errors import Conflict, Problem, Rejected
from rushes.model import ChecksumAlgorithm, UploadState
from rushes.wire import Failure, Grant

REPORT_EVERY = 0.2  # seconds between two calls of `on_progress`
QUESTION = 40.0  # seconds the server may take for an answer; a connection that died in silence takes as long
LAST_WORD = 3.0  # seconds a stopped upload may take to report its last parts


@dataclass(frozen=True, slots=True)
class Begun:
    """An upload that parts can be sent under. `caller` bears a token for it."""

    file: LocalFile
    upload_id: UUID
    session: Session
    caller: Caller
    on_read: Callable[[int, int, str], None] | None = None  # a part's number, CRC64NVME and checksum, once it is read
    whole: WholeDigest | None = None  # what is to be declared of the whole file


Prepared = Callable[[], Begun]
OnEnd = Callable[[BaseException | None], None]


class Transfer:
    """A `Task`. `size` is the file's, in bytes. Give either `begun`, or `prepare`, which returns it.

    `prepare` may be called again after an error that may pass; it says itself what makes it safe to repeat. `on_end` is
    called once, in one of the engine's threads, with what ended it (None: the file is ingested); what it raises counts.
    """

    def __init__(
        self,
        engine: Engine,
        transport: Transport,
        size: int,
        *,
        begun: Begun | None = None,
        prepare: Prepared | None = None,
        limits: Limits | None = None,
        unanswered: Callable[[], float] = lambda: 0.0,
        on_end: OnEnd | None = None,
    ) -> None:
        self.size = size
        self.limits = limits or engine.limits
        self.parallel = self.limits.parallel
        self._engine = engine
        self._transport = transport
        self._prepare = prepare
        self._on_end = on_end
        self._stop = threading.Event()
        self._lock = engine.lock  # guards all below, and the session
        self._meter = Meter(engine.clock())
        self._opening = Opening(self.limits, unanswered=unanswered)
        self._outcome: BaseException | None = None
        self._begun: Begun | None = None
        if begun is not None:
            self._take(begun)

    def _take(self, begun: Begun) -> None:
        self._caller = begun.caller.but(cancel=self._stop, seconds=QUESTION)
        self._messages = UploadMessages(self._caller)
        begun.session.ways = self._engine.ways
        self._courier = Courier(
            self._transport,
            self._engine.rate,
            begun.caller.but(patience=ONCE, cancel=self._stop),
            begun.upload_id,
            begun.file,
            begun.session.algorithm,
        )
        self._begun = begun

    @property
    def begun(self) -> Begun | None:
        return self._begun

    @property
    def sent(self) -> int:
        """Bytes sent, repeated ones included."""
        return self._meter.sent

    @property
    def outcome(self) -> BaseException | None:
        return self._outcome

    # --- what the engine asks ---------------------------------------------------------------------------------------

    def next(self, now: float, room: Room) -> Action:
        if self._begun is None:
            return self._opening.next(now, room)
        return self._begun.session.next(now, room)

    @property
    def straight(self) -> bool | None:
        """Whether the next part goes whole to storage; None while none is granted."""
        return None if self._begun is None else self._begun.session.straight(self._engine.clock())

    @property
    def algorithm(self) -> ChecksumAlgorithm:
        """Of the checksums that parts carry, once it has begun."""
        return self._on.session.algorithm

    def act(self, action: Work) -> None:
        match action:
            case Prepare():
                self._begin()
            case Read():
                self._read(action)
            case Put():
                self._put(action)
            case Ask() | Complete() | Look():
                self._question(action)
            case Drive():
                raise AssertionError("no upload says so")

    def stop(self) -> None:
        self._stop.set()

    def finish(self) -> None:
        try:
            self._outcome = self._ended()
        finally:
            if self._on_end is not None:
                self._on_end(self._outcome)

    def _ended(self) -> BaseException | None:
        end = self._opening.end if self._begun is None else self._begun.session.end
        if end is not None:
            return end.problem
        if self._begun is None:
            return Stopped("stopped", "Not begun: stopped before.")
        self._last_word(self._begun)
        return Stopped("stopped", "The upload was stopped; it can be resumed.", upload_id=str(self._begun.upload_id))

    def _last_word(self, begun: Begun) -> None:
        """Tell the server of parts done since the last report. When that fails they are only sent again."""
        done = begun.session.unreported()
        if not done:
            return
        try:
            caller = begun.caller.but(patience=ONCE, seconds=LAST_WORD, cancel=threading.Event())  # a stop was heard
            Uploads(caller).grants(begun.upload_id, (), done)
        except Problem as problem:
            begun.session.trouble = str(problem)

    # --- what people see --------------------------------------------------------------------------------------------

    def progress(self) -> Progress:
        with self._lock:
            session = None if self._begun is None else self._begun.session
            parts, size = (0, 0) if session is None else session.held
            return Progress(
                size=self.size,
                held=size,
                moving=self._meter.moving,
                sent=self._meter.sent,
                rate=self._meter.rate(self._engine.clock()),
                parts_held=parts,
                part_count=0 if session is None else session.plan.part_count,
                retries=self._opening.tries if session is None else session.retries,
                finalizing=session is not None and session.complete,
                trouble=self._opening.trouble if session is None else session.trouble,
                relayed=session is not None and session.goes_around(self._engine.clock()),
                uncompared=0 if session is None else session.uncompared,
            )

    # --- the actions ------------------------------------------------------------------------------------------------

    @property
    def _on(self) -> Begun:
        assert self._begun is not None, "begun before anything else"
        return self._begun

    def _settle(self, outcome: Callable[[float], None]) -> None:
        """Report an outcome to whoever decides."""
        with self._lock:
            outcome(self._engine.clock())

    def _begin(self) -> None:
        assert self._prepare is not None, "either begun, or to be prepared"
        try:
            begun: Begun | Problem = self._prepare()
        except Stopped:
            raise
        except Problem as error:
            begun = error
        self.prepared(begun)

    def prepared(self, came: Begun | Problem) -> None:
        """It has begun, or could not."""
        if isinstance(came, Problem):
            problem = came
            self._settle(lambda now: self._opening.failed(problem, now, _pause(problem)))
            return
        with self._lock:
            self._take(came)

    def _read(self, action: Read) -> None:
        try:
            reader = self._on.whole or self._on.file
            crc, text = reader.checksums(action.offset, action.length, self._on.session.algorithm, self._stop)
        except Stopped:
            raise
        except Problem as problem:
            self._give_up(problem)
            return
        self.was_read(action, crc, text)

    def was_read(self, action: Read, crc: int, text: str) -> None:
        """The CRC64NVME of a part, and the checksum that it carries."""
        if self._on.on_read is not None:
            self._on.on_read(action.number, crc, text)
        self._settle(lambda now: self._on.session.was_read(action.number, crc, now, text))

    def _question(self, action: Ask | Complete | Look) -> None:
        try:
            reply: Reply | Problem = self._caller.send(self.question(action))
        except Stopped:
            raise
        except Problem as problem:
            reply = problem
        self.answered(action, reply)

    def question(self, action: Ask | Complete | Look) -> Request:
        """What to send; `answered` is to hear what came of it, also of what is raised here."""
        upload_id = self._on.upload_id
        match action:
            case Ask():
                return self._messages.grants(upload_id, action.want, action.done)
            case Complete():
                declared = [] if self._on.whole is None else self._on.whole.finish(self._stop)
                declared += [action.checksum] if action.checksum else []
                self._on.file.check_unchanged()
                return self._messages.complete(upload_id, action.done, declared)
            case Look():
                return self._messages.status(upload_id)

    def answered(self, action: Ask | Complete | Look, came: Reply | Problem) -> None:
        """A question was answered, or could not be asked. Raises `Stopped`."""
        session = self._on.session
        try:
            if isinstance(came, Problem):
                raise came
            if isinstance(action, Ask):
                granted = self._messages.granted(came)
                self._settle(lambda now: session.was_answered(action, granted.grants, granted.lives, now))
                return
            status = self._messages.status_of(came)
            ingested, finalizing = _verdict_of(status.upload_state, status.problem)
        except Stopped:
            raise
        except Problem as error:
            self._question_failed(action, error)
            return
        if isinstance(action, Look):
            self._settle(lambda now: session.was_looked_at(ingested=ingested, finalizing=finalizing, now=now))
        else:
            self._settle(lambda now: session.was_completed(decided=ingested and not finalizing, now=now))

    def _put(self, action: Put) -> None:
        flight = _flight_of(action)
        try:
            came = self._courier.bring(
                action, flight, Wanted(self._stop, flight), lambda sent: self._moved(flight, sent)
            )
        except Stopped:
            self.dropped(action)
            if self._stop.is_set():
                raise
            return
        self._brought(action, flight, came)

    def part(self, action: Put, grant: Grant, body: bytes) -> Request:
        """What to send of a part that goes whole to storage and is at hand; `sent_part` is to hear what came of it, or
        `dropped`."""
        flight = _flight_of(action)
        return direct(action, grant, body, lambda sent: self._moved(flight, sent))

    def sent_part(self, action: Put, came: Reply | Problem) -> None:
        flight = _flight_of(action)
        self._brought(action, flight, judged(flight, came))

    def dropped(self, action: Put) -> None:
        """A part was broken off because it is not wanted any more."""
        flight = _flight_of(action)
        self._landed(lambda now: self._on.session.was_dropped(flight, now), flight, wasted=True)

    def _brought(self, action: Put, flight: Flight, came: str | Verdict) -> None:
        session = self._on.session
        if isinstance(came, Verdict):
            verdict = came
            if verdict.busy or (verdict.crowded and action.grant is not None):  # the API is this store
                self._engine.pushed_back()
            self._landed(lambda now: self._put_failed(action.number, verdict, now, flight), flight, wasted=True)
            return
        etag = came
        self._moved(flight, flight.length)
        self._landed(lambda now: session.was_put(action.number, etag, now, flight), flight)

    def _put_failed(self, number: int, verdict: Verdict, now: float, flight: Flight) -> None:
        went_around = self._on.session.goes_around(now)
        self._on.session.put_failed(number, verdict, now, flight)
        if self._on.session.goes_around(now) and not went_around:
            self._engine.pushed_back()  # the network is in trouble: its next break costs less with fewer lines

    def _moved(self, flight: Flight, sent: int) -> None:
        with self._lock:
            self._engine.carried(self._meter.moved(flight, sent))
            self._on.session.moved(flight, sent, self._engine.clock())

    def _landed(self, outcome: Callable[[float], None], flight: Flight, *, wasted: bool = False) -> None:
        with self._lock:  # a reentrant lock: one step for those who watch
            sent = self._meter.landed(flight)
            if wasted:
                self._engine.carried(-sent)
            self._settle(outcome)

    def _question_failed(self, action: Ask | Complete | Look, problem: Problem) -> None:
        missing = problem.details.get("missing")
        if isinstance(action, Ask):
            self._settle(lambda now: self._on.session.ask_failed(action, problem, now, _pause(problem)))
        elif problem.code == "parts_missing" and isinstance(missing, list):
            self._settle(lambda now: self._on.session.parts_missing(missing, problem, now))
        else:
            self._settle(lambda now: self._on.session.question_failed(problem, now, _pause(problem)))

    def _give_up(self, problem: Problem) -> None:
        self._settle(lambda _: self._on.session.give_up(problem))


class Opening:
    """Beginning as a state machine: again after what may pass, for as long as a client insists."""

    def __init__(
        self, limits: Limits, chance: Callable[[], float] = random.random, unanswered: Callable[[], float] = lambda: 0.0
    ) -> None:
        """`unanswered`: for how many seconds a server was tried that has never answered; one that has will be back."""
        self.end: End | None = None
        self.trouble: str | None = None
        self.tries = 0
        self._limits = limits
        self._chance = chance
        self._unanswered = unanswered
        self._busy = False
        self._after = 0.0
        self._since: float | None = None

    def next(self, now: float, room: Room) -> Action:
        if self.end is not None:
            return self.end
        if self._busy or now < self._after or not room.question:
            return Wait(self._after if now < self._after else None)
        self._busy = True
        return Prepare()

    def failed(self, problem: Problem, now: float, pause: float) -> None:
        self._busy = False
        self._since = now if self._since is None else self._since
        self.tries += 1
        if problem.permanent:
            self.end = End(problem)
        elif now - self._since >= self._limits.pause_after:
            self.end = End(no_progress(problem, self._limits.pause_after))
        elif self._unanswered() >= self._limits.reach_after:
            self.end = End(unreached(problem, self._limits.reach_after))
        self.trouble = None if self.end is not None else str(problem)  # what is over is not waited out
        self._after = now + pause + backoff(self._limits, self.tries, self._chance())


def follow(
    transfer: Transfer, handle: Handle, *, on_progress: OnProgress | None = None, cancel: threading.Event | None = None
) -> None:
    """Return when a transfer has ended well; raise what ended it otherwise, `Stopped` soon after `cancel` is set.

    `on_progress` is called five times a second, in this thread. Whatever interrupts this, Ctrl-C for one, stops it first.
    """
    try:
        while not handle.wait(REPORT_EVERY):
            if cancel is not None and cancel.is_set():
                handle.cancel()
                handle.join()
            elif on_progress is not None:
                on_progress(transfer.progress())
    except BaseException:
        handle.cancel()
        handle.join()
        raise
    if on_progress is not None:
        on_progress(transfer.progress())


def _flight_of(action: Put) -> Flight:
    assert action.flight is not None, "whoever decides on a part keeps its flight"
    return action.flight


def _pause(problem: Problem) -> float:
    """Seconds the server asked to wait."""
    return float(problem.details.get("retry_after", 0.0))


def _verdict_of(state: str, failure: Failure | None) -> tuple[bool, bool]:
    """Whether the upload is ingested, and whether it is being finalized. Raises what ended it otherwise."""
    if state in {UploadState.REJECTED, UploadState.FAILED}:
        code, message = (
            (failure.code, failure.message) if failure else (f"upload_{state}", f"The upload ended as {state}.")
        )
        raise Rejected(code, message)
    if state in {UploadState.ABORTED, UploadState.EXPIRED}:
        raise Conflict(f"upload_{state}", f"The upload is {state}; begin a new one.")
    if state == UploadState.UPLOADING and failure is not None and failure.code == "parts_missing":
        raise Conflict(failure.code, failure.message, **failure.details)  # sent back after the answer to complete
    return state == UploadState.INGESTED, state == UploadState.FINALIZING
