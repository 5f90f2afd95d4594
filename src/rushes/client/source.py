"""The local file: opened once, read by offset from many threads, watched for changes.

A part is read twice, once for its checksum and once to be sent, each time through one block. Reading is by `preadv` and
not by a memory map, because a map of a file that another program truncates kills the process.
"""

from __future__ import annotations

import mmap
import os
import stat
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from rushes.checksum import Running, crc64nvme, encode, start, text_of
from rushes.client.http import Stopped
from rushes.errors import Conflict, Invalid
from rushes.model import ChecksumAlgorithm

BLOCK = 1 << 20  # bytes; measured: 256 KiB cost a third more CPU-s/GiB, 2 MiB nothing less


SAMPLES = 16  # places of a file that are looked at for its identity
SAMPLE = 16 << 10  # bytes at each


@dataclass(frozen=True, slots=True)
class Identity:
    """What shows, without reading all of it, that a file is no longer the same."""

    size: int
    mtime_ns: int
    inode: int
    device: int = 0
    sample: str = ""  # of its content; empty where nobody has looked


def difference(before: Identity, now: Identity) -> str | None:
    """What surely makes them two files, in words after "it"; None where they are the same as far as was looked.

    Other times or another inode alone are no difference: a file may be copied, restored or touched.
    """
    if now.size < before.size:
        return f"has {now.size} bytes now, and had {before.size}: it was cut short"
    if now.size > before.size:
        return f"has {now.size} bytes now, and had {before.size}: it has grown"
    if now.sample != before.sample:
        replaced = (now.device, now.inode) != (before.device, before.inode)
        how = "another file took its place" if replaced else "it was written to"
        return f"holds other content than before, and has the same size: {how}"
    return None


def was_touched(before: Identity, now: Identity) -> bool:
    """Whether a file that shows no difference deserves a second look."""
    return (before.mtime_ns, before.inode) != (now.mtime_ns, now.inode)


