"""Claims: of all processes of this machine, one may be at a file.

A claim is a lock file, locked by flock: the kernel lets go of it when its process dies, however it dies. It says who holds
it, and goes with its claim. Who claims thousands of files, one after the other, has a seat: one locked file, of which each
claim is another name; making a name costs a tenth of making a file.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

from rushes.errors import Conflict, Unavailable

SEAT = "seat-"  # how the names of seats begin
TRIES, PAUSE = 4, 0.02  # seconds: whoever only looks who holds a lock has it for a moment


@dataclass(frozen=True, slots=True)
class Holder:
    pid: int
    host: str
    since: float  # seconds since 1970

    def __str__(self) -> str:
        where = "" if self.host == socket.gethostname() else f" on {self.host}"
        since = datetime.fromtimestamp(self.since, UTC).astimezone()
        return f"process {self.pid}{where}, since {since:%Y-%m-%d %H:%M:%S}"


@contextmanager
def claimed(directory: Path, what: str, path: Path) -> Iterator[None]:
    """Inside, `what` is ours; `path` is what people call it. Raises `Conflict` (upload_elsewhere)."""
    name = directory / _name(what)
    fd = _locked(name)
    if fd is None:
        who = _read(name)
        raise Conflict(
            "upload_elsewhere",
            f"{path} is being uploaded already, by {who or 'another process'}.",
            **({"pid": who.pid, "since": who.since} if who else {}),
        )
    try:
        _sign(fd)
        yield
    finally:
        with suppress(OSError):  # a file without a lock is in nobody's way
            name.unlink()
        os.close(fd)


class Seat:
    """Claims of one process, many at a time. Safe to use from many threads; `close` it when there are no more to come."""

    def __init__(self, directory: Path) -> None:
        """Raises `Unavailable` (journal_unavailable)."""
        self._directory = directory
        self._lock = threading.Lock()
        self._claims = 1  # and its own
        for old in directory.glob(f"{SEAT}*"):
            _remove_left_behind(old)
        self._name = directory / f"{SEAT}{uuid4().hex}"
        fd = _locked(self._name)
        assert fd is not None, "nobody else knows its name"
        self._fd = fd
        _sign(fd)

    @contextmanager
    def claimed(self, what: str, path: Path) -> Iterator[None]:
        """As the function of that name; the holder says since when it has the seat."""
        name = self._directory / _name(what)
        with self._lock:
            self._claims += 1
        try:
            try:
                os.link(self._name, name)
            except OSError:  # another has it or left it behind, or files have one name each on this disk
                with claimed(self._directory, what, path):
                    yield
                return
            try:
                yield
            finally:
                with suppress(OSError):
                    name.unlink()
        finally:
            self._release()

    def close(self) -> None:
        """It ends with the last of its claims."""
        self._release()

    def _release(self) -> None:
        with self._lock:
            self._claims -= 1
            if self._claims == 0:
                with suppress(OSError):
                    self._name.unlink()
                os.close(self._fd)


def _remove_left_behind(seat: Path) -> None:
    with suppress(OSError):
        fd = os.open(seat, os.O_RDWR | os.O_CLOEXEC)
        try:
            if _lock(fd):
                seat.unlink()
        finally:
            os.close(fd)


def holder(directory: Path, what: str) -> Holder | None:
    """Who holds `what`, if anybody does."""
    name = directory / _name(what)
    try:
        fd = os.open(name, os.O_RDWR | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        if _lock(fd):
            return None  # left behind by somebody who was killed
        return _read(name) or Holder(0, socket.gethostname(), time.time())
    except OSError:
        return None  # where nothing can be locked, nobody holds a lock
    finally:
        os.close(fd)


def _locked(name: Path) -> int | None:
    """The lock file, open and locked by us; None when another has it."""
    for attempt in range(TRIES):
        try:
            fd = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise Unavailable("journal_unavailable", f"{name} cannot be written: {error.strerror}.") from error
        try:
            locked = _lock(fd)
        except OSError as error:
            os.close(fd)
            said = f"{name} cannot be locked: {error.strerror}. Name a directory on a local disk by RUSHES_STATE_DIR."
            raise Unavailable("journal_unavailable", said) from error
        if not locked:
            os.close(fd)
            if attempt == TRIES - 1:
                return None
            time.sleep(PAUSE)
            continue
        try:
            if os.path.samestat(os.fstat(fd), name.stat()):
                if os.fstat(fd).st_nlink == 1:
                    return fd
                name.unlink()  # of the seat of somebody who was killed: its other names are other claims
        except FileNotFoundError:
            pass  # its holder let go of it, and took the name along, between our opening and our lock: once more
        os.close(fd)
    return None


def _sign(fd: int) -> None:
    with suppress(OSError):  # a full disk: the lock holds all the same, and nobody learns whose it is
        os.truncate(fd, 0)
        os.pwrite(fd, json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), time.time()))).encode(), 0)


def _lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _read(name: Path) -> Holder | None:
    try:
        return Holder(**json.loads(name.read_text()))
    except (OSError, ValueError, TypeError):
        return None  # gone, or not written yet


def _name(what: str) -> str:
    return hashlib.sha256(what.encode("utf-8", "surrogateescape")).hexdigest()[:32]
