"""Begin: shapes, titles, idempotency, quotas that hold however many begin at once."""

from __future__ import annotations

import asyncio
import shutil
from collections import Counter
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from rushes.errors import Misconfigured
from rushes.ingest.algorithm import pick
from rushes.model import Role
from rushes.plan import GB, MAX_OBJECT, MIB, MIN_PART
from tests.ingest.equipment import JSON, Desk, body, open_desk, problem, some_bytes, somebody


async def test_the_answer_holds_all_that_a_client_needs(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(100 * MIB)
    assert upload.keys() == {
        "upload_id",
        "asset_id",
        "title_id",
        "state",
        "size",
        "max_size",
        "layout",
        "part_size",
        "part_count",
        "checksum_algorithm",
        "expires_at",
        "token",
    }
    assert UUID(upload["upload_id"]).version == UUID(upload["asset_id"]).version == 7
    assert (upload["state"], upload["size"], upload["checksum_algorithm"]) == ("initiated", 100 * MIB, "crc64nvme")
    assert upload["part_size"] * (upload["part_count"] - 1) < 100 * MIB <= upload["part_size"] * upload["part_count"]
    assert await desk.quota(ann.who) == (0, 100 * MIB, 1)
    assert await desk.events(upload["upload_id"]) == ["upload_started"]
    ((storage_upload_id,),) = await desk.sql(
        "SELECT storage_upload_id FROM uploads WHERE id = %(id)s", id=upload["upload_id"]
    )
    assert storage_upload_id is None  # begin costs no storage call


async def test_what_was_said_comes_back(desk: Desk) -> None:
    ann = desk.person()
    fields = {
        "filename": "Ünïcode – 日本語 🎬 ' ; DROP TABLE uploads; -- ../../etc/passwd",
        "content_type": "video/mp4; codecs=avc1",
        "source": "card A003",
        "relative_path": "day 1/cam A",
        "priority": 7,
    }
    answer = await ann.http.post("/v1/uploads", json={"size": 5} | fields, headers={"User-Agent": "dit/2 (x)"})
    upload = await ann.upload(body(answer))
    assert {name: upload[name] for name in fields} == fields
    assert upload["upload_origin"] == "api dit/2 (x)"
    ((key,),) = await desk.sql("SELECT key FROM uploads WHERE id = %(id)s", id=upload["id"])
    assert key == f"{ann.who.tenant}/ann/{upload['asset_id']}/original"


async def test_the_origin_is_one_printable_line(desk: Desk) -> None:
    ann = desk.person()
    agent = "évil\x85\x1bclient" + "x" * 500
    answer = await ann.http.post(
        "/v1/uploads", json={"filename": "a.mov", "size": 5}, headers={b"User-Agent": agent.encode("latin-1")}
    )
    origin = (await ann.upload(body(answer)))["upload_origin"]
    assert origin.startswith("api évilclient")
    assert origin.isprintable()
    assert len(origin) <= 210


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"size": 0}, "request_invalid"),
        ({"size": -1}, "request_invalid"),
        ({"size": 1.5}, "request_invalid"),
        ({"size": "many"}, "request_invalid"),
        ({"size": "much"}, "request_invalid"),
        ({"size": 2**63}, "request_invalid"),
        ({"size": MAX_OBJECT + 1}, "size_invalid"),
        ({"filename": ""}, "request_invalid"),
        ({"filename": "a\x00b"}, "request_invalid"),
        ({"filename": "a\nb"}, "request_invalid"),
        ({"filename": "a\x7fb"}, "request_invalid"),
        ({"filename": "x.mov" * 1_001}, "request_invalid"),
        ({"filename": 5}, "request_invalid"),
        ({"content_type": "video"}, "request_invalid"),
        ({"content_type": "video/mp4\r\nX-Evil: 1"}, "request_invalid"),
        ({"content_type": "vidéo/mp4"}, "content_type_invalid"),
        ({"content_type": "video/mp4; name=日本"}, "content_type_invalid"),
        ({"size": 100 * MIB, "part_size": 5 * MIB - 1}, "part_size_invalid"),
        ({"part_size": 6 * 1024**3}, "part_size_invalid"),
        ({"priority": 101}, "request_invalid"),
        ({"priority": -101}, "request_invalid"),
        ({"title_id": "not an id"}, "request_invalid"),
        ({"checksum_algorithm": "crc0"}, "request_invalid"),
        ({"source": "a\x1bb"}, "request_invalid"),
        ({"relative_path": "a\x00"}, "request_invalid"),
        ({"project_id": "\x08"}, "request_invalid"),
        ({"titel": {}}, "request_invalid"),
        ({"title": {"title": ""}}, "request_invalid"),
        ({"title": {"title": "t", "tags": ["a\nb"]}}, "request_invalid"),
        ({"title": {"title": "t", "release_date": "tomorrow"}}, "request_invalid"),
    ],
)
async def test_what_cannot_be_taken_is_refused(desk: Desk, fields: dict[str, object], code: str) -> None:
    ann = desk.person()
    problem(await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 5} | fields), 422, code)
    assert await desk.quota(ann.who) == (0, 0, 0)


