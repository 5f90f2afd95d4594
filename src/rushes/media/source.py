"""What can be read: a size, and any range of bytes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Protocol

_CHUNK = 256 * 1024


class Source(Protocol):
    """Bytes readable by range. Reads may run in parallel, and a reader may stop in the middle of one."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        """Exactly `length` bytes from `start`, in chunks. Raises when it cannot: never ends early."""


class FileSource:
    """A local file as a source."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.size = path.stat().st_size

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        with self._path.open("rb") as file:
            file.seek(start)
            while length > 0:
                chunk = await asyncio.to_thread(file.read, min(length, _CHUNK))
                if not chunk:
                    raise EOFError(f"{self._path.name} ends {length} bytes early")
                yield chunk
                length -= len(chunk)
