"""A bad line: a TCP proxy with seeded faults, in a thread and an event loop of its own.

It knows nothing of HTTP, so TLS passes too. What goes wrong with a connection follows from the seed and the order in which
connections come. A `Weather` holds until the next; all of it can change while bytes move:

    with Line("https://127.0.0.1:9443", seed=7) as line:
        line.weather(rate=5e6, delay=0.1, resets=0.01)      # 5 MB/s, 200 ms there and back, a reset every 100 MiB
        upload(line.url)
        assert line.up <= 1.15 * size

`up` and `down` count bytes that reached the proxy, from the client and from the server, headers, TLS and repeated ones
included, whether they were delivered or not.
"""

from __future__ import annotations

import asyncio
import random
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from types import TracebackType
from typing import Any, Literal, Self, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")

CHUNK = 65_536  # bytes; at most so much is read at once
WINDOW = 4 << 20  # bytes a connection may have under way each way, as TCP's window; counts only where there is a delay
RECEIVE = 262_144  # bytes the kernel takes from a client ahead of us, so that a slow line is felt at once
BURST = 0.05  # seconds of a line's capacity that are made up for after an idle moment: a busy machine runs late
MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Weather:
    rate: float | None = None  # bytes a second, of all connections together, each way
    rate_each: float | None = None  # bytes a second of one connection, each way
    delay: float = 0.0  # seconds on the way there, and as many on the way back
    resets: float = 0.0  # the chance that a connection is reset within any MiB it takes from the client
    silences: float = 0.0  # the same, of falling silent: open, but nothing moves any more
    hole: bool = False  # every connection is silent
    refuses: bool = False  # nobody listens; what was open stays open


@dataclass(slots=True)
class Doom:
    """What happens to the next `times` connections once the client has sent `after` bytes on them."""

    kind: Literal["reset", "silence"]
    after: int
    times: int


