"""Whole uploads of the session in a simulated world: no threads, no sleep, no I/O."""

from __future__ import annotations

import heapq
import random
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.checksum import combine, encode
from rushes.client.actions import Ask, Complete, End, Look, Put, Read, Wait
from rushes.client.limits import Limits
from rushes.client.session import Session
from rushes.errors import Conflict, Problem
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
        puts = [kind.number for kind in kinds if isinstance(kind, Put)]
        assert len(puts) == len(set(puts)), "one part is sent twice at once"
        if isinstance(action, Put):
            assert self.lives[action.number] > self.now, "sent under an expired grant"

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
        if self.bad_day():
            self.session.put_failed(put.number, self.rng.choice([RETRY, EXPIRED, CORRUPT]), self.now)
            return
        etag = f"etag-{self.now}"
        self.stored[put.number] = etag
        self.session.was_put(put.number, etag, self.now)

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
    limits = Limits(parallel=parallel, refusals=50, rounds=50)
    world = World(Session(plan_of(parts), limits, chance=rng.random), rng, faults)
    assert world.run(hands) is None
    assert world.completed
    assert world.session.held == (parts, world.session.plan.size)


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
