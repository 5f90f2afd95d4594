"""The transfer: threads that carry out what a `Session` decides, for one file.

There is one thread more than parts may be sent at once, so that the next part is read and granted while the line
is full. Each thread needs one libcurl buffer (2 MiB) and a block or two of the file (1 MiB): about 6 MB a thread,
whatever the file's size. The thread that calls `run` only watches: it reports progress and listens for `cancel`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from uuid import UUID

from rushes.client.api import Uploads
from rushes.client.calls import ONCE, Caller
from rushes.client.http import Request, Stopped, Transport
from rushes.client.progress import Meter, OnProgress, Progress
from rushes.client.session import Ask, Complete, End, Look, Put, Read, Session, Wait
from rushes.client.source import LocalFile
from rushes.client.verdict import judge, unanswered, without_etag
from rushes.errors import Conflict, Problem, Rejected
from rushes.model import UploadState
from rushes.wire import Failure

REPORT_EVERY = 0.2  # seconds between two calls of `on_progress`
LAST_WORD = 3.0  # seconds a stopped upload may take to report its last parts


class Transfer:
    """Sends one file under one upload. `caller` bears a token for it."""

    def __init__(
        self,
        file: LocalFile,
        upload_id: UUID,
        session: Session,
        caller: Caller,
        transport: Transport,
        *,
        on_progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._file = file
        self._upload_id = upload_id
        self._session = session
        self._caller = caller
        self._transport = transport
        self._on_progress = on_progress
        self._cancel = cancel or threading.Event()
        self._stop = threading.Event()  # ours alone: a caller's `cancel` may stop other uploads too
        self._uploads = Uploads(caller.but(patience=ONCE, cancel=self._stop))  # repeating is the session's business
        self._clock = clock
        self._changed = threading.Condition()  # guards all below, and the session
        self._meter = Meter(clock())
        self._running = 0  # threads at work
        self._crash: BaseException | None = None

    @property
    def sent(self) -> int:
        """Bytes sent, repeated ones included."""
        return self._meter.sent

    def run(self) -> None:
        """Return when the file is ingested. Raises what ended it otherwise, `Stopped` soon after `cancel` is set.

        The upload stays resumable unless the server has ended it.
        """
        self._running = self._session.limits.parallel + 1
        threads = [
            threading.Thread(target=self._work, name=f"rushes-part-{n}", daemon=True) for n in range(self._running)
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch()
        finally:
            self._halt()
            for thread in threads:
                thread.join()
        self._conclude()

    def _watch(self) -> None:
        while not self._cancel.is_set():
            with self._changed:
                if self._running == 0 or self._changed.wait_for(lambda: self._running == 0, REPORT_EVERY):
                    return
            self._report()

    def _halt(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def _conclude(self) -> None:
        if self._crash is not None:
            raise self._crash
        end = self._session.next(self._clock())
        if not isinstance(end, End):
            self._last_word()
            raise Stopped("stopped", "The upload was stopped; it can be resumed.", upload_id=str(self._upload_id))
        self._report()
        if end.problem is not None:
            raise end.problem

    def _last_word(self) -> None:
        """Tell the server of parts done since the last report. When that fails they are only sent again."""
        done = self._session.unreported()
        if not done:
            return
        try:
            Uploads(self._caller.but(patience=ONCE, seconds=LAST_WORD)).grants(self._upload_id, (), done)
        except Problem as problem:
            self._session.trouble = str(problem)

    def _report(self) -> None:
        if self._on_progress is None:
            return
        with self._changed:
            progress = self._progress()
        self._on_progress(progress)

    def _progress(self) -> Progress:
        parts, size = self._session.held
        return Progress(
            size=self._file.size,
            held=size,
            moving=self._meter.moving,
            sent=self._meter.sent,
            rate=self._meter.rate(self._clock()),
            parts_held=parts,
            part_count=self._session.plan.part_count,
            retries=self._session.retries,
            finalizing=self._session.complete,
            trouble=self._session.trouble,
        )

    # --- the threads ----------------------------------------------------------------------------------------------

    def _work(self) -> None:
        try:
            while (action := self._next()) is not None:
                self._act(action)
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - raised again by `run`, in the caller's thread
            self._crash = error
            self._halt()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _next(self) -> Read | Ask | Put | Complete | Look | None:
        with self._changed:
            while not self._stop.is_set():
                now = self._clock()
                action = self._session.next(now)
                if isinstance(action, End):
                    self._changed.notify_all()
                    return None
                if not isinstance(action, Wait):
                    return action
                self._changed.wait(None if action.until is None else max(0.0, action.until - now))
        return None

    def _act(self, action: Read | Ask | Put | Complete | Look) -> None:
        match action:
            case Read():
                self._read(action)
            case Ask():
                self._ask(action)
            case Put():
                self._put(action)
            case Complete():
                self._complete(action)
            case Look():
                self._look()

    def _settle(self, outcome: Callable[[float], None]) -> None:
        """Report an outcome to the session and wake the others."""
        with self._changed:
            outcome(self._clock())
            self._changed.notify_all()

    def _read(self, action: Read) -> None:
        try:
            crc, text = self._file.checksums(action.offset, action.length, self._session.algorithm, self._stop)
        except Stopped:
            raise
        except Problem as problem:
            self._give_up(problem)
            return
        self._settle(lambda now: self._session.was_read(action.number, crc, now, text))

    def _ask(self, action: Ask) -> None:
        try:
            granted = self._uploads.grants(self._upload_id, action.want, action.done)
        except Stopped:
            raise
        except Problem as error:
            problem = error
            self._settle(lambda now: self._session.ask_failed(action, problem, now, _pause(problem)))
            return
        self._settle(lambda now: self._session.was_answered(action, granted.grants, granted.lives, now))

    def _put(self, action: Put) -> None:
        number, grant = action.number, action.grant
        body = self._file.slice(action.offset, self._session.plan.length(number))
        request = Request(
            grant.method,
            grant.url,
            grant.headers,
            body,
            fresh=action.fresh,
            on_sent=lambda sent: self._moved(number, sent),
        )
        try:
            reply = self._transport.send(request, self._stop)
        except Stopped:
            raise
        except Problem as problem:
            verdict = unanswered(problem)
        else:
            etag = reply.headers.get("etag")
            if 200 <= reply.status < 300 and etag:
                self._moved(number, body.length)
                self._landed(number, lambda now: self._session.was_put(number, etag, now))
                return
            verdict = judge(reply) if not 200 <= reply.status < 300 else without_etag(reply)
        self._landed(number, lambda now: self._session.put_failed(number, verdict, now))

    def _moved(self, number: int, sent: int) -> None:
        with self._changed:
            self._meter.moved(number, sent)

    def _landed(self, number: int, outcome: Callable[[float], None]) -> None:
        with self._changed:  # a reentrant lock: one step for those who watch
            self._meter.landed(number)
            self._settle(outcome)

    def _complete(self, action: Complete) -> None:
        try:
            self._file.check_unchanged()
            completion = self._uploads.complete(self._upload_id, action.done, action.checksum)
            ingested, finalizing = _verdict_of(completion.status.upload_state, completion.status.problem)
        except Stopped:
            raise
        except Problem as error:
            self._question_failed(error)
            return
        decided = ingested and not finalizing
        self._settle(lambda now: self._session.was_completed(decided=decided, now=now))

    def _look(self) -> None:
        try:
            status = self._uploads.status(self._upload_id)
            ingested, finalizing = _verdict_of(status.upload_state, status.problem)
        except Stopped:
            raise
        except Problem as error:
            self._question_failed(error)
            return
        self._settle(lambda now: self._session.was_looked_at(ingested=ingested, finalizing=finalizing, now=now))

    def _question_failed(self, problem: Problem) -> None:
        missing = problem.details.get("missing")
        if problem.code == "parts_missing" and isinstance(missing, list):
            self._settle(lambda now: self._session.parts_missing(missing, problem, now))
        else:
            self._settle(lambda now: self._session.question_failed(problem, now, _pause(problem)))

    def _give_up(self, problem: Problem) -> None:
        self._settle(lambda _: self._session.give_up(problem))


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
