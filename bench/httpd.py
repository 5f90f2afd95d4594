"""HTTP/1.1 in its plainest form, both ends: a server that one function answers for, and a client that counts bytes.

One thing is not HTTP: a request with the header `x-standin-body: <hex of a block>` carries no body, though its Content-Length
stands. Its body is *described*: the block repeated for ever, cut off at that length. That is how 5 TB are sent in an afternoon.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from http import HTTPStatus
from typing import Any
from urllib.parse import urlsplit

DESCRIBED = "x-standin-body"
MAX_HEAD = 65_536  # bytes
MAX_BODY = 256 * 1024**2  # bytes of a body that really comes


@dataclass(frozen=True, slots=True)
class Body:
    """A body that came, or (with a block) one that was described."""

    data: bytes
    size: int
    block: bytes | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    data: bytes = b""
    length: int | None = None  # of what a HEAD speaks of


# (method, target, headers in lower case, body) → the answer
Handler = Callable[[str, str, dict[str, str], Body], Answer]


class Connection(asyncio.Protocol):
    """One client's connection; requests may follow each other on it."""

    def __init__(self, handler: Handler, connections: set[Connection]) -> None:
        self._handler = handler
        self._connections = connections
        self._buffer = bytearray()
        self._transport: asyncio.Transport | None = None
        self._head: tuple[str, str, dict[str, str], int] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport), "TCP"
        self._transport = transport
        self._connections.add(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._connections.discard(self)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while self._transport is not None and self._one():
            pass

    def _one(self) -> bool:
        """Take one request off the buffer; whether there was a whole one."""
        assert self._transport is not None, "checked by the caller"
        if self._head is None and not self._read_head():
            return False
        assert self._head is not None, "just read"
        method, target, headers, length = self._head
        block = headers.pop(DESCRIBED, None)
        if block is not None:
            body = Body(b"", length, bytes.fromhex(block))
        elif len(self._buffer) < length:
            return False
        else:
            body = Body(bytes(memoryview(self._buffer)[:length]), length)
            del self._buffer[:length]
        self._head = None
        answer = self._handler(method, target, headers, body)
        self._transport.write(_answered(answer, bodiless=method == "HEAD"))
        if headers.get("connection", "").lower() == "close":
            self.close()
        return True

    def _read_head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            if len(self._buffer) > MAX_HEAD:
                self.close()
            return False
        first, *lines = self._buffer[:end].decode("latin-1").split("\r\n")
        del self._buffer[: end + 4]
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        length = int(headers.get("content-length", "0"))
        if "transfer-encoding" in headers or (length > MAX_BODY and DESCRIBED not in headers):
            assert self._transport is not None, "checked by the caller"
            self._transport.write(_answered(Answer(501), bodiless=False))
            self.close()
            return False
        if headers.get("expect", "").lower() == "100-continue":
            assert self._transport is not None, "checked by the caller"
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        self._head = (method, target, headers, length)
        return True


def _answered(answer: Answer, *, bodiless: bool) -> bytes:
    length = len(answer.data) if answer.length is None else answer.length
    lines = [
        f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}",
        f"Date: {formatdate(usegmt=True)}",
        *(f"{name}: {value}" for name, value in answer.headers.items()),
    ]
    if answer.status != 204:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if bodiless else answer.data)


@dataclass(slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    data: bytes

    def json(self) -> Any:
        return json.loads(self.data)


class Wire:
    """One connection to one server, opened when first used; counts what crosses it. Not for two requests at once."""

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None, f"{url} is no address"
        self._address = (parts.hostname, parts.port or 80)
        self._host = parts.netloc
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self.sent = 0  # bytes
        self.received = 0

    async def request(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        data: bytes = b"",
        *,
        described: tuple[int, bytes] | None = None,
    ) -> Reply:
        """`described` is (Content-Length, block). Raises OSError or asyncio.IncompleteReadError when the line breaks."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=64 * 1024**2)
        reader, writer = self._streams
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}"]
        lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
        if described is not None:
            lines += [f"Content-Length: {described[0]}", f"{DESCRIBED}: {described[1].hex()}"]
        elif data or method in {"PUT", "POST"}:
            lines.append(f"Content-Length: {len(data)}")
        head = "\r\n".join([*lines, "", ""]).encode()
        writer.write(head + data)
        self.sent += len(head) + len(data)
        await writer.drain()
        raw = await reader.readuntil(b"\r\n\r\n")
        first, *rest = raw.decode("latin-1").split("\r\n")
        found = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in rest if line)}
        if "chunked" in found.get("transfer-encoding", ""):
            raise OSError("chunked answers are not read here")
        length = 0 if method == "HEAD" else int(found.get("content-length", "0"))
        body = await reader.readexactly(length)
        self.received += len(raw) + length
        if found.get("connection", "").lower() == "close":
            self.drop()
        return Reply(int(first.split(" ", 2)[1]), found, body)

    async def send(self, method: str, target: str, headers: Mapping[str, str], data: bytes, *, upto: int) -> None:
        """Send a request with the first `upto` bytes of its body, and wait for nothing."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(*self._address, limit=64 * 1024**2)
        _, writer = self._streams
        lines = [f"{method} {target} HTTP/1.1", f"Host: {self._host}", f"Content-Length: {len(data)}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write("\r\n".join([*lines, "", ""]).encode() + data[:upto])
        await writer.drain()

    def drop(self) -> None:
        """Cut the line; the next request opens another."""
        if self._streams is not None:
            self._streams[1].transport.abort()
            self._streams = None

    async def close(self) -> None:
        if self._streams is not None:
            self._streams[1].close()
            await self._streams[1].wait_closed()
            self._streams = None


def target_of(url: str) -> str:
    """The request target of an absolute URL."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path
