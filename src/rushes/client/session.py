"""One upload as a state machine: what to do next, and what each outcome means. No I/O; time is a parameter.

    unread ── Read ──▸ summed ── Ask ──▸ granted ── Put ──▸ done ── Ask ──▸ told     … all done: Complete, then Look
       ▴                  ▴                 ▴          │
       └── other bytes ───┴── 403, expired ─┴─ pause ──┘

A part that its way does not let through takes the other one: by relay, whole or in slices, needs no grant (`ways.py`). The
last parts may be under way twice (`hedge.py`). When nothing has moved for `pause_after` seconds the upload ends itself,
resumable, and says what it was waiting for.

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

from rushes.checksum import combine, combined, encode
from rushes.client.actions import Action, Ask, Complete, End, Look, Put, Read, Room, Wait
from rushes.client.hedge import Flight, Flights
from rushes.client.limits import Limits, backoff
from rushes.client.progress import no_progress
from rushes.client.sameness import part_changed
from rushes.client.verdict import Move, Trouble, Verdict
from rushes.client.ways import CUT, Ways, leads_through_api, store_of
from rushes.errors import Problem, Unavailable
from rushes.model import ChecksumAlgorithm
from rushes.plan import PartPlan
from rushes.wire import MAX_GRANTS, DonePart, Grant, HeldPart, WantedPart

ANYTHING = Room()
STUBBORN = 4  # times that a part broke off on its way to storage, before it goes by relay


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
        self.ways = Ways()  # its engine's, once it has one
        self._chance = chance
        self._summed: deque[int] = deque()
        self._granted: deque[int] = deque()
        self._pausing: list[tuple[float, int]] = []  # a heap: when, which part
        self._reading: set[int] = set()
        self._flights = Flights(plan.size, plan.part_size, self.limits)
        self._store: str | None = None  # that the last grant was for
        self._detour: set[int] = set()  # parts that do not get through to storage
        self._claimed: dict[int, HeldPart] = {part.number: part for part in held}
        self._resumed = bool(self._claimed)
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
        self._troubles: dict[int, Trouble] = {}
        self._rounds = 0
        self._server_busy = False  # one question to the server at a time
        self._server_after = 0.0
        self._server_trouble: Trouble | None = None
        self._finalizing = False
        self._moved_at: float | None = None  # when anything last moved, or nothing was wrong
        self._waited_for: Problem | None = None
        self._end: End | None = None

    # --- what to do next ------------------------------------------------------------------------------------------

    def next(self, now: float, room: Room = ANYTHING) -> Action:
        """The next action that there is room for. It counts as under way until its outcome is reported."""
        if self._end is None:
            self._wake(now)
            self._check_progress(now, room)
        if self._end is not None:
            return self._end
        found = self._next_put(now, room) or self._next_question(now, room) or self._next_read(room)
        return found or self._next_copy(now, room) or Wait(self._soonest(now))

    def _lines(self, room: Room) -> int:
        """How many parts of this file may be under way at once."""
        lines = self.limits.parallel or room.lines
        if self.limits.parallel or not (self.retries or self._resumed):
            return lines
        return min(lines, max(self.limits.few, self.plan.part_count // self.limits.parts_a_line))

    def _wake(self, now: float) -> None:
        while self._pausing and self._pausing[0][0] <= now:
            number = heapq.heappop(self._pausing)[1]
            (self._granted if number in self._grants else self._summed).append(number)

    def _next_put(self, now: float, room: Room) -> Put | None:
        lines = self._lines(room)
        if not room.line or len(self._flights) >= lines or self._flights.too_soon(now, lines):
            return None
        if (number := self._next_relayed(now)) is not None:
            return self._put(number, None, now)
        while self._granted and not self.ways.shut(self._store, now):
            number = self._granted.popleft()
            grant, good_until = self._grants[number]
            if good_until > now:
                return self._put(number, grant, now)
            del self._grants[number]
            self._summed.append(number)
        return None

    def _next_relayed(self, now: float) -> int | None:
        """A part that goes by relay; it needs no grant."""
        shut = self.ways.shut(self._store, now)
        if self.ways.without_relay or self.ways.relaying >= self.ways.relays or not (shut or self._detour):
            return None
        for queue in (self._granted, self._summed):
            for number in queue:
                if shut or number in self._detour:
                    queue.remove(number)
                    return number
        return None

    def _put(self, number: int, grant: Grant | None, now: float, *, copy: bool = False) -> Put:
        relayed = grant is None or leads_through_api(grant)
        flight = Flight(number, self.plan.length(number), now, relayed, self._store or "")
        self._flights.begin(flight)
        self.ways.began(flight.store, relayed=relayed)
        return Put(
            number,
            self._offset(number),
            grant,
            fresh=copy or number in self._troubles,
            checksum=self._checksums[number],
            slice=self.ways.slice if relayed else None,
            flight=flight,
        )

    def _next_copy(self, now: float, room: Room) -> Put | None:
        """A second copy of a last part that is late."""
        if not room.line or self._work_is_left() or len(self._flights) >= self._lines(room):
            return None
        late = self._flights.late(now)
        grant, good_until = self._grants.get(late.number, (None, now)) if late is not None else (None, now)
        if late is None or grant is None or good_until <= now or self.ways.shut(self._store, now):
            return None
        self._flights.doubled(late)
        return self._put(late.number, grant, now, copy=True)

    def _work_is_left(self) -> bool:
        under_way = self._reading or self._server_busy  # parts that are asked for
        return bool(under_way or self._unread or self._summed or self._granted or self._pausing)

    def _next_question(self, now: float, room: Room) -> Ask | Complete | Look | None:
        if self._server_busy or not room.question or now < self._server_after:
            return None
        question: Ask | Complete | Look | None = None
        if self._finalizing:
            question = Look()
        elif len(self._done) == self.plan.part_count:
            question = Complete(tuple(self._untold.values()), self._whole())
        elif self._should_ask(now, self._lines(room)):
            question = self._ask()
        self._server_busy = question is not None
        return question

    def _should_ask(self, now: float, lines: int) -> bool:
        if self._untold and now >= self._untold_since + self.limits.report_after:
            return True
        summed = len(self._grantable())
        if not summed or len(self._granted) >= lines or self.ways.shut(self._store, now):
            return False
        more_coming = bool(self._unread or self._reading)
        return not self._granted or summed >= lines or not more_coming

    def _ask(self) -> Ask:
        numbers = self._grantable()[:MAX_GRANTS]
        for number in numbers:
            self._summed.remove(number)
        want = tuple(WantedPart(number=number, checksum=self._checksums[number]) for number in numbers)
        return Ask(want, tuple(self._untold.values())[:MAX_GRANTS])

    def _grantable(self) -> list[int]:
        return [number for number in self._summed if number not in self._detour or self.ways.without_relay]

    def _next_read(self, room: Room) -> Read | None:
        lines, waiting = self._lines(room), len(self._reading) + len(self._summed) + len(self._granted)
        if not room.reader:
            return None
        if self._unread and waiting < lines + min(lines, 4):
            number = self._unread.popleft()
            self._reading.add(number)
        elif self._uncompared and not (self._comparing and (waiting or self._flights or self._unread)):
            number = self._uncompared.popleft()  # one at a time beside sending
            self._comparing.add(number)
        else:
            return None
        return Read(number, self._offset(number), self.plan.length(number))

    def _soonest(self, now: float) -> float | None:
        times = [self._pausing[0][0]] if self._pausing else []
        if self._flights.not_before is not None and (self._granted or self._summed):
            times.append(self._flights.not_before)
        if not self._server_busy:
            if self._server_after > now:
                times.append(self._server_after)
            elif self._untold:
                times.append(self._untold_since + self.limits.report_after)
        if self._moved_at is not None and self._waited_for is not None:
            times.append(self._moved_at + self.limits.pause_after)
        if self._flights.may_be_late and not self._work_is_left():
            times.append(now + 1.0)
        if (again := self.ways.again_at(self._store)) is not None and again > now:
            times.append(again)
        return min(times, default=None)

    def _check_progress(self, now: float, room: Room) -> None:
        """End an upload in which nothing has moved for long; waiting for one's own lines does not count."""
        unserved = not room.line and not self._flights and (self._granted or self._summed)
        if self._moved_at is None or self._waited_for is None or unserved:
            self._moved_at = now
        elif now - self._moved_at >= self.limits.pause_after:
            self.give_up(no_progress(self._waited_for, self.limits.pause_after))

    def _offset(self, number: int) -> int:
        return (number - 1) * self.plan.part_size

    def straight(self, now: float) -> bool | None:
        """Whether the next part goes whole to storage, under a grant that is good; None while none is granted."""
        if not self._granted or self._end is not None:
            return None
        grant, good_until = self._grants[self._granted[0]]
        clear = not (self._detour or self._pausing or self.ways.shut(self._store, now) or leads_through_api(grant))
        return clear and good_until > now

    # --- outcomes of Read and Put ---------------------------------------------------------------------------------

    def was_read(self, number: int, crc: int, now: float, checksum: str | None = None) -> None:
        """The CRC64NVME of a part and, where parts carry another checksum, that one. A part whose bytes differ from an
        earlier reading ends the upload."""
        self._reading.discard(number)
        self._comparing.discard(number)
        self._moved_at = now
        checksum = checksum or encode(crc)
        claimed = self._claimed.pop(number, None)
        known = self._crcs.get(number)
        if (claimed is not None and claimed.checksum != checksum) or (known is not None and known != crc):
            self.give_up(part_changed(number))
            return
        self._crcs[number] = crc
        self._checksums[number] = checksum
        if claimed is not None:
            self._claimed_bytes -= self.plan.length(number)
            self._add_done(number)
        else:
            self._summed.append(number)

    def moved(self, flight: Flight, sent: int, now: float) -> None:
        """So many bytes of a part have left."""
        if self._flights.moved(flight, sent, now):
            self._moved_at = now

    def was_put(self, number: int, etag: str, now: float, flight: Flight | None = None) -> None:
        """Storage confirmed a part. Copies that still are under way are dropped, but for those that have left whole."""
        flight = self._flights.end(flight or self._flights.of(number)[0], now, landed=True)
        self.ways.landed(flight.store, relayed=flight.relayed)
        if number in self._done:  # the other copy landed later
            known = self._untold.get(number)
            if known is not None and known.etag != etag:
                self._untold[number] = known.model_copy(update={"etag": etag})
            return
        for other in self._flights.of(number):
            other.dropped = other.sent < other.length
        self._moved_at = now
        self._grants.pop(number, None)
        self._detour.discard(number)
        self._troubles.pop(number, None)
        if not self._troubles and self._server_trouble is None:
            self._well()
        if not self._untold:
            self._untold_since = now
        self._untold[number] = DonePart(number=number, etag=etag, checksum=self._checksums[number])
        self._add_done(number)

    def was_dropped(self, flight: Flight, now: float) -> None:
        """A sending was broken off because it is not wanted any more."""
        self.ways.dropped(flight.store, relayed=self._flights.end(flight, now, landed=False).relayed)

    def put_failed(self, number: int, verdict: Verdict, now: float, flight: Flight | None = None) -> None:
        """A part was not taken: send it again, another way, under a new grant, with a new checksum, or give up."""
        flight = self._flights.end(flight or self._flights.of(number)[0], now, landed=False)
        smaller = self.ways.failed(flight, verdict, now)
        if number in self._done or self._flights.of(number):
            return  # another copy landed, or still may
        self.retries += 1
        if smaller:
            self._summed.append(number)  # at once, in slices
            return
        trouble = self._troubles.setdefault(number, Trouble(now))
        trouble.tries += 1
        trouble.refusals += verdict.move is not Move.RETRY
        other_way = verdict.foreign and not flight.relayed and not self.ways.without_relay
        if (verdict.move is Move.GIVE_UP and not other_way) or trouble.refusals > self.limits.refusals:
            self.give_up(verdict.problem)
            return
        broke_off = verdict.problem.code in CUT and flight.sent > 0 and trouble.tries >= STUBBORN
        if not flight.relayed and (broke_off or verdict.too_large):
            self._detour.add(number)
        # A connection that storage cuts before its answer is read hides a refusal: every second time, a new grant.
        if verdict.move is not Move.RETRY or trouble.tries % 2 == 0 or number in self._detour:
            self._grants.pop(number, None)
        if verdict.move is Move.REREAD:
            self._unread.appendleft(number)
        else:
            self._pause(number, trouble, verdict, now)

    def _pause(self, number: int, trouble: Trouble, verdict: Verdict, now: float) -> None:
        if verdict.move is Move.REGRANT and trouble.tries == 1:
            self._summed.append(number)  # most likely it just expired
            return
        seconds = self._backoff(trouble.tries, verdict.pause)
        self._ill(verdict.problem, now)
        heapq.heappush(self._pausing, (now + seconds, number))

    # --- outcomes of Ask, Complete and Look -----------------------------------------------------------------------

    def was_answered(self, ask: Ask, grants: Sequence[Grant], lives: Mapping[int, float], now: float) -> None:
        """Grants arrived; `lives` says for how many seconds from `now` each may be used."""
        self._server_answered()
        self._told(ask.done, now)
        for grant in grants:
            life = lives[grant.number]
            self._grants[grant.number] = (grant, now + life - min(15.0, life / 5))
            self._store = store_of(grant)
            self.ways.granted(self._store)
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
        self._moved_at = now
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

    def goes_around(self, now: float) -> bool:
        """Whether parts go by relay now."""
        return self.ways.shut(self._store, now)

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
            self._server_trouble = None
            if not self._troubles:
                self._well()

    def _server_failed(self, problem: Problem, now: float, pause: float) -> None:
        self._server_busy = False
        self.retries += 1
        if self._server_trouble is None:
            self._server_trouble = Trouble(now)
        self._server_trouble.tries += 1
        if problem.permanent:
            self.give_up(problem)
            return
        self._ill(problem, now)
        self._server_after = now + self._backoff(self._server_trouble.tries, pause)

    def _ill(self, problem: Problem, now: float) -> None:
        if self._waited_for is None:
            self._moved_at = now
        self.trouble, self._waited_for = str(problem), problem

    def _well(self) -> None:
        self.trouble = self._waited_for = None

    def _backoff(self, tries: int, asked: float = 0.0) -> float:
        return asked + backoff(self.limits, tries, self._chance())
