"""Slices of parts that are not whole yet, and who is putting a part together. The caller holds the upload's row lock."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from rushes.db.database import Conn, columns, fetch_all, row_of
from rushes.model import Slice

SLICE = row_of(Slice)
COLUMNS = columns(Slice)
Place = tuple[str, str]  # (bucket, key)


async def of_part(conn: Conn, upload_id: UUID, number: int) -> list[Slice]:
    query = f"SELECT {COLUMNS} FROM slices WHERE upload_id = %(id)s AND number = %(number)s ORDER BY start"
    return await fetch_all(conn, SLICE, query, {"id": upload_id, "number": number})


async def waiting(conn: Conn, upload_id: UUID) -> list[int]:
    """The parts that are not held and of which there are slices."""
    cursor = await conn.execute(
        """SELECT DISTINCT number FROM slices LEFT JOIN parts USING (upload_id, number)
        WHERE upload_id = %s AND held_at IS NULL ORDER BY number""",
        [upload_id],
    )
    return [int(row[0]) for row in await cursor.fetchall()]


async def add(conn: Conn, upload_id: UUID, row: Slice, now: datetime) -> None:
    """Keep a slice that is stored; no other of the part starts at the same byte."""
    await conn.execute(
        """INSERT INTO slices (upload_id, number, checksum, total, start, length, crc, bucket, key, created_at)
        VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s)""",
        [upload_id, row.number, row.checksum, row.total, row.start, row.length, row.crc, row.bucket, row.key, now],
    )


async def drop_unlike(conn: Conn, upload_id: UUID, row: Slice) -> list[Place]:
    """Forget the part's slices that claim another checksum or length of it than `row`; returns their objects."""
    return await _objects(
        conn,
        """DELETE FROM slices WHERE upload_id = %s AND number = %s AND (checksum, total) <> (%s, %s)
        RETURNING bucket, key""",
        [upload_id, row.number, row.checksum, row.total],
    )


async def shorten(conn: Conn, upload_id: UUID, number: int, total: int) -> None:
    """The part turns out to have `total` bytes. Slices that reach beyond stay as they are."""
    await conn.execute(
        """UPDATE slices SET total = %s WHERE upload_id = %s AND number = %s AND checksum = ''
        AND total > %s AND start + length <= %s""",
        [total, upload_id, number, total, total],
    )


async def drop(conn: Conn, upload_id: UUID, number: int) -> list[Place]:
    """Forget a part's slices; returns their objects."""
    query = "DELETE FROM slices WHERE upload_id = %s AND number = %s RETURNING bucket, key"
    return await _objects(conn, query, [upload_id, number])


async def drop_one(conn: Conn, upload_id: UUID, key: str) -> list[Place]:
    return await _objects(
        conn, "DELETE FROM slices WHERE upload_id = %s AND key = %s RETURNING bucket, key", [upload_id, key]
    )


async def _objects(conn: Conn, query: str, args: Sequence[object]) -> list[Place]:
    cursor = await conn.execute(query.encode(), args)
    return [(str(bucket), str(key)) for bucket, key in await cursor.fetchall()]


# --- who puts a part together -----------------------------------------------------------------------------------------


async def claim(conn: Conn, upload_id: UUID, number: int, assembler: UUID, now: datetime, stale: datetime) -> bool:
    """Whether `assembler` may put the part together: nobody else has given a sign of life since `stale`."""
    cursor = await conn.execute(
        """INSERT INTO assemblies AS a (upload_id, number, assembler, since) VALUES (%s, %s, %s, %s)
        ON CONFLICT (upload_id, number) DO UPDATE SET assembler = EXCLUDED.assembler, since = EXCLUDED.since
        WHERE a.since < %s""",
        [upload_id, number, assembler, now, stale],
    )
    return cursor.rowcount == 1


async def renew(conn: Conn, assembler: UUID, upload_id: UUID, number: int, now: datetime) -> None:
    """A sign of life. Does nothing when another has taken over."""
    await conn.execute(
        "UPDATE assemblies SET since = %s WHERE upload_id = %s AND number = %s AND assembler = %s",
        [now, upload_id, number, assembler],
    )


async def give_back(conn: Conn, assembler: UUID, upload_id: UUID, number: int) -> bool:
    """End the claim. False when another has taken over."""
    cursor = await conn.execute(
        "DELETE FROM assemblies WHERE upload_id = %s AND number = %s AND assembler = %s",
        [upload_id, number, assembler],
    )
    return cursor.rowcount == 1
