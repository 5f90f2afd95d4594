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
