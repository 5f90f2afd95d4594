"""The ledger of parts. The caller holds the upload's row lock, which serialises everything here."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from rushes.db.database import Conn, columns, fetch_all, row_of
from rushes.model import Part, Proof, Way

PART = row_of(Part, proof=Proof, way=Way)
COLUMNS = columns(Part)


async def some(conn: Conn, upload_id: UUID, numbers: Sequence[int]) -> dict[int, Part]:
    if not numbers:
        return {}
    query = f"SELECT {COLUMNS} FROM parts WHERE upload_id = %(id)s AND number = ANY(%(numbers)s)"
    rows = await fetch_all(conn, PART, query, {"id": upload_id, "numbers": list(numbers)})
    return {row.number: row for row in rows}


async def all_of(conn: Conn, upload_id: UUID) -> list[Part]:
    query = f"SELECT {COLUMNS} FROM parts WHERE upload_id = %(id)s ORDER BY number"
    return await fetch_all(conn, PART, query, {"id": upload_id})


async def open_checksums(conn: Conn, upload_id: UUID, rows: Sequence[tuple[int, int, str]]) -> tuple[int, int]:
    """Make (number, size, checksum) the open checksum of each part, where it is another one than before.

    Such a part is not held until it is reported again. Returns the (parts, bytes) that were held until now.
    """
    if not rows:
        return 0, 0
    numbers, sizes, checksums = zip(*rows, strict=True)
    cursor = await conn.execute(
        """WITH new AS (SELECT * FROM unnest(%(numbers)s::int[], %(sizes)s::bigint[], %(checksums)s::text[])
            AS new (number, size, checksum)),
        opened AS (INSERT INTO parts AS p (upload_id, number, size, checksum, grants)
            SELECT %(id)s, number, size, checksum, 1 FROM new
            ON CONFLICT (upload_id, number) DO UPDATE SET
                size = EXCLUDED.size, checksum = EXCLUDED.checksum, grants = p.grants + 1,
                proof = 'client', etag = NULL, held_at = NULL, way = NULL, copied_etag = NULL
            WHERE (p.size, p.checksum) <> (EXCLUDED.size, EXCLUDED.checksum))
        SELECT count(*), COALESCE(sum(p.size), 0)::bigint FROM parts p JOIN new USING (number)
        WHERE p.upload_id = %(id)s AND p.held_at IS NOT NULL AND (p.size, p.checksum) <> (new.size, new.checksum)""",
        {"id": upload_id, "numbers": list(numbers), "sizes": list(sizes), "checksums": list(checksums)},
    )
    row = await cursor.fetchone()
    assert row is not None, "an aggregate has a row"
    return int(row[0]), int(row[1])


async def open_unproven(conn: Conn, upload_id: UUID, number: int, size: int, ticket: str) -> None:
    """Open a part whose checksum is known only when its bytes have come; until then `ticket` stands in its place.

    It counts as granted twice: what storage may hold of it cannot be told from its size, so it is never taken unreported.
    """
    await conn.execute(
        """INSERT INTO parts AS p (upload_id, number, size, checksum, proof, grants)
        VALUES (%(id)s, %(number)s, %(size)s, %(ticket)s, 'server', 2)
        ON CONFLICT (upload_id, number) DO UPDATE SET
            size = EXCLUDED.size, checksum = EXCLUDED.checksum, grants = p.grants + 1,
            proof = 'server', etag = NULL, held_at = NULL, way = NULL, copied_etag = NULL""",
        {"id": upload_id, "number": number, "size": size, "ticket": ticket},
    )


async def prove(conn: Conn, upload_id: UUID, number: int, ticket: str, checksum: str) -> bool:
    """Put the checksum in its ticket's place. False when the part was opened anew meanwhile."""
    cursor = await conn.execute(
        "UPDATE parts SET checksum = %s WHERE upload_id = %s AND number = %s AND checksum = %s",
        [checksum, upload_id, number, ticket],
    )
    return cursor.rowcount == 1


async def held_from_start(conn: Conn, upload_id: UUID) -> tuple[int, int]:
    """(parts, bytes) held before the first part that is not."""
    cursor = await conn.execute(
        """SELECT count(*), COALESCE(sum(size), 0)::bigint FROM (SELECT number, size, row_number() OVER (ORDER BY number) AS place
        FROM parts WHERE upload_id = %s AND held_at IS NOT NULL) AS held WHERE number = place""",
        [upload_id],
    )
    row = await cursor.fetchone()
    assert row is not None, "an aggregate has a row"
    return int(row[0]), int(row[1])


async def hold(
    conn: Conn, upload_id: UUID, etags: Sequence[tuple[int, str]], now: datetime, way: Way
) -> list[tuple[int, int]]:
    """Record (number, ETag) as held; returns the (number, size) of those that were not held before."""
    if not etags:
        return []
    numbers, values = zip(*etags, strict=True)
    cursor = await conn.execute(
        """WITH done AS (SELECT * FROM unnest(%(numbers)s::int[], %(etags)s::text[]) AS done (number, etag)),
        before AS (SELECT number, held_at IS NULL AS fresh FROM parts JOIN done USING (number) WHERE upload_id = %(id)s)
        UPDATE parts SET etag = done.etag, held_at = COALESCE(held_at, %(now)s), way = COALESCE(way, %(way)s),
            copied_etag = CASE WHEN parts.etag = done.etag THEN parts.copied_etag END
        FROM done JOIN before USING (number)
        WHERE parts.upload_id = %(id)s AND parts.number = done.number
        RETURNING parts.number, parts.size, before.fresh""",
        {"id": upload_id, "numbers": list(numbers), "etags": list(values), "now": now, "way": way},
    )
    return sorted((int(number), int(size)) for number, size, fresh in await cursor.fetchall() if fresh)


async def drop_beyond(conn: Conn, upload_id: UUID, count: int) -> None:
    """Forget parts that were granted behind what turned out to be the file's end; none of them is held."""
    await conn.execute("DELETE FROM parts WHERE upload_id = %s AND number > %s AND held_at IS NULL", [upload_id, count])


async def release(conn: Conn, upload_id: UUID, numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Take (number)s back; returns the (number, size) of those that were held."""
    if not numbers:
        return []
    cursor = await conn.execute(
        """UPDATE parts SET etag = NULL, held_at = NULL, way = NULL, copied_etag = NULL
        WHERE upload_id = %s AND number = ANY(%s) AND held_at IS NOT NULL RETURNING number, size""",
        [upload_id, list(numbers)],
    )
    return [(int(number), int(size)) for number, size in await cursor.fetchall()]
