"""Lists of uploads, assets, titles and jobs: pages that hold everything once, and filters."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from tests.api.runs import publish
from tests.ingest.equipment import Desk, Json, Person, problem, some_bytes

DATA = b"not a film"


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
