"""Two that end a run at the same moment, a few dozen times: one wins, the other finds it done, nobody waits for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import psycopg
import pytest

from rushes.config import Settings
from rushes.db import assets as asset_rows
from rushes.errors import Conflict
from rushes.ingest import assets, process, reprocess
from rushes.ingest.context import Context
from rushes.model import JobState, Principal, Role
from rushes.pipeline import stages
from rushes.pipeline.runs import Ownership, Replaced
from tests.pipeline.equipment import claimed, end_run, ingest_without_worker, picture, rows

WHO = Principal("races", "rita", Role.OPERATOR, "studio")
ROUNDS = 30
PROBLEM = {"code": "undecodable", "message": "This is no film."}
SHA256 = "0" * 64
Ending = Callable[[Context, Ownership, Ownership], Awaitable[object]]


async def digest_ends(ctx: Context, owner: Ownership, stage: Ownership) -> object:
    """The last stage: the run publishes."""
    async with stage.fenced() as conn:
        await asset_rows.change(conn, stage.job.asset_id, ctx.now(), sha256=SHA256)
    return await stages._end(stage, JobState.SUCCEEDED, "done", None)


async def run_fails(ctx: Context, owner: Ownership, stage: Ownership) -> None:
    await end_run(owner, dict(PROBLEM))


async def run_is_cancelled(ctx: Context, owner: Ownership, stage: Ownership) -> object:
    return await process.cancel_job(ctx, WHO, owner.job.id)


async def stage_is_cancelled(ctx: Context, owner: Ownership, stage: Ownership) -> object:
    return await process.cancel_job(ctx, WHO, stage.job.id)


async def asset_is_deleted(ctx: Context, owner: Ownership, stage: Ownership) -> None:
    await assets.delete(ctx, WHO, owner.job.asset_id)
    await assets.remove(ctx, owner.job.asset_id)


RACES: dict[str, tuple[Ending, ...]] = {
    "failing against a digest that ends": (run_fails, digest_ends),
    "publishing against cancelling": (digest_ends, run_is_cancelled),
    "deleting against a stage that ends": (asset_is_deleted, digest_ends),
    "all at once": (digest_ends, run_fails, run_is_cancelled, stage_is_cancelled, asset_is_deleted),
}


@pytest.mark.parametrize("race", RACES)
async def test_whoever_wins_no_row_is_stuck(apart: Settings, alone: Context, race: str) -> None:
    """The endings start in another order each time. Nothing but "it is over" may come of losing: no deadlock, no wait."""
    deadlocks = await _deadlocks(apart)
    upload = await ingest_without_worker(alone, WHO, picture(5), "a.png")
    asset_id = upload.asset_id
    for round_ in range(ROUNDS):
        owner, first, stage = await claimed(alone, asset_id, "identify", "digest")
        await rows(alone, "UPDATE assets SET sha256 = %s WHERE id = %s RETURNING 1", SHA256, asset_id)
        assert await stages._end(first, JobState.SUCCEEDED, "done", None) == "succeeded"
        endings = RACES[race]
        turn = round_ % len(endings)
        async with asyncio.timeout(10):
            found = await asyncio.gather(
                *(ending(alone, owner, stage) for ending in endings[turn:] + endings[:turn]), return_exceptions=True
            )
        unexpected = [
            error for error in found if isinstance(error, BaseException) and not isinstance(error, Replaced | Conflict)
        ]
        assert unexpected == []
        waiting = "SELECT type, state FROM jobs WHERE asset_id = %s AND state IN ('queued', 'running')"
        assert await rows(alone, waiting, asset_id) == [], found
        ((state,),) = await rows(alone, "SELECT state FROM assets WHERE id = %s", asset_id)
        assert state in {"published", "failed", "deleted"}
        if state == "deleted":
            upload = await ingest_without_worker(alone, WHO, picture(5), "a.png")
            asset_id = upload.asset_id
        else:
            await reprocess.reprocess(alone, WHO, asset_id)
    assert await _deadlocks(apart) == deadlocks


async def _deadlocks(settings: Settings) -> int:
    """How often the server had to break one in this database."""
    assert settings.database_url is not None
    url = settings.database_url.get_secret_value()
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as conn:
        await conn.execute("SELECT pg_stat_force_next_flush()")
        cursor = await conn.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()")
        row = await cursor.fetchone()
        assert row is not None
        return int(row[0])
