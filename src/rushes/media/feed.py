"""Serves a source to a sandboxed tool: over HTTP on the tool's own loopback, or over an inherited socketpair.

Both keep one promise: a source that fails, or gives fewer or more bytes than asked, is never passed off as a short
file. `failure` then holds the reason, and the caller discards what the tool made of it.
"""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncGenerator, Awaitable
from contextlib import aclosing
from typing import Protocol

from rushes.media.pair import MAX_REQUEST, REPLY, REQUEST
from rushes.media.source import Source
from rushes.tasks import put_down

_HEAD_LIMIT = 16 * 1024
_RANGE = re.compile(r"bytes=(\d{0,19})-(\d{0,19})", re.ASCII)
_REASONS = {
    200: "OK",
    206: "Partial Content",
    400: "Bad Request",
    404: "Not Found",
    405: "Method Not Allowed",
    416: "Range Not Satisfiable",
}


class Feed(Protocol):
    failure: asyncio.Future[BaseException]

    async def close(self) -> None: ...


async def exact(source: Source, start: int, length: int) -> AsyncGenerator[bytes, None]:
    """`source.read`, held to its promise and closed when the reader stops. OSError when the bytes do not add up."""
    left = length
    chunks = source.read(start, length)
    try:
        async for chunk in chunks:
            left -= len(chunk)
            if left < 0:
                break
            yield chunk
    finally:
        if isinstance(chunks, AsyncGenerator):
            await chunks.aclose()
    if left:
        raise OSError(f"the source gave {length - left} of {length} bytes from {start}")


class _Tasks:
    """The tasks that serve one tool; the first that fails is the feed's failure."""

    def __init__(self) -> None:
        self.failure: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()
        self._tasks: set[asyncio.Task[None]] = set()

    def start(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        error = None if task.cancelled() else task.exception()
        if error is not None and not self.failure.done():
            self.failure.set_result(error)

    async def close(self) -> None:
        await put_down(self._tasks)


class PairFeed(_Tasks):
    """Answers `REQUEST`s on one end of a socketpair, for tasks written by us (`inside/reader.py`)."""

    def __init__(self, source: Source, ours: socket.socket) -> None:
        super().__init__()
        self._source = source
        self.start(self._serve(ours))

    async def _serve(self, ours: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=ours)
        try:
            while True:
                try:
                    start, length = REQUEST.unpack(await reader.readexactly(REQUEST.size))
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                await self._answer(writer, start, length)
        finally:
            writer.close()

    async def _answer(self, writer: asyncio.StreamWriter, start: int, length: int) -> None:
        length = max(0, min(length, MAX_REQUEST, self._source.size - start))
        # Gathered first, so that a failure can still be told apart from data: the bound is MAX_REQUEST.
        try:
            body = b"".join([chunk async for chunk in exact(self._source, start, length)])
        except BaseException:
            writer.write(REPLY.pack(-1))
            raise
        try:
            writer.write(REPLY.pack(length))
            writer.write(body)
            await writer.drain()
        except ConnectionError:
            return  # the tool is gone; how it ended is told elsewhere


class HttpFeed(_Tasks):
    """GET and HEAD of /source with byte ranges (RFC 9110 §14) on a listening socket that the sandbox passed out."""

    def __init__(self, source: Source, listener: socket.socket) -> None:
        super().__init__()
        self._source = source
        listener.setblocking(False)
        self.start(self._accept(listener))

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with listener:
            while True:
                connection, _ = await loop.sock_accept(listener)
                self.start(self._serve(connection))

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection, limit=_HEAD_LIMIT)
        try:
            while True:
                try:
                    head = await reader.readuntil(b"\r\n\r\n")
                except asyncio.LimitOverrunError:
                    await _send(writer, _head(400))
                    return
                except (asyncio.IncompleteReadError, ConnectionError):
                    return
                if not await self._respond(writer, head.decode("latin-1")):
                    return
        finally:
            writer.close()

    async def _respond(self, writer: asyncio.StreamWriter, head: str) -> bool:
        """Answer one request. False when the connection is to be closed."""
        method, _, rest = head.partition(" ")
        headers = {
            name.strip().lower(): value.strip()
            for name, _, value in (line.partition(":") for line in head.split("\r\n")[1:])
        }
        if rest.split(" ", 1)[0] != "/source":
            return await _send(writer, _head(404))
        if method not in {"GET", "HEAD"}:
            return await _send(writer, _head(405, "Allow: GET, HEAD"))
        status, start, length = select_range(headers.get("range"), self._source.size)
        if status == 416:
            return await _send(writer, _head(416, f"Content-Range: bytes */{self._source.size}"))
        lines = ["Accept-Ranges: bytes", "Content-Type: application/octet-stream"]
        if status == 206:
            lines.append(f"Content-Range: bytes {start}-{start + length - 1}/{self._source.size}")
        if not await _send(writer, _head(status, *lines, length=length)):
            return False
        if method == "GET":
            async with aclosing(exact(self._source, start, length)) as body:
                async for chunk in body:
                    if not await _send(writer, chunk):
                        return False
        return headers.get("connection", "").lower() != "close"


def select_range(header: str | None, size: int) -> tuple[int, int, int]:
    """(status, start, length) for a Range header: 200 for none or one to be ignored, 206, or 416."""
    match = _RANGE.fullmatch(header or "")
    if match is None or match[0] == "bytes=-":
        return 200, 0, size
    first, last = match[1], match[2]
    if not first:
        start, end = max(0, size - int(last)), size
    else:
        start, end = int(first), min(int(last) + 1, size) if last else size
    if start >= end:
        return 416, 0, 0
    return 206, start, end - start


def _head(status: int, *lines: str, length: int = 0) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} {_REASONS[status]}", *lines, f"Content-Length: {length}", "", ""]).encode()


async def _send(writer: asyncio.StreamWriter, data: bytes) -> bool:
    """False when the tool has closed the connection, as it does at every long seek."""
    try:
        writer.write(data)
        await writer.drain()
    except ConnectionError:
        return False
    return True
