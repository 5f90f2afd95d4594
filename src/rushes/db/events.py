"""Queries on events. Rows carry the id of the transaction that wrote them: readers order by (xid, id)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from rushes.db.database import Conn
from rushes.model import Json


async def insert_each(
    conn: Conn,
    *,
    tenant: str,
    creator: str,
    type_: str,
    title_id: UUID | None,
    upload_id: UUID | None,
    asset_id: UUID | None,
    data: Sequence[Json],
    now: datetime,
) -> None:
    """One event for each of `data`, in order, in one statement."""
    await conn.execute(
        """INSERT INTO events (tenant, creator, type, title_id, upload_id, asset_id, data, created_at)
        SELECT %s, %s, %s, %s, %s, %s, one.data, %s
        FROM jsonb_array_elements(%s) WITH ORDINALITY AS one (data, place) ORDER BY one.place""",
        [tenant, creator, type_, title_id, upload_id, asset_id, now, Jsonb(list(data))],
    )


async def older(conn: Conn, before: datetime) -> list[tuple[str, int]]:
    """(tenant, events) older than this."""
    cursor = await conn.execute("SELECT tenant, count(*) FROM events WHERE created_at < %s GROUP BY tenant", [before])
    return [(str(tenant), int(count)) for tenant, count in await cursor.fetchall()]


async def prune(conn: Conn, before: datetime, limit: int) -> list[tuple[str, int]]:
    """Forget the oldest `limit` events, as far as they are older than this; returns (tenant, how many)."""
    cursor = await conn.execute(
        """WITH oldest AS (SELECT id, created_at FROM events ORDER BY id LIMIT %s),
        gone AS (DELETE FROM events USING oldest WHERE events.id = oldest.id AND oldest.created_at < %s
            RETURNING events.tenant)
        SELECT tenant, count(*) FROM gone GROUP BY tenant""",
        [limit, before],
    )
    return [(str(tenant), int(count)) for tenant, count in await cursor.fetchall()]
