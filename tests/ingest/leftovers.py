"""Leftovers made for real, sweeps at any moment, and looks at all that there is."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime, timedelta
from uuid import UUID

from rushes.config import Settings
from rushes.ingest.context import Context
from rushes.ingest.reclaimed import Kind, Sum, Tally
from rushes.ingest.sweep import sweep_now
from rushes.model import Principal, new_id
from rushes.storage import Place, asset_prefix, original_key
from tests.ingest.equipment import At, Desk, open_desk
from tests.pipeline.equipment import database_apart

A_DAY = timedelta(days=1, minutes=5)  # past the grace
TWO_WEEKS = timedelta(days=14, minutes=5)  # past an idle upload's life


@contextmanager
def apart(settings: Settings, **changes: object) -> Iterator[Settings]:
    """A database and places of their own, in buckets that others use as well."""
    with database_apart(settings) as found:
        yield found.model_copy(update=changes)


@asynccontextmanager
async def desk_apart(settings: Settings, **changes: object) -> AsyncIterator[Desk]:
    with apart(settings, **changes) as found:
        async with open_desk(found) as desk:
            yield desk


def at(ctx: Context, moment: datetime | timedelta) -> Context:
    """The context at another moment, or so much later than now."""
    moment = datetime.now(UTC) + moment if isinstance(moment, timedelta) else moment
    return At(ctx.settings, ctx.db, ctx.storage, ctx.engine, moment)


async def swept(desk: Desk, moment: datetime | timedelta, *, dry: bool = False) -> Tally:
    """The report of a whole sweep at this moment, without problems."""
    report = await sweep_now(at(desk.ctx, moment), dry=dry)
    assert report.problems == {}
    return report


async def swept_as_announced(desk: Desk, moment: datetime | timedelta) -> Tally:
    """The same, after a dry run that changed nothing and said the same."""
    moment = datetime.now(UTC) + moment if isinstance(moment, timedelta) else moment
    before = await everything(desk)
    announced = await swept(desk, moment, dry=True)
    assert await everything(desk) == before
    report = await swept(desk, moment)
    assert report.to_json() == announced.to_json()
    return report


def of(report: Tally, who: Principal) -> dict[Kind, Sum]:
    """What was counted for a person's tenant, but for rows."""
    rows = {Kind.ABANDONED, Kind.WARNED, Kind.EVENTS}
    return {kind: sum_ for kind, sum_ in report.tenants.get(who.tenant, {}).items() if kind not in rows}


async def everything(desk: Desk) -> dict[str, object]:
    """All rows that a sweep could change, and all that storage holds in our buckets."""
    tables = ("uploads", "assets", "parts", "slices", "renditions", "quotas", "jobs", "events", "sweeps")
    found: dict[str, object] = {}
    for table in (*tables, "dbos.workflow_status"):
        rows = await desk.sql(f"SELECT t::text FROM {table} t ORDER BY 1")  # noqa: S608
        found[table] = hashlib.sha256(repr(rows).encode()).hexdigest()
    return found | {"objects": await objects(desk), "multiparts": await multiparts(desk)}


async def objects(desk: Desk) -> set[tuple[str, str]]:
    """(bucket, key) of all objects in our places."""
    storage = desk.ctx.storage
    places = (storage.incoming, storage.originals, storage.renditions)
    return {(p.bucket, item.key) for p in places async for item in storage.s3.list_objects(p.bucket, p.prefix)}


async def multiparts(desk: Desk) -> set[str]:
    """The ids of all multipart uploads in our places."""
    storage = desk.ctx.storage
    places = (storage.incoming, storage.originals, storage.renditions)
    return {
        item.storage_upload_id for p in places async for item in storage.s3.list_multipart_uploads(p.bucket, p.prefix)
    }


async def put(desk: Desk, place: Place, key: str, body: bytes = b"left behind") -> tuple[str, str]:
    await desk.ctx.storage.s3.put_object(place.bucket, key, body, size=len(body))
    return place.bucket, key


async def lost_multipart(desk: Desk, place: Place, key: str, body: bytes = b"") -> str:
    """A multipart upload that no session knows, with one part if there is a body; its id."""
    s3 = desk.ctx.storage.s3
    id_ = await s3.create_multipart(place.bucket, key)
    if body:
        await s3.upload_part(place.bucket, key, id_, 1, body, checksum=None)
    return id_


def a_key(desk: Desk, who: Principal) -> str:
    """The key of an original that no row knows."""
    return original_key(desk.ctx.storage.originals, who.tenant, who.creator, new_id())


def incoming_key(desk: Desk, who: Principal, asset_id: str | UUID, rest: str) -> str:
    return asset_prefix(desk.ctx.storage.incoming, who.tenant, who.creator, UUID(str(asset_id))) + rest


async def storage_id(desk: Desk, upload: dict[str, object]) -> str:
    ((found,),) = await desk.sql("SELECT storage_upload_id FROM uploads WHERE id = %(id)s", id=upload["upload_id"])
    return str(found)
