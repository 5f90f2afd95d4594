"""Sweep: every kind of leftover made for real, found, announced, removed; and nothing that anybody owns is touched."""

from __future__ import annotations

from collections.abc import AsyncIterator
from copy import copy
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from rushes.config import Settings
from rushes.ingest import assets
from rushes.ingest.abort import discard
from rushes.ingest.reclaimed import Kind, Sum
from rushes.ingest.sweep import latest, sweep_now
from rushes.plan import MIN_PART
from rushes.storage import S3, Credentials, Endpoint, Place, asset_prefix
from tests.ingest.equipment import TWO_PARTS, Desk, Json, some_bytes
from tests.ingest.leftovers import (
    A_DAY,
    TWO_WEEKS,
    a_key,
    at,
    desk_apart,
    incoming_key,
    lost_multipart,
    multiparts,
    objects,
    of,
    put,
    storage_id,
    swept,
    swept_as_announced,
)

DATA = some_bytes(TWO_PARTS, seed=5)
SMALL = DATA[:1_000]


@pytest.fixture(scope="module")
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    """A desk whose database and places nobody else uses: sweeps look at everything."""
    async with desk_apart(settings) as opened:
        yield opened


# --- multipart uploads that no session owns ---------------------------------------------------------------------------


async def test_multipart_uploads_without_a_session_are_aborted(desk: Desk) -> None:
    ann, storage = desk.person(), desk.ctx.storage
    live = await ann.begin(len(DATA), part_size=MIN_PART)
    done = await ann.send(live, DATA)
    ((key,),) = await desk.sql("SELECT key FROM uploads WHERE id = %(id)s", id=live["upload_id"])
    lost = {
        await lost_multipart(desk, storage.originals, a_key(desk, ann.who), SMALL),  # nobody's
        await lost_multipart(desk, storage.originals, key),  # the loser of a race for the first grant
        await lost_multipart(desk, storage.incoming, f"{storage.incoming.prefix}probe-{uuid4()}"),
    }
    foreign = {
        await lost_multipart(desk, storage.incoming, f"{storage.incoming.prefix}photos/2024/{uuid4()}/holiday.jpg"),
        await lost_multipart(desk, Place("rushes-originals", ""), f"somebody-elses/{uuid4()}"),
        await lost_multipart(desk, storage.originals, f"{storage.originals.prefix}not/ours/at/all"),
        await lost_multipart(desk, storage.originals, f"{a_key(desk, ann.who)}-of-mine"),
    }
    assert of(await swept_as_announced(desk, timedelta(hours=23)), ann.who) == {}
    report = await swept_as_announced(desk, A_DAY)
    assert of(report, ann.who) == {Kind.LOST_UPLOADS: Sum(2, len(SMALL))}
    assert report.tenants[""][Kind.LOST_UPLOADS] == Sum(1, 0)
    left = await multiparts(desk) | {
        item.storage_upload_id
        async for item in storage.s3.list_multipart_uploads("rushes-originals", "somebody-elses/")
    }
    assert not left & lost
    assert foreign | {await storage_id(desk, live)} <= left
    assert (await ann.complete(live, done)).status_code == 202
    assert await desk.finalize(live["upload_id"]) == "ingested"


async def test_a_multipart_upload_behind_a_rendition_that_is_there_is_kept(desk: Desk) -> None:
    """SeaweedFS keeps the bytes of an object where its multipart upload had them, should it fail to forget that one."""
    ann, place = desk.person(), desk.ctx.storage.renditions
    prefix = asset_prefix(place, ann.who.tenant, ann.who.creator, uuid4())
    there, gone = (f"{prefix}1/{name}.mp4" for name in ("there", "gone"))
    await put(desk, place, there)
    kept, lost = [await lost_multipart(desk, place, key, SMALL) for key in (there, gone)]
    assert of(await swept_as_announced(desk, A_DAY), ann.who) == {Kind.LOST_UPLOADS: Sum(1, len(SMALL))}
    left = await multiparts(desk)
    assert kept in left
    assert lost not in left


async def test_what_a_run_is_writing_is_kept(desk: Desk) -> None:
    """A transcode may last for days; what an earlier run of it began is nobody's."""
    ann, place = desk.person(), desk.ctx.storage.renditions
    upload = await ann.ingest(SMALL)
    prefix = asset_prefix(place, ann.who.tenant, ann.who.creator, UUID(upload["asset_id"]))
    running = "UPDATE jobs SET state = %(state)s, epoch = 4 WHERE asset_id = %(id)s"
    await desk.sql(running, state="running", id=upload["asset_id"])
    earlier, mine = [await lost_multipart(desk, place, f"{prefix}{epoch}/1080p.mp4", SMALL) for epoch in (3, 4)]
    for state, gone in (("running", earlier), ("succeeded", mine)):
        await desk.sql(running, state=state, id=upload["asset_id"])
        assert of(await swept_as_announced(desk, A_DAY), ann.who) == {Kind.LOST_UPLOADS: Sum(1, len(SMALL))}
        assert gone not in await multiparts(desk)
        assert (mine in await multiparts(desk)) is (gone == earlier)


