"""Claims: of all processes of this machine, one may be at a file.

A claim is a lock file, locked by flock: the kernel lets go of it when its process dies, however it dies. It says who holds
it, and goes with its claim.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path

from rushes.errors import Conflict, Unavailable

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
        with suppress(OSError):  # a full disk: the lock holds all the same, and nobody learns whose it is
            os.truncate(fd, 0)
            os.pwrite(fd, json.dumps(asdict(Holder(os.getpid(), socket.gethostname(), time.time()))).encode(), 0)
        yield
    finally:
        with suppress(OSError):  # a file without a lock is in nobody's way
            name.unlink()
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
                return fd
        except FileNotFoundError:
            pass  # its holder let go of it, and took the name along, between our opening and our lock: once more
        os.close(fd)
    return None


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
