"""A session that goes on: what is missing goes first, what is held is compared beside it, and nothing is trusted unread."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from rushes.checksum import encode
from rushes.client.actions import Ask, Complete, End, Put, Read, Room, Wait
from rushes.client.limits import Limits
from rushes.client.session import Session
from rushes.errors import Conflict
from tests.client.sessions import answer, crc_of, held_part, plan_of

PARTS = 9


def resumed(held: set[int], known: dict[int, tuple[int, str]] | None = None, parallel: int = 2) -> Session:
    return Session(
        plan_of(PARTS), Limits(parallel=parallel), [held_part(number) for number in held], lambda: 0.5, known=known
    )


def test_what_is_missing_is_read_before_what_is_held_is_compared() -> None:
    session = resumed({1, 2, 3, 4, 5, 6})
    numbers = []
    for _ in range(4):
        action = session.next(0.0)
        assert isinstance(action, Read)
        numbers.append(action.number)
    assert numbers == [7, 8, 9, 1]
    assert isinstance(session.next(0.0), Wait), "one comparison at a time beside what is to be sent"
    session.was_read(1, crc_of(1), 0.0)
    following = session.next(0.0)
    assert isinstance(following, Read)
    assert following.number == 2


def test_what_is_held_is_shown_as_held_from_the_start() -> None:
    session = resumed({1, 2, 3})
    assert session.held == (3, 300)
    assert session.uncompared == 300
    assert all(isinstance(session.next(0.0), Read) for _ in range(4))
    session.was_read(1, crc_of(1), 0.0)
    assert (session.held, session.uncompared) == ((3, 300), 200)


def test_when_nothing_is_missing_comparisons_run_beside_each_other() -> None:
    session = resumed(set(range(1, PARTS + 1)))
    assert all(isinstance(session.next(0.0), Read) for _ in range(PARTS))
    assert isinstance(session.next(0.0, Room(reader=False)), Wait)


@given(held=st.sets(st.integers(1, PARTS)), differs=st.integers(1, PARTS), parallel=st.integers(1, 4))
def test_nothing_is_completed_before_all_of_it_was_compared(held: set[int], differs: int, parallel: int) -> None:
    """One part of the file differs from what an earlier run read: found, whether it is held or not, and never completed."""
    known = {number: (crc_of(number), encode(crc_of(number))) for number in range(1, PARTS + 1)}
    for changed in (False, True):
        session, read, sent = resumed(held, known, parallel), set(), set()
        while True:
            match session.next(0.0):
                case Read() as action:
                    read.add(action.number)
                    other = changed and action.number == differs
                    session.was_read(action.number, crc_of(100) if other else crc_of(action.number), 0.0)
                case Ask() as action:
                    answer(session, action, 0.0)
                case Put() as action:
                    sent.add(action.number)
                    session.was_put(action.number, "e", 0.0)
                case Complete():
                    assert not changed
                    assert read == set(range(1, PARTS + 1))
                    assert sent == read - held
                    session.was_completed(decided=True, now=0.0)
                case End() as end:
                    assert isinstance(end.problem, Conflict if changed else type(None))
                    break
                case action:
                    raise AssertionError(action)
        assert differs not in sent or not changed
