"""One file of an `Uploader`, as those who asked for it see it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from rushes.checksum import encode
from rushes.client.engine import Handle
from rushes.client.http import Stopped
from rushes.client.journal import Entry
from rushes.client.progress import Progress
from rushes.client.source import Identity, LocalFile
from rushes.client.transfer import Begun, Transfer
from rushes.client.wish import Wish
from rushes.errors import Problem


@dataclass(frozen=True, slots=True)
class UploadResult:
    upload_id: UUID
    asset_id: UUID
    title_id: UUID
    size: int  # bytes
    part_size: int  # bytes
    part_count: int
    checksum: str  # CRC64NVME of the whole file, base64, of what was sent; empty if it had been ingested before
    sent: int  # bytes sent, repeated ones included
    seconds: float


class JobState(StrEnum):
    """In words for people."""

    WAITING = "waiting"
    UPLOADING = "uploading"
    DONE = "done"
    PAUSED = "paused"  # by `pause`, or by itself after no progress
    STOPPED = "stopped"  # by Ctrl-C, or by closing its client
    ELSEWHERE = "elsewhere"  # another process is at it
    FAILED = "failed"
    SKIPPED = "skipped"  # left out of a folder: hidden, empty, no file, or there already under another name


class Job:
    """One file of an `Uploader`, to be watched by whoever asked for it."""

    def __init__(self, entry: Entry, size: int, *, anew: bool, wish: Wish | None = None) -> None:
        self.entry = entry
        self.wish = wish  # None: what its row says
        self.size = size  # bytes
        self.notices: list[str] = []  # what people should know though nothing is wrong
        self.error: BaseException | None = None
        self.result: UploadResult | None = None
        self.transfer: Transfer | None = None
        self.handle: Handle | None = None  # once an engine has it
        self.heard: Callable[[], None] | None = None  # to be called when `stopping` was set
        self.stopping = False
        self.open = ExitStack()  # the file and its claim
        self.file: LocalFile | None = None
        self.identity: Identity | None = None
        self.anew = anew
        self.pausing = False
        self.before = False  # it was uploaded before: nothing was left to do
        self.began_at: float | None = None
        self.noted_at = 0.0
        self._last: Progress | None = None  # once it has ended
        self.ended = threading.Event()

    @property
    def progress(self) -> Progress | None:
        transfer = self.transfer
        return self._last if transfer is None else transfer.progress()

    def over(self) -> None:
        """It has ended, and what it was done by is not needed any more."""
        if self.transfer is not None:
            self._last, self.transfer = self.transfer.progress(), None
        self.ended.set()

    @property
    def state(self) -> JobState:
        if not self.ended.is_set():
            return JobState.WAITING if self.began_at is None else JobState.UPLOADING
        code = self.error.code if isinstance(self.error, Problem) else None
        if self.error is None:
            return JobState.DONE
        if code in {"paused", "no_progress"}:
            return JobState.PAUSED
        if code == "upload_elsewhere":
            return JobState.ELSEWHERE
        return JobState.STOPPED if isinstance(self.error, Stopped) else JobState.FAILED

    def say(self, text: str) -> None:
        if text not in self.notices:
            self.notices.append(text)

    def settle(self) -> None:
        """After its end: an error of ours counts for more than that it was stopped because of it."""
        if self.handle is None:
            return
        try:
            self.handle.wait()
        except Problem:
            return
        except Exception as error:  # noqa: BLE001 - it is told as this file's outcome
            self.error = error

    def cancel(self) -> None:
        self.stopping = True
        if self.handle is not None:
            self.handle.cancel()
        elif self.heard is not None:
            self.heard()

    def pause(self) -> None:
        self.pausing = True
        self.cancel()


def result_of(job: Job, begun: Begun) -> UploadResult:
    """Of a job that has ended well, while it still has what it was done by."""
    plan, transfer = job.entry.plan, job.transfer
    assert plan is not None, "begun"
    assert transfer is not None, "it has ended"
    return UploadResult(
        upload_id=plan.upload_id,
        asset_id=plan.asset_id,
        title_id=plan.title_id,
        size=begun.file.size,
        part_size=plan.part_size,
        part_count=plan.part_count,
        checksum=encode(begun.session.crc()) if begun.session.complete else "",
        sent=transfer.sent,
        seconds=time.monotonic() - (job.began_at or time.monotonic()),
    )
