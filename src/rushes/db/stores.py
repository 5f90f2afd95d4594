"""What stores were seen to enforce, by place: an endpoint and a bucket."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from psycopg.types.json import Jsonb

from rushes.db.database import Conn, columns, fetch_one, row_of
from rushes.model import Json


@dataclass(frozen=True, slots=True)
class StoreRow:
    """`capabilities` and `probed_at` are None until the first probe has ended."""

    capabilities: Json | None
    probed_at: datetime | None


async def get(conn: Conn, place: str) -> StoreRow | None:
    query = f"SELECT {columns(StoreRow)} FROM stores WHERE place = %(place)s"
    return await fetch_one(conn, row_of(StoreRow), query, {"place": place})


async def claim(conn: Conn, place: str, now: datetime, *, seen: datetime | None, free_before: datetime) -> bool:
    """Whether the caller may probe now: nobody has probed since `seen`, nor claimed it since `free_before`."""
    cursor = await conn.execute(
        """INSERT INTO stores (place, claimed_at) VALUES (%(place)s, %(now)s)
        ON CONFLICT (place) DO UPDATE SET claimed_at = EXCLUDED.claimed_at
        WHERE stores.probed_at IS NOT DISTINCT FROM %(seen)s::timestamptz
        AND (stores.claimed_at IS NULL OR stores.claimed_at < %(free_before)s) RETURNING place""",
        {"place": place, "now": now, "seen": seen, "free_before": free_before},
    )
    return await cursor.fetchone() is not None


async def unclaim(conn: Conn, place: str, claimed_at: datetime) -> None:
    await conn.execute("UPDATE stores SET claimed_at = NULL WHERE place = %s AND claimed_at = %s", [place, claimed_at])


async def keep(conn: Conn, place: str, capabilities: Json, now: datetime) -> None:
    """Keep what a probe found at `now`; ends any claim."""
    await conn.execute(
        """INSERT INTO stores (place, capabilities, probed_at) VALUES (%s, %s, %s)
        ON CONFLICT (place) DO UPDATE
        SET capabilities = EXCLUDED.capabilities, probed_at = EXCLUDED.probed_at, claimed_at = NULL""",
        [place, Jsonb(capabilities), now],
    )
