from __future__ import annotations

import json

import pytest

from rushes.client.http import Reply
from rushes.client.verdict import Move, judge, judge_relay, unanswered, without_etag
from rushes.errors import Misconfigured, Unavailable


def xml(status: int, code: str, message: str = "said", **headers: str) -> Reply:
    body = f'<?xml version="1.0"?>\n<Error><Code>{code}</Code><Message>{message}</Message></Error>'
    return Reply(status, headers, body.encode())


@pytest.mark.parametrize(
    ("reply", "move", "code"),
    [
        (xml(400, "BadDigest"), Move.REREAD, "part_corrupted"),
        (xml(400, "XAmzContentChecksumMismatch"), Move.REREAD, "part_corrupted"),
        (xml(400, "RequestTimeout"), Move.RETRY, "storage_unavailable"),
        (xml(400, "IncompleteBody"), Move.RETRY, "storage_unavailable"),
        (xml(403, "AccessDenied", "Request has expired"), Move.REGRANT, "grant_refused"),
        (xml(403, "SignatureDoesNotMatch"), Move.REGRANT, "grant_refused"),
        (xml(401, ""), Move.REGRANT, "grant_refused"),
        (xml(403, "RequestTimeTooSkewed"), Move.RETRY, "storage_unavailable"),
        (xml(404, "NoSuchUpload"), Move.REGRANT, "storage_upload_gone"),
        (xml(503, "SlowDown"), Move.RETRY, "storage_unavailable"),
        (xml(500, "InternalError"), Move.RETRY, "storage_unavailable"),
        (xml(500, "InternalError", "assign volume: no free volumes left"), Move.RETRY, "storage_full"),
        (xml(507, ""), Move.RETRY, "storage_full"),
        (xml(503, "XMinioStorageFull"), Move.RETRY, "storage_full"),
        (xml(429, ""), Move.RETRY, "storage_unavailable"),
        (xml(408, ""), Move.RETRY, "storage_unavailable"),
        (xml(301, "PermanentRedirect"), Move.GIVE_UP, "storage_redirects"),
        (xml(400, "EntityTooSmall"), Move.GIVE_UP, "part_refused"),
        (xml(413, ""), Move.GIVE_UP, "part_refused"),
        (Reply(502, {}, b"<html>Bad Gateway</html>"), Move.RETRY, "storage_unavailable"),
        (Reply(400, {}, b"{broken"), Move.GIVE_UP, "part_refused"),
        (
            Reply(422, {}, json.dumps({"code": "checksum_mismatch", "detail": "Other bytes."}).encode()),
            Move.REREAD,
            "part_corrupted",
        ),
    ],
)
def test_each_answer_has_one_meaning(reply: Reply, move: Move, code: str) -> None:
    verdict = judge(reply)
    assert (verdict.move, verdict.problem.code) == (move, code)


def test_the_reason_that_storage_gives_is_passed_on_in_one_line() -> None:
    assert "EntityTooSmall: too\u0020small" in str(judge(xml(400, "EntityTooSmall", "too\n small")).problem)


def test_retry_after_is_read_and_bounded() -> None:
    assert judge(xml(503, "SlowDown", **{"retry-after": "7"})).pause == 7
    assert judge(xml(503, "SlowDown", **{"retry-after": "999999"})).pause == 300
    assert judge(xml(503, "SlowDown", **{"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"})).pause == 0


def test_silence_is_retried_and_misconfiguration_is_not() -> None:
    assert unanswered(Unavailable("network_broken", "Broke.")).move is Move.RETRY
    assert unanswered(Misconfigured("tls_untrusted", "Untrusted.")).move is Move.GIVE_UP


def test_success_without_an_etag_cannot_be_completed() -> None:
    assert without_etag(Reply(200, {}, b"")).problem.code == "etag_missing"


@pytest.mark.parametrize(
    ("reply", "foreign"),
    [
        (xml(403, "AccessDenied"), False),
        (Reply(403, {}, b"<html>Blocked by policy</html>"), True),
        (Reply(302, {"location": "http://portal/"}, b""), True),
        (Reply(407, {}, b""), True),
        (Reply(413, {}, b"<html>nginx</html>"), True),
        (Reply(502, {}, b"<html>Bad Gateway</html>"), True),
        (xml(503, "SlowDown"), False),
        (xml(400, "EntityTooSmall"), False),
        (xml(404, "NoSuchUpload"), False),
    ],
)
def test_a_page_from_between_is_not_the_stores_word(reply: Reply, *, foreign: bool) -> None:
    assert judge(reply).foreign is foreign


def ours(status: int, code: str, detail: str = "Said.") -> Reply:
    return Reply(status, {}, json.dumps({"code": code, "detail": detail}).encode())


@pytest.mark.parametrize(
    ("reply", "move", "code", "marks"),
    [
        (Reply(413, {}, b"<html>nginx</html>"), Move.RETRY, "relay_too_large", {"too_large"}),
        (Reply(408, {}, b""), Move.RETRY, "relay_too_large", {"too_large"}),
        (Reply(504, {}, b""), Move.RETRY, "relay_too_large", {"too_large"}),
        (ours(408, "sender_too_slow"), Move.RETRY, "relay_too_large", {"too_large"}),
        (ours(503, "relay_busy"), Move.RETRY, "relay_busy", {"crowded"}),
        (ours(503, "stopping"), Move.RETRY, "stopping", set()),
        (Reply(502, {}, b"<html>Bad Gateway</html>"), Move.RETRY, "relay_unavailable", set()),
        (ours(422, "checksum_mismatch"), Move.REREAD, "part_corrupted", set()),
        (ours(409, "part_superseded"), Move.RETRY, "part_superseded", set()),
        (ours(409, "upload_aborted"), Move.GIVE_UP, "upload_aborted", set()),
        (ours(401, "token_expired"), Move.GIVE_UP, "token_expired", set()),
        (Reply(404, {}, b"<html>Not found</html>"), Move.RETRY, "relay_refused", {"no_door"}),
        (Reply(405, {}, b""), Move.RETRY, "relay_refused", {"no_door"}),
    ],
)
def test_each_answer_of_a_relay_has_one_meaning(reply: Reply, move: Move, code: str, marks: set[str]) -> None:
    verdict = judge_relay(reply)
    assert (verdict.move, verdict.problem.code) == (move, code)
    assert {mark for mark in ("too_large", "crowded", "no_door") if getattr(verdict, mark)} == marks


def test_what_the_server_says_of_a_relayed_part_is_passed_on() -> None:
    assert (
        judge_relay(ours(409, "upload_expired", "The upload has expired.")).problem.message == "The upload has expired."
    )
