"""Queries on sweeps: what each found and removed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from psycopg.types.json import Jsonb

from rushes.db.database import Conn, columns, fetch_all, row_of
from rushes.model import Json


@dataclass(frozen=True, slots=True)
class SweepRow:
    id: UUID
    report: Json
    started_at: datetime
    finished_at: datetime | None


ROW = row_of(SweepRow)
COLUMNS = columns(SweepRow)


async def insert(conn: Conn, sweep_id: UUID, now: datetime) -> None:
    """Begin a sweep; one that runs again keeps what it has counted."""
    await conn.execute(
        "INSERT INTO sweeps (id, started_at) VALUES (%s, %s) ON CONFLICT (id) DO NOTHING", [sweep_id, now]
    )


async def locked(conn: Conn, sweep_id: UUID) -> SweepRow | None:
    """The sweep, locked until the transaction ends."""
    found = await fetch_all(conn, ROW, f"SELECT {COLUMNS} FROM sweeps WHERE id = %(id)s FOR UPDATE", {"id": sweep_id})
    return found[0] if found else None


async def keep(conn: Conn, sweep_id: UUID, report: Json) -> None:
    await conn.execute("UPDATE sweeps SET report = %s WHERE id = %s", [Jsonb(report), sweep_id])


async def finish(conn: Conn, sweep_id: UUID, report: Json, now: datetime) -> None:
    await conn.execute(
        "UPDATE sweeps SET report = %s, finished_at = COALESCE(finished_at, %s) WHERE id = %s",
        [Jsonb(report), now, sweep_id],
    )


async def latest(conn: Conn, limit: int) -> list[SweepRow]:
    """The newest first."""
    query = f"SELECT {COLUMNS} FROM sweeps ORDER BY started_at DESC, id DESC LIMIT %(limit)s"
    return await fetch_all(conn, ROW, query, {"limit": limit})


async def prune(conn: Conn, before: datetime) -> int:
    """Forget the sweeps that began before this; returns how many."""
    cursor = await conn.execute("DELETE FROM sweeps WHERE started_at < %s", [before])
    return cursor.rowcount
