"""What runs below a process, from /proc."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path


def descendants(parent: int) -> list[int]:
    """Pids of children and their children that are alive (not zombies)."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            pid, rest = int(entry.parent.name), entry.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if rest[0] != "Z":
            parents.setdefault(int(rest[1]), []).append(pid)
    found: list[int] = []
    waiting = [parent]
    while waiting:
        children = parents.get(waiting.pop(), [])
        found += children
        waiting += children
    return found


def tools(parent: int) -> list[int]:
    """Sandboxed tools below a process, their launchers included; not the servers that other tests keep running."""
    jails = [pid for pid in descendants(parent) if b"rushes.media.jail" in _command(pid)]
    return sorted({*jails, *(below for pid in jails for below in descendants(pid))})


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


def alive(pids: list[int]) -> list[int]:
    """Those of `pids` that still run."""
    return [pid for pid in pids if _state(pid) not in {"", "Z", "X"}]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return ""


async def until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Wait for something outside this process."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.01)