async def test_an_aborted_upload_is_left_to_its_own_discard_for_a_day(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(SMALL))
    await ann.send(upload, SMALL)
    storage = await storage_id(desk, upload)
    await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")
    assert of(await swept_as_announced(desk, timedelta(hours=23)), ann.who) == {}
    assert of(await swept_as_announced(desk, A_DAY), ann.who) == {Kind.LOST_UPLOADS: Sum(1, len(SMALL))}
    assert storage not in await multiparts(desk)


# --- the incoming place -----------------------------------------------------------------------------------------------


async def test_objects_in_the_incoming_place_without_a_session_are_deleted(desk: Desk) -> None:
    ann, place = desk.person(), desk.ctx.storage.incoming
    live, given_up = await ann.begin(), await ann.begin()
    await ann.http.delete(f"/v1/uploads/{given_up['upload_id']}")
    published = await ann.ingest(SMALL)
    lost = {
        await put(desk, place, incoming_key(desk, ann.who, given_up["asset_id"], "parts/1")),
        await put(desk, place, incoming_key(desk, ann.who, published["asset_id"], "parts/1")),
        await put(desk, place, incoming_key(desk, ann.who, uuid4(), f"slices/3/{uuid4()}")),
        await put(desk, place, incoming_key(desk, ann.who, live["asset_id"], f"slices/1/{uuid4()}")),
        await put(desk, place, f"{place.prefix}probe-{uuid4()}"),
    }
    _, held = await put(desk, place, incoming_key(desk, ann.who, live["asset_id"], f"slices/1/{uuid4()}"))
    kept = {
        (place.bucket, held),
        await put(desk, place, f"{place.prefix}readme.txt"),
        await put(desk, place, f"{place.prefix}photos/2024/{uuid4()}/holiday.jpg"),  # another program's
        await put(desk, place, incoming_key(desk, ann.who, uuid4(), "anything/at/all")),
    }
    for upload, key in ((live, held), (given_up, f"{held}-of-another")):
        await desk.sql(
            """INSERT INTO slices (upload_id, number, checksum, total, start, length, crc, bucket, key, created_at)
            VALUES (%(upload)s, 1, '', 9, 0, 1, '', %(bucket)s, %(key)s, now())""",
            upload=upload["upload_id"],
            bucket=place.bucket,
            key=key,
        )
    assert of(await swept_as_announced(desk, timedelta(hours=23)), ann.who) == {}
    report = await swept_as_announced(desk, A_DAY)
    assert of(report, ann.who) == {Kind.LOST_OBJECTS: Sum(4, 4 * len(b"left behind")), Kind.SLICES: Sum(1)}
    assert report.tenants[""][Kind.LOST_OBJECTS].count == 1
    left = await objects(desk)
    assert not left & lost
    assert kept <= left
    assert await desk.sql("SELECT upload_id::text FROM slices") == [(live["upload_id"],)]


async def test_staged_parts_of_an_open_upload_stay(desk: Desk) -> None:
    ann, place = desk.person(), desk.ctx.storage.incoming
    upload = await ann.begin()
    await desk.sql("UPDATE uploads SET layout = 'staged' WHERE id = %(id)s", id=upload["upload_id"])
    part = await put(desk, place, incoming_key(desk, ann.who, upload["asset_id"], "parts/1"))
    assert of(await swept_as_announced(desk, timedelta(days=10)), ann.who) == {}
    assert part in await objects(desk)
    assert of(await swept_as_announced(desk, TWO_WEEKS), ann.who) == {Kind.EXPIRED: Sum(1, len(b"left behind"))}
    await discard(desk.ctx, UUID(upload["upload_id"]))
    assert part not in await objects(desk)


