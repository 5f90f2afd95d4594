"""Whole uploads of the session in a simulated world: no threads, no sleep, no I/O."""

from __future__ import annotations

import heapq
import random
from collections import Counter
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.checksum import combine, encode
from rushes.client.actions import Ask, Complete, End, Look, Put, Read, Wait
from rushes.client.limits import Limits
from rushes.client.session import Session
from rushes.client.verdict import Move, Verdict
from rushes.errors import Conflict, Problem, Unavailable
from tests.client.sessions import (
    CORRUPT,
    DOWN,
    EXPIRED,
    RETRY,
    answer,
    crc_of,
    held_part,
    plan_of,
    session_of,
)

LOST = Unavailable("network_refused", "Nobody there.")
DIRECT_DAYS = (
    RETRY,
    EXPIRED,
    CORRUPT,
    Verdict(Move.RETRY, LOST),
    Verdict(Move.GIVE_UP, LOST, foreign=True, too_large=True),
)
RELAY_DAYS = (
    RETRY,
    CORRUPT,
    Verdict(Move.RETRY, LOST),
    Verdict(Move.RETRY, LOST, too_large=True),
    Verdict(Move.RETRY, LOST, crowded=True),
)


class World:
    """A driver with a fixed number of hands, and a server and store with a finite number of bad days."""

    def __init__(self, session: Session, rng: random.Random, faults: int) -> None:
        self.session, self.rng, self.faults = session, rng, faults
        self.now = 0.0
        self.under_way: list[tuple[float, int, object]] = []
        self.order = count()
        self.stored: dict[int, str] = {}
        self.held: dict[int, str] = {}
        self.lives: dict[int, float] = {}
        self.completed = False
        self.twice = 0  # bytes of second copies
        self.looks = rng.randint(0, 3)

    def bad_day(self) -> bool:
        if self.faults and self.rng.random() < 0.4:
            self.faults -= 1
            return True
        return False

    def run(self, hands: int) -> Problem | None:
        for _ in range(200_000):
            while len(self.under_way) < hands:
                action = self.session.next(self.now)
                if isinstance(action, End):
                    return action.problem
                if isinstance(action, Wait):
                    if not self.under_way:
                        assert action.until is not None, "nothing under way and nothing to wait for: a deadlock"
                        assert action.until > self.now, "a wait for the past: a spin"
                        self.now = action.until
                        continue
                    break
                self.begin(action)
            until, _, ended = heapq.heappop(self.under_way)
            self.now = max(self.now, until)
            self.finish(ended)
        raise AssertionError("the upload does not end")

    def begin(self, action: object) -> None:
        heapq.heappush(self.under_way, (self.now + self.rng.uniform(0.1, 3), next(self.order), action))
        kinds = [kind for _, _, kind in self.under_way]
        assert sum(isinstance(kind, Put) for kind in kinds) <= (self.session.limits.parallel or 4)
        assert sum(isinstance(kind, (Ask, Complete, Look)) for kind in kinds) <= 1
        puts = Counter(kind.number for kind in kinds if isinstance(kind, Put))
        assert max(puts.values(), default=0) <= 2, "no part is sent three times at once"
        if isinstance(action, Put):
            assert action.flight is not None
            assert action.grant is None or self.lives[action.number] > self.now, "sent under an expired grant"
            if puts[action.number] == 2:
                self.twice += action.flight.length
                assert len({*self.stored, *self.held, *puts}) == self.session.plan.part_count, "others come first"

    def finish(self, action: object) -> None:
        match action:
            case Read():
                self.session.was_read(action.number, crc_of(action.number), self.now)
            case Ask():
                self.answer(action)
            case Put():
                self.put(action)
            case Complete():
                self.complete(action)
            case Look():
                self.looks -= 1
                self.session.was_looked_at(ingested=self.looks < 0, finalizing=self.looks >= 0, now=self.now)

    def answer(self, ask: Ask) -> None:
        self.record(ask)
        if self.bad_day():
            self.session.ask_failed(ask, DOWN, self.now)
            return
        life = self.rng.choice([5.0, 60.0, 1000.0])
        self.lives |= {part.number: self.now + life for part in ask.want}
        answer(self.session, ask, self.now, life)

    def record(self, question: Ask | Complete) -> None:
        for part in question.done:
            assert self.stored[part.number] == part.etag
            assert part.checksum == encode(crc_of(part.number))
            self.held[part.number] = part.etag

    def put(self, put: Put) -> None:
        assert put.flight is not None
        if put.flight.dropped:
            self.session.was_dropped(put.flight, self.now)
            return
        sent = self.rng.choice([0, put.flight.length // 2, put.flight.length])
        self.session.moved(put.flight, sent, self.now)
        if self.bad_day():
            verdicts = RELAY_DAYS if put.flight.relayed else DIRECT_DAYS
            self.session.put_failed(put.number, self.rng.choice(verdicts), self.now, put.flight)
            return
        etag = f"etag-{put.number}"
        self.stored[put.number] = etag
        self.session.was_put(put.number, etag, self.now, put.flight)

    def complete(self, question: Complete) -> None:
        self.record(question)
        plan = self.session.plan
        assert set(self.held) == set(range(1, plan.part_count + 1)), "completed before every part was reported"
        numbers = range(1, plan.part_count + 1)
        assert question.checksum == encode(combine((crc_of(n), plan.length(n)) for n in numbers))
        if self.bad_day():
            missing = self.rng.sample(sorted(self.held), min(2, len(self.held)))
            for number in missing:
                del self.held[number]
            self.session.parts_missing(missing, Conflict("parts_missing", "Missing."), self.now)
            return
        self.session.was_completed(decided=self.looks == 0, now=self.now)
        self.completed = True


@settings(max_examples=300, deadline=None)
@given(st.integers(1, 60), st.integers(1, 8), st.integers(1, 12), st.integers(0, 25), st.integers(0, 2**32))
def test_every_upload_ends_ingested_when_faults_end(
    parts: int, parallel: int, hands: int, faults: int, seed: int
) -> None:
    rng = random.Random(seed)
    limits = Limits(parallel=parallel, refusals=50, rounds=50, pause_after=1e9)
    world = World(Session(plan_of(parts), limits, chance=rng.random), rng, faults)
    assert world.run(hands) is None
    assert world.completed
    assert world.session.held == (parts, world.session.plan.size)
    assert world.twice <= max(0.05 * world.session.plan.size, 100)
    assert world.session.ways.relaying == 0


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 60), st.sets(st.integers(1, 60)), st.integers(0, 2**32))
def test_parts_held_are_read_but_not_sent_again(parts: int, held: set[int], seed: int) -> None:
    held = {number for number in held if number <= parts}
    rng = random.Random(seed)
    world = World(Session(plan_of(parts), Limits(), [held_part(number) for number in held]), rng, faults=0)
    world.held = dict.fromkeys(held, "e")
    assert world.run(5) is None
    assert set(world.stored) == set(range(1, parts + 1)) - held


def test_what_waits_is_bounded_however_slow_the_line() -> None:
    session = session_of(1000, parallel=4)
    reads = 0
    while not isinstance(action := session.next(0.0), Wait):
        if isinstance(action, Read):
            reads += 1
            session.was_read(action.number, crc_of(action.number), 0.0)
        elif isinstance(action, Ask):
            answer(session, action, 0.0)
    assert reads == 4 + 2 * 4  # being sent, and waiting


@pytest.mark.parametrize("parts", [9_999])
def test_the_largest_upload_is_quick_to_decide(parts: int) -> None:
    world = World(session_of(parts), random.Random(1), faults=0)
    world.looks = 0
    assert world.run(5) is None
