"""Which way parts go, and which of them twice: pure decisions, time by hand."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.client.actions import Ask, Put, Read, Wait
from rushes.client.courier import missing
from rushes.client.hedge import UNKNOWN, Flight, Flights
from rushes.client.limits import Limits
from rushes.client.session import Session
from rushes.client.verdict import Move, Verdict
from rushes.client.ways import Ways, leads_through_api
from rushes.errors import Misconfigured, Rejected, Unavailable
from rushes.wire import Grant
from tests.client.sessions import RETRY, answer, crc_of, end_of, plan_of, put_of, session_of

MIB = 1 << 20
LOST = Verdict(Move.RETRY, Unavailable("network_refused", "Nobody there."))
BROKEN = Verdict(Move.RETRY, Unavailable("network_broken", "It broke."))
BUSY = Verdict(Move.RETRY, Unavailable("storage_unavailable", "Too busy."), busy=True)
PAGE = Verdict(Move.GIVE_UP, Misconfigured("storage_redirects", "A portal."), foreign=True)
UNTRUSTED = Verdict(Move.GIVE_UP, Misconfigured("tls_untrusted", "Whose certificate is this?"), foreign=True)
TOO_LARGE = Verdict(Move.RETRY, Unavailable("relay_too_large", "413."), too_large=True)
CROWDED = Verdict(Move.RETRY, Unavailable("relay_busy", "Full."), crowded=True)
NO_DOOR = Verdict(Move.RETRY, Rejected("relay_refused", "No such address."), no_door=True)


def direct(sent: int = 0, length: int = 64 * MIB) -> Flight:
    return Flight(1, length, 0.0, store="s3", sent=sent)


def relayed(sent: int = 0, length: int = 64 * MIB) -> Flight:
    return Flight(1, length, 0.0, relayed=True, store="s3", sent=sent)


def go(ways: Ways, flight: Flight, verdict: Verdict | None, now: float) -> bool:
    ways.began(flight.store, relayed=flight.relayed)
    if verdict is not None:
        return ways.failed(flight, verdict, now)
    ways.landed(flight.store, relayed=flight.relayed)
    return False


def shut(ways: Ways, verdict: Verdict = LOST, now: float = 0.0) -> None:
    go(ways, direct(), verdict, now)
    assert not ways.shut("s3", now), "once is nothing"
    go(ways, direct(), verdict, now)


# --- the way ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", [LOST, BROKEN, PAGE, UNTRUSTED], ids=lambda verdict: verdict.problem.code)
def test_a_store_out_of_reach_twice_in_a_row_is_shut(verdict: Verdict) -> None:
    ways = Ways()
    shut(ways, verdict)
    assert ways.shut("s3", 29.9)
    assert not ways.shut("other", 0.0)
    assert ways.again_at("s3") == 30.0


@pytest.mark.parametrize("verdict", [BUSY, BROKEN], ids=["an answer", "broken in the middle"])
def test_a_store_that_was_reached_is_not(verdict: Verdict) -> None:
    ways = Ways()
    for _ in range(9):
        go(ways, direct(sent=3 * MIB), verdict, 0.0)
    assert not ways.shut("s3", 0.0)


def test_one_part_tries_it_again_and_the_others_wait() -> None:
    ways = Ways()
    shut(ways)
    assert not ways.shut("s3", 30.0)
    ways.began("s3", relayed=False)
    assert ways.shut("s3", 30.0)
    ways.landed("s3", relayed=False)
    assert not ways.shut("s3", 31.0)


def test_it_is_tried_half_as_often_each_time_but_every_ten_minutes() -> None:
    ways, now, pauses = Ways(), 0.0, []
    shut(ways)
    for _ in range(7):
        again = ways.again_at("s3")
        assert again is not None
        pauses.append(again - now)
        now = again
        go(ways, direct(), LOST, now)
    assert pauses == [30.0, 60.0, 120.0, 240.0, 480.0, 600.0, 600.0]


def test_late_failures_of_parts_that_were_under_way_do_not_count() -> None:
    ways = Ways()
    for _ in range(8):
        ways.began("s3", relayed=False)
    for _ in range(8):
        ways.failed(direct(), LOST, 0.0)
    assert ways.again_at("s3") == 30.0


def test_when_the_api_is_out_of_reach_too_nothing_was_learned() -> None:
    ways = Ways()
    shut(ways)
    go(ways, relayed(), LOST, 5.0)
    assert not ways.shut("s3", 5.0)


def test_a_server_without_that_door_leaves_one_way() -> None:
    ways = Ways()
    shut(ways)
    go(ways, relayed(), NO_DOOR, 1.0)
    assert not ways.shut("s3", 1.0)


def test_a_body_that_is_too_large_goes_at_once_in_slices_then_in_smaller_ones() -> None:
    ways, slices = Ways(), []
    while go(ways, relayed(), TOO_LARGE, 0.0):
        slices.append(ways.slice)
    assert slices == [5 * MIB, MIB]


def test_a_part_that_is_a_slice_already_is_not_cut() -> None:
    ways = Ways()
    assert not go(ways, relayed(length=MIB), TOO_LARGE, 0.0)
    assert ways.slice is None


def test_large_bodies_that_break_twice_are_followed_by_slices() -> None:
    ways, slices = Ways(), []
    for sent in (20 * MIB, 20 * MIB, 100_000, 100_000, 100_000):  # the last broke before they were large
        assert not go(ways, relayed(sent=sent), BROKEN, 0.0)
        slices.append(ways.slice)
    assert slices == [None, *4 * [5 * MIB]]


def test_a_server_that_relays_enough_is_sent_less() -> None:
    ways = Ways()
    before = ways.relays
    go(ways, relayed(), CROWDED, 0.0)
    assert ways.relays == before // 2
    for _ in range(5):
        go(ways, relayed(), CROWDED, 0.0)
    assert ways.relays == 1
    for _ in range(200):
        go(ways, relayed(), None, 0.0)
    assert ways.relays == 2 * before
    assert ways.relaying == 0


@pytest.mark.parametrize(
    ("url", "through"),
    [
        ("http://api/v1/uploads/0198/parts/3", True),
        ("http://api/below/v1/uploads/0198/parts/3", True),
        ("http://api/v1/uploads/0198/parts/4", False),
        ("http://s3/bucket/tenant/creator/asset?partNumber=3&X-Amz-Signature=1", False),
    ],
)
def test_a_grant_that_leads_through_the_api_is_known(url: str, *, through: bool) -> None:
    grant = Grant(number=3, url=url, method="PUT", headers={}, length=1, expires_at=datetime.now(UTC))
    assert leads_through_api(grant) is through


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)), max_size=5), st.integers(1, 70))
def test_slices_complete_what_is_held(ranges: list[tuple[int, int]], size: int) -> None:
    held = [(min(pair), max(pair)) for pair in ranges if max(pair) < 61]
    slices = list(missing(held, 61, size))
    have = {byte for first, last in [*held, *slices] for byte in range(first, last + 1)}
    assert have == set(range(61))
    assert all(last - first + 1 == size or last == 60 for first, last in slices)


# --- in a session -----------------------------------------------------------------------------------------------------


def test_parts_of_a_store_that_is_shut_go_by_relay_without_grants() -> None:
    session = session_of(6)
    for _ in range(2):
        put = put_of(session)
        assert put.grant is not None
        session.put_failed(put.number, LOST, 0.0)
    seen: list[Put] = []
    while not isinstance(action := session.next(5.0), Wait):
        match action:
            case Read():
                session.was_read(action.number, crc_of(action.number), 5.0)
            case Ask():
                pytest.fail("grants are of no use")
            case Put():
                assert action.grant is None
                seen.append(action)
                session.was_put(action.number, "e", 5.0)
    assert sorted(put.number for put in seen) == [1, 2, 3, 4, 5, 6]


def test_what_no_store_answered_does_not_end_an_upload_while_there_is_another_way() -> None:
    session = session_of(1)
    for now in (0.0, 10.0):
        put = put_of(session, now)
        session.put_failed(put.number, UNTRUSTED, now)
    put = put_of(session, 20.0)
    assert put.grant is None
    session.put_failed(put.number, NO_DOOR, 20.0)
    session.put_failed(put_of(session, 60.0).number, UNTRUSTED, 60.0)
    assert end_of(session, 60.0) is UNTRUSTED.problem


def test_a_part_that_breaks_off_again_and_again_goes_by_relay() -> None:
    session = Session(plan_of(1, 64 * MIB))
    for now in range(0, 240, 60):
        put = put_of(session, float(now))
        assert put.grant is not None
        assert put.flight is not None
        session.moved(put.flight, 50 * MIB, float(now))
        session.put_failed(1, BROKEN, float(now))
    assert put_of(session, 240.0).grant is None
    assert not session.ways.shut(None, 240.0), "others go straight"


def test_slices_follow_at_once() -> None:
    session = session_of(1)
    session.ways.failed(direct(), LOST, 0.0)
    session.ways.failed(direct(), LOST, 0.0)
    session._store = "s3"
    put = put_of(session)
    assert (put.grant, put.slice) == (None, None)
    assert put.flight is not None
    put.flight.length = 64 * MIB
    session.put_failed(1, TOO_LARGE, 0.0)
    again = session.next(0.0)
    assert isinstance(again, Put)
    assert again.slice == 5 * MIB
    assert session.trouble is None


# --- one after the other ----------------------------------------------------------------------------------------------


def waiting_of(session: Session, now: float) -> Wait:
    """Read, ask and answer until nothing is left but to wait."""
    while not isinstance(action := session.next(now), Wait):
        match action:
            case Read():
                session.was_read(action.number, crc_of(action.number), now)
            case Ask():
                answer(session, action, now)
            case _:
                pytest.fail(f"{action} is no waiting")
    return action


def test_lines_begin_one_after_the_other() -> None:
    """What begins together ends together: a break then costs a whole part of each line."""
    session = session_of(9, stagger=1.0)
    first = put_of(session)
    assert waiting_of(session, 0.0).until == UNKNOWN
    second = put_of(session, UNKNOWN)
    assert (first.number, second.number) == (1, 2)
    session.was_put(1, "e", 0.4)
    session.was_put(2, "e", UNKNOWN + 0.4)  # so long they took, and there are four lines
    assert put_of(session, 1.0).number == 3
    assert waiting_of(session, 1.0).until == pytest.approx(1.0 + 0.4 / 8)
    assert put_of(session, 1.05).number == 4
    session.was_put(3, "e", 100.0)
    session.was_put(4, "e", 200.0)
    assert put_of(session, 300.0).number == 5
    waiting = waiting_of(session, 300.0)
    assert waiting.until is not None
    assert waiting.until <= 301.0


def test_nobody_waits_for_a_part_that_is_not_under_way_any_more() -> None:
    session = session_of(4, stagger=1.0)
    put = put_of(session)
    waiting_of(session, 0.0)
    session.put_failed(put.number, RETRY, 0.0, put.flight)
    assert put_of(session).number == 2


# --- twice ------------------------------------------------------------------------------------------------------------


def flights(*, share: float = 0.05) -> Flights:
    """Of a file of 100 parts of 100 bytes, of which three took ten seconds each."""
    made = Flights(10_000, 100, Limits(hedge_share=share))
    for number in (1, 2, 3):
        made.end(made.begin(Flight(number, 100, 0.0)), 10.0, landed=True)
    return made


def test_a_part_that_is_much_slower_than_others_is_late() -> None:
    found = flights()
    slow = found.begin(Flight(99, 100, 0.0))
    quick = found.begin(Flight(100, 100, 0.0))
    found.moved(slow, 10, 5.0)
    found.moved(quick, 90, 5.0)
    assert found.late(20.0) is slow


def test_a_part_that_is_about_to_land_is_not() -> None:
    found = flights()
    slow = found.begin(Flight(99, 100, 0.0))
    found.moved(slow, 95, 99.0)
    assert found.late(100.0) is None


def test_a_part_that_has_left_whole_and_is_not_answered_is_late_when_others_would_have_landed() -> None:
    found = flights()
    silent = found.begin(Flight(99, 100, 0.0))
    found.moved(silent, 100, 10.0)
    assert found.late(20.0) is None
    assert found.late(30.0) is silent


def test_a_part_that_has_just_set_out_is_not() -> None:
    found = flights()
    found.begin(Flight(99, 100, 0.0))
    assert found.late(1.0) is None


def test_no_part_is_sent_three_times_and_none_by_relay_twice() -> None:
    found = flights()
    found.begin(Flight(99, 100, 0.0))
    found.begin(Flight(99, 100, 50.0))
    found.begin(Flight(100, 100, 0.0, relayed=True))
    assert found.late(100.0) is None


def test_second_copies_are_a_twentieth_of_the_file_at_most() -> None:
    found = flights()
    count = 0
    for number in range(10, 100):
        found.begin(Flight(number, 100, 0.0))
    while (late := found.late(100.0)) is not None:
        found.doubled(late)
        found.begin(Flight(late.number, 100, 100.0))
        count += 1
    assert count == 5
    assert flights(share=0.0).late(100.0) is None


def test_a_late_part_goes_a_second_time_and_the_first_to_land_counts() -> None:
    session = session_of(2, parallel=2, hedge_share=0.05, report_after=1e9)
    first, second = put_of(session), put_of(session)
    session.was_put(first.number, "a", 5.0, first.flight)
    assert second.flight is not None
    session.moved(second.flight, 60, 6.0)
    assert isinstance(session.next(6.0), Wait)
    copy = session.next(60.0)
    assert isinstance(copy, Put)
    assert (copy.number, copy.fresh) == (second.number, True)
    assert isinstance(session.next(61.0), Wait), "once is enough"
    session.was_put(copy.number, "b", 65.0, copy.flight)
    assert second.flight.dropped
    session.was_dropped(second.flight, 65.5)
    assert session.complete
    assert session.retries == 0


def test_a_copy_that_left_whole_is_let_land() -> None:
    session = session_of(2, parallel=2, hedge_share=0.05, report_after=1e9)
    first, second = put_of(session), put_of(session)
    session.was_put(first.number, "a", 5.0, first.flight)
    copy = session.next(60.0)
    assert isinstance(copy, Put)
    assert second.flight is not None
    session.moved(second.flight, second.flight.length, 61.0)
    session.was_put(copy.number, "b", 65.0, copy.flight)
    assert not second.flight.dropped
    session.was_put(second.number, "c", 66.0, second.flight)
    assert {part.number: part.etag for part in session.unreported()} == {first.number: "a", second.number: "c"}


def test_a_copy_that_fails_changes_nothing() -> None:
    session = session_of(2, parallel=2, hedge_share=0.05, report_after=1e9)
    first, second = put_of(session), put_of(session)
    session.was_put(first.number, "a", 5.0, first.flight)
    copy = session.next(60.0)
    assert isinstance(copy, Put)
    session.put_failed(copy.number, RETRY, 61.0, copy.flight)
    assert session.trouble is None
    session.was_put(second.number, "c", 66.0, second.flight)
    assert session.complete