async def test_a_staged_upload_and_slices_of_parts_expire_with_all_they_have(desk: Desk) -> None:
    ann = desk.person()
    staged = await ann.begin(len(DATA), part_size=MIN_PART, layout="staged")
    await ann.ask(staged, done=await ann.send(staged, DATA, [1]))
    sliced = await ann.begin(len(DATA), part_size=MIN_PART)
    part, slice_ = DATA[:MIN_PART], 2**20
    headers = {"Content-Range": f"bytes 0-{slice_ - 1}/{MIN_PART}"}
    answer = await ann.http.put(f"/v1/uploads/{sliced['upload_id']}/parts/1", content=part[:slice_], headers=headers)
    assert answer.status_code == 202
    assert of(await swept_as_announced(desk, timedelta(days=13)), ann.who) == {}
    assert len(await objects_of(desk, staged)) == len(await objects_of(desk, sliced)) == 1
    report = await swept_as_announced(desk, TWO_WEEKS)
    assert of(report, ann.who) == {Kind.EXPIRED: Sum(2, MIN_PART + slice_)}
    for upload in (staged, sliced):
        await discard(desk.ctx, UUID(upload["upload_id"]))
        assert await objects_of(desk, upload) == []
    assert await desk.sql("SELECT 1 FROM slices WHERE upload_id = %(id)s", id=sliced["upload_id"]) == []
    assert await desk.quota(ann.who) == (0, 0, 0)


async def objects_of(desk: Desk, upload: Json) -> list[str]:
    return [key for _, key in await objects(desk) if upload["asset_id"] in key]


# --- discard ----------------------------------------------------------------------------------------------------------


async def test_discard_ends_with_nothing_left(desk: Desk) -> None:
    ann, storage = desk.person(), desk.ctx.storage
    upload = await ann.ingest(SMALL)
    id_ = UUID(upload["upload_id"])
    bucket, key, _ = await desk.in_storage(upload)
    await put(desk, storage.incoming, incoming_key(desk, ann.who, upload["asset_id"], "parts/7"))
    await discard(desk.ctx, id_)
    assert await storage.s3.head(bucket, key) is not None, "an ingested upload was discarded"
    await desk.sql("UPDATE uploads SET state = 'failed' WHERE id = %(id)s", id=id_)
    for _ in range(2):
        await discard(desk.ctx, id_)
    assert await storage.s3.head(bucket, key) is None
    assert await objects_of(desk, upload) == []


async def test_a_part_under_way_cannot_outlive_the_abort_for_long(desk: Desk) -> None:
    """Parts that are being sent while the upload is aborted: refused, gone, or found by the second discard."""
    import asyncio

    ann, data = desk.person(), some_bytes(4 * MIN_PART, seed=8)
    upload = await ann.begin(len(data), part_size=MIN_PART)
    grants = await ann.grants(upload, data)
    storage = await storage_id(desk, upload)
    parts = [data[at : at + MIN_PART] for at in range(0, len(data), MIN_PART)]
    sending = [asyncio.create_task(ann.put(grant, part)) for grant, part in zip(grants, parts, strict=True)]
    await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")
    await discard(desk.ctx, UUID(upload["upload_id"]))
    await asyncio.gather(*sending)
    await discard(desk.ctx, UUID(upload["upload_id"]))
    assert storage not in await multiparts(desk)


# --- originals and renditions -----------------------------------------------------------------------------------------


async def test_an_original_that_came_back_is_removed(desk: Desk) -> None:
    """A complete under way while its upload was failed, say: the object appears after the discard."""
    ann, storage = desk.person(), desk.ctx.storage
    upload = await ann.ingest(SMALL)
    await desk.sql("UPDATE uploads SET state = 'failed' WHERE id = %(id)s", id=upload["upload_id"])
    assert of(await swept_as_announced(desk, timedelta(hours=23)), ann.who) == {}
    assert of(await swept_as_announced(desk, A_DAY), ann.who) == {Kind.LOST_ORIGINALS: Sum(1, len(SMALL))}
    bucket, key, _ = await desk.in_storage(upload)
    assert await storage.s3.head(bucket, key) is None


async def test_what_was_left_of_a_deleted_asset_is_removed(desk: Desk) -> None:
    ann, storage = desk.person(), desk.ctx.storage
    upload, kept = await ann.ingest(SMALL), await ann.ingest(SMALL)
    await desk.sql("UPDATE assets SET epoch = 2 WHERE id = %(id)s", id=upload["asset_id"])
    prefix = incoming_key(desk, ann.who, upload["asset_id"], "").removeprefix(storage.incoming.prefix)
    await put(desk, storage.renditions, f"{storage.renditions.prefix}{prefix}1/poster.jpg")
    assert (await ann.http.delete(f"/v1/assets/{upload['asset_id']}")).status_code == 204
    assert await desk.quota(ann.who) == (len(SMALL), 0, 0)
    report = await swept_as_announced(desk, A_DAY)
    assert of(report, ann.who) == {
        Kind.LOST_ORIGINALS: Sum(1, len(SMALL)),
        Kind.LOST_RENDITIONS: Sum(1, len(b"left behind")),
    }
    left = {key for _, key in await objects(desk)}
    assert not [key for key in left if upload["asset_id"] in key]
    assert [key for key in left if kept["asset_id"] in key]
    assert of(await swept_as_announced(desk, 2 * A_DAY), ann.who) == {}
    await assets.remove(desk.ctx, UUID(kept["asset_id"]))
    assert [key for _, key in await objects(desk) if kept["asset_id"] in key], "an asset that lives was removed"


