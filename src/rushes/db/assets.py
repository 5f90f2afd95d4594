"""Queries on assets."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from rushes.db.database import Conn, columns, fetch_all, fetch_one, row_of
from rushes.db.scope import scope, scope_args
from rushes.model import ASSET_MOVES, Asset, AssetState, ChecksumAlgorithm, Kind, Principal, Verification, check_move

ASSET = row_of(Asset, state=AssetState, kind=Kind, checksum_algorithm=ChecksumAlgorithm, verification=Verification)
COLUMNS = columns(Asset)
SCOPE = scope("title_id", "upload_id")
SETTABLE = frozenset(
    {
        "kind",
        "filename",
        "title_id",
        "size",
        "etag",
        "checksum_algorithm",
        "checksum",
        "sha256",
        "verification",
        "job_id",
        "published_job_id",
        "media",
        "problem",
        "published_at",
    }
)


async def insert(conn: Conn, row: Asset) -> None:
    names = COLUMNS.split(", ")
    values = {name: getattr(row, name) for name in names} | {"media": None, "problem": None}
    places = ", ".join(f"%({name})s" for name in names)
    await conn.execute(f"INSERT INTO assets ({COLUMNS}) VALUES ({places})".encode(), values)


async def get(conn: Conn, who: Principal, asset_id: UUID, *, lock: bool = False) -> Asset | None:
    """A deleted asset is not there for those who ask."""
    query = f"SELECT {COLUMNS} FROM assets WHERE id = %(id)s AND state <> 'deleted' AND {SCOPE}"
    return await fetch_one(conn, ASSET, query + _lock(lock), {"id": asset_id} | scope_args(who))


async def load(conn: Conn, asset_id: UUID, *, lock: bool = False) -> Asset | None:
    """For workflows, which act for the system: no scope."""
    query = f"SELECT {COLUMNS} FROM assets WHERE id = %(id)s"
    return await fetch_one(conn, ASSET, query + _lock(lock), {"id": asset_id})


async def page(
    conn: Conn, who: Principal, state: AssetState | None, title_id: UUID | None, before: UUID | None, limit: int
) -> list[Asset]:
    query = f"""SELECT {COLUMNS} FROM assets WHERE {SCOPE} AND state <> 'deleted'
        AND (%(before)s::uuid IS NULL OR id < %(before)s) AND (%(state)s::text IS NULL OR state = %(state)s)
        AND (%(title)s::uuid IS NULL OR title_id = %(title)s) ORDER BY id DESC LIMIT %(limit)s"""
    args = {"before": before, "limit": limit, "state": state, "title": title_id}
    return await fetch_all(conn, ASSET, query, args | scope_args(who))


async def states(conn: Conn, asset_ids: Sequence[UUID]) -> dict[UUID, AssetState]:
    """The states of the assets of uploads that the caller may see."""
    cursor = await conn.execute("SELECT id, state FROM assets WHERE id = ANY(%s)", [list(asset_ids)])
    return {row[0]: AssetState(row[1]) for row in await cursor.fetchall()}


async def move(conn: Conn, asset: Asset, new: AssetState, now: datetime, **changes: Any) -> None:
    """Move a locked asset to `new` and set what goes with it. Raises `Conflict` for an illegal move."""
    check_move(ASSET_MOVES, "asset", asset.state, new)
    await change(conn, asset.id, now, **changes)
    await conn.execute("UPDATE assets SET state = %s WHERE id = %s", [new, asset.id])


async def change(conn: Conn, asset_id: UUID, now: datetime, **changes: Any) -> None:
    """Set columns of SETTABLE."""
    if unknown := changes.keys() - SETTABLE:
        raise ValueError(f"not settable: {unknown}")
    values = {name: Jsonb(value) if isinstance(value, dict) else value for name, value in changes.items()}
    sets = sql.SQL("").join(sql.SQL("{} = {}, ").format(sql.Identifier(name), sql.Placeholder(name)) for name in values)
    query = f"UPDATE assets SET {sets.as_string()}updated_at = %(now)s WHERE id = %(id)s"
    await conn.execute(query.encode(), values | {"now": now, "id": asset_id})


async def heard(conn: Conn, asset_id: UUID, loudness: dict[int, dict[str, Any]], duration: float | None) -> None:
    """Add to the asset's facts what only listening tells: loudness by stream index; a duration where none was sure.

    In place, so that other stages may add to them at the same time.
    """
    await conn.execute(
        """UPDATE assets SET media = media
            || jsonb_build_object('audio', (
                SELECT jsonb_agg(track || coalesce(%(loudness)s::jsonb -> (track->>'index'), '{}') ORDER BY place)
                FROM jsonb_array_elements(media->'audio') WITH ORDINALITY AS tracks (track, place)))
            || CASE WHEN %(duration)s::float8 IS NULL THEN '{}' ELSE jsonb_build_object('duration', %(duration)s::float8) END
        WHERE id = %(id)s""",
        {
            "loudness": Jsonb({str(i): {"loudness": v} for i, v in loudness.items()}),
            "duration": duration,
            "id": asset_id,
        },
    )


async def next_epoch(conn: Conn, asset_id: UUID) -> int:
    """The number of a new run's claim; it names the place of everything that run makes."""
    cursor = await conn.execute("UPDATE assets SET epoch = epoch + 1 WHERE id = %s RETURNING epoch", [asset_id])
    row = await cursor.fetchone()
    assert row is not None, "assets are never deleted from the table while a job refers to them"
    return int(row[0])


def _lock(lock: bool) -> str:
    return " FOR NO KEY UPDATE" if lock else ""
