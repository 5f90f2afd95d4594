"""Sending through the API: what the tests of it share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import httpx

from rushes.plan import MIB, MIN_PART
from tests.ingest.equipment import TWO_PARTS, Desk, Json, Person, body, crc, some_bytes

HEADER = "x-amz-checksum-crc64nvme"
DATA = some_bytes(TWO_PARTS)
LONG = some_bytes(2 * MIN_PART + 70_000, seed=2)


async def relay(
    person: Person, upload: Json, number: int, data: bytes | AsyncIterator[bytes], **headers: str
) -> httpx.Response:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return await person.http.put(f"/v1/uploads/{upload['upload_id']}/parts/{number}", content=data, headers=named)


async def slice_(
    person: Person, upload: Json, number: int, part: bytes, first: int, last: int, *, claim: bool = True
) -> httpx.Response:
    headers = {"content-range": f"bytes {first}-{last}/{len(part)}"} | ({HEADER: crc(part)} if claim else {})
    return await relay(person, upload, number, part[first : last + 1], **headers)


async def content(person: Person, upload: Json, data: bytes, where: str | None = None) -> httpx.Response:
    headers = {} if where is None else {"content-range": where}
    return await person.http.put(f"/v1/uploads/{upload['upload_id']}/content", content=data, headers=headers)


async def scraps(desk: Desk, upload: Json) -> list[str]:
    """The slices' objects that are left of an upload."""
    place = desk.ctx.storage.incoming
    found = desk.ctx.storage.s3.list_objects(place.bucket, place.prefix)
    return [item.key async for item in found if upload["asset_id"] in item.key]


async def ingested(desk: Desk, person: Person, upload: Json, data: bytes, done: list[Json] | None = None) -> Json:
    """Complete and finalize; the asset, whose bytes are `data` and of which nothing else lies about."""
    assert (await person.complete(upload, done or [])).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == data
    assert await scraps(desk, upload) == []
    return await person.asset(upload)


async def finished(desk: Desk, person: Person, upload: Json, data: bytes, answer: httpx.Response) -> None:
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == f"/v1/uploads/{upload['upload_id']}/status"
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == data
    assert await scraps(desk, upload) == []
    assert (await person.asset(upload))["verification"] == "storage"
    again = await content(person, upload, data)
    assert (again.status_code, body(again)["upload_state"]) == (200, "ingested")
    asked = await content(person, upload, b"", f"bytes */{len(data)}")
    assert asked.status_code == 200


async def unsized(person: Person, **fields: object) -> Json:
    said = {"filename": "take two.mov", "content_type": "video/quicktime", "max_size": 8 * MIN_PART}
    answer = await person.http.post("/v1/uploads", json=said | {"part_size": MIN_PART} | fields)
    assert answer.status_code == 201, answer.text
    return body(answer)


async def forgotten(desk: Desk, person: Person, *, claim: bool, dead_for: float) -> tuple[Json, bytes]:
    """A part that is covered by slices, and whose assembler has given no sign of life for so many seconds."""
    upload = await person.begin(MIN_PART + MIB, part_size=MIN_PART)
    data = some_bytes(MIN_PART + MIB, 5)
    part = data[:MIN_PART]
    await slice_(person, upload, 1, part, 0, MIN_PART - MIB - 1, claim=claim)
    if claim:
        await desk.sql(
            "INSERT INTO parts (upload_id, number, size, checksum, grants) VALUES (%(id)s, 1, %(size)s, %(sum)s, 1)",
            id=upload["upload_id"],
            size=MIN_PART,
            sum=crc(part),
        )
    await desk.sql(
        """INSERT INTO assemblies (upload_id, number, assembler, since)
        VALUES (%(id)s, 1, gen_random_uuid(), now() - %(dead)s)""",
        id=upload["upload_id"],
        dead=timedelta(seconds=dead_for),
    )
    return upload, data
