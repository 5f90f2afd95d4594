"""Queries on open uploads without progress: to expire, to warn of, to count as abandoned, to finalize anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from uuid import UUID

from rushes.db.database import Conn, fetch_all
from rushes.db.uploads import COLUMNS, UPLOAD
from rushes.model import Upload

OPEN = "state IN ('initiated', 'uploading')"


class Idle(Enum):
    """Conditions on `uploads`. A life shorter than twice the warning time is warned of at its half."""

    EXPIRED = f"{OPEN} AND expires_at <= %(at)s"
    EXPIRING = f"""{OPEN} AND warned_at IS NULL AND expires_at > %(at)s
        AND expires_at - least(make_interval(secs => %(warn)s), make_interval(secs => idle_seconds / 2.0)) <= %(at)s"""
    ABANDONED = f"{OPEN} AND expires_at > %(at)s AND progress_at <= %(at)s - make_interval(secs => %(abandoned)s)"
    NEWLY_ABANDONED = f"{ABANDONED} AND abandoned_at IS NULL"
    STALLED = "state = 'finalizing' AND updated_at <= %(at)s - interval '1 hour'"


@dataclass(frozen=True, slots=True)
class Clock:
    """The moment that is asked about, and the times, in seconds, after which something counts as idle."""

    at: datetime
    warn: float
    abandoned: float

    def args(self) -> dict[str, datetime | float]:
        return {"at": self.at, "warn": self.warn, "abandoned": self.abandoned}


async def page(conn: Conn, what: Idle, clock: Clock, after: UUID | None, limit: int) -> list[Upload]:
    """Uploads of this kind, the oldest first, younger than `after`."""
    query = f"""SELECT {COLUMNS} FROM uploads WHERE {what.value} AND (%(after)s::uuid IS NULL OR id > %(after)s)
        ORDER BY id LIMIT %(limit)s"""
    return await fetch_all(conn, UPLOAD, query, clock.args() | {"after": after, "limit": limit})


async def locked(conn: Conn, what: Idle, clock: Clock, ids: Sequence[UUID]) -> list[Upload]:
    """Those of these uploads that are of this kind still, locked one after the other in the order of ids."""
    query = f"SELECT {COLUMNS} FROM uploads WHERE id = ANY(%(ids)s) AND {what.value} ORDER BY id FOR NO KEY UPDATE"
    return await fetch_all(conn, UPLOAD, query, clock.args() | {"ids": list(ids)})


async def warned(conn: Conn, ids: Sequence[UUID], at: datetime) -> None:
    await conn.execute("UPDATE uploads SET warned_at = %s WHERE id = ANY(%s)", [at, list(ids)])


async def abandoned(conn: Conn, ids: Sequence[UUID], at: datetime) -> None:
    await conn.execute("UPDATE uploads SET abandoned_at = %s WHERE id = ANY(%s)", [at, list(ids)])


async def abandoned_sums(conn: Conn, clock: Clock) -> list[tuple[str, int, int]]:
    """(tenant, abandoned uploads, bytes that the ledger knows of them)."""
    cursor = await conn.execute(
        f"""SELECT tenant, count(*), sum(held_bytes)::bigint FROM uploads WHERE {Idle.ABANDONED.value}
        GROUP BY tenant ORDER BY tenant""".encode(),
        clock.args(),
    )
    return [(str(tenant), int(count), int(size)) for tenant, count, size in await cursor.fetchall()]
