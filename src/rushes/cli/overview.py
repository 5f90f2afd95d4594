"""Many uploads in one view: a bar for all and one for each of the largest under way; lines where there is no terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from rich.console import Console
from rich.progress import TaskID

from rushes.cli import words
from rushes.cli.exits import one_line, printable
from rushes.cli.view import Rhythm, has_bars, open_bars, tell, upload_words
from rushes.client import Overall

SHOWN = 4  # files under way with a bar of their own


class Overview(Protocol):
    def say(self, text: str) -> None: ...

    def uploading(self, overall: Overall) -> None: ...

    def publishing(self, done: int, of: int, path: Path) -> None: ...

    def close(self) -> None: ...


def open_overview(console: Console, files: int) -> Overview:
    return BarOverview(console, files) if has_bars(console) else LineOverview(console)


class LineOverview:
    """Lines: now and then, and always one for a new trouble."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._rhythm = Rhythm()

    def say(self, text: str) -> None:
        tell(self._console, text)

    def uploading(self, overall: Overall) -> None:
        if self._rhythm.is_due(overall.trouble):
            self.say(overall_words(overall))

    def publishing(self, done: int, of: int, path: Path) -> None:
        if self._rhythm.is_due(None):
            self.say(publish_words(done, of, path))

    def close(self) -> None:
        """Lines need no end."""


class BarOverview:
    def __init__(self, console: Console, files: int) -> None:
        self._console = console
        self._bars = open_bars(console)
        self._all = self._bars.add_task(f"{files:,} files", total=1.0, words="")
        self._files: dict[Path, TaskID] = {}
        self._bars.start()

    def say(self, text: str) -> None:
        tell(self._console, text)

    def uploading(self, overall: Overall) -> None:
        moved = (overall.held + overall.moving) / max(1, overall.size)
        self._bars.update(self._all, completed=min(1.0, moved), words=overall_words(overall))
        shown = dict(overall.active[:SHOWN])
        for path in [path for path in self._files if path not in shown]:
            self._bars.remove_task(self._files.pop(path))
        for path, progress in shown.items():
            if path not in self._files:
                self._files[path] = self._bars.add_task(f"  {one_line(path.name)}", total=1.0, words="")
            done = (progress.held + progress.moving) / max(1, progress.size)
            self._bars.update(self._files[path], completed=min(1.0, done), words=upload_words(progress))

    def publishing(self, done: int, of: int, path: Path) -> None:
        self._bars.update(self._all, completed=done / of, words=publish_words(done, of, path))

    def close(self) -> None:
        self._bars.stop()


class NoView:
    """Nothing is shown: of one file or of many."""

    def say(self, text: str) -> None: ...

    def uploading(self, progress: object) -> None: ...

    def processing(self, status: object, jobs: object) -> None: ...

    def publishing(self, done: int, of: int, path: Path) -> None: ...

    def close(self) -> None: ...


def overall_words(overall: Overall) -> str:
    """123 of 5,000 files, 1.2 GB of 3 GB, 45 MB/s, 0:26 left"""
    if overall.trouble is not None:
        return f"waiting: {printable(overall.trouble)} Trying again."
    told = [
        f"{overall.done:,} of {overall.files:,} files",
        f"{words.size(overall.held + overall.moving)} of {words.size(overall.size)}",
    ]
    if overall.failed:
        told.append(f"{overall.failed:,} not done")
    if overall.rate > 0:
        told.append(f"{words.size(overall.rate)}/s")
    if overall.seconds_left is not None:
        told.append(f"{words.duration(overall.seconds_left)} left")
    return ", ".join(told)


def publish_words(done: int, of: int, path: Path) -> str:
    return f"all uploaded; {done:,} of {of:,} published, waiting for {one_line(path.name)}"
