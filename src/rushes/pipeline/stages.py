"""Running a stage: claimed, tried again after what may pass, and ended. What a stage does is in `work.py`."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import shutil
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, jobs, renditions
from rushes.errors import Problem, Rejected, Unavailable
from rushes.ingest.abort import delete_listed
from rushes.ingest.context import Context
from rushes.ingest.process import end_job
from rushes.model import JobState, Json
from rushes.pipeline.insist import insist, may_pass
from rushes.pipeline.process import OWN_ERROR, stage_ended
from rushes.pipeline.runs import Ownership, Replaced, claim, while_owned
from rushes.pipeline.source import StoredSource
from rushes.pipeline.work import FUNCTIONS, Bench, Stage
from rushes.storage import pieces_prefix, rendition_prefix

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0  # seconds; doubles with each attempt, and is taken with full jitter


@dataclass(frozen=True, slots=True)
class _Failure:
    """How a stage ended for good. A dead letter: not by the file's fault as far as we can tell, and trying did not help."""

    message: str
    problem: Json
    dead_letter: bool


async def run_stage(ctx: Context, bench: Bench, job_id: str) -> str:
    """Returns "succeeded", "failed", or "over" when the job was cancelled or taken over."""
    own = await insist(lambda: claim(ctx, UUID(job_id)))
    if own is None:
        return "over"
    try:
        if own.job.deaths >= ctx.settings.job_attempts:
            raise Rejected("worker_lost", "The worker died each time it ran this stage; see the job's log.")
        await while_owned(own, _attempts(ctx, own, bench))
    except Replaced:
        await _clear(own)
        return "over"
    except asyncio.CancelledError:
        await _put_back(own)
        raise
    except Problem as problem:
        ended = _Failure(problem.message, _described(problem), problem.code == "worker_lost" or may_pass(problem))
    except Exception as error:
        log.exception("job %s (%s) met an error of our own", own.job.id, own.job.type)
        ended = _Failure(OWN_ERROR, {"code": "internal", "message": OWN_ERROR, "kind": type(error).__name__}, True)
    else:
        return await insist(lambda: _end(own, JobState.SUCCEEDED, "done", None))
    return await insist(lambda: _end(own, JobState.FAILED, ended.message, ended.problem, dead_letter=ended.dead_letter))


async def _attempts(ctx: Context, own: Ownership, bench: Bench) -> None:
    """Run the stage's function, again after what may pass: full-jitter backoff, up to `job_attempts` times."""
    for attempt in range(1, ctx.settings.job_attempts + 1):
        directory = bench.scratch / f"{own.job.id}-{own.epoch}-{attempt}"
        try:
            await _attempt(ctx, own, bench, directory)
            return
        except Problem as problem:
            log.warning("job %s (%s), attempt %d: %s", own.job.id, own.job.type, attempt, problem.message)
            if not may_pass(problem) or attempt == ctx.settings.job_attempts:
                raise
            text = f"attempt {attempt}: {problem.message}"
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        await insist(lambda: own.log(text, retry=True))  # noqa: B023 - awaited before the loop goes on
        await asyncio.sleep(random.uniform(0, FIRST_PAUSE * 2**attempt))  # noqa: S311 - jitter


async def _attempt(ctx: Context, own: Ownership, bench: Bench, directory: Path) -> None:
    async with ctx.db.transaction() as conn:
        asset = await assets.load(conn, own.job.asset_id)
    assert asset is not None, "jobs refer to their asset"
    source = StoredSource(ctx.storage.s3, asset.bucket, asset.key, asset.size, asset.etag)
    try:
        await asyncio.to_thread(directory.mkdir, parents=True, mode=0o700)
        await FUNCTIONS[own.job.type](Stage(ctx, bench, own, asset, source, directory))
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise Unavailable("disk_full", f"The disk that holds {bench.scratch} is full; make room.") from error


async def _end(
    own: Ownership, state: JobState, message: str, problem: Json | None, *, dead_letter: bool = False
) -> str:
    try:
        async with own.fenced() as conn:
            if problem is not None:
                await jobs.log(conn, own.job.id, _log_text(problem), own.ctx.now())
            await end_job(conn, own.job, state, own.ctx.now(), message, problem, dead_letter=dead_letter)
            await _let_go_on(own, conn)
    except Replaced:
        if not await _has_ended(own, state):
            await _clear(own)
            return "over"
    return str(state)


async def _let_go_on(own: Ownership, conn: Conn) -> None:
    asset = await assets.load(conn, own.job.asset_id, lock=True)
    if asset is not None and own.job.parent_id is not None:
        await stage_ended(own.ctx, conn, asset, own.job.parent_id, own.ctx.now())


async def _has_ended(own: Ownership, state: JobState) -> bool:
    """Whether this run has ended its job so already, in a commit whose answer was lost: what it stored is referred to."""
    async with own.ctx.db.transaction() as conn:
        job = await jobs.load(conn, own.job.id)
    return job is not None and (job.epoch, job.state) == (own.epoch, state)


async def _clear(own: Ownership) -> None:
    """Remove what this run has stored, rows first: another run makes it anew, or nobody wants it any more."""
    job, storage = own.job, own.ctx.storage
    prefix = rendition_prefix(storage.renditions, job.tenant, job.creator, job.asset_id, epoch=own.epoch)
    try:
        async with own.ctx.db.transaction() as conn:
            await renditions.delete_under(conn, storage.renditions.bucket, prefix)
        await delete_listed(
            own.ctx, storage.renditions.bucket, storage.s3.list_objects(storage.renditions.bucket, prefix)
        )
        pieces = f"{pieces_prefix(storage.incoming, job.tenant, job.creator, job.asset_id)}{own.epoch}/"
        await delete_listed(own.ctx, storage.incoming.bucket, storage.s3.list_objects(storage.incoming.bucket, pieces))
    except Problem as problem:
        log.warning("what job %s left under %s stays for now: %s", job.id, prefix, problem.message)


async def _put_back(own: Ownership) -> None:
    """The worker stops in good order: whoever runs this next is not making up for a death."""
    try:
        async with own.ctx.db.transaction() as conn:
            if await jobs.put_back(conn, own.job.id, own.epoch):
                await events.append_job(conn, own.job, JobState.QUEUED, own.ctx.now())
    except Problem as problem:
        log.warning("job %s could not be put back: %s", own.job.id, problem.message)


def _described(problem: Problem) -> Json:
    return {"code": problem.code, "message": problem.message} | problem.details


def _log_text(problem: Json) -> str:
    tool = problem.get("log")
    return f"{problem['message']}\n{tool}" if tool else str(problem["message"])
