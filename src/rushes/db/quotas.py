"""Queries on quotas: what each creator has stored and reserved, in bytes. CHECK constraints hold every sum at ≥ 0."""

from __future__ import annotations

from rushes.db.database import Conn


async def locked(conn: Conn, tenant: str, creator: str) -> tuple[int, int, int]:
    """(stored, reserved, open uploads) of a creator, locked until the transaction ends."""
    await conn.execute("INSERT INTO quotas (tenant, creator) VALUES (%s, %s) ON CONFLICT DO NOTHING", [tenant, creator])
    cursor = await conn.execute(
        "SELECT stored, reserved, open_uploads FROM quotas WHERE tenant = %s AND creator = %s FOR UPDATE",
        [tenant, creator],
    )
    row = await cursor.fetchone()
    assert row is not None, "just inserted"
    return int(row[0]), int(row[1]), int(row[2])


async def add(
    conn: Conn, tenant: str, creator: str, *, stored: int = 0, reserved: int = 0, open_uploads: int = 0
) -> None:
    await conn.execute(
        """UPDATE quotas SET stored = stored + %s, reserved = reserved + %s, open_uploads = open_uploads + %s
        WHERE tenant = %s AND creator = %s""",
        [stored, reserved, open_uploads, tenant, creator],
    )
