"""What the session decides, one decision at a time: no threads, no sleep, no I/O."""

from __future__ import annotations

import random

import pytest

from rushes.checksum import compute, encode
from rushes.client.actions import Ask, Complete, End, Look, Put, Read, Room, Wait
from rushes.client.session import Session
from rushes.client.verdict import Move, Verdict
from rushes.errors import Conflict, Unauthenticated
from rushes.model import ChecksumAlgorithm
from tests.client.sessions import (
    CORRUPT,
    DOWN,
    EXPIRED,
    REFUSED,
    RETRY,
    answer,
    ask_of,
    crc_of,
    end_of,
    held_part,
    plan_of,
    put_of,
    session_of,
)


def test_the_checksum_is_asked_for_with_the_grant() -> None:
    session = session_of(1)
    read = session.next(0.0)
    assert read == Read(1, 0, 99)
    session.was_read(1, 0xAE8B14860A799888, 0.0)
    ask = session.next(0.0)
    assert isinstance(ask, Ask)
    assert [(part.number, part.checksum) for part in ask.want] == [(1, "rosUhgp5mIg=")]


def test_offsets_follow_the_plan() -> None:
    session = session_of(3)
    assert [session.next(0.0) for _ in range(3)] == [Read(1, 0, 100), Read(2, 100, 100), Read(3, 200, 99)]


def test_parts_done_travel_with_the_next_question() -> None:
    session = session_of(20, parallel=1)
    session.was_put(put_of(session).number, '"etag"', 0.0)
    ask = None
    while ask is None or not ask.done:
        put = put_of_or_ask(session)
        if isinstance(put, Ask):
            ask = put
            answer(session, ask, 0.0)
        else:
            session.was_put(put.number, '"etag"', 0.0)
    assert ask.done[0].etag == '"etag"'
    assert ask.done[0].checksum == encode(crc_of(1))


def put_of_or_ask(session: Session) -> Put | Ask:
    while True:
        action = session.next(0.0)
        if isinstance(action, Read):
            session.was_read(action.number, crc_of(action.number), 0.0)
        else:
            assert isinstance(action, (Put, Ask))
            return action


def test_parts_done_are_reported_alone_after_five_seconds() -> None:
    session = session_of(2, parallel=2)
    first, second = put_of(session), put_of(session)
    session.was_put(first.number, "a", 10.0)
    assert session.next(10.0) == Wait(15.0)
    report = session.next(15.0)
    assert isinstance(report, Ask)
    assert (report.want, [part.number for part in report.done]) == ((), [first.number])
    answer(session, report, 15.1)
    assert session.next(15.1) == Wait(None)
    session.was_put(second.number, "b", 16.0)
    complete = session.next(16.0)
    assert isinstance(complete, Complete)
    assert [part.number for part in complete.done] == [second.number]


def test_a_report_that_failed_is_repeated() -> None:
    session = session_of(2, parallel=2)
    first, _second = put_of(session), put_of(session)
    session.was_put(first.number, "a", 10.0)
    report = ask_of(session, 15.0)
    session.ask_failed(report, DOWN, 15.0)
    assert session.next(15.0) == Wait(15.5)
    assert ask_of(session, 15.5).done == report.done


def test_an_expired_grant_is_renewed_before_it_is_used() -> None:
    session = session_of(1)
    ask = ask_of(session, 0.0)
    answer(session, ask, 0.0, life=100.0)
    again = session.next(86.0)  # within the last 15 seconds
    assert isinstance(again, Ask)
    assert again.want == ask.want


def test_a_very_short_grant_can_still_be_used() -> None:
    assert put_of(session_of(1), life=2.0).number == 1


def test_a_403_is_regranted_at_once_and_on_a_new_connection() -> None:
    session = session_of(1)
    put = put_of(session)
    assert not put.fresh
    session.put_failed(1, EXPIRED, 1.0)
    answer(session, ask_of(session, 1.0), 1.0)
    again = session.next(1.0)
    assert isinstance(again, Put)
    assert again.fresh


def test_refused_grants_end_the_upload() -> None:
    session = session_of(1, refusals=2)
    for step in range(3):
        put_of(session, now=step * 100.0)
        session.put_failed(1, EXPIRED, step * 100.0)
    assert end_of(session) is EXPIRED.problem


def test_a_corrupted_part_is_read_again_and_sent_under_the_same_checksum() -> None:
    session = session_of(1)
    put_of(session)
    session.put_failed(1, CORRUPT, 1.0)
    assert session.next(1.0) == Read(1, 0, 99)
    session.was_read(1, crc_of(1), 1.0)
    assert isinstance(session.next(1.0), Ask)


def test_a_part_that_reads_differently_the_second_time_ends_the_upload() -> None:
    session = session_of(1)
    put_of(session)
    session.put_failed(1, CORRUPT, 1.0)
    session.next(1.0)
    session.was_read(1, crc_of(1) ^ 1, 1.0)
    problem = end_of(session)
    assert isinstance(problem, Conflict)
    assert problem.code == "file_changed"


