"""process: what a run does next, decided whenever one of its stages ends, in the transaction in which it ends.

A run is a row, and nobody waits for it: `run_process` starts its first stages, and each stage that ends starts what could
not start before it (`agenda.py`), publishes when it was the last that counts, or fails the run when it failed for good:
then the other stages stop, the original is kept, the reason is shown. Any worker may run any stage. The asset's lock is what
makes those decisions one after the other. A published run goes on with the second set of pictures, which changes nothing of
the asset when it fails.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, jobs, renditions
from rushes.ingest.context import Context, Work
from rushes.ingest.process import add_job, end_job, end_open, queued_job, stage_work, stop_run
from rushes.media.info import MediaInfo
from rushes.media.plan import plan_second
from rushes.model import Asset, AssetState, Job, JobState, Json
from rushes.pipeline import agenda
from rushes.pipeline.agenda import Item
from rushes.pipeline.insist import insist
from rushes.pipeline.picture import video_settings
from rushes.pipeline.work import is_outdated

log = logging.getLogger(__name__)

OWN_ERROR = "Processing met an error of our own; the worker's log has it."


async def run_process(ctx: Context, job_id: str) -> str:
    """Start a run, or find out how far it is: both may happen twice. Returns "running", "over", or how it ended."""
    return await insist(lambda: _begin(ctx, UUID(job_id)))


async def _begin(ctx: Context, job_id: UUID) -> str:
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        found = await jobs.load(conn, job_id)
        asset = None if found is None else await assets.load(conn, found.asset_id, lock=True)
        run = await jobs.load(conn, job_id, lock=True)
        if asset is None or run is None or not is_current(asset, run):
            return "over"
        if run.state is JobState.QUEUED:
            epoch = await assets.next_epoch(conn, asset.id)
            run = await jobs.claim(conn, job_id, epoch, now)
            assert run is not None, "locked, and queued"
            await events.append_job(conn, run, JobState.RUNNING, now, retries=run.retries)
        for stage in await jobs.children(conn, run.id):
            if stage.state is JobState.QUEUED:  # whoever added it may have died before it was started
                await ctx.engine.enqueue(conn, stage_work(stage))
        return await _guarded(ctx, conn, asset, run, now)


async def stage_ended(ctx: Context, conn: Conn, asset: Asset, run_id: UUID, now: datetime) -> None:
    """Let a run go on, whose asset the caller has locked, and a stage of which the caller has just ended."""
    run = await jobs.load(conn, run_id, lock=True)
    if run is None:
        return
    if is_current(asset, run):
        await _guarded(ctx, conn, asset, run, now)
    elif asset.state is AssetState.PUBLISHED and asset.job_id == asset.published_job_id == run.id:
        await _late_ended(ctx, conn, asset, run, now)


def is_current(asset: Asset, run: Job) -> bool:
    """Whether this is the run that the asset waits for."""
    open_ = run.state in {JobState.QUEUED, JobState.RUNNING}
    return open_ and asset.job_id == run.id and asset.state is AssetState.PROCESSING


async def _guarded(ctx: Context, conn: Conn, asset: Asset, run: Job, now: datetime) -> str:
    """An error of our own in deciding ends the run: nobody would ever decide again."""
    try:
        async with conn.transaction():
            return await _go_on(ctx, conn, asset, run, now)
    except (ArithmeticError, AssertionError, AttributeError, LookupError, TypeError, ValueError) as error:
        log.exception("run %s met an error of our own", run.id)
        await fail(conn, asset, run, now, {"code": "internal", "message": OWN_ERROR, "kind": type(error).__name__})
        return "failed"


async def _go_on(ctx: Context, conn: Conn, asset: Asset, run: Job, now: datetime) -> str:
    stages = await jobs.children(conn, run.id)
    if (stage := agenda.lost(stages)) is not None:
        ended = {"code": "stage_failed", "message": f"The stage {stage.type!r} ended as {stage.state}."}
        await fail(conn, asset, run, now, stage.problem or ended)
        return "failed"
    wish = agenda.wished(run.arguments, await _outdated(conn, asset, run))
    facts = _facts(asset, stages, wish)
    items = agenda.agenda(facts, asset.size, _picture(ctx, stages), wish)
    await jobs.weigh(conn, run.id, agenda.weight(items, facts, asset.size))
    await jobs.sum_up(conn, run.id, now)
    if facts is not None and agenda.complete(items, stages):
        if wish is not None and asset.published_job_id is not None:
            # What comes late keeps its older self until then (see `storing.py`), unless it is not made any more.
            anew = wish - agenda.LATE if agenda.late(items) else wish
            await renditions.take_over(conn, asset.published_job_id, run.id, sorted(anew))
        await publish(ctx, conn, asset, run, items, now)
        return "published"
    await _start(ctx, conn, run, agenda.due(items, stages), now)
    return "running"


def _picture(ctx: Context, stages: Sequence[Job]) -> agenda.Picture:
    """What the plan says that copying has made; without a picture to encode there are no spans of it."""
    second = bool(ctx.settings.video_second)
    for stage in stages:
        if stage.type == "copy" and (plan := stage.result.get("plan")):
            return agenda.Picture(spans=len(plan["spans"]) if plan["targets"] else 0, extra=second)
    return agenda.Picture(extra=second)


async def _outdated(conn: Conn, asset: Asset, run: Job) -> set[str]:
    """The stages whose renditions in the published run are of an older recipe than today's."""
    if not run.arguments.get("outdated") or asset.published_job_id is None:
        return set()
    made = await renditions.of_job(conn, asset.published_job_id)
    return {row.stage for row in made if is_outdated(row)}