class Line:
    """Forwards a port of this machine to `upstream` ("http://host:port"), which may be changed while it runs."""

    def __init__(self, upstream: str, *, seed: int = 0, port: int = 0) -> None:
        self.upstream = upstream
        self.up = 0  # bytes
        self.down = 0
        self.opened = 0  # connections
        self.resets = 0  # connections that were reset by the weather, a doom or `cut`
        self._weather = Weather()
        self._dooms: list[Doom] = []
        self._rng = random.Random(seed)
        self._port = port
        self._there, self._back = Bucket(), Bucket()
        self._listener: socket.socket | None = None
        self._links: set[_Link] = set()
        self._turned = asyncio.Event()  # set and replaced when the weather turns
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="line", daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._port}"

    @property
    def url(self) -> str:
        """Where clients find it: the upstream's scheme, this machine's loopback, a port that stays."""
        return f"{urlsplit(self.upstream).scheme}://{self.address}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._do(self._listen())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    # --- what goes wrong; from any thread ---------------------------------------------------------------------------------

    def weather(self, **changes: Any) -> None:
        """Fields of `Weather` to change; the others stay as they are. Bytes already promised a time keep it."""
        self._do(self._turn(replace(self._weather, **changes)))

    def clear(self, *, seed: int | None = None) -> None:
        """All is well from now on. Connections that fell silent for good stay so. With `seed`, chance begins anew."""
        self._do(self._turn(Weather(), forget=True))
        if seed is not None:
            self._rng = random.Random(seed)

    def doom(self, kind: Literal["reset", "silence"], *, after: int = 0, times: int = 1) -> None:
        """`times` connections, the next to come, are reset or fall silent when the client has sent `after` bytes on them."""
        self._do(self._add(Doom(kind, after, times)))

    def cut(self) -> int:
        """Reset all connections there are; how many."""
        return self._do(self._cut())

    # --- inside the loop --------------------------------------------------------------------------------------------------

    def _do(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        listener = socket.create_server(("127.0.0.1", self._port), backlog=1024)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE)  # inherited by what it accepts
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self._loop.add_reader(listener, self._accept, listener)
        self._listener = listener

    def _accept(self, listener: socket.socket) -> None:
        try:
            peer, _ = listener.accept()
        except OSError:
            return  # it went away again
        self.opened += 1
        link = _Link(peer, *self._fate())
        self._links.add(link)
        link.task = asyncio.create_task(self._serve(link))
        link.task.add_done_callback(lambda _: self._forget(link))

    def _forget(self, link: _Link) -> None:
        self._links.discard(link)
        if link.here is None:
            link.peer.close()

    def _deafen(self) -> None:
        if self._listener is not None:
            self._loop.remove_reader(self._listener)
            self._listener.close()
            self._listener = None

    async def _close(self) -> None:
        self._deafen()
        links = list(self._links)
        for link in links:
            link.reset()
        tasks = [link.task for link in links if link.task is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _turn(self, weather: Weather, *, forget: bool = False) -> None:
        if weather.refuses:
            self._deafen()
        elif self._listener is None:
            await self._listen()
        self._weather = weather
        self._there.rate = self._back.rate = weather.rate
        if forget:
            self._dooms.clear()
        self._turned.set()
        self._turned = asyncio.Event()

    async def _add(self, doom: Doom) -> None:
        self._dooms.append(doom)

    async def _cut(self) -> int:
        links = list(self._links)
        for link in links:
            link.reset()
        self.resets += len(links)
        return len(links)

    def _fate(self) -> tuple[float, Literal["reset", "silence"]]:
        """After how many bytes from the client what will happen to a connection that begins now."""
        while self._dooms and self._dooms[0].times == 0:
            del self._dooms[0]
        if self._dooms:
            self._dooms[0].times -= 1
            return self._dooms[0].after, self._dooms[0].kind
        reset = self._drawn(self._weather.resets)
        silence = self._drawn(self._weather.silences)
        return (reset, "reset") if reset <= silence else (silence, "silence")

    def _drawn(self, chance: float) -> float:
        """Bytes until something happens that happens with `chance` in every MiB."""
        return self._rng.expovariate(chance) * MIB if chance > 0 else inf

    async def _serve(self, link: _Link) -> None:
        try:
            reader = asyncio.StreamReader(CHUNK)
            protocol = asyncio.StreamReaderProtocol(reader)
            transport, _ = await self._loop.connect_accepted_socket(lambda: protocol, link.peer)
            link.here = asyncio.StreamWriter(transport, protocol, reader, self._loop)
            await self._join(link, reader, link.here)
        except (OSError, asyncio.CancelledError):
            link.reset()  # either side is gone, or we are
        else:
            link.close()

    async def _join(self, link: _Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        to = urlsplit(self.upstream)
        try:
            back, there = await asyncio.open_connection(to.hostname, to.port, limit=CHUNK)
        except OSError:
            self.resets += 1
            raise
        link.there = there
        handshake = self._loop.time() + 2 * self._weather.delay
        ways = (
            _Way(self, link, reader, there, self._there, self._took_up, handshake),
            _Way(self, link, back, writer, self._back, self._took_down, handshake),
        )
        tasks = [asyncio.create_task(work) for way in ways for work in (way.take(), way.give())]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
            for task in done:
                task.result()
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _took_up(self, link: _Link, count: int) -> None:
        self.up += count
        link.up += count
        if link.up < link.fated:
            return
        if link.fate == "reset":
            self.resets += 1
            link.reset()
            raise ConnectionResetError
        link.silent = True
        await asyncio.Event().wait()  # until the client gives up, or we do

    async def _took_down(self, link: _Link, count: int) -> None:
        self.down += count

    async def while_silent(self, link: _Link) -> None:
        """Return at once where bytes may move; in a black hole when it has gone."""
        while self._weather.hole or link.silent:
            await self._turned.wait()

    @property
    def now(self) -> Weather:
        return self._weather


class Bucket:
    """A line's capacity: who takes bytes is told when they are through. First come, first served."""

    def __init__(self) -> None:
        self.rate: float | None = None  # bytes a second
        self._free_at = 0.0

    async def take(self, count: int) -> None:
        if self.rate is None:
            return
        now = asyncio.get_running_loop().time()
        self._free_at = max(now - BURST, self._free_at) + count / self.rate
        await asyncio.sleep(max(0.0, self._free_at - now))


class _Link:
    """One connection through the line."""

    def __init__(self, peer: socket.socket, fated: float, fate: Literal["reset", "silence"]) -> None:
        self.peer = peer
        self.task: asyncio.Task[None] | None = None
        self.here: asyncio.StreamWriter | None = None
        self.there: asyncio.StreamWriter | None = None
        self.up = 0  # bytes from the client
        self.fated = fated
        self.fate = fate
        self.silent = False

    def reset(self) -> None:
        """RST, not FIN, to the client; the server sees an end in the middle."""
        if self.here is None and self.task is not None:
            self.task.cancel()
        for writer in (self.here, self.there):
            if writer is not None:
                _abort(writer)

    def close(self) -> None:
        for writer in (self.here, self.there):
            if writer is not None:
                writer.close()


def _abort(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None:
        with suppress(OSError):  # closed already
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


class _Way:
    """One direction of one connection: bytes are taken, wait for the line's rate and delay, and are given on in order."""

    def __init__(
        self,
        line: Line,
        link: _Link,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        bucket: Bucket,
        took: Callable[[_Link, int], Coroutine[Any, Any, None]],
        handshake: float,
    ) -> None:
        self._line = line
        self._link = link
        self._reader = reader
        self._writer = writer
        self._bucket = bucket
        self._own = Bucket()
        self._took = took
        self._not_before = handshake
        self._under_way: deque[tuple[float, bytes]] = deque()  # when it arrives, what
        self._unconfirmed = 0  # bytes given on or under way whose confirmation would not be back yet
        self._moved = asyncio.Event()
        self._over = False

    async def take(self) -> None:
        loop = asyncio.get_running_loop()
        while data := await self._reader.read(CHUNK):
            await self._line.while_silent(self._link)
            await self._took(self._link, len(data))
            await self._bucket.take(len(data))
            self._own.rate = self._line.now.rate_each
            await self._own.take(len(data))
            while self._unconfirmed >= WINDOW:
                self._moved.clear()
                await self._moved.wait()
            self._unconfirmed += len(data)
            at = max(loop.time() + self._line.now.delay, self._not_before + self._line.now.delay)
            self._under_way.append((at, data))
            self._moved.set()
        self._over = True
        self._moved.set()

    async def give(self) -> None:
        loop = asyncio.get_running_loop()
        while self._under_way or not self._over:
            if not self._under_way:
                self._moved.clear()
                await self._moved.wait()
                continue
            at, data = self._under_way.popleft()
            if at > loop.time():
                await asyncio.sleep(at - loop.time())
            await self._line.while_silent(self._link)
            self._writer.write(data)
            await self._writer.drain()
            if self._line.now.delay:
                loop.call_later(self._line.now.delay, self._confirm, len(data))
            else:
                self._confirm(len(data))
        with suppress(OSError):
            self._writer.write_eof()

    def _confirm(self, count: int) -> None:
        self._unconfirmed -= count
        self._moved.set()
