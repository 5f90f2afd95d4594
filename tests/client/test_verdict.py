from __future__ import annotations

import json

import pytest

from rushes.client.http import Reply
from rushes.client.verdict import Move, judge, unanswered, without_etag
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
