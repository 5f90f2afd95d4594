"""A download on this disk before it is whole: `NAME.part`, and beside it `NAME.part.journal`.

The journal's first line says of what the bytes are; every further line names a block that was written and its checksum.
A line that kill -9 cut short is not counted; whether the bytes are there is seen by reading them. One process at a time
holds the lock on `NAME.part`; the kernel lets go of it when that process dies.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import stat
import unicodedata
from contextlib import suppress
from pathlib import Path
from types import TracebackType

from rushes.checksum import Running
from rushes.errors import Conflict, Invalid, Unavailable

READ = 1 << 20  # bytes read at once
LONGEST_NAME = 255 - len(".part.journal")  # bytes: what file systems allow, with our endings
MODE = 0o666  # less the umask, as for any file


class PartFile:
    """Opens, or makes, the unfinished file for `target`; `claimed` has the blocks that an earlier run says it wrote.

    Raises `Conflict` (download_elsewhere) while another process is at it, `Invalid` (file_*) where it cannot be written,
    `Unavailable` (disk_full) where there is no room for it.
    """

    def __init__(self, target: Path, what: dict[str, object], size: int) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self.journal = target.with_name(f"{target.name}.part.journal")
        self._fd = self._locked()
        try:
            self._head = json.dumps(what, sort_keys=True).encode() + b"\n"
            self.claimed = self._journaled()
            if not self.claimed:
                os.ftruncate(self._fd, 0)
            self._check_room(size)
            os.ftruncate(self._fd, size)
            self._log = self._opened_journal()
        except BaseException:
            os.close(self._fd)
            raise

    def __enter__(self) -> PartFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """What is there stays, for the next run."""
        if self._fd >= 0:
            os.close(self._log)
            os.close(self._fd)
            self._fd = -1

    def write(self, chunk: bytes, offset: int) -> None:
        """All of `chunk` at `offset`."""
        rest = memoryview(chunk)
        while rest:
            count = os.pwrite(self._fd, rest, offset)
            rest, offset = rest[count:], offset + count

    def read_into(self, running: Running, offset: int, length: int) -> None:
        """Bring `length` bytes at `offset` into a checksum."""
        block = memoryview(bytearray(min(READ, length)))
        end = offset + length
        while offset < end:
            count = os.preadv(self._fd, [block[: end - offset]], offset)
            if count == 0:
                return  # shorter than it should be: the checksum will tell
            running.update(block[:count])
            offset += count

    def wrote(self, index: int, checksum: str) -> None:
        """A block is in the file."""
        os.write(self._log, f"{index} {checksum}\n".encode())

    def start_over(self) -> None:
        """Nothing of what is there counts."""
        os.ftruncate(self._log, len(self._head))
        self.claimed = {}

    def finish(self, *, force: bool) -> None:
        """The file is whole: it gets its name. Raises `Conflict` (file_exists) where that is taken, unless by `force`."""
        os.fsync(self._fd)
        if force:
            self.path.replace(self.target)
        else:
            self._link()
        self.journal.unlink(missing_ok=True)
        self.close()
        sync_directory(self.target.parent)

    def drop(self) -> None:
        """Leave nothing behind."""
        self.path.unlink(missing_ok=True)
        self.journal.unlink(missing_ok=True)

    def _link(self) -> None:
        """Under the final name unless something has it: in one step, where the file system has hard links."""
        try:
            os.link(self.path, self.target)
        except FileExistsError:
            raise exists(self.target) from None
        except OSError:
            if self.target.exists() or self.target.is_symlink():
                raise exists(self.target) from None
            self.path.rename(self.target)
        else:
            self.path.unlink()

    def _locked(self) -> int:
        while True:
            fd = self._open(self.path, os.O_RDWR)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                by_name = self.path.stat()
            except BlockingIOError:
                os.close(fd)
                raise Conflict(
                    "download_elsewhere", f"Another process is downloading to {self.target} right now."
                ) from None
            except FileNotFoundError:  # whoever had the lock has finished in between
                os.close(fd)
                continue
            if os.path.samestat(by_name, os.fstat(fd)):
                return fd
            os.close(fd)

    @staticmethod
    def _open(path: Path, flags: int) -> int:
        try:
            fd = os.open(path, flags | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK, MODE)
        except OSError as error:
            raise Invalid("file_unwritable", f"{path} cannot be written: {error.strerror}.") from error
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise Invalid("file_special", f"{path} is not an ordinary file.")
        if found.st_nlink > 1:  # of a file that has another name as well: whole ones, after a kill in the last moment
            os.close(fd)
            path.unlink(missing_ok=True)
            return PartFile._open(path, flags)
        return fd

    def _journaled(self) -> dict[int, str]:
        try:
            head, *lines = self.journal.read_bytes().split(b"\n")
        except OSError:
            return {}
        if head + b"\n" != self._head:
            return {}
        found = (
            re.fullmatch(rb"(\d{1,9}) ([A-Za-z0-9+/=]+)", line) for line in lines[:-1]
        )  # the last one is cut or empty
        return {int(line[1]): line[2].decode() for line in found if line is not None}

    def _opened_journal(self) -> int:
        fd = self._open(self.journal, os.O_RDWR | os.O_APPEND)
        if self.claimed:
            if os.pread(fd, 1, os.fstat(fd).st_size - 1) != b"\n":
                os.write(fd, b"\n")  # after a line that was cut short
        else:
            os.ftruncate(fd, 0)
            os.write(fd, self._head)
        return fd

    def _check_room(self, size: int) -> None:
        status = os.fstat(self._fd)
        missing = size - status.st_blocks * 512
        free = shutil.disk_usage(self.path.parent).free
        if missing > free:
            raise Unavailable(
                "disk_full",
                f"The file has {size} bytes, and {self.path.parent} has room for {free} more: free some space or name "
                "another place with -o.",
            )


def exists(path: Path) -> Conflict:
    return Conflict("file_exists", f"{path} exists already: --force replaces it, -o names another place.")


def sync_directory(path: Path) -> None:
    """So that a name outlives a power cut; not every file system can."""
    with suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def safe_name(name: str, otherwise: str) -> str:
    """A name that any file system takes and no shell or terminal trips over, of one that somebody else chose.

    No folders, nothing unprintable, no dot, dash or space at its beginning; at most 242 bytes, its ending kept.
    """
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    plain = "".join(char if char.isprintable() and char not in '<>:"|?*' else "_" for char in last).strip()
    plain = re.sub(r"^[.\-~ ]+", "_", plain).rstrip(". ")
    if plain.strip("_") == "":
        plain = otherwise
    stem, dot, ending = plain.rpartition(".")
    if not dot or len(ending.encode()) > 20:
        stem, ending = plain, ""
    else:
        ending = f".{ending}"
    room = LONGEST_NAME - len(ending.encode())
    return stem.encode()[:room].decode("utf-8", "ignore") + ending
