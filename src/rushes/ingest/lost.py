"""Processing that stopped: a job is open, and the engine has no workflow that will ever end it.

That takes a workflow that the engine gave up, or that somebody cancelled or deleted. The job's workflow is started anew, under
another id; a stage claims its job under a new epoch, a run finds out how far it is, so one time too many does nothing. A
stage that was running counts a worker's death more, so that one that cannot end fails as others do.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from rushes.db import Conn, assets, jobs
from rushes.ingest.context import Context, Work
from rushes.ingest.process import process_work, stage_work
from rushes.ingest.reclaimed import Kind, Sum
from rushes.ingest.sweeping import Sweep
from rushes.model import Job

SURELY: Final = timedelta(minutes=10)  # a job and its workflow are committed together; what is younger is not looked at


async def restart(sweep: Sweep) -> None:
    """Start anew what nobody works on; each under its asset's lock, so two sweeps start it once."""
    before = sweep.at - SURELY

    async def one(found: Job) -> None:
        async with sweep.ctx.db.transaction() as conn:
            await assets.load(conn, found.asset_id, lock=True)
            work = await _work(sweep.ctx, conn, found, before)
            if work is None:
                return
            if not sweep.dry:
                again = replace(work, id=f"{work.id}-{sweep.at:%Y%m%dT%H%M%S}")
                await sweep.ctx.engine.enqueue(conn, again)
            sweep.count(found.tenant, Kind.RESTARTED, Sum(1))

    async for page in sweep.pages(lambda conn, after, limit: jobs.open_since(conn, before, after, limit)):
        async with sweep.ctx.db.transaction() as conn:
            idle = await sweep.ctx.engine.at_rest(conn, [work_of(job).id for job in page])
        await sweep.each(one, [job for job in page if work_of(job).id in idle])


def work_of(job: Job) -> Work:
    return process_work(job) if job.parent_id is None else stage_work(job)


async def _work(ctx: Context, conn: Conn, found: Job, before: datetime) -> Work | None:
    """What the job waits for, if it does still; its asset is locked."""
    for job in await jobs.open_since(conn, before, None, 1, only=found.id):
        work = work_of(job)
        if await ctx.engine.at_rest(conn, [work.id]):
            return work
    return None