def test_a_held_part_that_differs_from_the_file_ends_the_upload() -> None:
    session = session_of(2, held=[held_part(1, encode(7))])
    assert isinstance(session.next(0.0), Read)
    session.was_read(1, crc_of(1), 0.0)
    problem = end_of(session)
    assert problem is not None
    assert problem.code == "file_changed"


def test_pauses_double_with_full_jitter_up_to_the_cap() -> None:
    session = session_of(1, backoff=1.0, backoff_most=10.0, pause_after=1e9)
    now, pauses = 0.0, []
    for _ in range(6):
        put_of(session, now)
        session.put_failed(1, RETRY, now)
        wait = session.next(now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        pauses.append(wait.until - now)
        now = wait.until
    assert pauses == [1.0, 2.0, 4.0, 5.0, 5.0, 5.0]  # half of 2, 4, 8 and then of the cap


def test_what_retry_after_asks_is_waited_in_addition() -> None:
    session = session_of(1)
    put_of(session)
    session.put_failed(1, Verdict(Move.RETRY, DOWN, pause=60.0), 0.0)
    assert session.next(0.0) == Wait(60.5)


def test_every_second_failure_takes_a_new_grant() -> None:
    session = session_of(1)
    put_of(session)
    session.put_failed(1, RETRY, 0.0)
    assert isinstance(session.next(100.0), Put)
    session.put_failed(1, RETRY, 100.0)
    assert isinstance(session.next(200.0), Ask)


def test_an_upload_in_which_nothing_moves_ends_itself_and_says_what_it_waited_for() -> None:
    session = session_of(2, pause_after=1000.0)
    now = 0.0
    while now < 990:
        put = put_of(session, now)
        session.put_failed(put.number, RETRY, now)
        now += 33.0
    problem = end_of(session, 1000.0)
    assert problem is not None
    assert (problem.code, problem.details["reason"], problem.permanent) == ("no_progress", "network_broken", False)
    assert "The connection broke." in problem.message


def test_bytes_that_move_further_than_before_are_progress_and_the_same_again_are_none() -> None:
    session = session_of(1, pause_after=100.0)
    for now, sent in ((0.0, 40), (90.0, 41), (180.0, 41), (189.0, 41)):
        put = put_of(session, now)
        assert put.flight is not None
        session.moved(put.flight, sent, now)
        session.put_failed(1, RETRY, now)
    assert not isinstance(session.next(189.9), End)
    assert end_of(session, 190.1) is not None


def test_waiting_for_a_line_of_ones_own_is_no_trouble() -> None:
    session = session_of(1, pause_after=100.0)
    session.put_failed(put_of(session).number, RETRY, 0.0)
    for now in range(10, 600, 20):
        session.next(float(now), Room(line=False))
    assert isinstance(session.next(600.0), Put)


def test_a_refusal_for_good_ends_at_once() -> None:
    session = session_of(1)
    put_of(session)
    session.put_failed(1, REFUSED, 0.0)
    assert end_of(session) is REFUSED.problem


def test_the_server_is_waited_for_as_long_as_was_said() -> None:
    session = session_of(1, pause_after=100.0)
    now = 0.0
    while now < 100.0:
        session.ask_failed(ask_of(session, now), DOWN, now)
        assert session.trouble == "The connection broke."
        wait = session.next(now)
        assert isinstance(wait, Wait)
        assert wait.until is not None
        now = wait.until
    assert now == 100.0
    problem = end_of(session, now)
    assert problem is not None
    assert problem.code == "no_progress"


def test_trouble_is_forgotten_when_the_server_answers() -> None:
    session = session_of(1)
    session.ask_failed(ask_of(session, 0.0), DOWN, 0.0)
    answer(session, ask_of(session, 10.0), 10.0)
    assert session.trouble is None


def test_a_refused_token_ends_at_once() -> None:
    session = session_of(1)
    problem = Unauthenticated("token_expired", "Expired.")
    session.ask_failed(ask_of(session, 0.0), problem, 0.0)
    assert end_of(session) is problem


def completing(parts: int = 2, rounds: int = 5) -> Session:
    session = session_of(parts, rounds=rounds)
    for _ in range(parts):
        put = put_of(session)
        session.was_put(put.number, "e", 0.0)
    assert isinstance(session.next(0.0), Complete)
    return session


def test_a_decided_completion_ends_the_upload() -> None:
    session = completing()
    session.was_completed(decided=True, now=0.0)
    assert end_of(session) is None


def test_a_pending_completion_is_looked_at_until_decided() -> None:
    session = completing()
    session.was_completed(decided=False, now=0.0)
    assert session.next(0.0) == Wait(0.5)
    assert session.next(0.5) == Look()
    session.was_looked_at(ingested=False, finalizing=True, now=0.6)
    assert session.next(1.2) == Look()
    session.question_failed(DOWN, 1.2)
    assert isinstance(session.next(1.2), Wait)
    assert session.next(9.0) == Look()
    session.was_looked_at(ingested=True, finalizing=False, now=9.0)
    assert end_of(session, 9.0) is None


def test_a_lost_answer_to_complete_is_asked_for_again() -> None:
    session = completing(1)
    session.question_failed(DOWN, 0.0)
    assert isinstance(session.next(0.0), Wait)
    again = session.next(10.0)
    assert isinstance(again, Complete)
    assert [part.number for part in again.done] == [1]


def test_missing_parts_are_read_and_sent_again() -> None:
    session = completing(3)
    session.parts_missing([2, 99], Conflict("parts_missing", "Missing."), 0.0)
    assert session.held == (2, 199)
    assert session.next(0.0) == Read(2, 100, 100)


def test_a_server_that_misses_parts_for_ever_ends_the_upload() -> None:
    problem = Conflict("parts_missing", "Missing.")
    session = completing(1, rounds=2)
    now = 0.0
    for _ in range(2):
        session.parts_missing([1], problem, now)
        now += 100.0
        session.was_put(put_of(session, now).number, "e", now)
        assert isinstance(session.next(now), Complete)
    session.parts_missing([1], problem, now)
    assert end_of(session) is problem


def test_an_upload_that_went_back_is_completed_again_but_not_for_ever() -> None:
    session = completing(1, rounds=2)
    session.was_completed(decided=False, now=0.0)
    now = 1.0
    for _ in range(2):
        assert session.next(now) == Look()
        session.was_looked_at(ingested=False, finalizing=False, now=now)
        now += 1.0
        assert isinstance(session.next(now), Complete)
        session.was_completed(decided=False, now=now)
        now += 1.0
    session.next(now)
    session.was_looked_at(ingested=False, finalizing=False, now=now)
    problem = end_of(session)
    assert problem is not None
    assert problem.code == "finalize_undecided"


def test_a_server_that_grants_nothing_is_not_asked_in_a_loop() -> None:
    session = session_of(1)
    ask = ask_of(session, 0.0)
    session.was_answered(ask, [], {}, 0.0)
    assert session.next(0.0) == Wait(1.0)
    assert ask_of(session, 1.0).want == ask.want


def test_the_last_word_holds_what_was_not_reported() -> None:
    session = session_of(3, parallel=2)
    put = put_of(session)
    session.was_put(put.number, "e", 0.0)
    assert [part.number for part in session.unreported()] == [put.number]


def test_the_first_problem_stands() -> None:
    session = session_of(1)
    session.give_up(DOWN)
    session.give_up(REFUSED.problem)
    assert end_of(session) is DOWN


def completed_of(algorithm: ChecksumAlgorithm, texts: list[str]) -> tuple[list[str], Complete]:
    """The checksums asked with, and the completion, of a file of 299 bytes in three parts."""
    session = Session(plan_of(len(texts)), chance=lambda: 0.5, algorithm=algorithm)
    asked: list[str] = []
    told: dict[int, str] = {}
    for _ in range(50):
        match session.next(0.0):
            case Read(number):
                session.was_read(number, crc_of(number), 0.0, texts[number - 1])
            case Ask() as ask:
                asked += [part.checksum for part in ask.want]
                told |= {part.number: part.checksum for part in ask.done}
                answer(session, ask, 0.0)
            case Put(number):
                session.was_put(number, "e", 0.0)
            case Complete() as complete:
                told |= {part.number: part.checksum for part in complete.done}
                assert [told[number] for number in (1, 2, 3)] == texts
                return sorted(asked), complete
    raise AssertionError("no completion")


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
def test_parts_carry_what_begin_answered(algorithm: ChecksumAlgorithm) -> None:
    data = random.Random(3).randbytes(299)
    texts = [compute(algorithm, data[start : start + 100]) for start in (0, 100, 200)]
    if algorithm is ChecksumAlgorithm.CRC64NVME:
        texts = [encode(crc_of(number)) for number in (1, 2, 3)]
    asked, complete = completed_of(algorithm, texts)
    assert asked == sorted(texts)
    if algorithm is ChecksumAlgorithm.CRC32C:
        assert complete.checksum == f"crc32c:{compute(algorithm, data)}"
    else:
        assert (complete.checksum is None) == (algorithm is not ChecksumAlgorithm.CRC64NVME)


def test_a_held_part_is_compared_by_the_checksum_it_carries() -> None:
    md5 = compute(ChecksumAlgorithm.MD5, b"part")
    for text, same in ((md5, True), (compute(ChecksumAlgorithm.MD5, b"other"), False)):
        session = Session(plan_of(1), held=[held_part(1, md5)], algorithm=ChecksumAlgorithm.MD5)
        assert isinstance(session.next(0.0), Read)
        session.was_read(1, 7, 0.0, text)
        assert isinstance(session.next(0.0), Complete if same else End)
