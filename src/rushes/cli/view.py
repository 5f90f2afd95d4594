"""What is happening, live: bars on a terminal, a line now and then anywhere else. One `View` a file."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from rushes.cli import words
from rushes.cli.exits import one_line, printable
from rushes.client import Client, Progress
from rushes.model import JobState, OverallStatus
from rushes.wire import JobView, StatusView

LINE_EVERY = 5.0  # seconds between two lines about the same thing
STAGES = {"identify": "reading", "digest": "checking"}  # the others say themselves what they make


class View(Protocol):
    def say(self, text: str) -> None: ...

    def uploading(self, progress: Progress) -> None: ...

    def processing(self, status: StatusView, jobs: Sequence[JobView]) -> None: ...

    def close(self) -> None: ...


def wide_console() -> Console:
    """For tables: as wide as the terminal; where there is none, lines are as long as they need to be."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=1_000)


def has_bars(console: Console) -> bool:
    """Whether lines can be drawn again: not on what is no terminal, nor on TERM=dumb."""
    return console.is_terminal and not console.is_dumb_terminal


def open_bars(console: Console) -> Bars:
    return Bars(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        TextColumn("{task.fields[words]}", markup=False),
        console=console,
        transient=True,
        refresh_per_second=5,
    )


def tell(console: Console, text: str) -> None:
    """A line, as it is: no markup, no wrapping, nothing that steers a terminal."""
    console.print(Text(printable(text)), soft_wrap=True)


class Rhythm:
    """When a line is due: five seconds after the last one, and at once about something else."""

    def __init__(self) -> None:
        self._about: str | None = None
        self._at = time.monotonic()

    def is_due(self, about: str | None) -> bool:
        now = time.monotonic()
        if about == self._about and now - self._at < LINE_EVERY:
            return False
        self._about, self._at = about, now
        return True


def open_view(console: Console, name: str) -> View:
    return BarView(console, name) if has_bars(console) else LineView(console, name)


class LineView:
    """Lines: now and then, and always one for what is new."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = one_line(name)
        self._rhythm = Rhythm()

    def say(self, text: str) -> None:
        tell(self._console, f"{self._name}: {text}")

    def uploading(self, progress: Progress) -> None:
        kind = progress.trouble or ("finalizing" if progress.finalizing else "uploading")
        if self._rhythm.is_due(kind):
            self.say(upload_words(progress))

    def processing(self, status: StatusView, jobs: Sequence[JobView]) -> None:
        if self._rhythm.is_due(f"{status.status} {sorted({job.type for job in jobs})}"):
            self.say(process_words(status, jobs))

    def close(self) -> None:
        """Lines need no end."""


class BarView:
    """One bar that is first the upload's, then the processing's."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._bars = open_bars(console)
        self._name = one_line(name)
        self._task = self._bars.add_task(self._name, total=1.0, words="")
        self._bars.start()

    def say(self, text: str) -> None:
        tell(self._console, text)

    def uploading(self, progress: Progress) -> None:
        done = (progress.held + progress.moving) / progress.size
        self._bars.update(self._task, completed=min(1.0, done), words=upload_words(progress))

    def processing(self, status: StatusView, jobs: Sequence[JobView]) -> None:
        self._bars.update(self._task, completed=progress_of(jobs) or 0.0, words=process_words(status, jobs))

    def close(self) -> None:
        self._bars.stop()


def upload_words(progress: Progress) -> str:
    """12.3 MB of 1.2 GB, 45 MB/s, 0:26 left"""
    if progress.trouble is not None:
        return f"waiting: {printable(progress.trouble)} Trying again."
    if progress.finalizing:
        return "all parts are in storage; the server is putting them together"
    if progress.uncompared and progress.held == progress.size:
        left = words.size(progress.uncompared)
        return f"all parts are in storage; {left} held from before are being compared with the file"
    words_ = [f"{words.size(progress.held + progress.moving)} of {words.size(progress.size)}"]
    if progress.rate > 0:
        words_.append(f"{words.size(progress.rate)}/s")
    if progress.seconds_left is not None:
        words_.append(f"{words.duration(progress.seconds_left)} left")
    return ", ".join(words_)


def under_way(client: Client, status: StatusView) -> list[JobView]:
    """The asset's run and its stages that are worked on; a long source has hundreds more that wait or are done."""
    if status.status is not OverallStatus.PROCESSING:
        return []
    return list(client.jobs.all(asset_id=status.asset_id, status=JobState.RUNNING))


def process_words(status: StatusView, jobs: Sequence[JobView]) -> str:
    """processing 43 %: 3 × encode 51 %, sound 80 %"""
    if status.status == "ingested":
        return "verified and stored; waiting for a worker"
    whole = progress_of(jobs)
    percent = "" if whole is None else f" {whole:.0%}"
    stages: dict[str, list[float]] = {}
    for job in jobs:
        if job.parent_id is not None:
            stages.setdefault(STAGES.get(job.type, job.type), []).append(job.progress)
    stage = ", ".join(
        f"{f'{len(made)} × ' if len(made) > 1 else ''}{name} {sum(made) / len(made):.0%}"
        for name, made in stages.items()
    )
    return f"{status.status}{percent}{f': {stage}' if stage else ''}"


def progress_of(jobs: Sequence[JobView]) -> float | None:
    """How far the newest run is, all its stages taken together; it never goes backwards."""
    return next((job.progress for job in jobs if job.parent_id is None), None)