@pytest.mark.parametrize(
    "fields",
    [
        rb'"filename": "\ud800"',
        *(
            rb'"filename": "a.mov", "%s": "a\udfffb"' % name
            for name in (b"source", b"relative_path", b"project_id", b"region")
        ),
        *(
            rb'"filename": "a.mov", "title": {"title": "t", "%s": "\ud800"}' % name
            for name in (b"genre", b"project_id", b"description")
        ),
        rb'"filename": "a.mov", "title": {"title": "t", "tags": ["\ud800"]}',
    ],
)
async def test_text_that_is_no_unicode_is_refused(desk: Desk, fields: bytes) -> None:
    ann = desk.person()
    answer = await ann.http.post("/v1/uploads", content=rb'{"size": 5, ' + fields + b"}", headers=JSON)
    problem(answer, 422, "request_invalid")


@pytest.mark.parametrize("wish", ["crc64nvme", "crc32c", "sha256", "md5"])
async def test_a_wish_for_a_checksum_that_the_store_enforces_holds(desk: Desk, wish: str) -> None:
    ann = desk.person()
    assert (await ann.begin(5, checksum_algorithm=wish))["checksum_algorithm"] == wish
    problem(
        await ann.http.post("/v1/uploads", json={"filename": "a", "size": 5, "checksum_algorithm": "crc32"}),
        422,
        "request_invalid",
    )


async def test_without_a_wish_it_is_the_cheapest_that_is_enforced(desk: Desk) -> None:
    assert (await desk.person().begin(5))["checksum_algorithm"] == "crc64nvme"
    assert pick(("md5", "sha256"), None) == "md5"
    assert pick(("md5", "sha256"), "crc64nvme") == "md5"
    assert pick(("md5", "sha256"), "sha256") == "sha256"


def test_a_store_that_enforces_nothing_gets_nothing() -> None:
    with pytest.raises(Misconfigured, match="refuses no part"):
        pick((), None)


# --- titles -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("filename", "title"),
    [
        ("holiday.final.mov", "holiday.final"),
        (".mov", ".mov"),
        ("/", "/"),
        ("..", ".."),
        ("a/b/c.mov", "c"),
        ("é" * 900 + ".mov", "é" * 500),
    ],
)
async def test_a_title_is_made_of_the_file_name(desk: Desk, filename: str, title: str) -> None:
    ann = desk.person()
    upload = await ann.begin(filename=filename, project_id="p1")
    found = await ann.read(f"titles/{upload['title_id']}")
    assert (found["title"], found["project_id"], found["creator"]) == (title, "p1", "ann")


async def test_a_title_is_made_as_given(desk: Desk) -> None:
    ann = desk.person()
    given = {
        "title": "Heat",
        "genre": "noir",
        "tags": ["a", "b", "a"],
        "release_date": "1995-12-15",
        "metadata": {"k": 1},
    }
    upload = await ann.begin(title=given)
    found = await ann.read(f"titles/{upload['title_id']}")
    assert {name: found[name] for name in given} == given | {"tags": ["a", "b"]}


async def test_an_upload_joins_a_title_that_is_there(desk: Desk) -> None:
    ann = desk.person()
    first = await ann.begin()
    second = await ann.begin(title_id=first["title_id"])
    assert second["title_id"] == first["title_id"]
    answer = await ann.http.post(
        "/v1/uploads", json={"filename": "a.mov", "size": 5, "title_id": first["title_id"], "title": {"title": "x"}}
    )
    problem(answer, 422, "title_twice")


