"""Owning a job: claiming it under a new epoch, showing that it lives, and stopping the moment it is somebody else's.

A run that was replaced, or whose job was cancelled, finds that its writes meet no row; it raises `Replaced` and changes
nothing any more.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, TypeVar
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, jobs
from rushes.errors import Unavailable
from rushes.ingest.context import Context
from rushes.model import Job, JobState
from rushes.pipeline.pace import Pace
from rushes.tasks import put_down

log = logging.getLogger(__name__)
T = TypeVar("T")

BEAT = 0.5  # seconds between two signs of life; the longest a cancelled run goes on


class Replaced(Exception):
    """This run does not own its job any more."""


@dataclass(slots=True)
class Ownership:
    """A job as this run holds it. `progress` (0 to 1) and `message` are written with the next sign of life."""

    ctx: Context
    job: Job
    progress: float = 0.0
    message: str = ""
    pace: Pace = field(default_factory=Pace, repr=False)

    @property
    def epoch(self) -> int:
        return self.job.epoch

    def report(self, progress: float, message: str) -> None:
        """`message` may come from a tool: it is cut to one printable line."""
        self.progress = max(self.progress, progress)
        self.message = "".join(char for char in message[:300] if char.isprintable())

    @asynccontextmanager
    async def fenced(self) -> AsyncIterator[Conn]:
        """A transaction in which this run certainly owns its job. Raises `Replaced`.

        Rows are locked in one order everywhere, so that no two wait for each other: upload, quota, asset, job.
        """
        async with self.ctx.db.transaction() as conn:
            await assets.load(conn, self.job.asset_id, lock=True)
            if await jobs.owned(conn, self.job.id, self.epoch) is None:
                raise Replaced
            yield conn

    async def log(self, text: str, *, retry: bool = False) -> None:
        async with self.fenced() as conn:
            await jobs.log(conn, self.job.id, text, self.ctx.now(), retry=retry)

    async def lost(self) -> None:
        """Give signs of life; returns when the job is no longer this run's."""
        while True:
            try:
                if not await self._beat():
                    return
            except Unavailable as error:  # the lease decides how long that may last
                log.warning("job %s: no sign of life: %s", self.job.id, error.message)
            await asyncio.sleep(BEAT)

    async def _beat(self) -> bool:
        """One sign of life; whether the job is still this run's."""
        self.pace.saw(time.monotonic(), self.progress)
        left = self.pace.left()
        async with self.ctx.db.transaction() as conn:
            if not await jobs.advance(conn, self.job.id, self.epoch, self.progress, self.message, left):
                return False
        if self.job.parent_id is not None:
            async with (
                self.ctx.db.transaction() as conn
            ):  # of its own: rows of parents are locked before their children's
                await jobs.sum_up(conn, self.job.parent_id, self.ctx.now())
        return True


async def claim(ctx: Context, job_id: UUID) -> Ownership | None:
    """Take a job under a new epoch; None when it is over."""
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        job = await jobs.load(conn, job_id)
        if job is None:
            return None
        epoch = await assets.next_epoch(conn, job.asset_id)
        claimed = await jobs.claim(conn, job_id, epoch, now)
        if claimed is not None:  # told of each time: somebody new has it
            await events.append_job(conn, claimed, JobState.RUNNING, now, retries=claimed.retries)
    return None if claimed is None else Ownership(ctx, claimed)


async def while_owned(own: Ownership, body: Coroutine[Any, Any, T]) -> T:
    """Run `body` as long as the job is ours; when it is not, cancel it, wait for its end, raise `Replaced`."""
    work = asyncio.create_task(body)
    watch = asyncio.create_task(own.lost())
    try:
        await asyncio.wait({work, watch}, return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            return work.result()
        watch.result()  # an error in giving signs of life is the run's error
        raise Replaced
    finally:
        await put_down((work, watch))
