"""Assets and the status that pollers read. No worker runs: jobs stay where a test puts them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from rushes.ingest import finalize
from rushes.ingest.assets import remove
from rushes.model import Role
from tests.api.runs import publish, run, the_job
from tests.ingest.equipment import Desk, body, problem

DATA = b"not a film"


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
