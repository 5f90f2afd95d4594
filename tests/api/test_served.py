"""The API as it is served: granian in processes of its own, spoken to byte by byte."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from rushes.api.limits import MAX_BODY
from rushes.config import Settings
from rushes.ingest import tokens
from tests.api.equipment import served
from tests.ingest.equipment import somebody


@pytest.fixture(scope="module")
def port(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a running `rushes api`."""
    with served(settings, tmp_path_factory.mktemp("api")) as api:
        yield api.port
        assert api.process.poll() is None


def say(port: int, *pieces: bytes, cut: bool = False) -> bytes:
    """Send `pieces` and read until the server closes; with `cut`, hang up on it first as a lost client does."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        for piece in pieces:
            connection.sendall(piece)
        if cut:
            connection.shutdown(socket.SHUT_WR)
        heard = b""
        while more := connection.recv(65536):
            heard += more
    return heard


def begin(settings: Settings, *headers: str) -> bytes:
    """The head of a request to begin an upload."""
    token = tokens.mint_for(settings, somebody(), timedelta(hours=1), datetime.now(UTC))
    lines = [
        "POST /v1/uploads HTTP/1.1",
        "Host: api",
        f"Authorization: Bearer {token}",
        "Content-Type: application/json",
        "Connection: close",
        *headers,
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


BODY = json.dumps({"filename": "take one.mov", "size": 5}).encode()


def test_a_whole_request_is_answered(port: int, settings: Settings) -> None:
    heard = say(port, begin(settings, f"Content-Length: {len(BODY)}"), BODY)
    assert heard.startswith(b"HTTP/1.1 201 ")


def test_a_body_cut_off_begins_nothing(port: int, settings: Settings) -> None:
    for head in (begin(settings, "Content-Length: 1000"), begin(settings, "Transfer-Encoding: chunked")):
        some = BODY if b"1000" in head else b"%x\r\n" % len(BODY) + BODY + b"\r\n"
        assert b" 201 " not in say(port, head, some, cut=True)
    assert say(port, begin(settings, f"Content-Length: {len(BODY)}"), BODY).startswith(b"HTTP/1.1 201 ")


def test_a_body_without_end_is_refused_as_it_arrives(port: int, settings: Settings) -> None:
    piece = b"10000\r\n" + b" " * 0x10000 + b"\r\n"
    rest = [piece] * (MAX_BODY // 0x10000 + 1) + [b"0\r\n\r\n"]
    heard = say(port, begin(settings, "Transfer-Encoding: chunked"), *rest)
    assert heard.startswith(b"HTTP/1.1 413 ")
    assert b"body_too_large" in heard


def test_a_body_announced_as_too_large_is_not_read(port: int, settings: Settings) -> None:
    heard = say(port, begin(settings, f"Content-Length: {10**12}"), b"{")
    assert heard.startswith(b"HTTP/1.1 413 ")
    assert b"application/problem+json" in heard


@pytest.mark.parametrize(
    "line", ["Content-Length: 5\r\nContent-Length: 6", "Idempotency-Key: a\x00b", "Content-Length: -1", "X Y: 1"]
)
def test_a_head_that_is_none_begins_nothing(port: int, settings: Settings, line: str) -> None:
    assert say(port, begin(settings, line)).startswith(b"HTTP/1.1 400 ")
