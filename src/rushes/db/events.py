"""Queries on events. Rows carry the id of the transaction that wrote them: readers order by (xid, id)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from rushes.db.database import Conn
from rushes.model import Json


async def insert(
    conn: Conn,
    *,
    tenant: str,
    creator: str,
    type_: str,
    title_id: UUID | None,
    upload_id: UUID | None,
    asset_id: UUID | None,
    data: Json,
    now: datetime,
) -> None:
    await conn.execute(
        """INSERT INTO events (tenant, creator, type, title_id, upload_id, asset_id, data, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s)""",
        [tenant, creator, type_, title_id, upload_id, asset_id, Jsonb(data), now],
    )
