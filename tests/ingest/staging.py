"""Staged uploads at the desk: what people send, what the copiers do with it, and what is in storage after."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rushes.pipeline.staged import run_copy
from rushes.plan import MIN_PART
from rushes.storage import staged_prefix
from tests.ingest.equipment import Desk, Json, Person, crc, some_bytes

DATA = some_bytes(2 * MIN_PART + 1_000, seed=31)  # two parts that are copied, and one that is too small for it
OTHER = some_bytes(MIN_PART, seed=32)


async def staged_upload(desk: Desk, data: bytes = DATA) -> tuple[Person, Json]:
    ann = desk.person()
    return ann, await ann.begin(len(data), part_size=MIN_PART, layout="staged")


async def copiers(desk: Desk, upload: Json) -> list[str]:
    """The copiers that parts belong to."""
    rows = await desk.sql(
        "SELECT DISTINCT copier FROM parts WHERE upload_id = %(id)s AND copier IS NOT NULL ORDER BY 1",
        id=upload["upload_id"],
    )
    return [str(row[0]) for row in rows]


async def copy_all(desk: Desk, upload: Json) -> list[str]:
    """What the copiers do now."""
    return [await run_copy(desk.ctx, upload["upload_id"], copier) for copier in await copiers(desk, upload)]


async def ledger(desk: Desk, upload: Json) -> list[tuple[Any, ...]]:
    """(number, held, copied) of each part."""
    return await desk.sql(
        """SELECT number, held_at IS NOT NULL, copied_etag IS NOT NULL FROM parts
        WHERE upload_id = %(id)s ORDER BY number""",
        id=upload["upload_id"],
    )


async def part_objects(desk: Desk, upload: Json) -> dict[str, int]:
    """Number and size of the part objects in the incoming place."""
    place, prefix = desk.ctx.storage.incoming, await prefix_of(desk, upload)
    listed = desk.ctx.storage.s3.list_objects(place.bucket, prefix)
    return {item.key.removeprefix(prefix): item.size async for item in listed}


async def prefix_of(desk: Desk, upload: Json) -> str:
    ((tenant, creator),) = await desk.sql(
        "SELECT tenant, creator FROM uploads WHERE id = %(id)s", id=upload["upload_id"]
    )
    return staged_prefix(desk.ctx.storage.incoming, tenant, creator, UUID(upload["asset_id"]))


async def stored_parts(desk: Desk, upload: Json) -> dict[int, int]:
    """Number and size of the parts in the multipart upload."""
    bucket, key, storage_id = await desk.in_storage(upload)
    return {part.number: part.size for part in await desk.ctx.storage.s3.list_parts(bucket, key, storage_id)}


async def overwrite(desk: Desk, upload: Json, number: int, data: bytes, *, told: bool = True) -> None:
    """Change a part object behind everybody's back. Unless `told`, storage keeps no checksum of it."""
    key = f"{await prefix_of(desk, upload)}{number}"
    await desk.ctx.storage.s3.put_object(
        desk.ctx.storage.incoming.bucket, key, data, size=len(data), checksum=crc(data) if told else None
    )


async def report(ann: Person, upload: Json, done: list[Json]) -> None:
    answer = await ann.ask(upload, done=done)
    assert answer.status_code == 200, answer.text
