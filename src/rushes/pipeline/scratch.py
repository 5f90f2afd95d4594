"""Scratch space: one directory a worker, held by a file lock, so that what the dead left behind can be told and removed."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Self

from rushes.errors import Misconfigured

PREFIX = "rushes-worker-"  # nothing else under the root is ours to remove


class Scratch:
    """A worker's own directory under `root`, gone when the block ends."""

    def __init__(self, root: Path, worker_id: str) -> None:
        self.root = root
        self.directory = root / f"{PREFIX}{worker_id}"
        self._lock: int | None = None

    def __enter__(self) -> Self:
        try:
            self.root.mkdir(parents=True, exist_ok=True)
            with _alone(self.root):
                self._sweep()
                self.directory.mkdir(mode=0o711)
                self._lock = _locked(self.directory)
        except OSError as error:
            raise Misconfigured(
                "scratch_unusable", f"The scratch directory {self.root} cannot be used: {error}."
            ) from error
        return self

    def __exit__(self, *_: object) -> None:
        self.clear()

    def clear(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _sweep(self) -> None:
        """Remove the directories of workers that are dead on this machine."""
        for left in self.root.glob(f"{PREFIX}*"):
            if (lock := _locked(left)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(lock)


@contextmanager
def _alone(root: Path) -> Iterator[None]:
    """Only one worker at a time makes or sweeps directories: a new one must not be swept before it is locked."""
    descriptor = os.open(root / f"{PREFIX}lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _locked(directory: Path) -> int | None:
    """An open descriptor that holds the directory's lock, or None when it is held, or is no directory (any more)."""
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    except (NotADirectoryError, FileNotFoundError):  # its worker stops, and clears it, without waiting for anybody
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return descriptor
