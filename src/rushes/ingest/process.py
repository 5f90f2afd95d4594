"""Starting and stopping the processing of an asset: the job's row, the asset's state and the workflow, in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, jobs
from rushes.errors import Conflict, NotFound
from rushes.ingest.context import Context, Work
from rushes.ingest.tokens import check_reach
from rushes.model import Asset, AssetState, Job, JobFilter, JobState, Json, Principal, new_id


async def start_processing(
    ctx: Context, conn: Conn, asset: Asset, now: datetime, *, arguments: Json | None = None, priority: int | None = None
) -> Job:
    """Start a new run on a locked asset whose original is whole. Raises `Conflict` when the asset's state forbids it."""
    job = queued_job(asset, "process", now, arguments=arguments)
    if priority is not None:
        job = replace(job, priority=priority)
    await jobs.leave_dead_letters(conn, asset.id)
    await add_job(conn, job, now)
    await assets.move(conn, asset, AssetState.PROCESSING, now, job_id=job.id, problem=None)
    await ctx.engine.enqueue(conn, process_work(job))
    await events.append(conn, "processing_queued", asset, now, job_id=str(job.id))
    return job


async def add_job(conn: Conn, job: Job, now: datetime) -> UUID:
    """Queue a job, with its event, unless its parent has this one already; the id of the one that is there."""
    found = await jobs.insert(conn, job)
    if found == job.id:
        await events.append_job(conn, job, JobState.QUEUED, now)
    return found


async def end_job(
    conn: Conn,
    job: Job,
    new: JobState,
    now: datetime,
    message: str,
    problem: Json | None = None,
    *,
    dead_letter: bool = False,
) -> None:
    """End a locked job, with its event. Raises `Conflict` for an illegal move."""
    await jobs.finish(conn, job, new, now, message, problem, dead_letter=dead_letter)
    facts = {} if problem is None else {"code": problem["code"], "message": problem["message"]}
    await events.append_job(conn, job, new, now, retries=job.retries, **facts)


def process_work(run: Job) -> Work:
    return Work("process", f"process-{run.id}", (str(run.id),), run.tenant, run.priority)


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


async def cancel_job(ctx: Context, who: Principal, job_id: UUID) -> Job:
    """Stop a run with everything that belongs to it; the asset shows `failed` unless something is published.

    What a published asset gets in addition stops alone.
    """
    asset_id = (await find_job(ctx, who, job_id)).asset_id
    check_reach(who)
    async with ctx.db.transaction() as conn:
        asset = await assets.load(conn, asset_id, lock=True)
        job = await jobs.load(conn, job_id)  # under the lock: its run may have ended while we waited for that
        assert asset is not None, "jobs refer to their asset"
        assert job is not None, "jobs keep their rows"
        if job.state not in {JobState.QUEUED, JobState.RUNNING} or asset.job_id not in {job.id, job.parent_id}:
            raise Conflict(f"job_{job.state}", f"This job is {job.state}; there is nothing to cancel.")
        if asset.state is AssetState.PUBLISHED:  # what its run makes in addition: all of it, or it is nothing
            await end_open(conn, await jobs.children(conn, asset.job_id or job.id, lock=True), ctx.now())
            return replace(job, state=JobState.CANCELLED, finished_at=ctx.now(), message="cancelled")
        problem = {"code": "cancelled", "message": "Processing was cancelled. Start it again when you like."}
        await stop_run(conn, asset, ctx.now())
        if asset.published_job_id is not None:
            await assets.move(conn, asset, AssetState.PUBLISHED, ctx.now(), job_id=asset.published_job_id)
        else:
            await assets.move(conn, asset, AssetState.FAILED, ctx.now(), problem=problem)
        await events.append(conn, "processing_cancelled", asset, ctx.now(), job_id=str(job.id))
    return await find_job(ctx, who, job_id)


async def prioritize(ctx: Context, who: Principal, job_id: UUID, priority: int) -> Job:
    """Move what waits of the job's run forward or back among what others wait for. Raises `NotFound`, `Conflict`."""
    job = await find_job(ctx, who, job_id)
    check_reach(who)
    async with ctx.db.transaction() as conn:
        await assets.load(conn, job.asset_id, lock=True)  # no stage is added meanwhile
        run = await jobs.load(conn, job.parent_id or job.id, lock=True)
        assert run is not None, "jobs keep their rows"
        family = [run, *await jobs.children(conn, run.id, lock=True)]
        open_ = [one for one in family if one.state in {JobState.QUEUED, JobState.RUNNING}]
        if not open_:
            raise Conflict(f"job_{run.state}", f"This job is {run.state}; nothing of it waits.")
        await jobs.set_priority(conn, [one.id for one in open_], priority)
        for one in open_:
            work = process_work(one) if one.parent_id is None else stage_work(one)
            await ctx.engine.move(conn, replace(work, priority=priority))
    return await find_job(ctx, who, job_id)


async def stop_run(conn: Conn, asset: Asset, now: datetime, *, spare: str | None = None) -> None:
    """Cancel the asset's current run, if one is going on, but for a stage of type `spare`.

    Its workers see it at their next sign of life and stop.
    """
    if asset.job_id is None:
        return
    run = await jobs.load(conn, asset.job_id, lock=True)
    family = [] if run is None else [run, *await jobs.children(conn, run.id, lock=True)]
    await end_open(conn, [job for job in family if job.type != spare], now)


async def end_open(conn: Conn, family: Sequence[Job], now: datetime, message: str = "cancelled") -> bool:
    """Cancel those of these locked jobs that have not ended; whether there were any."""
    open_ = [job for job in family if job.state in {JobState.QUEUED, JobState.RUNNING}]
    for job in open_:
        await end_job(conn, job, JobState.CANCELLED, now, message)
    return bool(open_)


async def page(ctx: Context, who: Principal, wanted: JobFilter, before: UUID | None, limit: int) -> list[Job]:
    async with ctx.db.transaction() as conn:
        return await jobs.page(conn, who, wanted, before, limit)


async def find_job(ctx: Context, who: Principal, job_id: UUID) -> Job:
    async with ctx.db.transaction() as conn:
        job = await jobs.get(conn, who, job_id)
    if job is None:
        raise NotFound("job_not_found", "There is no such job.")
    return job