async def test_a_region_is_refused_while_there_is_one_place(desk: Desk) -> None:
    ann = desk.person()
    problem(
        await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 5, "region": "eu"}), 422, "region_unknown"
    )
    assert await desk.quota(ann.who) == (0, 0, 0)


async def test_titles_of_others_are_not_there(desk: Desk) -> None:
    ann = desk.person()
    bob = desk.person(replace(ann.who, creator="bob"))
    title_id = (await ann.begin())["title_id"]
    for who, wanted in ((desk.person(), title_id), (bob, title_id), (ann, str(uuid4()))):
        answer = await who.http.post("/v1/uploads", json={"filename": "a.mov", "size": 5, "title_id": wanted})
        problem(answer, 404, "title_not_found")
        assert (await desk.quota(who.who))[1] == (1_000 if who is ann else 0)


async def test_a_deleted_title_is_not_there(desk: Desk) -> None:
    ann = desk.person()
    title_id = body(await ann.http.post("/v1/titles", json={"title": "t"}))["id"]
    await ann.http.delete(f"/v1/titles/{title_id}")
    problem(
        await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 5, "title_id": title_id}),
        404,
        "title_not_found",
    )


async def test_a_title_deleted_while_an_upload_begins_never_holds_it(desk: Desk) -> None:
    """Either the upload is refused or the title stays: no asset belongs to a title that is gone."""
    ann = desk.person()
    for _ in range(10):
        title_id = body(await ann.http.post("/v1/titles", json={"title": "t"}))["id"]
        await asyncio.gather(
            ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 5, "title_id": title_id}),
            ann.http.delete(f"/v1/titles/{title_id}"),
        )
    stray = await desk.sql(
        """SELECT count(*) FROM assets a JOIN titles t ON t.id = a.title_id
        WHERE a.tenant = %(tenant)s AND t.deleted_at IS NOT NULL""",
        tenant=ann.who.tenant,
    )
    assert stray == [(0,)]


async def test_a_token_for_a_title_begins_there_and_nowhere_else(desk: Desk) -> None:
    ann = desk.person()
    here, elsewhere = (await ann.begin())["title_id"], (await ann.begin())["title_id"]
    narrow = desk.person(replace(ann.who, title=UUID(here)))
    assert (await narrow.begin())["title_id"] == here
    problem(
        await narrow.http.post("/v1/uploads", json={"filename": "a.mov", "size": 5, "title_id": elsewhere}),
        404,
        "title_not_found",
    )


