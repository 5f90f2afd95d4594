"""Assets, their jobs and the status that pollers read. No worker runs: jobs stay where a test puts them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest

from rushes.db import assets as asset_rows
from rushes.db import jobs as job_rows
from rushes.db import renditions
from rushes.ingest import finalize
from rushes.ingest.assets import remove
from rushes.model import AssetState, JobState, Rendition, Role, Verification, new_id
from rushes.storage import DonePart
from tests.ingest.equipment import Desk, Json, Person, body, problem, some_bytes
from tests.pipeline.equipment import until

DATA = b"not a film"


async def the_job(person: Person, upload: dict[str, Any]) -> dict[str, Any]:
    """The newest job of an upload's asset."""
    return dict((await person.read(f"jobs?asset_id={upload['asset_id']}"))["items"][0])


async def run(desk: Desk, job_id: str) -> None:
    """A worker takes the job."""
    async with desk.ctx.db.transaction() as conn:
        assert await job_rows.claim(conn, UUID(job_id), 1, desk.ctx.now()) is not None


async def publish(desk: Desk, upload: dict[str, Any], name: str = "poster") -> str:
    """What a worker does at the end of a good run, with one rendition in storage. Returns the job's id."""
    storage, now = desk.ctx.storage, desk.ctx.now()
    asset_id = UUID(upload["asset_id"])
    async with desk.ctx.db.transaction() as conn:
        asset = await asset_rows.load(conn, asset_id, lock=True)
        assert asset is not None
        assert asset.job_id is not None
        job = await job_rows.claim(conn, asset.job_id, 1, now)
        assert job is not None
        key = asset.key.replace("original", f"1/{name}-{job.id}.jpg")
        rendition = Rendition(
            id=new_id(),
            asset_id=asset_id,
            job_id=job.id,
            name=name,
            type="poster",
            content_type="image/jpeg",
            bucket=storage.renditions.bucket,
            key=storage.renditions.prefix + key,
            size=4,
            width=16,
            height=9,
            duration=None,
            checksum="",
            stage="poster",
            recipe=1,
            extra={},
            created_at=now,
        )
        await renditions.put(conn, rendition)
        await job_rows.finish(conn, job, JobState.SUCCEEDED, now, "done")
        facts = {"sha256": "0" * 64, "verification": Verification.END_TO_END, "published_at": now}
        await asset_rows.move(conn, asset, AssetState.PUBLISHED, now, published_job_id=job.id, **facts)
    multipart = await storage.s3.create_multipart(rendition.bucket, rendition.key)
    etag = await storage.s3.upload_part(rendition.bucket, rendition.key, multipart, 1, b"jpeg", checksum=None)
    await storage.s3.complete_multipart(rendition.bucket, rendition.key, multipart, [DonePart(1, etag)])
    return str(job.id)


# --- reading ----------------------------------------------------------------------------------------------------------


