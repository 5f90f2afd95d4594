"""A stage that ends in the middle of things: cancelled, deleted, killed, or unheard when it said that it is done."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import pytest

from rushes import main
from rushes.config import Settings
from rushes.db import Conn, Database, jobs
from rushes.errors import Unavailable
from rushes.ingest import assets, process
from rushes.ingest.context import Context
from rushes.media.sandbox import detect
from rushes.model import AssetState, Principal, Role, Upload
from rushes.pipeline.runs import claim
from rushes.pipeline.stages import run_stage
from rushes.pipeline.work import Bench
from rushes.storage import asset_prefix
from tests.pipeline.equipment import (
    add_stage,
    claimed,
    database_apart,
    ingest_without_worker,
    picture,
    rows,
    settled,
    started,
    until,
    with_storage,
    worker,
)

WHO = Principal("stages", "sam", Role.OPERATOR, "studio")
Stopping = Callable[[Context, Upload], Awaitable[object]]


@pytest.fixture(scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    scratch = tmp_path_factory.mktemp("bench")
    scratch.chmod(0o711)  # as a worker's own directory: the sandbox's user goes through it
    return Bench(scratch, await detect())


async def ready_stage(ctx: Context, bench: Bench, type_: str) -> tuple[Upload, UUID]:
    """An identified picture's stage, waiting for somebody to run it."""
    upload = await ingest_without_worker(ctx, WHO, picture(8), "a.png")
    (run,) = await claimed(ctx, upload.asset_id)
    assert await run_stage(ctx, bench, str(await add_stage(ctx, run, "identify"))) == "succeeded"
    return upload, await add_stage(ctx, run, type_)


async def stored(ctx: Context, upload: Upload) -> list[str]:
    place = ctx.storage.renditions
    prefix = asset_prefix(place, upload.tenant, upload.creator, upload.asset_id)
    return [found.key async for found in ctx.storage.s3.list_objects(place.bucket, prefix)]


async def job_is_cancelled(ctx: Context, upload: Upload) -> None:
    ((job_id,),) = await rows(ctx, "SELECT job_id FROM assets WHERE id = %s", upload.asset_id)
    await process.cancel_job(ctx, WHO, job_id)


async def asset_is_deleted(ctx: Context, upload: Upload) -> None:
    await assets.delete(ctx, WHO, upload.asset_id)
    await assets.remove(ctx, upload.asset_id)


@pytest.mark.parametrize("stop", [job_is_cancelled, asset_is_deleted])
@pytest.mark.parametrize("moment", ["before", "after"])
async def test_what_is_stopped_while_it_stores_leaves_nothing(
    alone: Context, bench: Bench, stop: Stopping, moment: str
) -> None:
    """The stop comes right before, or right after, storage takes the first object."""
    upload, job_id = await ready_stage(alone, bench, "images")
    puts = 0

    async def put_object(*args: Any, **options: Any) -> Any:
        nonlocal puts
        puts += 1
        if puts == 1 and moment == "before":
            await stop(alone, upload)
        answer = await alone.storage.s3.put_object(*args, **options)
        if puts == 1 and moment == "after":
            await stop(alone, upload)
        return answer

    assert await run_stage(with_storage(alone, put_object=put_object), bench, str(job_id)) == "over"
    assert puts
    assert await stored(alone, upload) == []
    assert await rows(alone, "SELECT name FROM renditions WHERE asset_id = %s", upload.asset_id) == []


@dataclass(frozen=True)
class Unheard:
    """The real database, but the answer to the first commit that makes `done` true is lost on the way."""

    real: Database
    done: Callable[[], Awaitable[bool]]
    lost: list[bool]

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Conn]:
        async with self.real.transaction() as conn:
            yield conn
        if not self.lost and await self.done():
            self.lost.append(True)
            raise Unavailable("database_unavailable", "The database does not answer; try again shortly.")


async def test_an_end_whose_commit_was_not_heard_keeps_what_it_stored(alone: Context, bench: Bench) -> None:
    upload, job_id = await ready_stage(alone, bench, "images")

    async def ended() -> bool:
        return await rows(alone, "SELECT state FROM jobs WHERE id = %s", job_id) == [("succeeded",)]

    database = Unheard(alone.db, ended, [])
    deaf = replace(alone, db=database)  # type: ignore[arg-type] # the same but for the lost answer
    assert await run_stage(deaf, bench, str(job_id)) == "succeeded"
    assert database.lost
    made = await rows(alone, "SELECT key FROM renditions WHERE asset_id = %s ORDER BY key", upload.asset_id)
    assert made
    assert [key for (key,) in made] == await stored(alone, upload)


