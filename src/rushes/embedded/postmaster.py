"""The pid file that a killed PostgreSQL leaves: it names a process that is gone, or that is another one by now."""

from __future__ import annotations

import time
from pathlib import Path

from rushes.errors import Unavailable


def clear_pid_file(directory: Path, *, seconds: float = 10) -> None:
    """Remove postmaster.pid when its process is gone, is a zombie, or is a stranger with a reused number.

    Waits for a server that is still ending; raises `Unavailable` when it has not ended after `seconds`.
    """
    file = directory / "postmaster.pid"
    deadline = time.monotonic() + seconds
    while (pid := _owner(file)) is not None and _works_in(pid, directory):
        if time.monotonic() > deadline:
            raise Unavailable(
                "database_in_use",
                f"Another PostgreSQL, process {pid}, still uses {directory}: stop it first (kill -INT {pid}).",
                pid=pid,
            )
        time.sleep(0.1)
    file.unlink(missing_ok=True)


def _owner(file: Path) -> int | None:
    try:
        return int(file.read_text("utf-8").split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None


def _works_in(pid: int, directory: Path) -> bool:
    try:
        # A zombie has no working directory: reading it fails like that of a process that is gone.
        return Path(f"/proc/{pid}/cwd").samefile(directory)
    except OSError:
        return False
