"""Queries on renditions."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg.types.json import Jsonb

from rushes.db.database import Conn, columns, fetch_all, row_of
from rushes.model import Asset, Rendition

RENDITION = row_of(Rendition)
COLUMNS = columns(Rendition)


async def put(conn: Conn, row: Rendition) -> UUID:
    """Add a rendition, or put it in the place of the one that an earlier attempt of the same run made; its id."""
    names = COLUMNS.split(", ")
    values = {name: getattr(row, name) for name in names} | {"extra": Jsonb(row.extra)}
    places = ", ".join(f"%({name})s" for name in names)
    sets = ", ".join(f"{name} = EXCLUDED.{name}" for name in names if name not in {"id", "job_id", "name"})
    query = f"INSERT INTO renditions ({COLUMNS}) VALUES ({places}) ON CONFLICT (job_id, name) DO UPDATE SET {sets}"
    found = await (await conn.execute(f"{query} RETURNING id".encode(), values)).fetchone()
    assert found is not None, "added or replaced"
    return UUID(str(found[0]))


async def readable(conn: Conn, assets: Sequence[Asset]) -> dict[UUID, list[Rendition]]:
    """What may be shown of each asset: the published run's renditions, or before that what the current run has made."""
    query = f"""SELECT {columns(Rendition, "r.")} FROM renditions r JOIN assets a ON a.id = r.asset_id
        WHERE r.asset_id = ANY(%(ids)s) AND r.job_id = COALESCE(a.published_job_id, a.job_id)
        ORDER BY r.type, r.height DESC NULLS LAST, r.name"""
    found: dict[UUID, list[Rendition]] = {asset.id: [] for asset in assets}
    for row in await fetch_all(conn, RENDITION, query, {"ids": list(found)}):
        found[row.asset_id].append(row)
    return found


async def take_over(conn: Conn, old_run: UUID, new_run: UUID, anew: Sequence[str]) -> None:
    """Make a run's renditions another's, but for those of stages that it has made anew, and of names that it has."""
    await conn.execute(
        """UPDATE renditions SET job_id = %(new)s WHERE job_id = %(old)s AND stage <> ALL(%(anew)s)
        AND name NOT IN (SELECT name FROM renditions WHERE job_id = %(new)s)""",
        {"old": old_run, "new": new_run, "anew": list(anew)},
    )


async def of_job(conn: Conn, job_id: UUID) -> list[Rendition]:
    query = f"SELECT {COLUMNS} FROM renditions WHERE job_id = %(id)s ORDER BY name"
    return await fetch_all(conn, RENDITION, query, {"id": job_id})


async def delete_under(conn: Conn, bucket: str, prefix: str) -> None:
    """Forget the renditions whose objects lie under this key prefix."""
    await conn.execute("DELETE FROM renditions WHERE bucket = %s AND starts_with(key, %s)", [bucket, prefix])


async def delete_of_stages(conn: Conn, job_id: UUID, stages: Sequence[str]) -> None:
    """Forget what a run's stages of these types have made."""
    await conn.execute("DELETE FROM renditions WHERE job_id = %s AND stage = ANY(%s)", [job_id, list(stages)])


async def delete_of_asset(conn: Conn, asset_id: UUID) -> None:
    await conn.execute("DELETE FROM renditions WHERE asset_id = %s", [asset_id])