async def test_a_token_for_an_upload_begins_nothing(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin()
    http = desk.with_token(upload["token"])
    problem(await http.post("/v1/uploads", json={"filename": "a.mov", "size": 5}), 403, "token_scope")


async def test_the_token_of_an_upload_carries_it_to_its_end(desk: Desk) -> None:
    ann = desk.person(somebody(role=Role.OPERATOR))
    upload, other = await ann.begin(), await ann.begin()
    mine = replace(ann, http=desk.with_token(upload["token"]))
    done = await mine.send(upload, some_bytes(1_000))
    assert (await mine.complete(upload, done)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert (await mine.asset(upload))["status"] == "processing"
    problem(await mine.http.get(f"/v1/uploads/{other['upload_id']}"), 404, "upload_not_found")
    problem(await mine.http.get(f"/v1/assets/{other['asset_id']}"), 404, "asset_not_found")
    assert [item["id"] for item in (await mine.read("uploads"))["items"]] == [upload["upload_id"]]
    assert (await mine.read("titles"))["items"] == []


# --- idempotency ------------------------------------------------------------------------------------------------------


async def test_a_repeated_key_begins_once(desk: Desk) -> None:
    ann = desk.person()
    key = {"Idempotency-Key": "k-1"}
    wanted = {"filename": "a.mov", "size": 700}
    answers = await asyncio.gather(*(ann.http.post("/v1/uploads", json=wanted, headers=key) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {201}
    assert len({body(answer)["upload_id"] for answer in answers}) == 1
    assert await desk.quota(ann.who) == (0, 700, 1)
    assert len((await ann.read("titles"))["items"]) == 1
    http = desk.with_token(body(answers[7])["token"])
    assert (await http.get(f"/v1/uploads/{body(answers[0])['upload_id']}")).status_code == 200


OTHERS: list[dict[str, Any]] = [
    {"size": 701},
    {"size": None},
    {"size": None, "max_size": 700},
    {"filename": "b.mov"},
    {"content_type": "video/mp4"},
    {"title": {"title": "another"}},
    {"title": {"title": "a", "metadata": {"a": 1}}},
    {"project_id": "p"},
    {"part_size": MIN_PART},
    {"layout": "staged"},
    {"checksum_algorithm": "md5"},
    {"checksum": "md5:" + "0" * 32},
    {"priority": 1},
    {"source": "card 2"},
    {"relative_path": "day 2/a.mov"},
]


async def test_a_request_said_in_other_words_is_the_same(desk: Desk) -> None:
    """The order of fields, of keys in metadata, and defaults that are written out make no difference."""
    ann = desk.person()
    key = {"Idempotency-Key": "k-1"}
    title = {"title": "T", "metadata": {"a": 1, "b": {"c": [1], "d": None}}}
    first = {"filename": "a.mov", "size": 700, "title": title}
    second = {
        "title": {"metadata": {"b": {"d": None, "c": [1]}, "a": 1}, "tags": [], "title": "T"},
        "priority": 0,
        "layout": "multipart",
        "checksum": None,
        "part_size": None,
        "size": 700,
        "filename": "a.mov",
    }
    answers = [await ann.http.post("/v1/uploads", json=wanted, headers=key) for wanted in (first, second)]
    assert [answer.status_code for answer in answers] == [201, 201]
    assert len({body(answer)["upload_id"] for answer in answers}) == 1


async def test_a_key_is_for_one_file(desk: Desk) -> None:
    ann = desk.person()
    key = {"Idempotency-Key": "k-1"}
    await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 700}, headers=key)
    for changed in OTHERS:
        wanted = {"filename": "a.mov", "size": 700} | changed
        answer = await ann.http.post("/v1/uploads", json=wanted, headers=key)
        problem(answer, 422, "idempotency_key_reused")
    assert len((await ann.read("uploads"))["items"]) == 1
    assert await desk.quota(ann.who) == (0, 700, 1)


async def test_a_key_belongs_to_its_creator(desk: Desk) -> None:
    ann = desk.person()
    bob, other = desk.person(replace(ann.who, creator="bob")), desk.person()
    key = {"Idempotency-Key": "k-1"}
    wanted = {"filename": "a.mov", "size": 700}
    ids = {body(await who.http.post("/v1/uploads", json=wanted, headers=key))["upload_id"] for who in (ann, bob, other)}
    assert len(ids) == 3


async def test_a_key_does_not_lead_out_of_a_tokens_title(desk: Desk) -> None:
    ann = desk.person()
    key = {"Idempotency-Key": "k-1"}
    wanted = {"filename": "a.mov", "size": 700}
    await ann.http.post("/v1/uploads", json=wanted, headers=key)
    narrow = desk.person(replace(ann.who, title=UUID((await ann.begin())["title_id"])))
    problem(await narrow.http.post("/v1/uploads", json=wanted, headers=key), 422, "idempotency_key_reused")


@pytest.mark.parametrize(("key", "code"), [("k" * 201, "idempotency_key_long"), ("a\x00b", "idempotency_key_invalid")])
async def test_a_key_that_cannot_be_kept_is_refused(desk: Desk, key: str, code: str) -> None:
    ann = desk.person()
    answer = await ann.http.post(
        "/v1/uploads", json={"filename": "a.mov", "size": 5}, headers={b"Idempotency-Key": key.encode()}
    )
    problem(answer, 422, code)


# --- quotas -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("plan", "limit"), [("user", 5 * GB), ("pro", 50 * GB), ("enterprise", 500 * GB)])
async def test_a_plan_holds_to_the_byte(desk: Desk, plan: str, limit: int) -> None:
    ann = desk.person(somebody(plan=plan))
    answer = await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": limit + 1})
    assert problem(answer, 413, "file_too_large") == {"limit": limit}
    await ann.begin(limit - 1)
    answer = await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 2})
    assert problem(answer, 413, "quota_exceeded") == {"limit": limit, "left": 1}
    await ann.begin(1)
    assert await desk.quota(ann.who) == (0, limit, 2)


