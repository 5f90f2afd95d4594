"""What stores were seen to enforce, by place: an endpoint and a bucket."""

from __future__ import annotations

from datetime import datetime

from psycopg.types.json import Jsonb

from rushes.db.database import Conn
from rushes.model import Json


async def capabilities(conn: Conn, place: str) -> tuple[Json, datetime] | None:
    """(capabilities, when they were probed), or None."""
    cursor = await conn.execute("SELECT capabilities, probed_at FROM stores WHERE place = %s", [place])
    row = await cursor.fetchone()
    return None if row is None else (row[0], row[1])


async def keep(conn: Conn, place: str, capabilities_: Json, now: datetime) -> None:
    await conn.execute(
        """INSERT INTO stores (place, capabilities, probed_at) VALUES (%s, %s, %s)
        ON CONFLICT (place) DO UPDATE SET capabilities = EXCLUDED.capabilities, probed_at = EXCLUDED.probed_at""",
        [place, Jsonb(capabilities_), now],
    )
