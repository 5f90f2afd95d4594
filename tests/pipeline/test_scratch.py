"""Scratch: what is somebody else's stays, what the dead left goes, and nobody loses a directory that is in use."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.queues import Queue
from multiprocessing.synchronize import Barrier
from pathlib import Path

from rushes.pipeline.scratch import PREFIX, Scratch

STARTS = 50  # of two workers at the same moment
TIMEOUT = 30  # seconds in which the other worker must have come as far
HOLD = """
import sys
from pathlib import Path
from rushes.pipeline.scratch import Scratch
with Scratch(Path(sys.argv[1]), sys.argv[2]) as scratch:
    (scratch.directory / "half a film").write_bytes(b"x")
    print("ready", flush=True)
    sys.stdin.read()
"""


@contextmanager
def other_worker(root: Path, worker_id: str) -> Iterator[subprocess.Popen[bytes]]:
    """Another process that holds a directory under `root` until it ends."""
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(root), worker_id], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield process


def test_what_is_not_a_workers_directory_stays(tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    root = tmp_path / "scratch"
    for directory in (outside, root / "films", root / ".cache", root / "vm-1-abc"):
        directory.mkdir(parents=True)
        (directory / "film.mov").write_bytes(b"somebody's work")
    (root / "notes.txt").write_text("a file")
    (root / f"{PREFIX}notes").write_text("a file with our prefix")
    (root / f"{PREFIX}link").symlink_to(outside)
    with Scratch(root, "one") as scratch:
        assert scratch.directory.is_dir()
    for directory in (outside, root / "films", root / ".cache", root / "vm-1-abc"):
        assert (directory / "film.mov").read_bytes() == b"somebody's work"
    assert (root / "notes.txt").exists()
    assert (root / f"{PREFIX}notes").exists()
    assert not scratch.directory.exists()


def test_the_living_keep_their_directory_and_that_of_the_dead_goes(tmp_path: Path) -> None:
    with other_worker(tmp_path, "other") as process:
        others = tmp_path / f"{PREFIX}other"
        with Scratch(tmp_path, "one"):
            assert (others / "half a film").exists()
        process.kill()
        process.wait()
        assert (others / "half a film").exists()  # kill -9 cleans nothing up
        with Scratch(tmp_path, "two"):
            assert not others.exists()


def test_workers_that_start_at_the_same_moment_lose_nothing(tmp_path: Path) -> None:
    assert in_two_processes(start_together, tmp_path) == [[], []]
    assert [path.name for path in tmp_path.iterdir()] == [f"{PREFIX}lock"]


def test_workers_that_start_while_others_stop_lose_nothing(tmp_path: Path) -> None:
    assert in_two_processes(come_and_go, tmp_path) == [[], []]


Work = Callable[[Path, str, Barrier], list[str]]


def start_together(root: Path, name: str, barrier: Barrier) -> list[str]:
    """What went wrong."""
    wrong = []
    for turn in range(STARTS):
        barrier.wait(TIMEOUT)
        with Scratch(root, f"{name}-{turn}") as scratch:
            barrier.wait(TIMEOUT)
            if not scratch.directory.is_dir():
                wrong.append(f"{scratch.directory} is gone")
            barrier.wait(TIMEOUT)
    return wrong


def come_and_go(root: Path, name: str, barrier: Barrier) -> list[str]:
    """What went wrong."""
    wrong = []
    barrier.wait(TIMEOUT)
    for turn in range(20 * STARTS):
        with Scratch(root, f"{name}-{turn}") as scratch:
            if not scratch.directory.is_dir():
                wrong.append(f"{scratch.directory} is gone")
    return wrong


def in_two_processes(work: Work, root: Path) -> list[list[str]]:
    spawn = multiprocessing.get_context("spawn")
    barrier = spawn.Barrier(2)
    answers: Queue[list[str]] = spawn.Queue()
    processes = [spawn.Process(target=told, args=(work, root, name, barrier, answers)) for name in ("a", "b")]
    for process in processes:
        process.start()
    found = [answers.get(timeout=2 * TIMEOUT) for _ in processes]
    for process in processes:
        process.join()
        process.close()
    answers.close()
    return found


def told(work: Work, root: Path, name: str, barrier: Barrier, answers: Queue[list[str]]) -> None:
    """Run `work` and tell what went wrong, errors too."""
    try:
        answers.put(work(root, name, barrier))
    except Exception as error:  # noqa: BLE001 - whatever it is, the test shows it
        barrier.abort()
        answers.put([repr(error)])
