"""Many files at once: watched together, stopped together, told of one by one."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from rushes.client.job import Job, JobState, UploadResult
from rushes.client.progress import Meter, Progress
from rushes.client.uploader import Uploader

EVERY = 0.2  # seconds between two looks
PAUSES_EVERY = 1.0  # seconds between two looks whether somebody asked for a pause
SHOWN = 8  # files under way that are told of, the largest first


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one file."""

    path: Path
    relative_path: str | None
    state: JobState
    result: UploadResult | None  # of a file that is ingested
    error: BaseException | None
    notices: tuple[str, ...]  # what should be known though nothing is wrong


@dataclass(frozen=True, slots=True)
class Overall:
    """How several uploads go together."""

    files: int
    done: int
    failed: int  # and those stopped, paused, or left to another process
    size: int  # bytes of all files
    held: int  # bytes that storage confirmed
    moving: int  # bytes of parts under way
    sent: int  # bytes sent by this run, repeated ones included
    rate: float  # bytes per second, of late
    active: tuple[tuple[Path, Progress], ...]  # some of those under way
    trouble: str | None  # what is being waited out, where everything waits

    @property
    def seconds_left(self) -> float | None:
        """None while nothing moves."""
        left = self.size - self.held - self.moving
        return max(0.0, left / self.rate) if self.rate > 0 else None


OnOverall = Callable[[Overall], None]


class Watch:
    """Looks at jobs from outside; keeps what is over in sums, so that a look costs little however many there are."""

    def __init__(self, jobs: Sequence[Job], clock: Callable[[], float] = time.monotonic) -> None:
        self.jobs = jobs
        self._left = deque(jobs)
        self._clock = clock
        self._meter = Meter(clock())
        self._counted: set[int] = set()
        self._done = self._failed = 0
        self._settled = self._lost = 0  # bytes of files that are over: of those ingested, of the others
        self._sent = 0

    def wait(self, seconds: float) -> bool:
        """Whether all are over, within so many seconds."""
        until = self._clock() + seconds
        while self._left:
            if not self._left[0].ended.wait(max(0.0, until - self._clock())):
                return False
            self._left.popleft().settle()
        return True

    def look(self) -> Overall:
        active: list[tuple[Path, Progress]] = []
        for index, job in enumerate(self.jobs):
            if index in self._counted or job.began_at is None:
                if index not in self._counted and job.ended.is_set():
                    self._count(index, job)
                continue
            if job.ended.is_set():
                self._count(index, job)
            elif (progress := job.progress) is not None:
                active.append((job.entry.path, progress))
        sent = self._sent + sum(progress.sent for _, progress in active)
        self._meter.sent = sent
        troubles = [progress.trouble for _, progress in active]
        return Overall(
            files=len(self.jobs),
            done=self._done,
            failed=self._failed,
            size=sum(job.size for job in self.jobs) - self._lost,
            held=self._settled + sum(progress.held for _, progress in active),
            moving=sum(progress.moving for _, progress in active),
            sent=sent,
            rate=self._meter.rate(self._clock()),
            active=tuple(sorted(active, key=lambda pair: -pair[1].size)[:SHOWN]),
            trouble=troubles[0] if troubles and all(troubles) else None,
        )

    def _count(self, index: int, job: Job) -> None:
        self._counted.add(index)
        progress = job.progress
        self._sent += 0 if progress is None else progress.sent
        if job.state is JobState.DONE:
            self._done += 1
            self._settled += job.size
        else:
            self._failed += 1
            self._lost += job.size


def follow_all(
    uploader: Uploader,
    jobs: Sequence[Job],
    *,
    on_progress: OnOverall | None = None,
    cancel: threading.Event | None = None,
) -> None:
    """Return when all are over, well or not; soon after `cancel` is set.

    `on_progress` is called five times a second, in this thread. Files that somebody asks to pause are stopped. Whatever
    interrupts this stops them politely first; a second interruption, or one after `cancel`, does not wait for that.
    """
    watch, stopping, looked = Watch(jobs), False, 0.0
    try:
        while not watch.wait(EVERY):
            if cancel is not None and cancel.is_set() and not stopping:
                stopping = True
                _stop(jobs)
            if time.monotonic() - looked >= PAUSES_EVERY:
                looked = time.monotonic()
                uploader.pauses(jobs)
            if on_progress is not None:
                on_progress(watch.look())
    except BaseException:
        if not stopping:
            _stop(jobs)
            watch.wait(threading.TIMEOUT_MAX / 2)
        raise
    if on_progress is not None:
        on_progress(watch.look())


def _stop(jobs: Sequence[Job]) -> None:
    for job in reversed(jobs):  # those that wait first, so that none of them begins for a moment
        job.cancel()


def outcome_of(job: Job, path: Path | None = None) -> Outcome:
    """`path` is what the person called it."""
    return Outcome(
        path or job.entry.path,
        job.entry.request.relative_path,
        job.state,
        job.result,
        job.error,
        tuple(job.notices),
    )
