"""An open file, or anything that reads and seeks like one, as the source of an upload: from where it stands to its end.

Parts are read out of order and twice, once for their checksum and once to be sent, so it must be able to seek; one lock
guards its position. While it is uploaded nobody else may move that, or write. It is not closed.
"""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Protocol

from rushes.client.source import Identity, LocalFile
from rushes.errors import Invalid


class Readable(Protocol):
    """What is needed of a binary file: `open(…, "rb")`, `io.BytesIO`, `tempfile.SpooledTemporaryFile`, …"""

    def read(self, most: int, /) -> bytes: ...

    def seek(self, offset: int, whence: int = ..., /) -> int: ...

    def tell(self) -> int: ...


class OpenFile(LocalFile):
    """`name` is for people. Raises `Invalid` (file_nameless, file_text, file_unseekable, file_empty)."""

    def __init__(self, file: Readable, name: str | None = None) -> None:
        name = name or getattr(file, "name", None)
        if not isinstance(name, str):
            raise Invalid("file_nameless", "An open file without a name needs one: give `filename`.")
        self.path = Path(name)
        self._file = file
        self._lock = threading.Lock()
        self._fd = -1  # nothing of ours to close
        self._start, self._end = self._bounds()
        self.identity = Identity(self._end - self._start, 0, 0)
        if self.size <= 0:
            raise Invalid("file_empty", f"There is nothing to read in {self.path} from where it stands.")

    def read_into(self, buffer: memoryview, offset: int) -> int:
        with self._lock:
            try:
                self._file.seek(self._start + offset)
                data = self._file.read(len(buffer))
            except OSError as error:
                raise Invalid("file_unreadable", f"{self.path} cannot be read: {error.strerror or error}.") from error
        if not data:
            raise self._changed()
        buffer[: len(data)] = data
        return len(data)

    def check_unchanged(self) -> None:
        """Raises `Conflict` (file_changed) when it has another length by now: more cannot be seen of it."""
        with self._lock:
            if self._file.seek(0, os.SEEK_END) != self._end:
                raise self._changed()

    def _bounds(self) -> tuple[int, int]:
        try:
            start = self._file.tell()
            end = self._file.seek(0, os.SEEK_END)
            self._file.seek(start)
            text = not isinstance(self._file.read(0), bytes)
        except (OSError, AttributeError, ValueError) as error:  # io.UnsupportedOperation is an OSError
            raise Invalid(
                "file_unseekable",
                f"{self.path} cannot be read again ({error}), which an upload needs. Write it to a file first.",
            ) from error
        if text:
            raise Invalid("file_text", f'{self.path} is open as text. Open it with "rb".')
        return start, end
