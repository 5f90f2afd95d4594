"""Abort: quota released once, storage cleaned, and never both aborted and ingested."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

from rushes.ingest import uploads
from rushes.ingest.abort import discard
from rushes.ingest.grant import open_in_storage
from rushes.plan import MIN_PART
from tests.ingest.equipment import TWO_PARTS, Desk, body, crc, pieces, problem, some_bytes

DATA = some_bytes(TWO_PARTS, seed=3)


async def test_an_upload_is_given_up_once(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(700)
    path = f"/v1/uploads/{upload['upload_id']}"
    answers = await asyncio.gather(*(ann.http.delete(path) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {204}
    assert await desk.quota(ann.who) == (0, 0, 0)
    assert await desk.events(upload["upload_id"]) == ["upload_started", "upload_aborted"]
    assert await desk.enqueued(f"discard-{upload['upload_id']}%") == [f"discard-{upload['upload_id']}"]
    assert (await ann.read(f"uploads/{upload['upload_id']}/status"))["status"] == "aborted"
    problem(await ann.http.get(f"/v1/assets/{upload['asset_id']}"), 404, "asset_not_found")
    assert (await ann.read("assets"))["items"] == []
    problem(await ann.complete(upload), 409, "upload_aborted")


async def test_storage_is_cleaned(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    await ann.send(upload, DATA, [1])
    bucket, key, _ = await desk.in_storage(upload)
    await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")
    for _ in range(2):
        await discard(desk.ctx, UUID(upload["upload_id"]))
    assert [found async for found in desk.ctx.storage.s3.list_multipart_uploads(bucket, key)] == []


async def test_an_upload_that_never_reached_storage_is_discarded_too(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin()
    await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")
    await discard(desk.ctx, UUID(upload["upload_id"]))


async def test_an_upload_given_up_while_a_relay_opens_it_stays_given_up(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin()
    found = await uploads.get(desk.ctx, ann.who, UUID(upload["upload_id"]))
    await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")
    await open_in_storage(desk.ctx, found)
    assert (await ann.read(f"uploads/{upload['upload_id']}"))["state"] == "aborted"
    multiparts = desk.ctx.storage.s3.list_multipart_uploads(found.bucket, found.key)
    assert [item async for item in multiparts] == []


async def test_first_grants_that_race_an_abort_leave_nothing_in_storage(desk: Desk) -> None:
    ann = desk.person()
    want = [(1, crc(pieces(DATA)[0]))]
    for _ in range(5):
        upload = await ann.begin(len(DATA), part_size=MIN_PART)
        path = f"/v1/uploads/{upload['upload_id']}"
        answers = await asyncio.gather(*(ann.ask(upload, want) for _ in range(4)), ann.http.delete(path))
        assert answers[-1].status_code == 204
        assert {answer.status_code for answer in answers[:-1]} <= {200, 409}
        await discard(desk.ctx, UUID(upload["upload_id"]))
        bucket, key, _ = await desk.in_storage(upload)
        assert [found async for found in desk.ctx.storage.s3.list_multipart_uploads(bucket, key)] == []


async def test_abort_and_complete_cannot_both_win(desk: Desk) -> None:
    ann = desk.person()
    outcomes = set()
    for turn in range(6):
        upload = await ann.begin(1_000)
        done = await ann.send(upload, DATA[:1_000])
        path = f"/v1/uploads/{upload['upload_id']}"
        calls = [ann.complete(upload, done), ann.http.delete(path)]
        completed, aborted = await asyncio.gather(*(calls if turn % 2 else reversed(calls)))
        if not turn % 2:
            completed, aborted = aborted, completed
        outcomes.add((completed.status_code, aborted.status_code))
        if completed.status_code == 202:
            problem(aborted, 409, "upload_finalizing")
            assert await desk.finalize(upload["upload_id"]) == "ingested"
            problem(await ann.http.delete(path), 409, "upload_ingested")
        else:
            problem(completed, 409, "upload_aborted")
    assert outcomes <= {(202, 409), (409, 204)}
    ingested = len((await ann.read("uploads?state=ingested"))["items"])
    assert await desk.quota(ann.who) == (1_000 * ingested, 0, 0)


async def test_only_an_open_upload_can_be_given_up(desk: Desk) -> None:
    ann = desk.person()
    for state in ("expired", "rejected"):
        upload = await ann.begin()
        await desk.sql("UPDATE uploads SET state = %(state)s WHERE id = %(id)s", state=state, id=upload["upload_id"])
        problem(await ann.http.delete(f"/v1/uploads/{upload['upload_id']}"), 409, f"upload_{state}")


async def test_a_token_for_an_upload_gives_up_that_one_alone(desk: Desk) -> None:
    ann = desk.person()
    upload, other = await ann.begin(), await ann.begin()
    mine = desk.with_token(upload["token"])
    problem(await mine.delete(f"/v1/uploads/{other['upload_id']}"), 404, "upload_not_found")
    assert (await mine.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    bob = desk.person(replace(ann.who, creator="bob"))
    problem(await bob.http.delete(f"/v1/uploads/{other['upload_id']}"), 404, "upload_not_found")
    assert body(await ann.http.get(f"/v1/uploads/{other['upload_id']}"))["state"] == "initiated"
