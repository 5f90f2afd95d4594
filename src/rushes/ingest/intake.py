"""A request's body on its way in: read when it is wanted, of the length it was announced with, and never waited for long.

What is watched is the sender's time alone: while storage is slow nothing is read, and no clock runs.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from rushes.config import Settings
from rushes.errors import Invalid, Unavailable

HURRY_SECONDS = 1.0  # that a sender may still be silent when the process is told to stop
SHARE = 4  # one creator gets a quarter of the places: slow senders cannot keep out all others
LINGER_BYTES = 8 * 1024 * 1024  # read of a body that is refused, so that its sender comes to read the answer


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a sender may be."""

    idle_seconds: float  # without a byte
    least_rate: float  # bytes a second, over as many seconds of waiting for it

    @classmethod
    def of(cls, settings: Settings) -> Pace:
        return cls(settings.relay_idle_seconds, settings.relay_least_rate)


class Intake:
    """`chunks` are the body's bytes as they come, `length` what the request announced."""

    def __init__(self, chunks: AsyncIterator[bytes], length: int, pace: Pace) -> None:
        self.length = length
        self.left = length  # bytes not taken yet
        self._chunks = chunks
        self._pace = pace
        self._idle_seconds = pace.idle_seconds
        self._limit: asyncio.Timeout | None = None  # of the wait for the sender that is under way
        self._rest = b""
        self._waited = 0.0
        self._came = 0

    async def take(self, count: int) -> AsyncIterator[bytes]:
        """The next `count` bytes, as they come.

        Raises `Invalid` (body_short) when the sender stops before, `Unavailable` (sender_too_slow) when it is cut off.
        """
        while count:
            chunk = self._rest or await self._next()
            piece, self._rest = chunk[:count], chunk[count:]
            count -= len(piece)
            self.left -= len(piece)
            yield piece

    async def drop(self, count: int) -> None:
        """Read and forget. Raises as `take`."""
        async for _ in self.take(count):
            pass

    async def linger(self) -> None:
        """Read some of what nobody wants: a sender that is answered before it has sent all may not see the answer."""
        try:
            async with asyncio.timeout(self._idle_seconds):
                await self.drop(min(self.left, LINGER_BYTES))
        except (TimeoutError, Invalid, Unavailable):
            return  # it has its answer, or has gone

    def hurry(self) -> None:
        """From now on the sender is waited for no longer than a moment."""
        self._idle_seconds = min(self._idle_seconds, HURRY_SECONDS)
        if self._limit is not None:
            self._limit.reschedule(asyncio.get_running_loop().time() + self._idle_seconds)

    async def _next(self) -> bytes:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            async with asyncio.timeout(self._idle_seconds) as self._limit:
                chunk = await anext(self._chunks, b"")
        except TimeoutError:
            raise _too_slow(f"Nothing came for {self._idle_seconds:g} seconds") from None
        finally:
            self._limit = None
        if not chunk:
            missing = self.left
            raise Invalid(
                "body_short", f"The body ended {missing} bytes early; nothing of it was kept.", missing=missing
            )
        self._waited += clock() - began
        self._came += len(chunk)
        if self._waited >= self._pace.idle_seconds:
            if self._came < self._waited * self._pace.least_rate:
                raise _too_slow(f"Only {self._came} bytes came in {self._waited:.0f} seconds")
            self._waited, self._came = 0.0, 0
        return chunk


def _too_slow(what: str) -> Unavailable:
    return Unavailable("sender_too_slow", f"{what}; send this again, in smaller slices on a slow line.")


class Relays:
    """The bodies that one process relays at once; each costs some 2 MiB of memory and a connection to storage."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._under_way: dict[Intake, Hashable] = {}
        self._stopped = False

    @contextmanager
    def one(self, body: Intake, sender: Hashable) -> Iterator[None]:
        """A place for one more. Raises `Unavailable` (relay_busy, stopping) when there is none, or none for this sender."""
        if self._stopped:
            raise Unavailable("stopping", "This server is stopping; send this again and another one takes it.")
        if len(self._under_way) >= self._most:
            raise Unavailable("relay_busy", f"This server relays {self._most} bodies already; try again shortly.")
        if sum(other == sender for other in self._under_way.values()) >= max(1, self._most // SHARE):
            raise Unavailable("relay_busy", "This server relays as many of your bodies as it may; try again shortly.")
        self._under_way[body] = sender
        try:
            yield
        finally:
            del self._under_way[body]

    def stop(self) -> None:
        """Take no more, and wait no longer for senders that are silent: the process is about to stop."""
        self._stopped = True
        for body in self._under_way:
            body.hurry()
