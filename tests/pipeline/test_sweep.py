"""Sweeps by real workers: one a slot however many there are, taken over when a worker is killed in the middle."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from uuid import uuid4

from rushes import main
from rushes.config import Settings
from rushes.ingest import assets
from rushes.ingest.context import Context
from rushes.model import Principal, Role, Upload, new_id
from rushes.plan import MIN_PART
from rushes.storage import asset_prefix, original_key
from tests.ingest.equipment import some_bytes
from tests.ingest.leftovers import apart
from tests.pipeline.equipment import ingest_without_worker, picture, rows, send, started, until, worker

MANY = 160  # multipart uploads: enough for a sweep to be met in their midst
WHO = Principal("acme", "olga", Role.OPERATOR, "studio")


async def multiparts(ctx: Context) -> set[str]:
    place = ctx.storage.originals
    listed = ctx.storage.s3.list_multipart_uploads(place.bucket, place.prefix)
    return {item.storage_upload_id async for item in listed}


async def test_two_workers_sweep_each_slot_once_and_an_expired_upload_goes(settings: Settings) -> None:
    data = some_bytes(MIN_PART + 1_000, seed=9)
    with apart(settings, sweep_seconds=1, sweep_grace_seconds=86_400) as found:
        async with main.open_context(found) as ctx, worker(found), worker(found):
            idle, _ = await send(ctx, WHO, data, "idle.mov")
            live, _ = await send(ctx, WHO, data, "live.mov")
            await rows(ctx, "UPDATE uploads SET expires_at = now() WHERE id = %s RETURNING 1", idle.id)

            async def gone() -> bool:
                (state,) = await rows(ctx, "SELECT state FROM uploads WHERE id = %s", idle.id)
                return state == ("expired",) and len(await multiparts(ctx)) == 1

            await until(gone, 120, "the expired upload is not gone from storage")

            async def enough() -> bool:
                ((count,),) = await rows(ctx, "SELECT count(*) FROM sweeps WHERE finished_at IS NOT NULL")
                return int(count) >= 4

            await until(enough, 120, "there are no four sweeps")
        async with main.open_context(found) as ctx:
            ran = await rows(ctx, "SELECT status FROM dbos.workflow_status WHERE name = 'sweep'")
            assert {status for (status,) in ran} <= {"SUCCESS", "PENDING", "ENQUEUED"}  # the last was perhaps stopped
            reports = await rows(
                ctx, "SELECT started_at, finished_at FROM sweeps WHERE finished_at IS NOT NULL ORDER BY 1"
            )
            assert len(reports) >= 4
            assert len(ran) >= len(reports)
            assert all(after[0] >= before[1] for before, after in pairwise(reports)), "two at once"
            ((expired,),) = await rows(ctx, "SELECT count(*) FROM events WHERE type = 'upload_expired'")
            assert expired == 1
            ((state,),) = await rows(ctx, "SELECT state FROM uploads WHERE id = %s", live.id)
            assert state == "uploading"


async def test_a_sweep_and_a_removal_whose_worker_is_killed_are_finished_by_another(
    settings: Settings, round_: int
) -> None:
    data = some_bytes(1_000, seed=round_)
    with apart(settings, sweep_seconds=7_200, sweep_grace_seconds=0.2, takeover_seconds=2) as found:
        async with main.open_context(found) as ctx:
            live, request = await send(ctx, WHO, data, "live.mov")
            deleted = await deleted_asset(ctx)
            place = ctx.storage.originals
            make = ctx.storage.s3.create_multipart
            for _ in range(0, MANY, 40):
                keys = [original_key(place, WHO.tenant, f"ghost-{uuid4().hex[:6]}", new_id()) for _ in range(40)]
                await asyncio.gather(*(make(place.bucket, key) for key in keys))
            await asyncio.sleep(1.2)  # storage tells times in whole seconds; the grace is shorter than that

            async with started(found) as killed:

                async def amid() -> bool:
                    return len(await multiparts(ctx)) < MANY + 1

                await until(amid, 120, "the sweep does not begin")
                killed.kill()
                await killed.wait()
            left = len(await multiparts(ctx))
            print(f"killed with {left - 1} of {MANY} left")
            (row,) = await rows(ctx, "SELECT finished_at FROM sweeps")
            assert row == (None,), "the sweep was over before its worker could be killed"
            async with worker(found):

                async def finished() -> bool:
                    query = "SELECT status FROM dbos.workflow_status WHERE name = 'sweep'"
                    return await rows(ctx, query) == [("SUCCESS",)]

                await until(finished, 120, "nobody finishes the sweep")
            (row,) = await rows(ctx, "SELECT finished_at FROM sweeps")
            assert row != (None,)
            assert await multiparts(ctx) == {
                row[0] for row in await rows(ctx, "SELECT storage_upload_id FROM uploads WHERE id = %s", live.id)
            }
            assert len(request.done) == 1

            async def gone() -> bool:
                return await objects_of(ctx, deleted) == 0

            await until(gone, 120, "objects of a deleted asset are left")


async def deleted_asset(ctx: Context) -> Upload:
    """An asset that was deleted while no worker was there: its original and a hundred renditions wait to be removed."""
    upload = await ingest_without_worker(ctx, WHO, picture(7), "a.png")
    place = ctx.storage.renditions
    prefix = asset_prefix(place, WHO.tenant, WHO.creator, upload.asset_id)
    keys = [f"{prefix}1/{number}.jpg" for number in range(100)]
    await asyncio.gather(*(ctx.storage.s3.put_object(place.bucket, key, b"x", size=1) for key in keys))
    await assets.delete(ctx, WHO, upload.asset_id)
    assert await objects_of(ctx, upload) == 101
    return upload


async def objects_of(ctx: Context, upload: Upload) -> int:
    count = 0
    for place in (ctx.storage.originals, ctx.storage.renditions):
        prefix = asset_prefix(place, WHO.tenant, WHO.creator, upload.asset_id)
        count += len([item async for item in ctx.storage.s3.list_objects(place.bucket, prefix)])
    return count
