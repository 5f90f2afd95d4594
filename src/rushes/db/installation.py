"""Which installation this database is of: an id made with its schema."""

from __future__ import annotations

from uuid import UUID

from rushes.db.database import Conn


async def id_of(conn: Conn) -> UUID:
    cursor = await conn.execute("SELECT id FROM installation")
    row = await cursor.fetchone()
    assert row is not None, "the migration made it"
    return UUID(str(row[0]))
