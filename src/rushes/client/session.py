"""One upload as a state machine: what to do next, and what each outcome means. No I/O; time is a parameter.

    unread ── Read ──▸ summed ── Ask ──▸ granted ── Put ──▸ done ── Ask ──▸ told     … all done: Complete, then Look
       ▴                  ▴                 ▴          │
       └── other bytes ───┴── 403, expired ─┴─ pause ──┘

A driver asks `next` for an action, carries it out, and reports what came of it; any number of actions may be under way,
so any number of threads may share one session behind a lock. The checksum of a part is known before its grant is asked
for, grants are asked for shortly before they are used, and parts done are reported with the next question. Few more
parts than there are lines wait between reading and sending, so what is held does not grow with the file; the ledger of a
9,999-part upload is about 3 MB.

Times are seconds of any steady clock; part numbers start at 1.
"""

from __future__ import annotations

import heapq
import random
from collections import deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from rushes.checksum import combine, combined, encode
from rushes.client.actions import Action, Ask, Complete, End, Look, Put, Read, Room, Wait
from rushes.client.limits import Limits
from rushes.client.verdict import Move, Verdict
from rushes.errors import Conflict, Problem, Unavailable
from rushes.model import ChecksumAlgorithm
from rushes.plan import PartPlan
from rushes.wire import MAX_GRANTS, DonePart, Grant, HeldPart, WantedPart

ANYTHING = Room()


@dataclass(slots=True)
class _Trouble:
    """One part's, or the server's, failures in a row."""

    since: float
    tries: int = 0
    refusals: int = 0