async def test_an_asset_is_there_from_the_beginning(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(700, content_type="video/mp4")
    asset = await ann.asset(upload)
    assert (asset["state"], asset["status"], asset["size"], asset["renditions"]) == ("pending", "initiated", 700, [])
    assert (asset["original_url"], asset["checksum"]["value"], asset["verification"]) == (None, None, None)
    assert asset["upload_id"] == upload["upload_id"]


async def test_a_title_that_is_not_the_readers_is_not_named(desk: Desk) -> None:
    """An operator may give somebody's asset to another creator's title."""
    ann = desk.person()
    bob = desk.person(replace(ann.who, creator="bob"))
    boss = desk.person(replace(ann.who, creator="boss", role=Role.OPERATOR))
    upload = await ann.begin(700)
    title = body(await bob.http.post("/v1/titles", json={"title": "Not yet announced"}))
    path = f"assets/{upload['asset_id']}"
    answer = await boss.http.patch(f"/v1/{path}", json={"title_id": title["id"]})
    assert body(answer)["title"] == "Not yet announced"
    for one, all_ in ((path, "assets"), (f"uploads/{upload['upload_id']}", "uploads")):
        assert (await boss.read(one))["title"] == "Not yet announced"
        assert (await ann.read(one))["title"] is None
        assert [item["title"] for item in (await ann.read(all_))["items"]] == [None]


async def test_the_status_says_where_things_are(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(DATA))
    by_upload, by_asset = f"uploads/{upload['upload_id']}/status", f"assets/{upload['asset_id']}/status"

    async def word() -> str:
        found = await ann.read(by_upload)
        assert found == await ann.read(by_asset)
        return str(found["status"])

    assert await word() == "initiated"
    done = await ann.send(upload, DATA)
    assert await word() == "uploading"
    await ann.complete(upload, done)
    assert await word() == "finalizing"
    await desk.finalize(upload["upload_id"])
    assert await word() == "processing"
    found = await ann.read(by_upload)
    job = await the_job(ann, upload)
    assert found["current_job"] == {
        "id": job["id"],
        "type": "process",
        "status": "queued",
        "progress": 0.0,
        "message": "waiting for a worker",
        "left_seconds": None,
    }
    await publish(desk, upload)
    assert await word() == "published"
    assert (await ann.read(by_asset))["current_job"] is None
    await ann.http.post(f"/v1/assets/{upload['asset_id']}/process")
    assert await word() == "processing"


async def test_links_serve_what_they_say(desk: Desk) -> None:
    ann = desk.person()
    await desk.allow(ann.who, "*")
    name = 'take "1"; é.mov'
    upload = await ann.ingest(DATA, filename=name, content_type="text/html")
    await publish(desk, upload)
    asset = await ann.asset(upload)
    original = await desk.web.get(asset["original_url"])
    assert original.content == DATA
    assert original.headers["content-type"] == "application/octet-stream"  # never as the page it claims to be
    assert original.headers["content-disposition"].startswith("attachment;")
    assert "%C3%A9.mov" in original.headers["content-disposition"]
    (poster,) = asset["renditions"]
    shown = await desk.web.get(poster["url"])
    assert (shown.content, shown.headers["content-type"]) == (b"jpeg", "image/jpeg")
    assert parse_qs(urlsplit(poster["url"]).query)["X-Amz-Expires"] == [str(int(desk.settings.link_seconds))]
    assert (await desk.web.put(asset["original_url"], content=b"x")).status_code == 403


async def test_what_is_published_stays_readable_while_it_is_processed_again(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    first = await publish(desk, upload)
    answer = await ann.http.post(f"/v1/assets/{upload['asset_id']}/process")
    assert answer.status_code == 202
    second = body(answer)["id"]
    assert second != first
    assert await desk.enqueued(f"process-{second}") == [f"process-{second}"]
    asset = await ann.asset(upload)
    assert (asset["state"], [item["name"] for item in asset["renditions"]]) == ("processing", ["poster"])
    problem(await ann.http.post(f"/v1/assets/{upload['asset_id']}/process"), 409, "asset_processing")
    assert len((await ann.read(f"jobs?asset_id={upload['asset_id']}"))["items"]) == 2


async def test_ten_who_process_again_at_once_start_one_run(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    await publish(desk, upload)
    path = f"/v1/assets/{upload['asset_id']}/process"
    answers = await asyncio.gather(*(ann.http.post(path) for _ in range(10)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 9


async def test_only_what_is_whole_is_processed(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin()
    problem(await ann.http.post(f"/v1/assets/{upload['asset_id']}/process"), 409, "asset_not_ingested")


# --- change -----------------------------------------------------------------------------------------------------------


async def test_an_asset_is_renamed(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    path = f"/v1/assets/{upload['asset_id']}"
    before = await ann.asset(upload)
    after = body(await ann.http.patch(path, json={"filename": "b.mov"}))
    assert {name for name in after if after[name] != before[name]} <= {"filename", "updated_at", "original_url"}
    assert after["filename"] == "b.mov"
    assert body(await ann.http.patch(path, json={}))["filename"] == "b.mov"
    for fields in (
        {"filename": ""},
        {"filename": None},
        {"filename": "a\x00"},
        {"state": "published"},
        {"title_id": 5},
    ):
        problem(await ann.http.patch(path, json=fields), 422, "request_invalid")


async def test_an_asset_moves_to_another_title_with_all_that_is_its(desk: Desk) -> None:
    ann = desk.person()
    upload, other = await ann.ingest(), await ann.begin()
    path = f"/v1/assets/{upload['asset_id']}"
    assert body(await ann.http.patch(path, json={"title_id": other["title_id"]}))["title_id"] == other["title_id"]
    old = desk.person(replace(ann.who, title=UUID(upload["title_id"])))
    new = desk.person(replace(ann.who, title=UUID(other["title_id"])))
    job = await the_job(ann, upload)
    for path in (
        f"assets/{upload['asset_id']}",
        f"assets/{upload['asset_id']}/status",
        f"uploads/{upload['upload_id']}",
        f"uploads/{upload['upload_id']}/status",
        f"jobs/{job['id']}",
    ):
        assert (await old.http.get(f"/v1/{path}")).status_code == 404, path
        assert (await new.http.get(f"/v1/{path}")).status_code == 200, path
    assert (await ann.upload(upload))["title_id"] == other["title_id"]
    assert (await ann.http.delete(f"/v1/titles/{upload['title_id']}")).status_code == 204


async def test_an_asset_cannot_move_where_its_owner_may_not_go(desk: Desk) -> None:
    ann, eve = desk.person(), desk.person()
    upload, foreign = await ann.ingest(), await eve.begin()
    path = f"/v1/assets/{upload['asset_id']}"
    for title_id in (foreign["title_id"], str(uuid4())):
        problem(await ann.http.patch(path, json={"title_id": title_id, "filename": "x.mov"}), 404, "title_not_found")
    assert (await ann.asset(upload))["filename"] == "take one.mov"
    narrow = desk.with_token(upload["token"])
    problem(await narrow.patch(path, json={"title_id": (await ann.begin())["title_id"]}), 403, "token_scope")
    problem(await narrow.delete(path), 403, "token_scope")


# --- delete -----------------------------------------------------------------------------------------------------------


async def test_a_deleted_asset_is_gone(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest(DATA)
    await publish(desk, upload)
    urls = [(await ann.asset(upload))["original_url"], (await ann.asset(upload))["renditions"][0]["url"]]
    path = f"/v1/assets/{upload['asset_id']}"
    answers = await asyncio.gather(*(ann.http.delete(path) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 7
    assert await desk.quota(ann.who) == (0, 0, 0)
    again = [f"remove-{upload['asset_id']}", f"remove-{upload['asset_id']}-again"]
    assert await desk.enqueued(f"remove-{upload['asset_id']}%") == again
    for answer in (
        await ann.http.get(path),
        await ann.http.get(f"{path}/status"),
        await ann.http.patch(path, json={}),
        await ann.http.post(f"{path}/process"),
    ):
        problem(answer, 404, "asset_not_found")
    assert (await ann.read("assets"))["items"] == []
    for _ in range(2):
        await remove(desk.ctx, UUID(upload["asset_id"]))
    assert [(await desk.web.get(url)).status_code for url in urls] == [404, 404]


async def test_deleting_stops_the_run(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    job = await the_job(ann, upload)
    await run(desk, job["id"])
    assert (await ann.http.delete(f"/v1/assets/{upload['asset_id']}")).status_code == 204
    assert (await ann.read(f"jobs/{job['id']}"))["status"] == "cancelled"


async def test_an_asset_that_is_being_uploaded_is_aborted_instead(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(len(DATA))
    path = f"/v1/assets/{upload['asset_id']}"
    problem(await ann.http.delete(path), 409, "upload_open")
    await ann.complete(upload, await ann.send(upload, DATA))
    problem(await ann.http.delete(path), 409, "upload_open")
    await desk.finalize(upload["upload_id"])
    assert (await ann.http.delete(path)).status_code == 204


async def test_deleting_what_was_never_stored_frees_nothing(desk: Desk) -> None:
    ann = desk.person()
    await ann.ingest(DATA)
    upload = await ann.begin(len(DATA))
    await ann.complete(upload, await ann.send(upload, DATA))
    await finalize.fail(desk.ctx, UUID(upload["upload_id"]), 1, "object_corrupt", "It is not what was sent.")
    assert (await ann.asset(upload))["status"] == "failed"
    assert (await ann.http.delete(f"/v1/assets/{upload['asset_id']}")).status_code == 204
    assert await desk.quota(ann.who) == (len(DATA), 0, 0)


async def test_nothing_is_removed_of_an_asset_that_is_not_deleted(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest(DATA)
    await remove(desk.ctx, UUID(upload["asset_id"]))
    assert (await desk.web.get((await ann.asset(upload))["original_url"])).content == DATA


# --- jobs -------------------------------------------------------------------------------------------------------------


async def test_a_run_is_cancelled_and_tried_again(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    job = await the_job(ann, upload)
    await run(desk, job["id"])
    answer = await ann.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, body(answer)["status"]) == (200, "cancelled")
    found = await ann.asset(upload)
    assert (found["status"], found["problem"]["code"]) == ("failed", "cancelled")
    assert (await desk.web.get(found["original_url"])).content == DATA
    problem(await ann.http.post(f"/v1/jobs/{job['id']}/cancel"), 409, "job_cancelled")
    answers = await asyncio.gather(*(ann.http.post(f"/v1/jobs/{job['id']}/retry") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 4
    again = await the_job(ann, upload)
    assert (again["status"], again["type"]) == ("queued", "process")
    assert again["id"] != job["id"]
    assert (await ann.asset(upload))["problem"] is None


async def test_cancelling_leaves_what_was_published(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    await publish(desk, upload)
    job = body(await ann.http.post(f"/v1/assets/{upload['asset_id']}/process"))
    assert (await ann.http.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200
    asset = await ann.asset(upload)
    assert (asset["state"], len(asset["renditions"]), asset["problem"]) == ("published", 1, None)
    assert (await ann.http.post(f"/v1/assets/{upload['asset_id']}/process")).status_code == 202


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
async def test_a_job_that_is_over_is_not_cancelled(desk: Desk, state: str) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    job = await the_job(ann, upload)
    await desk.sql("UPDATE jobs SET state = %(state)s WHERE id = %(id)s", state=state, id=job["id"])
    problem(await ann.http.post(f"/v1/jobs/{job['id']}/cancel"), 409, f"job_{state}")


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
async def test_only_what_failed_or_was_cancelled_is_retried(desk: Desk, state: str) -> None:
    ann = desk.person()
    job = await the_job(ann, await ann.ingest())
    await desk.sql("UPDATE jobs SET state = %(state)s WHERE id = %(id)s", state=state, id=job["id"])
    problem(await ann.http.post(f"/v1/jobs/{job['id']}/retry"), 409, f"job_{state}")


async def test_a_run_that_ends_first_is_not_cancelled(desk: Desk) -> None:
    """Whoever asks to cancel waits for the lock under which the run publishes."""
    ann = desk.person()
    upload = await ann.ingest()
    job = await the_job(ann, upload)
    await run(desk, job["id"])
    async with desk.ctx.db.transaction() as conn:
        asset = await asset_rows.load(conn, UUID(upload["asset_id"]), lock=True)
        cancelling = asyncio.create_task(ann.http.post(f"/v1/jobs/{job['id']}/cancel"))
        cursor = await conn.execute("SELECT pg_backend_pid()")
        mine = await cursor.fetchone()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE %(mine)s = ANY(pg_blocking_pids(pid))"
        await until(lambda: desk.sql(waiting, mine=mine[0] if mine else 0), 60, "nobody waits for the lock")
        row = await job_rows.load(conn, UUID(job["id"]), lock=True)
        assert asset is not None
        assert row is not None
        now = desk.ctx.now()
        await job_rows.finish(conn, row, JobState.SUCCEEDED, now, "done")
        facts = {"sha256": "0" * 64, "verification": Verification.END_TO_END, "published_at": now}
        await asset_rows.move(conn, asset, AssetState.PUBLISHED, now, published_job_id=row.id, **facts)
    problem(await cancelling, 409, "job_succeeded")
    assert (await ann.asset(upload))["status"] == "published"


async def test_a_run_that_was_replaced_writes_nothing(desk: Desk) -> None:
    ann = desk.person()
    job_id = UUID((await the_job(ann, await ann.ingest()))["id"])
    now = desk.ctx.now()
    async with desk.ctx.db.transaction() as conn:
        for epoch in (1, 2):
            assert await job_rows.claim(conn, job_id, epoch, now) is not None
        for epoch in (1, 2):
            assert await job_rows.claim(conn, job_id, epoch, now) is None
        assert await job_rows.owned(conn, job_id, 1) is None
        assert not await job_rows.advance(conn, job_id, 1, 0.5, "a ghost", None)
        assert not await job_rows.put_back(conn, job_id, 1)
        before = await job_rows.load(conn, job_id)
        assert before is not None
        assert (before.state, before.epoch, before.progress, before.message) == (
            JobState.RUNNING,
            2,
            0.0,
            "waiting for a worker",
        )
        assert await job_rows.owned(conn, job_id, 2) == before
        assert await job_rows.advance(conn, job_id, 2, 0.5, "alive", None)
        assert await job_rows.put_back(conn, job_id, 2)


async def test_a_stage_is_cancelled_with_its_run(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    parent = await the_job(ann, upload)
    await run(desk, parent["id"])
    async with desk.ctx.db.transaction() as conn:
        row = await job_rows.load(conn, UUID(parent["id"]))
        assert row is not None
        fresh = replace(row, parent_id=row.id, state=JobState.QUEUED, epoch=0, started_at=None)
        stages = [replace(fresh, id=new_id(), type=f"stage {number}") for number in (1, 2)]
        for stage in stages:
            await job_rows.insert(conn, stage)
    await run(desk, str(stages[0].id))
    found = await ann.read(f"uploads/{upload['upload_id']}/status")
    assert found["current_job"]["id"] == str(stages[0].id)  # what is waited for is the stage, not its parent
    answer = await ann.http.post(f"/v1/jobs/{stages[0].id}/cancel")
    assert body(answer)["status"] == "cancelled"
    jobs = (await ann.read(f"jobs?asset_id={upload['asset_id']}"))["items"]
    assert [job["status"] for job in jobs] == ["cancelled"] * 3
    assert (await ann.asset(upload))["status"] == "failed"


async def test_a_job_of_a_run_that_was_replaced_cancels_nothing(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    old = await the_job(ann, upload)
    await ann.http.post(f"/v1/jobs/{old['id']}/cancel")
    await ann.http.post(f"/v1/jobs/{old['id']}/retry")
    await desk.sql("UPDATE jobs SET state = 'running' WHERE id = %(id)s", id=old["id"])
    problem(await ann.http.post(f"/v1/jobs/{old['id']}/cancel"), 409, "job_running")
    assert (await the_job(ann, upload))["status"] == "queued"


async def test_a_job_shows_its_log_and_its_error(desk: Desk) -> None:
    ann = desk.person()
    job = await the_job(ann, await ann.ingest())
    await run(desk, job["id"])
    now = desk.ctx.now()
    async with desk.ctx.db.transaction() as conn:
        assert await job_rows.advance(conn, UUID(job["id"]), 1, 0.5, "half", None)
        assert await job_rows.advance(conn, UUID(job["id"]), 1, 0.25, "less", None)
        assert not await job_rows.advance(conn, UUID(job["id"]), 2, 0.9, "another run's", None)
        for number in range(205):
            await job_rows.log(conn, UUID(job["id"]), f"line {number}", now, retry=number == 0)
        row = await job_rows.load(conn, UUID(job["id"]), lock=True)
        assert row is not None
        failure = {"code": "x", "message": "It broke.", "at": 3}
        await job_rows.finish(conn, row, JobState.FAILED, now, "broken", failure)
    found = await ann.read(f"jobs/{job['id']}")
    assert (found["progress"], found["message"], found["retries"]) == (0.5, "broken", 1)
    assert found["error"] == {"code": "x", "message": "It broke.", "details": {"at": 3}}
    assert [line["text"] for line in found["log"]] == [f"line {number}" for number in range(5, 205)]
    assert found["started_at"] <= found["finished_at"]


# --- lists ------------------------------------------------------------------------------------------------------------


async def pages(person: Person, path: str, limit: int) -> list[list[dict[str, Any]]]:
    """All pages of a list, followed by their cursors."""
    found = []
    cursor: str | None = ""
    while cursor is not None:
        page = await person.read(f"{path}limit={limit}" + (f"&cursor={cursor}" if cursor else ""))
        found.append(page["items"])
        cursor = page["next"]
    return found


@pytest.mark.parametrize("noun", ["uploads", "assets", "titles", "jobs"])
async def test_pages_hold_everything_once_the_newest_first(desk: Desk, noun: str) -> None:
    ann = desk.person()
    for number in range(5):
        await (ann.ingest(DATA) if noun == "jobs" else ann.begin(number + 1))
    whole = (await ann.read(noun))["items"]
    assert len(whole) == 5
    stamps = [item["created_at"] for item in whole]
    assert stamps == sorted(stamps, reverse=True)
    for limit in (1, 2, 3, 5):
        found = await pages(ann, f"{noun}?", limit)
        assert [item["id"] for page in found for item in page] == [item["id"] for item in whole]
        assert all(len(page) <= limit for page in found)


async def test_new_rows_do_not_shift_a_page(desk: Desk) -> None:
    ann = desk.person()
    for _ in range(4):
        await ann.begin()
    first = await ann.read("uploads?limit=2")
    await ann.begin()
    second = await ann.read(f"uploads?limit=2&cursor={first['next']}")
    ids = [item["id"] for item in first["items"] + second["items"]]
    assert len(set(ids)) == 4


async def test_lists_are_filtered(desk: Desk) -> None:
    ann = desk.person()
    whole, begun = await ann.ingest(DATA), await ann.begin()
    gone = await ann.begin()
    await ann.http.delete(f"/v1/uploads/{gone['upload_id']}")
    expected = {
        "uploads?state=ingested": [whole["upload_id"]],
        "uploads?state=initiated&state=aborted": [gone["upload_id"], begun["upload_id"]],
        "uploads?state=failed": [],
        "assets?state=pending": [begun["asset_id"]],
        "assets?state=processing": [whole["asset_id"]],
        "assets?state=deleted": [],
        f"assets?title_id={whole['title_id']}": [whole["asset_id"]],
        f"assets?title_id={uuid4()}": [],
        "jobs?status=running": [],
        f"jobs?asset_id={begun['asset_id']}": [],
    }
    for path, ids in expected.items():
        assert [item["id"] for item in (await ann.read(path))["items"]] == ids, path
    (job,) = (await ann.read(f"jobs?status=queued&asset_id={whole['asset_id']}"))["items"]
    assert job["asset_id"] == whole["asset_id"]
    for path in ("uploads?state=odd", "assets?state=odd", "jobs?status=odd", "assets?title_id=x", "jobs?limit=501"):
        problem(await ann.http.get(f"/v1/{path}"), 422, "request_invalid")


async def test_a_list_shows_what_a_read_shows(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest(some_bytes(50))
    await publish(desk, upload)
    unlinked = {"original_url": None, "renditions": None}
    (listed,) = (await ann.read("assets"))["items"]
    assert listed | unlinked == await ann.asset(upload) | unlinked
    assert [item["name"] for item in listed["renditions"]] == ["poster"]
    (listed,) = (await ann.read("uploads"))["items"]
    assert listed | {"parts": None} == await ann.upload(upload) | {"parts": None}


async def test_an_upload_tells_what_became_of_its_asset(desk: Desk) -> None:
    """`state` is the upload's own; `status` is the one word for both, in the list as for one."""
    ann = desk.person()
    upload = await ann.begin()

    async def words(of: Json) -> set[tuple[str, str]]:
        items = (await ann.read("uploads"))["items"]
        listed = next(item for item in items if item["id"] == of["upload_id"])
        return {(one["state"], one["status"]) for one in (listed, await ann.upload(of))}

    assert await words(upload) == {("initiated", "initiated")}
    whole = await ann.ingest()
    assert await words(whole) == {("ingested", "processing")}
    assert (await ann.http.delete(f"/v1/assets/{whole['asset_id']}")).status_code == 204
    assert await words(whole) == {("ingested", "deleted")}
