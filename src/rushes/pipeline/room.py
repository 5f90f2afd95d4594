"""How much of the scratch disk the stages of a worker may fill together: each reserves what it needs before it begins."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from rushes.errors import Unavailable

SPARED = 256 * 1024**2  # bytes of the disk that are nobody's


class Room:
    """Of one worker. `total`: bytes at most; None: what the disk has."""

    def __init__(self, directory: Path, total: int | None = None) -> None:
        self._directory = directory
        self._total = total
        self._reserved = 0
        self._changed = asyncio.Condition()

    def most(self) -> int:
        """Bytes that one stage could have if it were alone."""
        free = shutil.disk_usage(self._directory).free - SPARED
        return max(0, free if self._total is None else min(free, self._total))

    @asynccontextmanager
    async def reserved(self, size: int) -> AsyncIterator[None]:
        """Hold `size` bytes, once those before have left enough. Raises `Unavailable` when there can never be enough."""
        async with self._changed:
            while not self._fits(size):
                if not self._reserved:
                    raise Unavailable(
                        "disk_full",
                        f"This takes {size:,} bytes of scratch space, and {self._directory} has {self.most():,}; make room.",
                    )
                await self._changed.wait()
            self._reserved += size
        try:
            yield
        finally:
            async with self._changed:
                self._reserved -= size
                self._changed.notify_all()

    def _fits(self, size: int) -> bool:
        """What is reserved counts as taken, written or not: what of it is written counts twice, to be on the safe side."""
        return self._reserved + size <= self.most()
