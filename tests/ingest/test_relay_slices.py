"""Relay in slices: bytes of a part in any order, kept until they cover it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import replace
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from rushes.db import slices
from rushes.ingest import uploads
from rushes.ingest.slices import Outcome, finish
from rushes.plan import MIB, MIN_PART
from tests.ingest.equipment import Desk, Person, body, crc, problem, some_bytes
from tests.ingest.relaying import DATA, HEADER, forgotten, ingested, relay, scraps, slice_, unsized
from tests.pipeline.equipment import until, with_storage


async def test_slices_in_any_order_make_a_part(desk: Desk, person: Person) -> None:
    upload = await person.begin(MIN_PART)
    part = DATA[:MIN_PART]
    address = f"/v1/uploads/{upload['upload_id']}/parts/1"
    assert "range" not in (await person.http.head(address)).headers
    for first in (3 * MIB, 0, 4 * MIB, 1 * MIB):
        answer = await slice_(person, upload, 1, part, first, first + MIB - 1)
        assert answer.status_code == 202
    assert body(answer)["received"] == [[0, 2 * MIB - 1], [3 * MIB, MIN_PART - 1]]
    assert answer.headers["range"] == f"bytes=0-{2 * MIB - 1},{3 * MIB}-{MIN_PART - 1}"
    asked = await person.http.get(address)
    assert (body(asked)["received"], body(asked)["etag"]) == (body(answer)["received"], None)
    assert (await person.http.head(address)).headers["range"] == answer.headers["range"]
    last = await slice_(person, upload, 1, part, 2 * MIB, 3 * MIB - 1)
    assert (last.status_code, body(last)["checksum"]) == (200, crc(part))
    again = await slice_(person, upload, 1, part, 2 * MIB, 3 * MIB - 1)
    assert (again.status_code, body(again)) == (200, body(last))
    assert body(await person.http.get(address))["received"] == [[0, MIN_PART - 1]]
    assert (await person.http.head(address)).headers["etag"] == last.headers["etag"]
    assert (await ingested(desk, person, upload, part))["verification"] == "end_to_end"


async def test_slices_in_random_order_overlapping_and_twice(desk: Desk, person: Person, round_: int) -> None:
    for _ in range(3):
        size = random.randrange(2 * MIB, 9 * MIB)
        part = random.randbytes(size)
        upload = await person.begin(size)
        claim = random.random() < 0.5
        status = 0
        while status != 200:
            view = body(await person.http.get(f"/v1/uploads/{upload['upload_id']}/parts/1"))
            first = random.randrange(size - MIB) if random.random() < 0.5 else _hole(view["received"], size)
            last = min(size - 1, first + random.randrange(MIB, 3 * MIB))
            answer = await slice_(person, upload, 1, part, first, last, claim=claim)
            status = answer.status_code
            assert status in {200, 202}, answer.text
        assert (await ingested(desk, person, upload, part))["verification"] == ("end_to_end" if claim else "storage")


def _hole(received: list[list[int]], size: int) -> int:
    """The first byte that is not held, or one before it from which a slice is long enough."""
    missing = received[0][1] + 1 if received and received[0][0] == 0 else 0
    return max(0, min(missing, size - MIB))


async def test_slices_at_once(desk: Desk, person: Person, round_: int) -> None:
    """Whoever comes last puts the part together, once. As many as one creator may send at once."""
    for claim in (True, False):
        upload = await person.begin(4 * MIB)
        part = DATA[: 4 * MIB]
        sent = [
            slice_(person, upload, 1, part, first, first + MIB - 1, claim=claim)
            for first in range(0, len(part), MIB)
            for _ in range(2)
        ]
        answers = await asyncio.gather(*sent)
        assert {answer.status_code for answer in answers} <= {200, 202}
        assert body(await slice_(person, upload, 1, part, 0, MIB - 1, claim=claim))["checksum"] == crc(part)
        await ingested(desk, person, upload, part)
        assert (await desk.events(upload["upload_id"])).count("part_completed") == 1


async def test_a_slice_makes_sense(desk: Desk, person: Person) -> None:
    upload = await person.begin(MIN_PART)
    part = DATA[:MIN_PART]
    extra = problem(await slice_(person, upload, 1, part, 0, MIB - 2), 422, "slice_too_small")
    assert extra == {"least": MIB}
    for where in (
        "bytes 0-1/3",
        "bytes */5242880",
        "bytes 0-9",
        "0-9/10",
        f"bytes 5-4/{MIN_PART}",
        f"bytes 0-{MIN_PART}/*",
    ):
        problem(await relay(person, upload, 1, part[:10], content_range=where), 400, "range_invalid")
    where = f"bytes 0-{MIB - 1}/{MIN_PART}"
    problem(await relay(person, upload, 1, part[: MIB - 1], content_range=where), 400, "length_wrong")


async def test_another_checksum_begins_the_part_anew(desk: Desk, person: Person) -> None:
    upload = await person.begin(2 * MIB)
    old, new = some_bytes(2 * MIB, 3), some_bytes(2 * MIB, 4)
    await slice_(person, upload, 1, old, 0, MIB - 1)
    answer = await slice_(person, upload, 1, new, MIB, 2 * MIB - 1)
    assert body(answer)["received"] == [[MIB, 2 * MIB - 1]]
    assert len(await scraps(desk, upload)) == 1
    assert (await slice_(person, upload, 1, new, 0, MIB - 1)).status_code == 200
    await ingested(desk, person, upload, new)


async def test_another_length_begins_the_part_anew(desk: Desk, person: Person) -> None:
    """Of a file whose size is not known a last part may turn out shorter than its first slice said."""
    upload = await unsized(person)
    old, new = some_bytes(3 * MIB, 3), some_bytes(2 * MIB, 4)
    for claim in (False, True):
        await slice_(person, upload, 1, old, 0, MIB - 1, claim=claim)
        where = f"bytes {MIB}-{2 * MIB - 1}/{2 * MIB}"
        headers = {"content-range": where} | ({HEADER: crc(old)} if claim else {})
        answer = await relay(person, upload, 1, new[MIB:], **headers)
        assert (body(answer)["length"], body(answer)["received"]) == (2 * MIB, [[MIB, 2 * MIB - 1]])
        assert len(await scraps(desk, upload)) == 1


async def test_slices_that_are_not_what_was_claimed_are_all_forgotten(desk: Desk, person: Person) -> None:
    upload = await person.begin(2 * MIB)
    part = some_bytes(2 * MIB)
    await slice_(person, upload, 1, part, 0, MIB - 1)
    headers = {"content-range": f"bytes {MIB}-{2 * MIB - 1}/{2 * MIB}", HEADER: crc(part)}
    problem(await relay(person, upload, 1, bytes(MIB), **headers), 422, "checksum_mismatch")
    assert body(await person.http.get(f"/v1/uploads/{upload['upload_id']}/parts/1"))["received"] == []
    assert await scraps(desk, upload) == []
    assert (await slice_(person, upload, 1, part, 0, MIB - 1)).status_code == 202
    assert (await slice_(person, upload, 1, part, MIB, 2 * MIB - 1)).status_code == 200
    await ingested(desk, person, upload, part)


@pytest.mark.parametrize("harm", ["gone", "changed"])
@pytest.mark.parametrize("claim", [True, False])
async def test_a_slice_that_storage_lost_is_asked_for_again(desk: Desk, person: Person, harm: str, claim: bool) -> None:
    upload = await person.begin(2 * MIB)
    part = some_bytes(2 * MIB)
    await slice_(person, upload, 1, part, 0, MIB - 1, claim=claim)
    (key,) = await scraps(desk, upload)
    bucket = desk.ctx.storage.incoming.bucket
    if harm == "gone":
        await desk.ctx.storage.s3.delete_objects(bucket, [key])
    else:
        await desk.ctx.storage.s3.put_object(bucket, key, bytes(MIB), size=MIB)
    answer = await slice_(person, upload, 1, part, MIB, 2 * MIB - 1, claim=claim)
    assert (answer.status_code, body(answer)["received"]) == (202, [[MIB, 2 * MIB - 1]])
    assert (await person.upload(upload))["parts"] == []
    assert (await slice_(person, upload, 1, part, 0, MIB - 1, claim=claim)).status_code == 200
    await ingested(desk, person, upload, part)


async def test_a_part_sent_directly_needs_no_slices(desk: Desk, person: Person) -> None:
    upload = await person.begin(2 * MIB)
    part = some_bytes(2 * MIB)
    await slice_(person, upload, 1, part, 0, MIB - 1)
    done = await person.send(upload, part)
    assert (await person.ask(upload, done=done)).status_code == 200
    answer = await slice_(person, upload, 1, part, MIB, 2 * MIB - 1)
    assert (answer.status_code, body(answer)["checksum"]) == (200, crc(part))


async def test_an_assembler_keeps_its_claim_however_long_storage_takes(desk: Desk, person: Person) -> None:
    upload, data = await forgotten(desk, person, claim=True, dead_for=0)
    part = data[:MIN_PART]
    assert (await slice_(person, upload, 1, part, MIN_PART - MIB, MIN_PART - 1)).status_code == 202
    told = "UPDATE assemblies SET since = since - interval '1 hour' WHERE upload_id = %(id)s"
    await desk.sql(told, id=upload["upload_id"])
    begun, goes_on = asyncio.Event(), asyncio.Event()
    real = desk.ctx.storage.s3.stream_part

    async def slow(*args: Any, **how: Any) -> str:
        begun.set()
        await goes_on.wait()
        return await real(*args, **how)

    hasty = replace(desk.ctx, settings=desk.ctx.settings.model_copy(update={"takeover_seconds": 2.0}))
    row = await uploads.get(desk.ctx, person.who, UUID(upload["upload_id"]))
    assembling = asyncio.create_task(finish(with_storage(hasty, stream_part=slow), person.who, row, 1))
    await begun.wait()
    since = "SELECT since FROM assemblies WHERE upload_id = %(id)s"
    first = await desk.sql(since, id=upload["upload_id"])

    async def renewed() -> bool:
        return await desk.sql(since, id=upload["upload_id"]) > first

    await until(renewed, 60, "the claim is not renewed")
    goes_on.set()
    assert await assembling is Outcome.HELD
    assert await desk.sql(since, id=upload["upload_id"]) == []


async def test_an_assembler_that_was_replaced_keeps_and_ends_nothing(desk: Desk, person: Person) -> None:
    upload = UUID((await person.begin(MIN_PART))["upload_id"])
    first, second, now = uuid4(), uuid4(), desk.ctx.now()
    async with desk.ctx.db.transaction() as conn:
        assert await slices.claim(conn, upload, 1, first, now, now)
        assert not await slices.claim(conn, upload, 1, second, now, now)
        later = now + timedelta(seconds=1)
        assert await slices.claim(conn, upload, 1, second, later, later)
        await slices.renew(conn, first, upload, 1, later + timedelta(hours=1))
        assert not await slices.give_back(conn, first, upload, 1)
        await slices.renew(conn, second, upload, 1, later + timedelta(seconds=1))
    told = await desk.sql("SELECT assembler, since FROM assemblies WHERE upload_id = %(id)s", id=upload)
    assert told == [(second, later + timedelta(seconds=1))]


@pytest.mark.parametrize("claim", [True, False])
async def test_a_part_whose_assembler_died_is_put_together_by_whoever_asks(
    desk: Desk, person: Person, claim: bool
) -> None:
    takeover = desk.settings.takeover_seconds
    for how in ("slice", "look", "complete"):
        upload, data = await forgotten(desk, person, claim=claim, dead_for=takeover - 2)
        part, address = data[:MIN_PART], f"/v1/uploads/{upload['upload_id']}"
        busy = await slice_(person, upload, 1, part, MIN_PART - MIB, MIN_PART - 1, claim=claim)
        assert (busy.status_code, body(busy)["received"]) == (202, [[0, MIN_PART - 1]])
        assert (await relay(person, upload, 2, data[MIN_PART:], **{HEADER: crc(data[MIN_PART:])})).status_code == 200
        problem(await person.complete(upload), 503, "part_assembling")
        await desk.sql("UPDATE assemblies SET since = since - interval '2 seconds'")
        if how == "slice":
            assert (await slice_(person, upload, 1, part, 0, MIB - 1, claim=claim)).status_code == 200
        elif how == "look":
            assert body(await person.http.get(f"{address}/parts/1"))["checksum"] == crc(part)
        await ingested(desk, person, upload, data)