async def test_renditions_of_runs_that_lost_are_removed(desk: Desk) -> None:
    """Published by run 2 at epoch 5; run 1 was replaced, its rows are there; a zombie wrote at epoch 3 without rows."""
    ann, place = desk.person(), desk.ctx.storage.renditions
    upload = await ann.ingest(SMALL)
    asset_id = upload["asset_id"]
    prefix = place.prefix + incoming_key(desk, ann.who, asset_id, "").removeprefix(desk.ctx.storage.incoming.prefix)
    keys = {epoch: f"{prefix}{epoch}/poster.jpg" for epoch in (2, 3, 5, 9)}
    for key in (*keys.values(), f"{prefix}notes.txt"):
        await put(desk, place, key)
    ((first,),) = await desk.sql("SELECT job_id FROM assets WHERE id = %(id)s", id=asset_id)
    await desk.sql("UPDATE jobs SET state = 'succeeded' WHERE id = %(id)s", id=first)
    second = uuid4()
    await desk.sql(
        """INSERT INTO jobs (id, tenant, creator, asset_id, type, state, created_at)
        VALUES (%(id)s, %(tenant)s, %(creator)s, %(asset)s, 'process', 'running', now())""",
        id=second,
        tenant=ann.who.tenant,
        creator=ann.who.creator,
        asset=asset_id,
    )
    for job, epoch in ((first, 2), (second, 5)):
        await desk.sql(
            """INSERT INTO renditions (id, asset_id, job_id, name, type, content_type, bucket, key, size, checksum, created_at)
            VALUES (%(id)s, %(asset)s, %(job)s, 'poster.jpg', 'poster', 'image/jpeg', %(bucket)s, %(key)s, 1, '', now())""",
            id=uuid4(),
            asset=asset_id,
            job=job,
            bucket=place.bucket,
            key=keys[epoch],
        )
    await desk.sql(
        """UPDATE assets SET state = 'published', epoch = 5, job_id = %(job)s, published_job_id = %(job)s,
        sha256 = repeat('0', 64) WHERE id = %(id)s""",
        id=asset_id,
        job=second,
    )
    assert of(await swept_as_announced(desk, A_DAY), ann.who) == {}, "swept while a run goes on"
    await desk.sql("UPDATE jobs SET state = 'succeeded' WHERE id = %(id)s", id=second)
    assert of(await swept_as_announced(desk, timedelta(hours=23)), ann.who) == {}
    report = await swept_as_announced(desk, A_DAY)
    assert of(report, ann.who) == {Kind.LOST_RENDITIONS: Sum(2, 2 * len(b"left behind"))}
    left = {key for _, key in await objects(desk)}
    assert {keys[5], keys[9], f"{prefix}notes.txt"} <= left
    assert not {keys[2], keys[3]} & left
    assert await desk.sql("SELECT job_id FROM renditions WHERE asset_id = %(id)s", id=asset_id) == [(second,)]
    assert of(await swept_as_announced(desk, 2 * A_DAY), ann.who) == {}


@pytest.mark.parametrize("deleted", [False, True])
async def test_what_a_run_that_lost_wrote_late_goes_when_it_is_a_day_old(desk: Desk, deleted: bool) -> None:
    """Its asset has rested for days; the sweep that meets it comes too early, and does not forget it."""
    ann, place = desk.person(), desk.ctx.storage.renditions
    upload = await ann.ingest(SMALL)
    if deleted:
        assert (await ann.http.delete(f"/v1/assets/{upload['asset_id']}")).status_code == 204
        await assets.remove(desk.ctx, UUID(upload["asset_id"]))
    prefix = place.prefix + incoming_key(desk, ann.who, upload["asset_id"], "").removeprefix(
        desk.ctx.storage.incoming.prefix
    )
    await put(desk, place, f"{prefix}3/poster.jpg")
    rested = "UPDATE {} WHERE {} = %(id)s"
    await desk.sql(rested.format("jobs SET state = 'succeeded'", "asset_id"), id=upload["asset_id"])
    old = "assets SET epoch = 5, updated_at = now() - interval '3 days'"
    await desk.sql(rested.format(old, "id"), id=upload["asset_id"])
    assert of(await swept_as_announced(desk, timedelta(hours=1)), ann.who) == {}
    assert of(await swept_as_announced(desk, A_DAY), ann.who) == {Kind.LOST_RENDITIONS: Sum(1, len(b"left behind"))}
    assert of(await swept_as_announced(desk, 2 * A_DAY), ann.who) == {}


