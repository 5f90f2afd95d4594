"""Uploads of unknown size: a maximum is reserved and settled, once; wrong sizes change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.errors import Conflict
from rushes.ingest.unsized import measure
from rushes.model import Part, Proof, Upload, Way
from rushes.plan import GB, MIN_PART
from tests.ingest.equipment import TWO_PARTS, Desk, Json, Person, body, crc, pieces, problem, some_bytes, somebody

MAX = 20 * MIN_PART


async def begin(who: Person, **fields: Any) -> Json:
    wanted = {"filename": "live.mov", "max_size": MAX, "part_size": MIN_PART} | fields
    answer = await who.http.post("/v1/uploads", json=wanted)
    assert answer.status_code == 201, answer.text
    return body(answer)


async def send(who: Person, upload: Json, data: bytes, *, numbers: Sequence[int] = ()) -> list[Json]:
    """Send parts of `data`, the last one with its size; what there is to report."""
    parts = pieces(data, upload["part_size"])
    chosen = [number for number in range(1, len(parts) + 1) if not numbers or number in numbers]
    want = [{"number": n, "checksum": crc(parts[n - 1]), "size": len(parts[n - 1])} for n in chosen]
    answer = await who.http.post(f"/v1/uploads/{upload['upload_id']}/parts", json={"want": want})
    assert answer.status_code == 200, answer.text
    done = []
    for grant in body(answer)["grants"]:
        part = parts[grant["number"] - 1]
        assert grant["length"] == len(part)
        put = await who.put(grant, part)
        assert put.status_code == 200, put.text
        done.append({"number": grant["number"], "etag": put.headers["ETag"], "checksum": crc(part)})
    return done


@pytest.mark.parametrize("said", [True, False])
@pytest.mark.parametrize("size", [1, MIN_PART, TWO_PARTS, 2 * MIN_PART])
async def test_what_was_reserved_beyond_the_file_is_free_when_it_is_complete(desk: Desk, size: int, said: bool) -> None:
    ann, data = desk.person(), some_bytes(size)
    upload = await begin(ann)
    assert (upload["size"], upload["max_size"], upload["part_size"]) == (None, MAX, MIN_PART)
    assert await desk.quota(ann.who) == (0, MAX, 1)
    done = await send(ann, upload, data)
    view = await ann.upload(upload)
    assert (view["size"], view["max_size"], view["state"]) == (None, MAX, "uploading")
    assert (await ann.asset(upload))["size"] is None
    for path in ("uploads", "assets"):
        assert [item["size"] for item in (await ann.read(path))["items"]] == [None]
    answer = await ann.complete(upload, done, **({"size": size} if said else {}))
    assert answer.status_code == 202, answer.text
    assert await desk.quota(ann.who) == (0, size, 1)
    assert (await ann.complete(upload, done)).status_code == 202  # a lost reply; nothing is given back twice
    assert await desk.quota(ann.who) == (0, size, 1)
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.quota(ann.who) == (size, 0, 0)
    view, asset = await ann.upload(upload), await ann.asset(upload)
    assert (view["size"], view["max_size"], view["part_count"]) == (size, size, -(-size // MIN_PART))
    assert asset["size"] == size
    assert (await desk.web.get(asset["original_url"])).content == data
    assert (await ann.http.delete(f"/v1/assets/{upload['asset_id']}")).status_code == 204
    assert await desk.quota(ann.who) == (0, 0, 0)
    await desk.adds_up(ann.who)


async def test_a_small_file_is_one_short_part_of_an_ordinary_plan(desk: Desk) -> None:
    """No wish for a part size: the plan is for the maximum, and the only part says how short it is."""
    ann, data = desk.person(), b"x"
    answer = await ann.http.post("/v1/uploads", json={"filename": "live.mov"})
    upload = body(answer)
    assert upload["max_size"] == 100 * GB
    done = await send(ann, upload, data)
    assert (await ann.complete(upload, done)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert (await ann.asset(upload))["size"] == 1
    assert await desk.quota(ann.who) == (1, 0, 0)


async def test_sizes_that_cannot_be_are_refused_and_change_nothing(desk: Desk) -> None:
    ann, data = desk.person(), some_bytes(TWO_PARTS)
    upload = await begin(ann)
    assert problem(await ann.complete(upload), 409, "parts_missing")["missing"] == [1]
    done = await send(ann, upload, data)
    for size in (1, MIN_PART, TWO_PARTS - 1, TWO_PARTS + 1, 2 * MIN_PART, MAX + 1):
        problem(await ann.complete(upload, done, size=size), 409, "size_mismatch")
    told = problem(await ann.complete(upload, done, size=3 * MIN_PART - 5), 409, "size_mismatch")
    assert told == {"number": 2, "held": TWO_PARTS - MIN_PART}
    assert (await ann.upload(upload))["size"] is None
    assert await desk.quota(ann.who) == (0, MAX, 1)
    assert (await ann.complete(upload, done, size=TWO_PARTS)).status_code == 202
    problem(await ann.complete(upload, done, size=TWO_PARTS + 1), 409, "size_mismatch")
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    problem(await ann.complete(upload, done, size=1), 409, "size_mismatch")


async def test_parts_that_are_missing_are_named_and_the_size_stays_open(desk: Desk) -> None:
    ann, data = desk.person(), some_bytes(2 * MIN_PART + 7)
    upload = await begin(ann)
    done = await send(ann, upload, data, numbers=[1, 3])
    for fields in ({}, {"size": len(data)}):
        assert problem(await ann.complete(upload, done, **fields), 409, "parts_missing")["missing"] == [2]
    assert await desk.quota(ann.who) == (0, MAX, 1)
    done += await send(ann, upload, data, numbers=[2])
    assert (await ann.complete(upload, done)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.quota(ann.who) == (len(data), 0, 0)


async def test_a_short_part_in_the_middle_is_told_and_can_be_sent_again(desk: Desk) -> None:
    ann, data = desk.person(), some_bytes(TWO_PARTS)
    upload = await begin(ann)
    early = await send(ann, upload, data[:9])  # the file seemed to end here
    done = await send(ann, upload, data, numbers=[2])
    told = problem(await ann.complete(upload, early + done), 409, "size_mismatch")
    assert told == {"number": 1, "held": 9}
    done += await send(ann, upload, data, numbers=[1])
    assert (await ann.complete(upload, done)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert (await desk.web.get((await ann.asset(upload))["original_url"])).content == data


async def test_a_grant_behind_the_end_is_forgotten_once_the_size_is_said(desk: Desk) -> None:
    ann, data = desk.person(), some_bytes(TWO_PARTS)
    upload = await begin(ann)
    done = await send(ann, upload, data)
    await ann.ask(upload, [(3, crc(b"never sent"))])
    assert problem(await ann.complete(upload, done), 409, "parts_missing")["missing"] == [3]
    assert (await ann.complete(upload, done, size=TWO_PARTS)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"


async def test_a_report_that_was_lost_costs_nothing_when_the_size_is_said(desk: Desk) -> None:
    ann, data = desk.person(), some_bytes(TWO_PARTS)
    upload = await begin(ann)
    await send(ann, upload, data)
    assert problem(await ann.complete(upload), 409, "parts_missing")["missing"] == [1, 2]
    assert (await ann.complete(upload, size=TWO_PARTS)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"


async def test_parts_that_storage_lost_are_sent_again_under_the_size_that_is_known_now(desk: Desk) -> None:
    ann, data = desk.person(), some_bytes(TWO_PARTS)
    upload = await begin(ann)
    done = await send(ann, upload, data, numbers=[1])
    await ann.http.post(
        f"/v1/uploads/{upload['upload_id']}/parts",
        json={"want": [{"number": 2, "checksum": crc(data[MIN_PART:]), "size": 1_000}]},
    )
    assert (await ann.complete(upload, done, size=TWO_PARTS)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "missing"
    view = await ann.upload(upload)
    assert (view["state"], view["size"], view["part_count"]) == ("uploading", TWO_PARTS, 2)
    assert await desk.quota(ann.who) == (0, TWO_PARTS, 1)
    done += await ann.send(upload, data, [2])  # an ordinary grant: the plan knows the length now
    assert (await ann.complete(upload, done)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.quota(ann.who) == (TWO_PARTS, 0, 0)


async def test_lengths_that_cannot_be_granted(desk: Desk) -> None:
    ann = desk.person()
    unknown, known = await begin(ann), await ann.begin(TWO_PARTS, part_size=MIN_PART)

    async def ask(upload: Json, *want: tuple[int, int]) -> Any:
        wanted = [{"number": number, "checksum": crc(b"x"), "size": size} for number, size in want]
        return await ann.http.post(f"/v1/uploads/{upload['upload_id']}/parts", json={"want": wanted})

    problem(await ask(unknown, (1, MIN_PART + 1)), 422, "part_length_invalid")
    problem(await ask(unknown, (1, 0)), 422, "request_invalid")
    problem(await ask(unknown, (21, 1)), 422, "part_number_invalid")
    problem(await ask(unknown, (1, 5), (1, 6)), 422, "part_twice")
    assert (await ask(unknown, (20, 1))).status_code == 200
    assert problem(await ask(known, (2, 999)), 422, "part_length_invalid") == {"length": 1_000}
    assert (await ask(known, (2, 1_000))).status_code == 200


async def test_completes_that_race_give_back_once(desk: Desk) -> None:
    ann, data = desk.person(), some_bytes(TWO_PARTS)
    upload = await begin(ann)
    done = await send(ann, upload, data)
    answers = await asyncio.gather(*(ann.complete(upload, done, size=TWO_PARTS) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {202}
    assert await desk.quota(ann.who) == (0, TWO_PARTS, 1)
    assert await desk.enqueued(f"finalize-{upload['upload_id']}%") == [f"finalize-{upload['upload_id']}-1"]


async def test_a_complete_that_dies_midway_has_changed_nothing(desk: Desk) -> None:
    """The connection is cut while complete waits for the quota's row, behind what it has recorded already."""
    ann, data = desk.person(), some_bytes(TWO_PARTS)
    upload = await begin(ann)
    done = await send(ann, upload, data)
    async with desk.ctx.db.transaction() as conn:
        await conn.execute("SELECT 1 FROM quotas WHERE tenant = %s FOR UPDATE", [ann.who.tenant])
        cursor = await conn.execute("SELECT pg_backend_pid()")
        ((holder,),) = await cursor.fetchall()
        completing = asyncio.create_task(ann.complete(upload, done, size=TWO_PARTS))
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE %(holder)s = ANY(pg_blocking_pids(pid))"
        while not await desk.sql(cut, holder=holder):  # noqa: ASYNC110 - it waits in the database, unseen from here
            await asyncio.sleep(0)
        problem(await completing, 503, "database_unavailable")
    view = await ann.upload(upload)
    assert (view["state"], view["size"], view["held"]["parts"]) == ("uploading", None, 0)
    assert await desk.quota(ann.who) == (0, MAX, 1)
    assert (await ann.complete(upload, done, size=TWO_PARTS)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    await desk.adds_up(ann.who)


async def test_an_upload_given_up_gives_back_all_that_was_reserved(desk: Desk) -> None:
    ann = desk.person()
    upload = await begin(ann)
    await send(ann, upload, some_bytes(9))
    assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    assert await desk.quota(ann.who) == (0, 0, 0)
    await desk.adds_up(ann.who)


async def test_what_is_reserved_is_what_the_limits_leave(desk: Desk) -> None:
    ann = desk.person(somebody(plan="user"))
    first = await begin(ann, max_size=2 * GB, part_size=None)
    assert first["max_size"] == 2 * GB
    rest = await begin(ann, max_size=None, part_size=None)
    assert rest["max_size"] == 3 * GB
    answer = await ann.http.post("/v1/uploads", json={"filename": "more.mov"})
    assert problem(answer, 413, "quota_exceeded") == {"limit": 5 * GB, "left": 0}
    bob = desk.person(replace(ann.who, creator="bob", plan="studio"))
    await desk.allow(bob.who, stored_bytes=5 * GB + 77)
    assert (await begin(bob, max_size=None, part_size=None))["max_size"] == 77
    await desk.adds_up(ann.who)


async def test_a_key_gets_the_same_upload_also_when_its_size_is_known_by_now(desk: Desk) -> None:
    ann, key = desk.person(), {"Idempotency-Key": "k"}
    wanted = {"filename": "live.mov", "max_size": MAX, "part_size": MIN_PART}
    upload = body(await ann.http.post("/v1/uploads", json=wanted, headers=key))
    done = await send(ann, upload, b"a film")
    assert (await ann.complete(upload, done)).status_code == 202
    again = body(await ann.http.post("/v1/uploads", json=wanted, headers=key))
    assert (again["upload_id"], again["size"]) == (upload["upload_id"], 6)
    both = {"filename": "live.mov", "size": 5, "max_size": 6}
    problem(await ann.http.post("/v1/uploads", json=both), 422, "size_twice")


# --- measuring, over its whole range ----------------------------------------------------------------------------------


def part(number: int, size: int, held: bool = True, grants: int = 1) -> Part:
    now = datetime.now(UTC) if held else None
    return Part(number, size, "AAAAAAAAAAA=", Proof.CLIENT, grants, "e" if held else None, now, Way.DIRECT, None)


@given(st.integers(1, 50), st.integers(1, 12), st.data())
def test_a_ledger_is_measured_right_or_not_at_all(part_size: int, count: int, data: st.DataObject) -> None:
    size = data.draw(st.integers(part_size * (count - 1) + 1, part_size * count))
    lengths = [min(part_size, size - at) for at in range(0, size, part_size)]
    upload = plan(part_size, 20)
    ledger = [part(number, length) for number, length in enumerate(lengths, 1)]
    assert measure(upload, ledger, None) == measure(upload, ledger, size) == (size, [])
    gone = data.draw(st.integers(1, count))
    partial = [row for row in ledger if row.number != gone]
    if gone < count:
        assert measure(upload, partial, None)[1] == [gone]
    assert measure(upload, partial, size)[1] == [gone]
    other = data.draw(st.integers(1, 20 * part_size).filter(lambda said: said != size))
    assert cannot_be(upload, ledger, other)


def cannot_be(upload: Upload, ledger: list[Part], size: int) -> bool:
    """Whether a file of this size is refused, or has parts to come."""
    try:
        return bool(measure(upload, ledger, size)[1])
    except Conflict as error:
        return error.code == "size_mismatch"


def plan(part_size: int, count: int) -> Upload:
    values: dict[str, Any] = dict.fromkeys(Upload.__slots__)
    return Upload(**values | {"size": part_size * count, "part_size": part_size, "part_count": count})
