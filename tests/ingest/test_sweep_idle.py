"""Sweep: uploads that make no progress are warned of, counted, expired; finalizing that stopped is started anew."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta
from uuid import UUID

import pytest

from rushes.config import Settings
from rushes.ingest.abort import discard
from rushes.ingest.finalize import hand_over
from rushes.ingest.reclaimed import Kind, Sum
from rushes.plan import MIN_PART
from tests.ingest.equipment import TWO_PARTS, Desk, problem, some_bytes
from tests.ingest.leftovers import (
    A_DAY,
    TWO_WEEKS,
    desk_apart,
    multiparts,
    of,
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


async def test_an_idle_upload_expires_and_leaves_nothing(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    await ann.send(upload, DATA, [1])
    id_ = upload["upload_id"]
    assert of(await swept(desk, timedelta(days=13)), ann.who) == {}
    report = await swept_as_announced(desk, TWO_WEEKS)
    assert of(report, ann.who) == {Kind.EXPIRED: Sum(1, MIN_PART)}
    assert (await ann.upload(upload))["state"] == "expired"
    problem(await ann.http.get(f"/v1/assets/{upload['asset_id']}"), 404, "asset_not_found")
    assert await desk.quota(ann.who) == (0, 0, 0)
    told = await desk.events(id_)
    assert told[-3:] == ["upload_expiring", "upload_abandoned", "upload_expired"]
    assert await desk.enqueued(f"discard-{id_}%") == [f"discard-{id_}"]
    problem(await ann.ask(upload), 409, "upload_expired")
    problem(await ann.complete(upload), 409, "upload_expired")
    storage = await storage_id(desk, upload)
    assert storage in await multiparts(desk)
    await discard(desk.ctx, UUID(id_))
    assert storage not in await multiparts(desk)
    assert of(await swept_as_announced(desk, TWO_WEEKS + A_DAY), ann.who) == {}


async def test_an_upload_that_nobody_ever_sent_to_expires_too(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin()
    assert of(await swept_as_announced(desk, TWO_WEEKS), ann.who) == {Kind.EXPIRED: Sum(1, 0)}
    assert (await ann.upload(upload))["state"] == "expired"
    assert await desk.quota(ann.who) == (0, 0, 0)


async def test_an_upload_that_finalizes_does_not_expire(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(SMALL))
    done = await ann.send(upload, SMALL)
    assert (await ann.complete(upload, done)).status_code == 202
    assert of(await swept(desk, TWO_WEEKS), ann.who) == {}
    assert await desk.finalize(upload["upload_id"]) == "ingested"


async def test_its_creator_is_warned_once_and_again_after_progress(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    done = await ann.send(upload, DATA, [1])

    async def warnings() -> int:
        return (await desk.events(upload["upload_id"])).count("upload_expiring")

    soon = timedelta(days=13, hours=1)
    await swept(desk, timedelta(days=12, hours=23))
    assert await warnings() == 0
    for _ in range(2):
        await swept(desk, soon)
        assert await warnings() == 1
    assert (await ann.ask(upload, done=done)).status_code == 200
    await swept(desk, timedelta(days=12, hours=23))
    assert await warnings() == 1
    await swept(desk, soon + timedelta(hours=1))
    assert await warnings() == 2


async def test_an_hour_without_progress_counts_as_abandoned_until_there_is_some(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    done = await ann.send(upload, DATA, [1])
    early = await swept(desk, timedelta(minutes=55))
    assert ann.who.tenant not in early.abandoned
    for first in (True, False):
        report = await swept_as_announced(desk, timedelta(minutes=65))
        assert report.abandoned[ann.who.tenant] == Sum(1, MIN_PART)  # reported or not, storage holds it
        assert report.tenants.get(ann.who.tenant, {}).get(Kind.ABANDONED, Sum()).count == int(first)
    view = await ann.upload(upload)
    assert (view["state"], view["abandoned_at"] is None) == ("uploading", False)
    assert (await ann.ask(upload, done=done)).status_code == 200
    assert (await desk.events(upload["upload_id"]))[-3:] == ["upload_abandoned", "part_completed", "upload_resumed"]
    assert (await ann.upload(upload))["abandoned_at"] is None


async def test_finalizing_that_stopped_is_started_anew(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(SMALL))
    assert (await ann.complete(upload, await ann.send(upload, SMALL))).status_code == 202
    name = f"finalize-{upload['upload_id']}-1"
    later = timedelta(hours=1, minutes=5)
    assert of(await swept_as_announced(desk, later), ann.who) == {}, "resumed while its workflow waits"
    await end_workflow(desk, name)
    assert of(await swept_as_announced(desk, timedelta(minutes=55)), ann.who) == {}
    assert of(await swept_as_announced(desk, later), ann.who) == {Kind.RESUMED: Sum(1)}
    assert of(await swept_as_announced(desk, later + timedelta(minutes=15)), ann.who) == {}
    first, again = await desk.enqueued(f"{name}%")
    assert first == name
    ((workflow, queue),) = await desk.sql(
        "SELECT name, queue_name FROM dbos.workflow_status WHERE workflow_uuid = %(id)s", id=again
    )
    assert (workflow, queue) == ("finalize", "finalize")
    await end_workflow(desk, again)
    assert of(await swept_as_announced(desk, 2 * later), ann.who) == {Kind.RESUMED: Sum(1)}
    assert len(await desk.enqueued(f"{name}%")) == 3
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    await end_workflow(desk, f"{name}%")
    assert of(await swept_as_announced(desk, 3 * later), ann.who) == {}


async def test_a_reading_that_stopped_is_started_anew_and_copiers_are_waited_for(desk: Desk) -> None:
    ann, later = desk.person(), timedelta(hours=1, minutes=5)
    read, copied = await ann.begin(len(SMALL)), await ann.begin(len(SMALL), layout="staged")
    for upload in (read, copied):
        assert (await ann.complete(upload, await ann.send(upload, SMALL))).status_code == 202
    await hand_over(desk.ctx, UUID(read["upload_id"]), 1)
    await end_workflow(desk, f"finalize-{read['upload_id']}-1")
    assert of(await swept_as_announced(desk, later), ann.who) == {}, "resumed while it is read and copied"
    name = f"verify-{read['upload_id']}-1"
    await end_workflow(desk, name)
    assert of(await swept_as_announced(desk, later), ann.who) == {Kind.RESUMED: Sum(1)}
    assert len(await desk.enqueued(f"{name}-%")) == 1
    ((copier,),) = await desk.sql("SELECT copier FROM parts WHERE upload_id = %(id)s", id=copied["upload_id"])
    await end_workflow(desk, f"copy-{copier}")
    assert of(await swept_as_announced(desk, later), ann.who) == {Kind.RESUMED: Sum(1)}
    assert len(await desk.enqueued(f"finalize-{copied['upload_id']}-1-%")) == 1
    await desk.sql("UPDATE uploads SET state = 'failed' WHERE state = 'finalizing'")


async def end_workflow(desk: Desk, like: str) -> None:
    """As if the engine had given it up."""
    await desk.sql(
        """UPDATE dbos.workflow_status SET status = 'ERROR', completed_at = extract(epoch FROM now()) * 1000
        WHERE workflow_uuid LIKE %(like)s""",
        like=like,
    )
