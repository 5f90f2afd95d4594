"""Every error is a problem (RFC 9457), whoever makes it: routing, validation, size, a body cut off, or a surprise."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from rushes import errors
from rushes.api.limits import MAX_BODY
from rushes.api.problems import STATUS, response_for
from tests.ingest.equipment import JSON, Desk, body, problem


async def test_an_address_that_is_none(desk: Desk) -> None:
    ann = desk.person()
    for path in (
        "/v1",
        "/v2/uploads",
        "/v1/uploads/",
        "/v1/nothing",
        "/v1/uploads/x/y/z",
        "/%00",
        "/..%2f..%2fetc",
    ):
        answer = await ann.http.get(path)
        problem(answer, 404, "not_found")
        assert body(answer)["permanent"] is True


async def test_a_method_that_is_none(desk: Desk) -> None:
    answer = await desk.person().http.put("/v1/uploads", json={})
    problem(answer, 405, "method_not_allowed")
    assert set(answer.headers["Allow"].replace(" ", "").split(",")) <= {"GET", "HEAD", "POST"}  # RFC 9110, 15.5.6


async def test_invalid_fields_are_named(desk: Desk) -> None:
    answer = await desk.person().http.post("/v1/uploads", json={"size": -1, "odd": 1})
    extra = problem(answer, 422, "request_invalid")
    assert {fault["field"] for fault in extra["faults"]} == {"body.filename", "body.size", "body.odd"}
    assert all(fault["reason"] for fault in extra["faults"])
    many = {f"odd{number}": 1 for number in range(500)}
    answer = await desk.person().http.post("/v1/uploads", json=many)
    assert len(problem(answer, 422, "request_invalid")["faults"]) == 20


BROKEN = [
    b"",
    b"{",
    b'{"filename": "a.mov", "si',
    b'{"filename": "a.mov", "size": 5}}',
    b"[]",
    b"null",
    b'"text"',
    b"\xff\xfe",
    b'{"filename": "\xff", "size": 5}',
    b"NaN",
    b'{"size": 1e999, "filename": "a.mov"}',
    b'{"size": ' + b"9" * 5_000 + b', "filename": "a.mov"}',
    b"[" * 100_000,
    b'{"filename": "a.mov", "size": 5, "title": ' + b'{"metadata":' * 2_000,
    b'{"\\ud800": 1, "filename": "a.mov", "size": 5}',
    b'{"\\u0000": 1, "filename": "a.mov", "size": 5}',
    b'{"filename": "\\ud83d", "size": 5}',
]


@pytest.mark.parametrize("content", BROKEN, ids=lambda content: repr(content[:30]))
async def test_a_body_that_is_none(desk: Desk, content: bytes) -> None:
    answer = await desk.person().http.post("/v1/uploads", content=content, headers=JSON)
    assert answer.status_code in {400, 422}, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert body(answer)["status"] == answer.status_code


@pytest.mark.parametrize("type_", [None, "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
async def test_a_body_of_another_type(desk: Desk, type_: str | None) -> None:
    headers = {} if type_ is None else {"Content-Type": type_}
    answer = await desk.person().http.post("/v1/uploads", content=b'{"filename": "a.mov", "size": 5}', headers=headers)
    problem(answer, 422, "request_invalid")


async def test_a_body_that_is_too_large(desk: Desk) -> None:
    http = desk.person().http
    content = b'{"filename": "' + b"a" * MAX_BODY
    problem(await http.post("/v1/uploads", content=content, headers=JSON), 413, "body_too_large")

    async def drip() -> AsyncIterator[bytes]:
        for start in range(0, len(content), 2**20):
            yield content[start : start + 2**20]

    chunked = await http.post("/v1/uploads", content=drip(), headers=JSON)
    problem(chunked, 413, "body_too_large")
    just = b'{"filename": "a.mov", "size": 5, "source": "' + b" " * (MAX_BODY - 46) + b'"}'
    assert len(just) == MAX_BODY
    problem(await http.post("/v1/uploads", content=just, headers=JSON), 422, "request_invalid")


async def test_ten_thousand_reported_parts_fit(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(9_999 * 5 * 1024**2, part_size=5 * 1024**2)
    await ann.ask(upload, [(1, "AAAAAAAAAAA=")])
    done = [{"number": number, "etag": '"' + "0" * 32 + '"', "checksum": "AAAAAAAAAAA="} for number in range(1, 10_000)]
    problem(await ann.complete(upload, done), 409, "part_not_granted")


async def call(desk: Desk, messages: list[dict[str, Any]], headers: list[tuple[bytes, bytes]]) -> list[dict[str, Any]]:
    """Speak to the API as a server does, message by message; what it sends."""
    sent: list[dict[str, Any]] = []
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/v1/uploads",
        "raw_path": b"/v1/uploads",
        "query_string": b"",
        "root_path": "",
        "headers": headers,
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(dict(message))

    await desk.transport.app(scope, receive, send)
    return sent


async def test_a_client_that_goes_away_in_mid_body_breaks_nothing(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    token = desk.person().http.headers["Authorization"].encode()
    headers = [(b"authorization", token), (b"content-type", b"application/json"), (b"content-length", b"100")]
    messages: list[dict[str, Any]] = [
        {"type": "http.request", "body": b'{"filename": "a', "more_body": True},
        {"type": "http.disconnect"},
    ]
    with caplog.at_level(logging.ERROR):
        sent = await call(desk, messages, headers)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert all(message.get("status") != 201 for message in sent)


@pytest.mark.parametrize("length", [b"-1", b"x", b"1e3", b"99999999999999999999", b""])
async def test_a_length_that_is_none(desk: Desk, length: bytes) -> None:
    sent = await call(desk, [], [(b"content-type", b"application/json"), (b"content-length", length)])
    assert sent[0]["status"] in {400, 413}
    assert dict(sent[0]["headers"])[b"content-type"] == b"application/problem+json"


async def test_user_text_is_only_text(desk: Desk) -> None:
    """Names that look like markup or headers come back as JSON strings and nowhere else."""
    ann = desk.person()
    name = "</script>\u2028<img src=x onerror=alert(1)>%0d%0aX-Evil: 1"
    upload = await ann.begin(filename=name)
    answer = await ann.http.get(f"/v1/uploads/{upload['upload_id']}")
    assert body(answer)["filename"] == name
    assert answer.headers["content-type"] == "application/json"
    assert not {header for header in answer.headers if "evil" in header.lower()}


def test_every_kind_of_error_has_a_status() -> None:
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.Problem)]
    assert set(kinds) - {errors.Problem} == set(STATUS)
    for kind in STATUS:
        answer = response_for(kind("some_code", "A sentence.", fact=[1]))
        found = json.loads(bytes(answer.body))
        assert (answer.status_code, found["status"]) == (STATUS[kind], STATUS[kind])
        inside = kind in {errors.Unavailable, errors.Misconfigured}  # their facts are for the operator's log
        assert (found["code"], found["detail"], found["extra"]) == (
            "some_code",
            "A sentence.",
            {} if inside else {"fact": [1]},
        )
        assert found["type"] == "about:blank"
        assert found["permanent"] is (kind is not errors.Unavailable)
        assert ("Retry-After" in answer.headers) is (kind is errors.Unavailable)
        assert ("WWW-Authenticate" in answer.headers) is (kind is errors.Unauthenticated)


async def test_a_surprise_tells_nothing_of_the_inside(desk: Desk, caplog: pytest.LogCaptureFixture) -> None:
    """The ledger's table is gone: a mistake nobody planned for. The log has it all, the answer nothing."""
    ann = desk.person()
    upload = await ann.begin()
    await desk.sql("ALTER TABLE parts RENAME TO parts_away")
    try:
        with caplog.at_level(logging.ERROR):
            answer: httpx.Response = await ann.http.get(f"/v1/uploads/{upload['upload_id']}")
    finally:
        await desk.sql("ALTER TABLE parts_away RENAME TO parts")
    problem(answer, 500, "internal")
    assert "parts" not in answer.text
    assert any("unexpected" in record.message for record in caplog.records)