def _facts(asset: Asset, stages: Sequence[Job], wish: agenda.Wish) -> Json | None:
    """What is known about the file: by this run, if it is to find out."""
    known = (wish is not None and "identify" not in wish) or any(
        stage.type == "identify" and stage.state is JobState.SUCCEEDED for stage in stages
    )
    return (asset.media or {}) if known else None


async def _start(ctx: Context, conn: Conn, run: Job, items: Sequence[Item], now: datetime) -> None:
    for item in items:
        await _add(ctx, conn, queued_job(run, item.type, now, number=item.number, weight=item.weight), now)


async def _add(ctx: Context, conn: Conn, stage: Job, now: datetime) -> None:
    if await add_job(conn, stage, now) == stage.id:
        await ctx.engine.enqueue(conn, stage_work(stage))


async def _start_late(ctx: Context, conn: Conn, asset: Asset, run: Job, now: datetime) -> None:
    """The second set's spans, when nothing else waits; its plan comes with the first of them."""
    plan = plan_second(MediaInfo.from_json(asset.media or {}), video_settings(ctx.settings))
    for span in plan.spans if plan is not None else ():
        arguments = {"plan": plan.to_json()} if plan is not None and not span.number else {}
        stage = queued_job(run, "extra", now, number=span.number, arguments=arguments)
        await _add(ctx, conn, replace(stage, priority=agenda.LOWEST), now)


async def _late_ended(ctx: Context, conn: Conn, asset: Asset, run: Job, now: datetime) -> None:
    """Let the second set go on. Without one of its spans it is nothing: then the others stop."""
    stages = [stage for stage in await jobs.children(conn, run.id, lock=True) if stage.type in agenda.LATE]
    if any(stage.state in agenda.FAILED for stage in stages):
        await end_open(conn, stages, now, "another span of the second set failed")
    elif any(stage.type == "extra_join" and stage.state is JobState.SUCCEEDED for stage in stages):
        await _tidy(ctx, conn, asset, f"late-{run.id}")
    elif agenda.late_join(stages):
        await _add(ctx, conn, replace(queued_job(run, "extra_join", now), priority=agenda.LOWEST), now)


async def _tidy(ctx: Context, conn: Conn, asset: Asset, of: str) -> None:
    """Remove the pieces of spans that have become one."""
    await ctx.engine.enqueue(conn, Work("tidy", f"tidy-{of}", (str(asset.id), asset.epoch), asset.tenant))


async def publish(ctx: Context, conn: Conn, asset: Asset, run: Job, items: Sequence[Item], now: datetime) -> None:
    """The move to `published`: the pointer to this run's renditions, the job, the event."""
    made = await renditions.of_job(conn, run.id)
    await assets.move(conn, asset, AssetState.PUBLISHED, now, published_job_id=run.id, published_at=now, problem=None)
    await end_job(conn, run, JobState.SUCCEEDED, now, "published")
    await events.append(
        conn,
        "asset_published",
        asset,
        now,
        job_id=str(run.id),
        sha256=asset.sha256,
        renditions=[rendition.name for rendition in made],
        seconds=round((now - run.created_at).total_seconds(), 3),
    )
    if agenda.late(items):
        await _start_late(ctx, conn, asset, run, now)
    if any(item.type == "join" for item in items):
        await _tidy(ctx, conn, asset, str(run.id))


async def fail(conn: Conn, asset: Asset, run: Job, now: datetime, problem: Json) -> None:
    """End the run: its stages stop; the asset shows why, unless something published stays readable.

    The digest goes on by itself: the original is kept, so its SHA-256 is wanted, whatever the media is like.
    """
    await end_job(conn, run, JobState.FAILED, now, problem["message"], problem)
    await stop_run(conn, asset, now, spare="digest")
    kept = asset.published_job_id is not None and problem["code"] != "original_corrupt"
    await assets.move(
        conn,
        asset,
        AssetState.PUBLISHED if kept else AssetState.FAILED,
        now,
        problem=problem,
        **({"job_id": asset.published_job_id} if kept else {}),
    )
    await events.append(conn, "processing_failed", asset, now, job_id=str(run.id), **problem)
