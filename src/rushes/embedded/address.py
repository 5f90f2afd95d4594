"""Who runs the stack of a data directory, and where: `lock`, held while it lives, and `stack.json`, its address."""

from __future__ import annotations

import fcntl
import json
import os
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rushes.embedded.files import explained, write_private
from rushes.errors import Conflict

ADDRESS = "stack.json"
LOCK = "lock"


@dataclass(frozen=True)
class Running:
    """A running stack. `environment` holds the RUSHES_… variables by which any command reaches it, secrets included."""

    pid: int
    api_url: str
    data_dir: Path
    environment: Mapping[str, str]


@contextmanager
def locked(data_dir: Path) -> Iterator[None]:
    """Hold the data directory for this process alone; the lock goes with the process, however it ends.

    Raises `Conflict` when another process holds it.
    """
    handle = os.open(data_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        if not _try_lock(handle):
            pid = _read_pid(handle)
            raise Conflict(
                "already_running",
                f"rushes is already running on {data_dir} (process {pid}): use it, stop it, or set RUSHES_DATA_DIR.",
                pid=pid,
                data_dir=str(data_dir),
            )
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        withdraw(data_dir)  # what a run that was killed published
        yield
    finally:
        os.close(handle)


def starter(data_dir: Path) -> int | None:
    """The process that last took the lock, if it lives: it runs a stack, or is about to. Takes no lock itself."""
    try:
        pid = int((data_dir / LOCK).read_text())
        os.kill(pid, 0)
    except (OSError, ValueError):
        return None
    return pid


def publish(running: Running) -> None:
    """Tell other commands of this user where the stack is (mode 0600)."""
    write_private(running.data_dir / ADDRESS, _to_json(running))


def withdraw(data_dir: Path) -> None:
    (data_dir / ADDRESS).unlink(missing_ok=True)


def find(data_dir: Path) -> Running | None:
    """The stack that runs on `data_dir`, or None; one that was killed left its address file but not its lock."""
    data_dir = data_dir.absolute()
    with explained(data_dir):
        try:
            running = _from_json((data_dir / ADDRESS).read_text("utf-8"))
            holder = _holder(data_dir)
        except FileNotFoundError:
            return None
    # The process is looked for as well: its successor may hold the lock and not have written its own number yet.
    alive = running is not None and running.pid == holder and Path(f"/proc/{holder}").exists()
    return running if alive else None


def _try_lock(handle: int) -> bool:
    for _ in range(10):
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)  # it may be `find`, which holds the lock while it looks
        else:
            return True
    return False


def _holder(data_dir: Path) -> int | None:
    """The process that holds the lock, or None."""
    handle = os.open(data_dir / LOCK, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _read_pid(handle)
    else:
        return None
    finally:
        os.close(handle)


def _read_pid(handle: int) -> int | None:
    text = os.pread(handle, 32, 0).decode(errors="replace").strip()
    return int(text) if text.isdecimal() else None


def _to_json(running: Running) -> str:
    values = {"pid": running.pid, "api_url": running.api_url, "data_dir": str(running.data_dir)}
    return json.dumps(values | {"environment": dict(running.environment)}, indent=1) + "\n"


def _from_json(text: str) -> Running | None:
    try:
        values = json.loads(text)
        return Running(values["pid"], values["api_url"], Path(values["data_dir"]), values["environment"])
    except (ValueError, KeyError, TypeError):
        return None
