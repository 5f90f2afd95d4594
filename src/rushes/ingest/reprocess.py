"""Processing an asset again: all of it, what somebody asks for, or what a run that came to nothing had left to do.

What is published stays readable meanwhile. A run that makes only some stages anew takes the other renditions over from the
published run in the transaction that publishes it; one that is retried takes over at once what had succeeded.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from rushes.db import Conn, assets, jobs, renditions, uploads
from rushes.errors import Conflict, NotFound
from rushes.ingest.context import Context
from rushes.ingest.process import end_open, find_job, start_processing
from rushes.ingest.tokens import check_reach
from rushes.model import Asset, Job, JobState, Json, Principal, UploadState


@dataclass(frozen=True, slots=True)
class Wish:
    """What is to be made anew; nothing named means all of it."""

    stages: tuple[str, ...] = ()  # types of stage
    renditions: tuple[str, ...] = ()  # names; the stages that made them run again
    outdated: bool = False  # what an older recipe made
    priority: int | None = None  # another than the asset's

    @property
    def partial(self) -> bool:
        return bool(self.stages or self.renditions or self.outdated)


async def reprocess(ctx: Context, who: Principal, asset_id: UUID, wish: Wish | None = None) -> Job:
    """Raises `NotFound`, `Conflict`."""
    wish = wish or Wish()
    async with ctx.db.transaction() as conn:
        asset = await _processable(conn, who, asset_id)
        arguments = await _arguments(conn, asset, wish)
        if await _stop_late(conn, asset, ctx.now()) and wish.partial:
            arguments["stages"] = sorted({*arguments["stages"], "extra"})
        return await start_processing(ctx, conn, asset, ctx.now(), arguments=arguments, priority=wish.priority)


async def retry_job(ctx: Context, who: Principal, job_id: UUID) -> Job:
    """Run a failed or cancelled job's asset again, as a new run that makes what the old one did not come to.

    Raises `NotFound`, `Conflict`.
    """
    job = await find_job(ctx, who, job_id)
    check_reach(who)
    if job.state not in {JobState.FAILED, JobState.CANCELLED}:
        raise Conflict(f"job_{job.state}", f"This job is {job.state}; only failed and cancelled jobs can be retried.")
    async with ctx.db.transaction() as conn:
        asset = await _processable(conn, who, job.asset_id)
        old = await jobs.load(conn, job.parent_id or job.id, lock=True)
        assert old is not None, "jobs keep their rows"
        await _stop_late(conn, asset, ctx.now())
        late = old.state is JobState.SUCCEEDED  # what it would have made in addition is made anew, and nothing else
        arguments = {"stages": [job.type]} if late else old.arguments
        new = await start_processing(ctx, conn, asset, ctx.now(), arguments=arguments, priority=old.priority)
        if not late and await _is_kept(ctx, conn, old, new):
            await jobs.take_over(conn, old.id, new.id)
            await renditions.take_over(conn, old.id, new.id, ())
        return new


async def _processable(conn: Conn, who: Principal, asset_id: UUID) -> Asset:
    """The asset, locked, its original whole."""
    asset = await assets.get(conn, who, asset_id, lock=True)
    if asset is None:
        raise NotFound("asset_not_found", "There is no such asset.")
    check_reach(who)
    upload = await uploads.load(conn, asset.upload_id)
    if upload is None or upload.state is not UploadState.INGESTED:
        raise Conflict("asset_not_ingested", "The original is not whole; there is nothing to process.")
    return asset


async def _arguments(conn: Conn, asset: Asset, wish: Wish) -> Json:
    if not wish.partial:
        return {}
    if asset.published_job_id is None:
        raise Conflict("asset_not_published", "Nothing of this asset is published yet; process all of it.")
    made = {row.name: row.stage for row in await renditions.of_job(conn, asset.published_job_id)}
    if missing := [name for name in wish.renditions if name not in made]:
        raise NotFound("rendition_not_found", f"This asset has no rendition {missing[0]!r}.", missing=missing)
    stages = {*wish.stages, *(made[name] for name in wish.renditions)}
    return {"stages": sorted(stages)} | ({"outdated": True} if wish.outdated else {})


async def _stop_late(conn: Conn, asset: Asset, now: datetime) -> bool:
    """Cancel what the published run is still making in addition; whether there was anything."""
    if asset.published_job_id is None:
        return False
    return await end_open(conn, await jobs.children(conn, asset.published_job_id, lock=True), now)


async def _is_kept(ctx: Context, conn: Conn, old: Job, new: Job) -> bool:
    """Whether all that the old run has made is still there: no later run, and too young to be swept."""
    young = timedelta(seconds=ctx.settings.sweep_grace_seconds / 2)
    if old.finished_at is None or ctx.now() - old.finished_at > young:
        return False
    return await jobs.run_before(conn, new) == old.id