class LocalFile:
    """A regular, readable, non-empty file. Raises `Invalid` (file_*) with what is wrong with `path` otherwise."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._fd = _opened(self.path)
        try:
            self.identity = identity_of(os.fstat(self._fd))
            _check_regular(self.path, os.fstat(self._fd))
        except BaseException:
            os.close(self._fd)
            raise

    @property
    def size(self) -> int:
        return self.identity.size

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def whole(self) -> bytes:
        """All of it, for a short file. Raises as `read_into` does."""
        data = b""
        while len(data) < self.size:
            with self._readable():
                more = os.pread(self._fd, self.size - len(data), len(data))
            if not more:
                raise self._changed()
            data = data + more if data else more
        return data

    def identify(self, content: bytes | None = None) -> Identity:
        """Its identity with a sample of its content: the first and last bytes, and some between, 256 KiB at most."""
        digest = 0
        for start_, length in sampled(self.size):
            if content is not None:
                digest = crc64nvme(memoryview(content)[start_ : start_ + length], digest)
                continue
            block, at = memoryview(bytearray(length)), 0
            while at < length:
                at += self.read_into(block[at:], start_ + at)
            digest = crc64nvme(block, digest)
        return replace(self.identity, sample=f"{digest:016x}")

    def read_into(self, buffer: memoryview, offset: int) -> int:
        """Fill `buffer` from `offset`; the bytes read, at least one. Raises `Conflict` (file_changed) past the end."""
        with self._readable():
            count = os.preadv(self._fd, [buffer], offset)
        if count == 0:
            raise self._changed()
        return count

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise Invalid("file_unreadable", f"{self.path} cannot be read: {error.strerror}.") from error

    def checksum(self, offset: int, length: int, cancel: threading.Event | None = None) -> int:
        """The CRC64NVME of `length` bytes at `offset`. Raises `Stopped` soon after `cancel` is set."""
        return self.checksums(offset, length, ChecksumAlgorithm.CRC64NVME, cancel)[0]

    def checksums(
        self,
        offset: int,
        length: int,
        algorithm: ChecksumAlgorithm,
        cancel: threading.Event | None = None,
        also: Running | None = None,
    ) -> tuple[int, str]:
        """(CRC64NVME, checksum of `algorithm` as text) of `length` bytes at `offset`, in one reading.

        `also` is updated in the same reading. Raises `Stopped` soon after `cancel` is set.
        """
        block = block_of(length)
        running = None if algorithm is ChecksumAlgorithm.CRC64NVME else start(algorithm)
        crc, end = 0, offset + length
        while offset < end:
            if cancel is not None and cancel.is_set():
                raise Stopped("stopped", "Stopped.")
            count = self.read_into(block[: end - offset], offset)
            crc = crc64nvme(block[:count], crc)
            if running is not None:
                running.update(block[:count])
            if also is not None:
                also.update(block[:count])
            offset += count
        return crc, encode(crc) if running is None else text_of(running)

    def slice(self, offset: int, length: int) -> FileSlice:
        return FileSlice(self, offset, length)

    def check_unchanged(self) -> None:
        """Raises `Conflict` (file_changed) when size or modification time moved, or another file took the name."""
        if identity_of(os.fstat(self._fd)) != self.identity:
            raise self._changed()
        try:
            by_name = self.path.stat()
        except OSError:
            return  # renamed or removed meanwhile: the open file is still the one that was asked for
        if identity_of(by_name) != self.identity:
            raise self._changed()

    def modified(self) -> str:
        """When it was last written to, for people."""
        try:
            return f"{datetime.fromtimestamp(self.identity.mtime_ns / 1e9, UTC).astimezone():%Y-%m-%d %H:%M:%S}"
        except (ValueError, OverflowError, OSError):
            return "at a time that no calendar has"

    def _changed(self) -> Conflict:
        return Conflict(
            "file_changed",
            f"{self.path} was changed while it was being uploaded, so the upload was not completed. "
            "When nothing writes to it any more, begin with it as it is then: rushes upload --anew.",
        )


def checksums_of(content: bytes, algorithm: ChecksumAlgorithm) -> tuple[int, str]:
    """(CRC64NVME, checksum of `algorithm` as text)."""
    crc = crc64nvme(content)
    if algorithm is ChecksumAlgorithm.CRC64NVME:
        return crc, encode(crc)
    running = start(algorithm)
    running.update(content)
    return crc, text_of(running)


def block_of(length: int) -> memoryview:
    """Room for `length` bytes, or for `BLOCK` if that is less, that goes back to the system as soon as nobody holds it:
    from the heap, every thread that ever read or sent a part would keep some megabytes of it."""
    size = min(BLOCK, length)
    return memoryview(mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))


def sampled(size: int) -> list[tuple[int, int]]:
    """(offset, length) of what is looked at for the identity of a file of `size` bytes: all of a small one."""
    if size <= SAMPLES * SAMPLE:
        return [(0, size)]
    return [(index * (size - SAMPLE) // (SAMPLES - 1), SAMPLE) for index in range(SAMPLES)]


class FileSlice:
    """A `Body`: `length` bytes of a file from `offset`, through one block of its own."""

    def __init__(self, file: LocalFile, offset: int, length: int) -> None:
        self._file = file
        self._start = offset
        self._at = 0
        self._block = block_of(length)
        self.length = length

    def seek(self, offset: int) -> None:
        self._at = offset

    def read(self, most: int) -> memoryview:
        wanted = min(most, self.length - self._at, len(self._block))
        if wanted == 0:
            return self._block[:0]
        count = self._file.read_into(self._block[:wanted], self._start + self._at)
        self._at += count
        return self._block[:count]


def _opened(path: Path) -> int:
    try:
        # Without O_NONBLOCK a named pipe would hang here until somebody writes to it.
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Invalid("file_missing", f"There is no file {path}.") from None
    except PermissionError:
        raise Invalid("file_unreadable", f"You may not read {path}.") from None
    except OSError as error:
        raise Invalid("file_unreadable", f"{path} cannot be opened: {error.strerror}.") from error


def _check_regular(path: Path, status: os.stat_result) -> None:
    if stat.S_ISDIR(status.st_mode):
        raise Invalid("file_directory", f"{path} is a directory. Name the files in it.")
    if not stat.S_ISREG(status.st_mode):
        raise Invalid("file_special", f"{path} is not an ordinary file.")
    if status.st_size == 0:
        raise Invalid("file_empty", f"{path} is empty. Only files of at least one byte can be uploaded.")


def identity_of(status: os.stat_result) -> Identity:
    return Identity(status.st_size, signed(status.st_mtime_ns), signed(status.st_ino), signed(status.st_dev))


def signed(number: int) -> int:
    """A 64 bit number as a database keeps it: network drives number inodes from 2**63 on, cameras date files in 2500."""
    return (number + (1 << 63)) % (1 << 64) - (1 << 63)