class Session:
    """`held` are the parts that the server says it has: what is missing is sent at once, and each of these is read beside
    that and compared before it counts. `known` are (CRC64NVME, checksum) of parts as an earlier run read them: a part that
    reads otherwise now means that the file was changed."""

    def __init__(
        self,
        plan: PartPlan,
        limits: Limits | None = None,
        held: Iterable[HeldPart] = (),
        chance: Callable[[], float] = random.random,
        algorithm: ChecksumAlgorithm = ChecksumAlgorithm.CRC64NVME,
        known: Mapping[int, tuple[int, str]] | None = None,
    ) -> None:
        self.plan = plan
        self.algorithm = algorithm  # of the checksums that parts carry
        self.limits = limits or Limits()
        self.trouble: str | None = None  # what is being waited out, for people; None while all goes well
        self.retries = 0
        self._chance = chance
        self._summed: deque[int] = deque()
        self._granted: deque[int] = deque()
        self._pausing: list[tuple[float, int]] = []  # a heap: when, which part
        self._reading: set[int] = set()
        self._sending: set[int] = set()
        self._claimed: dict[int, HeldPart] = {part.number: part for part in held}
        self._unread = deque(number for number in range(1, plan.part_count + 1) if number not in self._claimed)
        self._uncompared = deque(sorted(self._claimed))
        self._comparing: set[int] = set()
        self._claimed_bytes = sum(plan.length(number) for number in self._claimed)
        self._crcs: dict[int, int] = {number: crc for number, (crc, _) in (known or {}).items()}
        self._checksums: dict[int, str] = {}
        self._grants: dict[int, tuple[Grant, float]] = {}  # with the time until which it is good
        self._untold: dict[int, DonePart] = {}
        self._untold_since = 0.0
        self._done: set[int] = set()
        self._done_bytes = 0
        self._troubles: dict[int, _Trouble] = {}
        self._rounds = 0
        self._server_busy = False  # one question to the server at a time
        self._server_after = 0.0
        self._server_trouble: _Trouble | None = None
        self._finalizing = False
        self._end: End | None = None

    # --- what to do next ------------------------------------------------------------------------------------------

    def next(self, now: float, room: Room = ANYTHING) -> Action:
        """The next action that there is room for. It counts as under way until its outcome is reported."""
        if self._end is not None:
            return self._end
        self._wake(now)
        found = self._next_put(now, room) or self._next_question(now, room) or self._next_read(room)
        return found or Wait(self._soonest(now))

    def _wake(self, now: float) -> None:
        while self._pausing and self._pausing[0][0] <= now:
            number = heapq.heappop(self._pausing)[1]
            (self._granted if number in self._grants else self._summed).append(number)

    def _next_put(self, now: float, room: Room) -> Put | None:
        while self._granted and room.line and len(self._sending) < (self.limits.parallel or room.lines):
            number = self._granted.popleft()
            grant, good_until = self._grants[number]
            if good_until <= now:
                del self._grants[number]
                self._summed.append(number)
                continue
            self._sending.add(number)
            return Put(number, self._offset(number), grant, fresh=number in self._troubles)
        return None

    def _next_question(self, now: float, room: Room) -> Ask | Complete | Look | None:
        if self._server_busy or not room.question or now < self._server_after:
            return None
        question: Ask | Complete | Look | None = None
        if self._finalizing:
            question = Look()
        elif len(self._done) == self.plan.part_count:
            question = Complete(tuple(self._untold.values()), self._whole())
        elif self._should_ask(now, self.limits.parallel or room.lines):
            question = self._ask()
        self._server_busy = question is not None
        return question

    def _should_ask(self, now: float, lines: int) -> bool:
        if self._untold and now >= self._untold_since + self.limits.report_after:
            return True
        if not self._summed or len(self._granted) >= lines:
            return False
        more_coming = bool(self._unread or self._reading)
        return not self._granted or len(self._summed) >= lines or not more_coming

    def _ask(self) -> Ask:
        numbers = [self._summed.popleft() for _ in range(min(len(self._summed), MAX_GRANTS))]
        want = tuple(WantedPart(number=number, checksum=self._checksums[number]) for number in numbers)
        return Ask(want, tuple(self._untold.values())[:MAX_GRANTS])

    def _next_read(self, room: Room) -> Read | None:
        lines = self.limits.parallel or room.lines
        waiting = len(self._reading) + len(self._summed) + len(self._granted)
        if not room.reader:
            return None
        if self._unread and waiting < lines + min(lines, 4):
            number = self._unread.popleft()
            self._reading.add(number)
        elif self._uncompared and not (self._comparing and (waiting or self._sending or self._unread)):
            number = self._uncompared.popleft()  # one at a time beside sending
            self._comparing.add(number)
        else:
            return None
        return Read(number, self._offset(number), self.plan.length(number))

    def _soonest(self, now: float) -> float | None:
        times = [self._pausing[0][0]] if self._pausing else []
        if not self._server_busy:
            if self._server_after > now:
                times.append(self._server_after)
            elif self._untold:
                times.append(self._untold_since + self.limits.report_after)
        return min(times, default=None)

    def _offset(self, number: int) -> int:
        return (number - 1) * self.plan.part_size

    # --- outcomes of Read and Put ---------------------------------------------------------------------------------

    def was_read(self, number: int, crc: int, now: float, checksum: str | None = None) -> None:
        """The CRC64NVME of a part and, where parts carry another checksum, that one. A part whose bytes differ from an
        earlier reading ends the upload."""
        self._reading.discard(number)
        self._comparing.discard(number)
        checksum = checksum or encode(crc)
        claimed = self._claimed.pop(number, None)
        known = self._crcs.get(number)
        if (claimed is not None and claimed.checksum != checksum) or (known is not None and known != crc):
            self.give_up(_file_changed(number))
            return
        self._crcs[number] = crc
        self._checksums[number] = checksum
        if claimed is not None:
            self._claimed_bytes -= self.plan.length(number)
            self._add_done(number)
        else:
            self._summed.append(number)

    def was_put(self, number: int, etag: str, now: float) -> None:
        """Storage confirmed a part."""
        self._sending.discard(number)
        self._grants.pop(number, None)
        self._troubles.pop(number, None)
        if not self._troubles and self._server_trouble is None:
            self.trouble = None
        if not self._untold:
            self._untold_since = now
        self._untold[number] = DonePart(number=number, etag=etag, checksum=self._checksums[number])
        self._add_done(number)

    def put_failed(self, number: int, verdict: Verdict, now: float) -> None:
        """A part was not taken: send it again, under a new grant, with a new checksum, or give up."""
        self._sending.discard(number)
        self.retries += 1
        trouble = self._troubles.setdefault(number, _Trouble(now))
        trouble.tries += 1
        if verdict.move is not Move.RETRY:
            trouble.refusals += 1
        if verdict.move is Move.GIVE_UP or self._hopeless(trouble, now):
            self.give_up(verdict.problem)
            return
        # A connection that storage cuts before its answer is read hides a refusal: every second time, a new grant.
        if verdict.move is not Move.RETRY or trouble.tries % 2 == 0:
            self._grants.pop(number, None)
        if verdict.move is Move.REREAD:
            self._unread.appendleft(number)
        else:
            self._pause(number, trouble, verdict, now)

    def _pause(self, number: int, trouble: _Trouble, verdict: Verdict, now: float) -> None:
        if verdict.move is Move.REGRANT and trouble.tries == 1:
            self._summed.append(number)  # most likely it just expired
            return
        seconds = self._backoff(trouble.tries, verdict.pause)
        self.trouble = str(verdict.problem)
        heapq.heappush(self._pausing, (now + seconds, number))

    # --- outcomes of Ask, Complete and Look -----------------------------------------------------------------------

    def was_answered(self, ask: Ask, grants: Sequence[Grant], lives: Mapping[int, float], now: float) -> None:
        """Grants arrived; `lives` says for how many seconds from `now` each may be used."""
        self._server_answered()
        self._told(ask.done, now)
        for grant in grants:
            life = lives[grant.number]
            self._grants[grant.number] = (grant, now + life - min(15.0, life / 5))
        for part in ask.want:
            (self._granted if part.number in self._grants else self._summed).append(part.number)
        if len(grants) < len(ask.want):
            self._server_after = now + 1.0  # the server granted less than it was asked for: do not spin

    def ask_failed(self, ask: Ask, problem: Problem, now: float, pause: float = 0.0) -> None:
        self._summed.extendleft(part.number for part in reversed(ask.want))
        self._server_failed(problem, now, pause)

    def was_completed(self, *, decided: bool, now: float) -> None:
        """The server took the completion; `decided` when the file is ingested already."""
        self._server_answered()
        self._untold.clear()
        self._finalizing = not decided
        self._server_after = now + self.limits.look_every
        if decided:
            self._end = End(None)

    def was_looked_at(self, *, ingested: bool, finalizing: bool, now: float) -> None:
        """What the server says of an upload it is finalizing. One that went back to uploading is completed again."""
        self._server_answered()
        self._finalizing = finalizing
        self._server_after = now + self.limits.look_every
        if ingested:
            self._end = End(None)
        elif not finalizing:
            self._rounds += 1
            if self._rounds > self.limits.rounds:
                self.give_up(Unavailable("finalize_undecided", "The server sent the upload back again and again."))

    def parts_missing(self, numbers: Iterable[int], problem: Problem, now: float) -> None:
        """The server refused to finalize: these parts are to be sent again."""
        self._server_answered()
        self._finalizing = False
        self._rounds += 1
        self._server_after = now + self._backoff(self._rounds)
        if self._rounds > self.limits.rounds:
            self.give_up(problem)
            return
        for number in sorted(set(numbers) & self._done):
            self._done.discard(number)
            self._done_bytes -= self.plan.length(number)
            self._untold.pop(number, None)
            self._unread.append(number)

    def question_failed(self, problem: Problem, now: float, pause: float = 0.0) -> None:
        """`Complete` or `Look` was not answered: the same question again later, or give up."""
        self._server_failed(problem, now, pause)

    def give_up(self, problem: Problem) -> None:
        """End the upload with `problem`; the first one stands."""
        if self._end is None:
            self._end = End(problem)

    # --- what people see ------------------------------------------------------------------------------------------

    @property
    def end(self) -> End | None:
        """How it ended, once it has."""
        return self._end

    @property
    def held(self) -> tuple[int, int]:
        """Parts confirmed by storage, and their bytes."""
        return len(self._done) + len(self._claimed), self._done_bytes + self._claimed_bytes

    @property
    def uncompared(self) -> int:
        """Bytes that storage holds and that were not compared with the file yet."""
        return self._claimed_bytes

    @property
    def complete(self) -> bool:
        """Every part is held: what remains is the server's verdict."""
        return len(self._done) == self.plan.part_count

    def crc(self) -> int:
        """The CRC64NVME of the whole file, once every part was read."""
        numbers = range(1, self.plan.part_count + 1)
        return combine((self._crcs[number], self.plan.length(number)) for number in numbers)

    def _whole(self) -> str | None:
        """What to declare of the whole file: what its parts' checksums combine into, so that it costs no reading."""
        if self.algorithm is ChecksumAlgorithm.CRC64NVME:
            return encode(self.crc())
        numbers = range(1, self.plan.part_count + 1)
        whole = combined(self.algorithm, ((self._checksums[number], self.plan.length(number)) for number in numbers))
        return None if whole is None else f"{self.algorithm}:{whole}"

    def unreported(self) -> tuple[DonePart, ...]:
        """Parts done that the server has not heard of, for a last word before stopping."""
        return tuple(self._untold.values())[:MAX_GRANTS]

    # --- bookkeeping ----------------------------------------------------------------------------------------------

    def _add_done(self, number: int) -> None:
        self._done.add(number)
        self._done_bytes += self.plan.length(number)

    def _told(self, done: Iterable[DonePart], now: float) -> None:
        for part in done:
            self._untold.pop(part.number, None)
        self._untold_since = now

    def _server_answered(self) -> None:
        self._server_busy = False
        if self._server_trouble is not None:
            self._server_trouble = self.trouble = None

    def _server_failed(self, problem: Problem, now: float, pause: float) -> None:
        self._server_busy = False
        self.retries += 1
        if self._server_trouble is None:
            self._server_trouble = _Trouble(now)
        self._server_trouble.tries += 1
        if problem.permanent or self._hopeless(self._server_trouble, now):
            self.give_up(problem)
            return
        self.trouble = str(problem)
        self._server_after = now + self._backoff(self._server_trouble.tries, pause)

    def _hopeless(self, trouble: _Trouble, now: float) -> bool:
        tired = trouble.tries >= self.limits.tries and now - trouble.since >= self.limits.patience
        return tired or trouble.refusals > self.limits.refusals

    def _backoff(self, tries: int, asked: float = 0.0) -> float:
        return asked + backoff(self.limits, tries, self._chance())


def backoff(limits: Limits, tries: int, chance: float) -> float:
    """Seconds after so many failures; `chance` is from 0 to 1.

    Full jitter: aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter.
    """
    most: float = min(limits.backoff_most, limits.backoff * 2.0 ** min(tries, 16))
    return most * chance


def _file_changed(number: int) -> Conflict:
    return Conflict(
        "file_changed",
        f"Part {number} of the file holds other bytes than before: the file was changed meanwhile. Nothing was mixed, and "
        "the upload was not completed. When nothing writes to the file any more, begin with it as it is then: "
        "rushes upload --anew.",
        part=number,
    )
