"""A gate between a worker and its store. Requests pass it as they are, but for those a test holds up, or a seed disturbs.

It takes one request a connection, so that no held one is in another's way, and goes on with what it has taken even when
the worker that asked is dead: as a network does.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal
from urllib.parse import urlsplit

BUSY = b"<Error><Code>SlowDown</Code><Message>said by the gate</Message></Error>"
Kind = Literal["copy", "carry", "complete", "abort", "list", "delete", "other"]
When = Literal["asked", "answered"]


@dataclass(frozen=True)
class Request:
    head: bytes
    body: bytes

    @property
    def kind(self) -> Kind:
        method, path, _ = self.head.split(b" ", 2)
        part = b"partNumber=" in path
        if method == b"PUT" and part:
            return "copy" if b"\r\nx-amz-copy-source:" in self.head.lower() else "carry"
        if b"uploadId=" in path:
            kinds: dict[bytes, Kind] = {b"POST": "complete", b"DELETE": "abort", b"GET": "list"}
            return kinds.get(method, "other")
        return "delete" if method == b"POST" and path.partition(b"?")[2].startswith(b"delete") else "other"


@dataclass
class Held:
    """The first request of a kind for an asset: held up before storage is asked, or with its answer in hand."""

    kind: Kind
    asset: str
    when: When
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    released: asyncio.Event = field(default_factory=asyncio.Event)

    async def up(self) -> None:
        self.reached.set()
        await self.released.wait()


class Gate:
    """`url` is where the worker finds its store. With `chance`, so often something goes wrong with a request."""

    def __init__(self, behind: str) -> None:
        at = urlsplit(behind)
        self._host, self._port = at.hostname, at.port
        self._holds: list[Held] = []
        self._serving: set[asyncio.Task[None]] = set()
        self.url = ""
        self.seed = random.Random(0)
        self.chance = 0.0
        self.troubles = 0

    def hold(self, kind: Kind, asset: object, when: When) -> Held:
        held = Held(kind, str(asset), when)
        self._holds.append(held)
        return held

    def release(self) -> None:
        for held in self._holds:
            held.released.set()

    async def idle(self) -> None:
        """Wait until everything that was taken is through."""
        while self._serving:
            await asyncio.wait(self._serving)

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(self._serve(reader, writer))
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = await _read(reader, writer)
            trouble = self._trouble()
            if trouble == "busy":
                writer.write(b"HTTP/1.1 503 Slow Down\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(BUSY))
                writer.write(BUSY)
            elif trouble != "unasked":
                await self._pass_on(request, writer, lost=trouble == "lost")
        except (OSError, asyncio.IncompleteReadError):
            return  # the worker has gone, or was killed
        finally:
            writer.close()

    def _trouble(self) -> str | None:
        if self.seed.random() >= self.chance:
            return None
        self.troubles += 1
        return self.seed.choice(["busy", "unasked", "lost"])

    async def _pass_on(self, request: Request, writer: asyncio.StreamWriter, *, lost: bool) -> None:
        held = self._held(request)
        if held is not None and held.when == "asked":
            await held.up()
        there, back = await asyncio.open_connection(self._host, self._port)
        try:
            back.write(request.head + request.body)
            if held is not None and held.when == "answered":
                answer = await there.read(-1)
                await held.up()
                writer.write(answer)
                return
            while chunk := await there.read(65536):
                if not lost:
                    writer.write(chunk)
                    await writer.drain()
        finally:
            back.close()

    def _held(self, request: Request) -> Held | None:
        for held in self._holds:
            named = held.asset.encode() in request.head or held.asset.encode() in request.body
            if held.kind == request.kind and named and not held.reached.is_set():
                return held
        return None


async def _read(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Request:
    """One request, as it is to be passed on: the answer ends with its connection."""
    head = await reader.readuntil(b"\r\n\r\n")
    lines = head.removesuffix(b"\r\n\r\n").split(b"\r\n")
    fields = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in lines[1:])}
    if b"expect" in fields:
        writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    body = await reader.readexactly(int(fields.get(b"content-length", b"0")))
    kept = [line for line in lines if line.partition(b":")[0].lower() not in {b"connection", b"expect"}]
    return Request(b"\r\n".join([*kept, b"Connection: close", b"", b""]), body)


@asynccontextmanager
async def gate_to(endpoint: str) -> AsyncIterator[Gate]:
    gate = Gate(endpoint)
    server = await asyncio.start_server(gate.accept, "127.0.0.1", 0)
    gate.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield gate
    finally:
        server.close()
        gate.release()
        await gate.idle()
