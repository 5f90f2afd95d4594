"""Starting and stopping the processing of an asset: the job's row, the asset's state and the workflow, in one transaction."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, jobs, uploads
from rushes.errors import Conflict, NotFound
from rushes.ingest.context import Context, Work
from rushes.ingest.tokens import check_reach
from rushes.model import Asset, AssetState, Job, JobState, Json, Principal, UploadState, new_id


async def start_processing(ctx: Context, conn: Conn, asset: Asset, now: datetime) -> Job:
    """Start a new run on a locked asset whose original is whole. Raises `Conflict` when the asset's state forbids it."""
    job = queued_job(asset, "process", now)
    await add_job(conn, job, now)
    await assets.move(conn, asset, AssetState.PROCESSING, now, job_id=job.id, problem=None)
    await ctx.engine.enqueue(conn, Work("process", f"process-{job.id}", (str(job.id),), asset.tenant, asset.priority))
    await events.append(conn, "processing_queued", asset, now, job_id=str(job.id))
    return job


async def add_job(conn: Conn, job: Job, now: datetime) -> UUID:
    """Queue a job, with its event, unless its parent has this one already; the id of the one that is there."""
    found = await jobs.insert(conn, job)
    if found == job.id:
        await events.append_job(conn, job, JobState.QUEUED, now)
    return found


async def end_job(
    conn: Conn, job: Job, new: JobState, now: datetime, message: str, problem: Json | None = None
) -> None:
    """End a locked job, with its event. Raises `Conflict` for an illegal move."""
    await jobs.finish(conn, job, new, now, message, problem)
    facts = {} if problem is None else {"code": problem["code"], "message": problem["message"]}
    await events.append_job(conn, job, new, now, retries=job.retries, **facts)


def stage_work(stage: Job) -> Work:
    return Work("stage", f"stage-{stage.id}", (str(stage.id),), stage.tenant, stage.priority, stage=stage.type)


def queued_job(
    of: Asset | Job, type_: str, now: datetime, *, number: int = 0, arguments: Json | None = None, weight: float = 1.0
) -> Job:
    """A job of an asset, or a stage of another job, that waits for a worker."""
    asset_id, parent_id = (of.id, None) if isinstance(of, Asset) else (of.asset_id, of.id)
    return Job(
        id=new_id(),
        tenant=of.tenant,
        creator=of.creator,
        asset_id=asset_id,
        parent_id=parent_id,
        type=type_,
        number=number,
        arguments=arguments or {},
        result={},
        weight=weight,
        state=JobState.QUEUED,
        priority=of.priority,
        progress=0.0,
        left_seconds=None,
        message="waiting for a worker",
        log=[],
        retries=0,
        deaths=0,
        dead_letter=False,
        epoch=0,
        problem=None,
        created_at=now,
        started_at=None,
        finished_at=None,
    )


async def reprocess(ctx: Context, who: Principal, asset_id: UUID) -> Job:
    """Process again. What is published stays readable until the new run publishes."""
    async with ctx.db.transaction() as conn:
        asset = await assets.get(conn, who, asset_id, lock=True)
        if asset is None:
            raise NotFound("asset_not_found", "There is no such asset.")
        check_reach(who)
        upload = await uploads.load(conn, asset.upload_id)
        if upload is None or upload.state is not UploadState.INGESTED:
            raise Conflict("asset_not_ingested", "The original is not whole; there is nothing to process.")
        return await start_processing(ctx, conn, asset, ctx.now())


async def retry_job(ctx: Context, who: Principal, job_id: UUID) -> Job:
    """Run a failed or cancelled job's asset again. Raises `NotFound`, `Conflict`."""
    job = await find_job(ctx, who, job_id)
    check_reach(who)
    if job.state not in {JobState.FAILED, JobState.CANCELLED}:
        raise Conflict(f"job_{job.state}", f"This job is {job.state}; only failed and cancelled jobs can be retried.")
    return await reprocess(ctx, who, job.asset_id)


async def cancel_job(ctx: Context, who: Principal, job_id: UUID) -> Job:
    """Stop a run with everything that belongs to it; the asset shows `failed` unless something is published."""
    asset_id = (await find_job(ctx, who, job_id)).asset_id
    check_reach(who)
    async with ctx.db.transaction() as conn:
        asset = await assets.load(conn, asset_id, lock=True)
        job = await jobs.load(conn, job_id)  # under the lock: its run may have ended while we waited for that
        assert asset is not None, "jobs refer to their asset"
        assert job is not None, "jobs keep their rows"
        if job.state not in {JobState.QUEUED, JobState.RUNNING} or asset.job_id not in {job.id, job.parent_id}:
            raise Conflict(f"job_{job.state}", f"This job is {job.state}; there is nothing to cancel.")
        problem = {"code": "cancelled", "message": "Processing was cancelled. Start it again when you like."}
        await stop_run(conn, asset, ctx.now())
        if asset.published_job_id is not None:
            await assets.move(conn, asset, AssetState.PUBLISHED, ctx.now(), job_id=asset.published_job_id)
        else:
            await assets.move(conn, asset, AssetState.FAILED, ctx.now(), problem=problem)
        await events.append(conn, "processing_cancelled", asset, ctx.now(), job_id=str(job.id))
    return await find_job(ctx, who, job_id)


async def stop_run(conn: Conn, asset: Asset, now: datetime, *, spare: str | None = None) -> None:
    """Cancel the asset's current run, if one is going on, but for a stage of type `spare`.

    Its workers see it at their next sign of life and stop.
    """
    if asset.job_id is None:
        return
    run = await jobs.load(conn, asset.job_id, lock=True)
    family = [] if run is None else [run, *await jobs.children(conn, run.id, lock=True)]
    for job in family:
        if job.state in {JobState.QUEUED, JobState.RUNNING} and job.type != spare:
            await end_job(conn, job, JobState.CANCELLED, now, "cancelled")


async def page(
    ctx: Context, who: Principal, *, state: JobState | None, asset_id: UUID | None, before: UUID | None, limit: int
) -> list[Job]:
    async with ctx.db.transaction() as conn:
        return await jobs.page(conn, who, state, asset_id, before, limit)


async def find_job(ctx: Context, who: Principal, job_id: UUID) -> Job:
    async with ctx.db.transaction() as conn:
        job = await jobs.get(conn, who, job_id)
    if job is None:
        raise NotFound("job_not_found", "There is no such job.")
    return job
