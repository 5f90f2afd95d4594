"""One source read by several containers, each in a thread of its own; what they read in all is bounded."""

from __future__ import annotations

import threading
import time

from rushes.media.inside.reader import Positioned, Reader

_MOST_BYTES = 2 * 1024**3
_MOST_SECONDS = 240.0  # a busy machine takes long; the tool's own limit is beyond it


class Exhausted(OSError):
    """The source was read as much, or for as long, as it may be."""


class Shared:
    """One source read by several containers in threads; each has its own position in a `View`."""

    def __init__(self, reader: Reader) -> None:
        self.reader = reader
        self.lock = threading.Lock()
        self.left = _MOST_BYTES
        self.until = time.monotonic() + _MOST_SECONDS

    def read(self, position: int, length: int) -> bytes:
        """Raises Exhausted."""
        if self.left <= 0 or time.monotonic() > self.until:
            raise Exhausted("enough was read of this source")
        with self.lock:
            self.reader.seek(position)
            data = self.reader.read(length)
        self.left -= len(data)
        return data


class View(Positioned):
    """What PyAV reads from."""

    def __init__(self, shared: Shared) -> None:
        super().__init__(shared.reader.size)
        self._shared = shared

    def read(self, length: int = -1) -> bytes:
        data = self._shared.read(self._position, length if length >= 0 else self.size)
        self._position += len(data)
        return data