async def test_studio_has_no_limit_of_bytes(desk: Desk) -> None:
    ann = desk.person()
    await ann.begin(MAX_OBJECT)
    await ann.begin(MAX_OBJECT)
    assert await desk.quota(ann.who) == (0, 2 * MAX_OBJECT, 2)


async def test_fifty_that_begin_at_once_share_what_there_is(desk: Desk) -> None:
    ann = desk.person(somebody(plan="user"))
    wanted = {"filename": "a.mov", "size": GB}
    answers = await asyncio.gather(*(ann.http.post("/v1/uploads", json=wanted) for _ in range(50)))
    assert Counter(answer.status_code for answer in answers) == {201: 5, 413: 45}
    assert await desk.quota(ann.who) == (0, 5 * GB, 5)
    assert len((await ann.read("uploads"))["items"]) == len((await ann.read("titles"))["items"]) == 5


async def test_open_uploads_are_counted(desk: Desk) -> None:
    ann = desk.person(somebody(plan="user"))
    upload = await ann.begin(1)
    await desk.sql("UPDATE quotas SET open_uploads = 100 WHERE tenant = %(tenant)s", tenant=ann.who.tenant)
    problem(await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 1}), 413, "too_many_uploads")
    assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    await ann.begin(1)


async def test_each_creator_has_a_quota_of_their_own(desk: Desk) -> None:
    ann = desk.person(somebody(plan="user"))
    bob = desk.person(replace(ann.who, creator="bob"))
    await ann.begin(5 * GB)
    await bob.begin(5 * GB)


async def test_an_upload_expires_after_two_weeks(desk: Desk) -> None:
    upload = await desk.person().begin()
    left = datetime.fromisoformat(upload["expires_at"]) - desk.ctx.now()
    assert timedelta(days=13, hours=23) < left <= timedelta(days=14)


async def test_a_file_that_the_stores_disk_cannot_hold_is_refused_at_once(desk: Desk, tmp_path: Path) -> None:
    """Also when the room is only promised: what open uploads have announced counts."""
    past = "UPDATE uploads SET expires_at = expires_at {} interval '100 years' RETURNING id"
    await desk.sql(past.format("-"))  # what other tests left open announces nothing here
    try:
        async with open_desk(desk.settings.model_copy(update={"storage_dir": tmp_path})) as small:
            ann = small.person(somebody(plan="studio"))
            free = shutil.disk_usage(tmp_path).free
            answer = await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": free + GB})
            assert problem(answer, 413, "storage_full")["free"] < free
            mine = await ann.begin(free // 2)
            answer = await ann.http.post("/v1/uploads", json={"filename": "b.mov", "size": free // 2})
            problem(answer, 413, "storage_full")
            await ann.http.delete(f"/v1/uploads/{mine['upload_id']}")
            await ann.begin(free // 3)
    finally:
        await desk.sql(past.format("+"))


async def test_who_names_no_size_leaves_room_on_the_stores_disk_for_others(desk: Desk, tmp_path: Path) -> None:
    """Half of it: who says how large the file can become gets as much as there is."""
    past = "UPDATE uploads SET expires_at = expires_at {} interval '1000 years' RETURNING id"
    await desk.sql(past.format("-"))
    limits = {"storage_dir": tmp_path, "unknown_size_bytes": 2**62}
    try:
        async with open_desk(desk.settings.model_copy(update=limits)) as small:
            ann = small.person(somebody(plan="studio"))
            free = shutil.disk_usage(tmp_path).free
            first = await ann.begin(None)
            assert free // 4 < first["max_size"] <= free // 2
            second = await ann.begin(free // 4)
            await ann.http.delete(f"/v1/uploads/{first['upload_id']}")
            await ann.http.delete(f"/v1/uploads/{second['upload_id']}")
            assert (await ann.begin(None, max_size=2**61))["max_size"] > free * 3 // 4
    finally:
        await desk.sql(past.format("+"))