# --- retention --------------------------------------------------------------------------------------------------------


async def test_old_events_and_ended_workflows_are_forgotten(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest(SMALL)
    ids = await desk.enqueued(f"finalize-{upload['upload_id']}%")
    await desk.sql(
        """UPDATE dbos.workflow_status SET status = 'SUCCESS', completed_at = extract(epoch FROM now()) * 1000
        WHERE workflow_uuid = ANY(%(ids)s)""",
        ids=ids,
    )
    await swept_as_announced(desk, timedelta(days=6))
    assert await desk.enqueued(f"finalize-{upload['upload_id']}%") == ids
    report = await swept_as_announced(desk, timedelta(days=8))
    assert report.tenants[""][Kind.WORKFLOWS].count >= 1
    assert await desk.enqueued(f"finalize-{upload['upload_id']}%") == []
    for table in ("workflow_input", "workflow_output", "operation_outputs"):
        query = f"SELECT 1 FROM dbos.{table} WHERE workflow_uuid = ANY(%(ids)s)"  # noqa: S608
        assert await desk.sql(query, ids=ids) == []
    assert len(await desk.enqueued("process-%")) > 0, "a workflow that waits was forgotten"
    told = await desk.events(upload["upload_id"])
    await swept(desk, timedelta(days=89))
    assert await desk.events(upload["upload_id"]) == told
    await swept(desk, timedelta(days=91))
    assert await desk.events(upload["upload_id"]) == []


async def test_sweeps_leave_a_report(desk: Desk) -> None:
    ann = desk.person()
    await ann.begin()
    report = await swept(desk, timedelta(days=100))  # later than any other sweep here
    (row, *_) = await latest(desk.ctx, 1)
    assert row.report == report.to_json()
    assert row.finished_at is not None
    count = len(await latest(desk.ctx, 1_000))
    await swept(desk, TWO_WEEKS, dry=True)
    assert len(await latest(desk.ctx, 1_000)) == count


async def test_while_storage_is_away_rows_are_swept_and_the_rest_is_left_for_the_next_sweep(desk: Desk) -> None:
    ann, storage = desk.person(), desk.ctx.storage
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    await ann.ask(upload, done=await ann.send(upload, DATA, [1]))
    lost = await lost_multipart(desk, storage.originals, a_key(desk, ann.who), SMALL)
    moment = datetime.now(UTC) + TWO_WEEKS
    nowhere = Endpoint.parse("http://127.0.0.1:9", region="us-east-1", addressing="path")
    async with S3(nowhere, Credentials("a", "b"), attempts=1) as s3:
        away = copy(storage)
        away.s3 = s3
        report = await sweep_now(replace(at(desk.ctx, moment), storage=away), dry=False)
    assert report.problems["storage_unreachable"] >= 2
    assert of(report, ann.who) == {Kind.EXPIRED: Sum(1, MIN_PART)}  # as the ledger knows it
    assert (await ann.upload(upload))["state"] == "expired"
    assert lost in await multiparts(desk)
    assert of(await swept(desk, moment), ann.who) == {Kind.LOST_UPLOADS: Sum(1, len(SMALL))}


async def test_what_another_installation_owns_is_left_alone(desk: Desk) -> None:
    """Its database knows nothing of the uploads that this one's creators send to the same buckets."""
    ann = desk.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    await ann.send(upload, DATA, [1])
    lost = incoming_key(desk, ann.who, uuid4(), "parts/1")
    await put(desk, desk.ctx.storage.incoming, lost)
    await swept(desk, timedelta())
    settings = desk.ctx.settings
    places = {name: getattr(settings, name) for name in ("bucket_incoming", "bucket_originals", "bucket_renditions")}
    uploads, keys = await multiparts(desk), await objects(desk)
    async with desk_apart(settings, **places) as other:
        for dry in (True, False):
            report = await sweep_now(at(other.ctx, A_DAY), dry=dry)
            assert report.problems == {"place_shared": 2}
    assert uploads <= await multiparts(desk)  # the other's probe of the store may be under way
    assert keys <= await objects(desk)
    report = await swept(desk, A_DAY)
    assert report.of_kind(Kind.LOST_OBJECTS).count >= 1
    assert await storage_id(desk, upload) in await multiparts(desk)
