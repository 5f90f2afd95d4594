"""Whose work comes first: a tenant with many files leaves room for another's one; and which queues are looked into."""

from __future__ import annotations

import asyncio
import threading

from rushes import main
from rushes.config import Settings
from rushes.ingest.context import Context, Work
from rushes.model import AssetState, Principal, Role
from rushes.pipeline.bells import Bell, keep_ringing, waiting
from rushes.pipeline.outbox import SqlEngine
from rushes.pipeline.queues import QUEUES, queue_of
from rushes.tasks import put_down
from tests.conftest import ROUNDS
from tests.pipeline.equipment import database_apart, ingest_without_worker, picture, rows, settled, worker

MANY = 20 if ROUNDS == 1 else 200
WORK = [
    *(
        Work(name, f"{name}-1", ("1",), "acme")
        for name in ("finalize", "verify", "process", "copy", "discard", "sweep")
    ),
    *(Work("stage", f"stage-{type_}", ("1",), "acme", stage=type_) for type_ in ("poster", "digest", "encode")),
]


async def test_one_file_does_not_wait_for_another_tenants_many(settings: Settings) -> None:
    many, one = (Principal(tenant, "sid", Role.OPERATOR, "studio") for tenant in ("many", "one"))
    with database_apart(settings) as found:
        async with main.open_context(found) as ctx:
            for seed in range(MANY):
                await ingest_without_worker(ctx, many, picture(seed), "a.png")
            last = await ingest_without_worker(ctx, one, picture(MANY), "a.png")
            async with worker(found):
                asset = await settled(ctx, last.asset_id)
            assert asset.state is AssetState.PUBLISHED, asset.problem
            begun = "SELECT tenant FROM jobs WHERE type = 'identify' AND started_at IS NOT NULL ORDER BY started_at"
            assert (await rows(ctx, begun)).index(("one",)) < MANY / 2, "its first stage waited for those of many"
            ended = await rows(ctx, "SELECT tenant FROM assets WHERE state = 'published' ORDER BY published_at")
            assert ended.index(("one",)) < MANY / 2, "the asset of one waited for those of many"


async def test_a_look_finds_the_queues_in_which_something_waits(settings: Settings) -> None:
    """A workflow's name is not its queue's; what is delayed, runs or has ended waits no more."""
    names = [queue.name for queue in QUEUES]
    assert {queue_of(work).name for work in WORK} == set(names), "each queue has its work here"
    with database_apart(settings) as found:
        async with main.open_context(found) as ctx:
            assert await waiting(ctx.db, names) == []
            async with ctx.db.transaction() as conn:
                await SqlEngine().enqueue(conn, Work("discard", "later", ("1",), "acme", delay=1_000))
            for work in WORK:
                await enqueue(ctx, work)
                assert await waiting(ctx.db, names) == [queue_of(work).name]
                assert await waiting(ctx.db, [name for name in names if name != queue_of(work).name]) == []
                await rows(
                    ctx, "UPDATE dbos.workflow_status SET status = 'PENDING' WHERE status = 'ENQUEUED' RETURNING 1"
                )
            for work in WORK:
                await enqueue(ctx, Work(work.workflow, f"{work.id}-again", work.args, work.tenant, stage=work.stage))
            assert sorted(await waiting(ctx.db, names)) == sorted(names)


async def test_a_bell_rings_while_something_waits_and_at_the_end(settings: Settings) -> None:
    with database_apart(settings) as found:
        async with main.open_context(found) as ctx:
            bells = {name: Bell(0.0) for name in ("stage", "read")}
            ringing = asyncio.create_task(keep_ringing(ctx.db, bells))
            await enqueue(ctx, WORK[-1])
            assert queue_of(WORK[-1]).name == "stage"
            for _ in range(2):  # until it is taken
                assert not await asyncio.to_thread(bells["stage"].wait, 60)
            ended = threading.Thread(target=bells["read"].wait)
            ended.start()
            bells["read"].end()
            await asyncio.to_thread(ended.join, 60)
            assert not ended.is_alive()
            assert bells["read"].is_set()
            await put_down([ringing])


async def enqueue(ctx: Context, work: Work) -> None:
    async with ctx.db.transaction() as conn:
        await ctx.engine.enqueue(conn, work)
