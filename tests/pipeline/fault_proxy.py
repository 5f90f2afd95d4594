"""A proxy with faults, in a thread and an event loop of its own: between the service and storage, or a client and storage.

Every request is read whole, handed to the armed fault if that wants it, else forwarded on a connection of its own; the
`Host` header stays, so signatures hold. What a fault does follows from its own random numbers alone: the seed that a test
prints repeats it.

    with FaultProxy("127.0.0.1:8333") as proxy:
        proxy.arm(random.Random(7), Fault("complete", instead(error("503 Slow Down", "SlowDown"))))
"""

from __future__ import annotations

import asyncio
import random
import re
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from itertools import cycle
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


@dataclass
class Call:
    """One request, as it came: `head` is everything up to the empty line."""

    head: bytes
    body: bytes
    upstream: tuple[str, int]

    @property
    def operation(self) -> str:
        """part, create, complete, list, abort, head, get, or another method and what it asks for."""
        method, path, _ = self.head.split(b"\r\n", 1)[0].decode("latin-1").split(" ", 2)
        asked = parse_qs(urlsplit(path).query, keep_blank_values=True)
        by_query = {
            ("PUT", "partNumber"): "part",
            ("POST", "uploads"): "create",
            ("POST", "uploadId"): "complete",
            ("GET", "uploadId"): "list",
            ("DELETE", "uploadId"): "abort",
        }
        for (wanted, name), operation in by_query.items():
            if method == wanted and name in asked:
                return operation
        return method.lower()

    async def forward(self, body: bytes | None = None) -> bytes:
        """Carry the request out; the whole answer. `body` replaces its body by another one of the same length."""
        reader, writer = await asyncio.open_connection(*self.upstream)
        try:
            writer.write(_closing(self.head) + (self.body if body is None else body))
            await writer.drain()
            return await reader.read(-1)
        finally:
            writer.close()


AWAY = b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"

# What a fault does with a call: the bytes to answer (cut anywhere), or None: never answer.
Act = Callable[[Call, random.Random], Awaitable[bytes | None]]


@dataclass
class Fault:
    """`act` happens to the first `times` calls of these operations, once `after` has happened; then all goes well."""

    operations: str  # names, with spaces between them
    act: Act
    times: int = 1
    after: Fault | None = None
    met: int = field(default=0)  # calls that it began to happen to
    over: int = field(default=0)  # calls that it has happened to

    def wants(self, call: Call) -> bool:
        due = self.after is None or self.after.over > 0
        return due and call.operation in self.operations.split() and self.met < self.times


class FaultProxy:
    """Listens on a port of its own, forwards to `upstreams` ("host:port"), to each in its turn; 502 for one that is away."""

    def __init__(self, *upstreams: str) -> None:
        self._upstreams = cycle((host, int(port)) for host, _, port in (name.rpartition(":") for name in upstreams))
        self._faults: list[Fault] = []
        self._rng = random.Random(0)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()
        self.url = ""

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._stop(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def arm(self, rng: random.Random, *faults: Fault) -> None:
        """From now on these happen, the first that wants a call; without any, all goes well."""
        self._rng = rng
        self._faults = list(faults)

    async def _start(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**20)
        self.url = f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        assert self._server is not None, "started"
        self._server.close()
        for task in self._serving:
            task.cancel()
        await asyncio.gather(*self._serving, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None, "servers run their callbacks as tasks"
        self._serving.add(task)
        try:
            await self._answer(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            return  # the other side is gone: so is this connection
        finally:
            self._serving.discard(task)
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        if re.search(rb"\r\nexpect: 100-continue\r\n", head, re.IGNORECASE):
            head = re.sub(rb"\r\nexpect: 100-continue(?=\r\n)", b"", head, flags=re.IGNORECASE)
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: *(\d+)", head, re.IGNORECASE)
        body = await reader.readexactly(int(length[1])) if length else b""
        call = Call(head, body, next(self._upstreams))
        fault = next((fault for fault in self._faults if fault.wants(call)), None)
        answer: bytes | None
        if fault is None:
            answer = await _forwarded(call)
        else:
            fault.met += 1
            answer = await fault.act(call, self._rng)
            fault.over += 1
        if answer is None:
            await reader.read()  # until whoever asked gives up
            return
        writer.write(answer)
        await writer.drain()


async def _forwarded(call: Call) -> bytes:
    try:
        return await call.forward() or AWAY
    except OSError:
        return AWAY


def _closing(head: bytes) -> bytes:
    """The head of a request after whose answer the connection ends, so that the answer is all there is to read."""
    head = re.sub(rb"\r\nconnection: [^\r]*", b"", head, flags=re.IGNORECASE)
    return head[:-2] + b"Connection: close\r\n\r\n"