async def test_only_deaths_count_as_deaths(alone: Context, bench: Bench) -> None:
    """Retries after what passed, and workers that stopped in good order, do not use the stage's attempts up."""
    _, job_id = await ready_stage(alone, bench, "digest")
    for _ in range(alone.settings.job_attempts):
        own = await claim(alone, job_id)
        assert own is not None
        assert own.job.deaths == 0
        await own.log("attempt 1: storage was away", retry=True)
        async with alone.db.transaction() as conn:
            await jobs.put_back(conn, job_id, own.epoch)
    assert await run_stage(alone, bench, str(job_id)) == "succeeded"


async def test_a_stage_gives_up_when_its_deaths_reach_the_attempts(alone: Context, bench: Bench) -> None:
    _, job_id = await ready_stage(alone, bench, "digest")
    for deaths in range(alone.settings.job_attempts):
        own = await claim(alone, job_id)  # and nobody hears of this worker again
        assert own is not None
        assert own.job.deaths == deaths
    assert await run_stage(alone, bench, str(job_id)) == "failed"
    ended = "SELECT state, problem->>'code', deaths FROM jobs WHERE id = %s"
    assert await rows(alone, ended, job_id) == [("failed", "worker_lost", alone.settings.job_attempts)]


SLOW_QUEUE = """
CREATE FUNCTION dbos.think() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(1.5); RETURN NEW; END';
CREATE TRIGGER think BEFORE INSERT ON dbos.queues FOR EACH ROW WHEN (NEW.name = 'stage') EXECUTE FUNCTION dbos.think();
"""


async def test_work_that_waits_for_a_worker_does_not_begin_before_it_knows_all_queues(settings: Settings) -> None:
    """Queues are made known one after the other; on a busy machine the first was served before the last one was known."""
    with database_apart(settings) as found:
        async with main.open_context(found) as ctx:
            async with ctx.db.transaction() as conn:
                await conn.execute(SLOW_QUEUE.encode())
            upload = await ingest_without_worker(ctx, WHO, picture(8), "a.png")
            async with worker(found):
                asset = await settled(ctx, upload.asset_id)
            assert asset.state is AssetState.PUBLISHED, asset.problem


async def test_a_file_that_kills_its_workers_ends_as_failed(settings: Settings, clip: bytes) -> None:
    hurried = settings.model_copy(update={"takeover_seconds": 2.0, "job_attempts": 1})
    with database_apart(hurried) as found:
        async with main.open_context(found) as ctx:
            upload = await ingest_without_worker(ctx, WHO, clip, "a.mp4")
            running = "SELECT 1 FROM jobs WHERE asset_id = %s AND type = 'encode' AND state = 'running'"
            async with started(found) as victim:
                await until(lambda: rows(ctx, running, upload.asset_id), 30, "no transcode under way")
                victim.kill()
            async with worker(found):
                asset = await settled(ctx, upload.asset_id, 30)
                engine = "SELECT status FROM dbos.workflow_status WHERE status <> 'SUCCESS'"
                await until(lambda: none(ctx, engine), 30, "workflows that are not done")
            assert asset.state is AssetState.FAILED
            assert asset.problem is not None
            assert asset.problem["code"] == "worker_lost"
            lost = "SELECT state, problem->>'code' FROM jobs WHERE parent_id IS NULL"
            assert await rows(ctx, lost) == [("failed", "worker_lost")]
            # What the worker also worked on may have been found dead first; then its end cancelled the transcode.
            encode = "SELECT state FROM jobs WHERE type = 'encode'"
            assert await rows(ctx, encode) in ([("failed",)], [("cancelled",)])


async def test_an_original_that_was_read_before_it_counted_is_not_read_again(alone: Context, bench: Bench) -> None:
    """Unless it is processed anew after it was published: then it may have changed since."""
    data = picture(9)
    sha256 = hashlib.sha256(data).hexdigest()
    upload = await ingest_without_worker(alone, WHO, data, "a.png")
    change = "UPDATE assets SET sha256 = %s, published_at = %s WHERE id = %s RETURNING 1"
    reads = 0

    async def counted(*args: Any, **how: Any) -> AsyncIterator[bytes]:
        nonlocal reads
        reads += 1
        async for chunk in alone.storage.s3.get_range(*args, **how):
            yield chunk

    ctx = with_storage(alone, get_range=counted)
    for known, published, expected in ((sha256, None, 0), (None, None, 1), (sha256, alone.now(), 1)):
        await rows(alone, change, known, published, upload.asset_id)
        (run,) = await claimed(alone, upload.asset_id)
        reads = 0
        assert await run_stage(ctx, bench, str(await add_stage(alone, run, "digest"))) == "succeeded"
        assert reads == expected
        assert await rows(alone, "SELECT sha256 FROM assets WHERE id = %s", upload.asset_id) == [(sha256,)]
        await rows(alone, "DELETE FROM jobs WHERE parent_id = %s RETURNING 1", run.job.id)


async def none(ctx: Context, query: str) -> bool:
    return not await rows(ctx, query)
