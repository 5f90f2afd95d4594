"""process: identify ∥ digest → (proxies ∥ stills ∥ waveform) → publish.

Each stage is a job row and a child workflow, so any worker may run it and a person can read how far it is. Identifying
comes first because it says which stages there are; the digest reads the whole original meanwhile. One stage that fails for
good ends the run: the others stop, the original is kept, the reason is shown.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, jobs, renditions
from rushes.ingest.context import Context, Work
from rushes.ingest.process import add_job, end_job, queued_job, stop_run
from rushes.model import Asset, AssetState, JobState, Json
from rushes.pipeline.engine import Run
from rushes.pipeline.insist import insist
from rushes.pipeline.runs import Ownership, Replaced, claim, while_owned

log = logging.getLogger(__name__)

FIRST = ("identify", "digest")
LOOK = 0.25  # seconds between two looks at a stage's state
OWN_ERROR = "Processing met an error of our own; the worker's log has it."
WEIGHTS = {"identify": 1, "digest": 3, "proxies": 20, "stills": 3, "waveform": 2}  # of the run's progress


class Failed(Exception):
    """A stage has failed for good."""

    def __init__(self, problem: Json) -> None:
        super().__init__(problem)
        self.problem = problem


async def run_process(ctx: Context, run: Run, job_id: str) -> str:
    """Returns "published", "failed", or "over" when the run was cancelled or replaced.

    What it asks of the engine is to start its stages, in an order that the file alone decides; all else may run twice.
    """
    own = await insist(lambda: claim(ctx, UUID(job_id)))
    if own is None:
        return "over"
    expected = list(WEIGHTS)  # the stages there will be; until the file is identified, all that there are
    own.before_beat = lambda: _sum_up(own, expected)
    try:
        await while_owned(own, _stages(ctx, run, own, expected))
        return await insist(lambda: _publish(own))
    except Replaced:
        return "over"
    except Failed as failure:
        problem = failure.problem
    except Exception as error:
        log.exception("job %s met an error of our own", own.job.id)
        problem = {"code": "internal", "message": OWN_ERROR, "kind": type(error).__name__}
    return await insist(lambda: _fail(own, problem))


async def _stages(ctx: Context, run: Run, own: Ownership, expected: list[str]) -> None:
    started = [await _start(run, own, stage) for stage in FIRST]
    await _succeeded(ctx, started[0])
    asset = await insist(lambda: _asset(ctx, own))
    expected[:] = [*FIRST, *stages_of(asset.media or {})]
    for stage in expected[len(FIRST) :]:
        started.append(await _start(run, own, stage))  # noqa: PERF401 - one after the other: the engine numbers them
    for child in started[1:]:
        await _succeeded(ctx, child)


async def _asset(ctx: Context, own: Ownership) -> Asset:
    async with ctx.db.transaction() as conn:
        asset = await assets.load(conn, own.job.asset_id)
    assert asset is not None, "jobs refer to their asset"
    return asset


def stages_of(media: Json) -> tuple[str, ...]:
    """The stages after identifying that a file with these facts gets; quick ones first, for they are read as they come."""
    kind = media.get("kind")
    if kind == "image":
        return ("stills",)
    sound = ("waveform",) if media.get("audio") else ()
    return ("stills", *sound, "proxies") if kind == "video" else sound


async def _start(run: Run, own: Ownership, stage: str) -> UUID:
    """Start a stage, or find the one that was started before; returns its job's id."""
    child = await insist(lambda: _add_row(own, stage))
    await run.start(Work("stage", f"stage-{child}", (str(child),), own.job.tenant, own.job.priority))
    return child


async def _add_row(own: Ownership, stage: str) -> UUID:
    async with own.fenced() as conn:
        now = own.ctx.now()
        return await add_job(conn, queued_job(own.job, stage, now), now)


async def _succeeded(ctx: Context, child: UUID) -> None:
    """Wait until the stage has succeeded; one that failed ends the run through `_sum_up`, whichever it is."""

    async def state() -> JobState:
        async with ctx.db.transaction() as conn:
            job = await jobs.load(conn, child)
        assert job is not None, "inserted before its workflow was started"
        return job.state

    while await insist(state) is not JobState.SUCCEEDED:  # noqa: ASYNC110 - another process sets it, in the database
        await asyncio.sleep(LOOK)


async def _sum_up(own: Ownership, expected: Sequence[str]) -> None:
    """The run's progress is its stages', weighted; a stage that ended badly ends the run."""
    async with own.ctx.db.transaction() as conn:
        children = await jobs.children(conn, own.job.id)
    for child in children:
        if child.state in {JobState.FAILED, JobState.CANCELLED}:
            ended = {"code": "stage_failed", "message": f"The stage {child.type!r} ended as {child.state}."}
            raise Failed(child.problem or ended)
    done = sum(WEIGHTS[child.type] * child.progress for child in children)
    own.report(done / sum(WEIGHTS[stage] for stage in expected) * 0.99, "processing")


async def _publish(own: Ownership) -> str:
    """The move to `published`, in one transaction: the pointer to this run's renditions, the job, the event."""
    now = own.ctx.now()
    async with own.fenced() as conn:
        asset = await _current(conn, own)
        made = await renditions.of_job(conn, own.job.id)
        await assets.move(
            conn, asset, AssetState.PUBLISHED, now, published_job_id=own.job.id, published_at=now, problem=None
        )
        await end_job(conn, own.job, JobState.SUCCEEDED, now, "published")
        await events.append(
            conn,
            "asset_published",
            asset,
            now,
            job_id=str(own.job.id),
            sha256=asset.sha256,
            renditions=[rendition.name for rendition in made],
            seconds=round((now - own.job.created_at).total_seconds(), 3),
        )
    return "published"


async def _fail(own: Ownership, problem: Json) -> str:
    """End the run: its stages stop; the asset shows why, unless something published stays readable.

    The digest goes on by itself: the original is kept, so its SHA-256 is wanted, whatever the media is like.
    """
    now = own.ctx.now()
    try:
        async with own.fenced() as conn:
            asset = await _current(conn, own)
            await end_job(conn, own.job, JobState.FAILED, now, problem["message"], problem)
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
            await events.append(conn, "processing_failed", asset, now, job_id=str(own.job.id), **problem)
    except Replaced:
        return "over"
    return "failed"


async def _current(conn: Conn, own: Ownership) -> Asset:
    """The asset, locked, if this is its current run."""
    asset = await assets.load(conn, own.job.asset_id, lock=True)
    if asset is None or asset.job_id != own.job.id or asset.state is not AssetState.PROCESSING:
        raise Replaced
    return asset
