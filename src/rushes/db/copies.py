"""Who copies which staged part. The caller holds the upload's row lock, which serialises everything here.

A held part that is not copied yet belongs to at most one copier, a workflow named by a UUID. `copier_since` is when the
present run of that workflow took its parts: what an earlier run of it, frozen or cut off, still writes meets no row.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from rushes.db.database import Conn, fetch_all
from rushes.db.parts import COLUMNS, PART
from rushes.model import Part

MINE = "upload_id = %(id)s AND copier = %(copier)s AND copier_since = %(since)s"


async def waiting(conn: Conn, upload_id: UUID) -> tuple[list[int], int]:
    """(numbers of held parts that are not copied and belong to nobody, how many are being copied)."""
    cursor = await conn.execute(
        """SELECT number, copier IS NULL FROM parts
        WHERE upload_id = %s AND held_at IS NOT NULL AND copied_etag IS NULL ORDER BY number""",
        [upload_id],
    )
    found = await cursor.fetchall()
    free = [int(number) for number, nobodys in found if nobodys]
    return free, len(found) - len(free)


async def assign(conn: Conn, upload_id: UUID, numbers: Sequence[int], copier: UUID, now: datetime) -> None:
    await conn.execute(
        "UPDATE parts SET copier = %s, copier_since = %s WHERE upload_id = %s AND number = ANY(%s)",
        [copier, now, upload_id, list(numbers)],
    )


async def take(conn: Conn, upload_id: UUID, copier: UUID, now: datetime) -> datetime | None:
    """Make the copier's parts those of its present run; since when they are, or None when it has none."""
    cursor = await conn.execute(
        """UPDATE parts SET copier_since = GREATEST(%(now)s, latest + interval '1 microsecond')
        FROM (SELECT max(copier_since) AS latest FROM parts WHERE upload_id = %(id)s AND copier = %(copier)s) AS before
        WHERE upload_id = %(id)s AND copier = %(copier)s RETURNING copier_since""",
        {"id": upload_id, "copier": copier, "now": now},
    )
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def following(conn: Conn, upload_id: UUID, copier: UUID, since: datetime) -> Part | None:
    """The run's next part to copy. Those that are copied by now, or not held any more, it lets go of."""
    args = {"id": upload_id, "copier": copier, "since": since}
    settled = "(held_at IS NULL OR copied_etag IS NOT NULL)"
    await conn.execute(f"UPDATE parts SET copier = NULL, copier_since = NULL WHERE {MINE} AND {settled}".encode(), args)
    found = await fetch_all(conn, PART, f"SELECT {COLUMNS} FROM parts WHERE {MINE} ORDER BY number LIMIT 1", args)
    return found[0] if found else None


async def is_of(conn: Conn, upload_id: UUID, number: int, copier: UUID, since: datetime) -> str | None:
    """The ETag that the ledger has of the part, if it is held and still this run's."""
    args = {"id": upload_id, "copier": copier, "since": since, "number": number}
    cursor = await conn.execute(f"SELECT etag FROM parts WHERE {MINE} AND number = %(number)s".encode(), args)
    row = await cursor.fetchone()
    return None if row is None else row[0]


async def copiers(conn: Conn, upload_id: UUID) -> list[UUID]:
    """Those who have parts of the upload to copy."""
    query = "SELECT DISTINCT copier FROM parts WHERE upload_id = %s AND copier IS NOT NULL"
    cursor = await conn.execute(query, [upload_id])
    return [UUID(str(row[0])) for row in await cursor.fetchall()]


async def record(conn: Conn, upload_id: UUID, number: int, copied_etag: str) -> None:
    """The part is in the multipart upload, under this ETag; it belongs to nobody any more."""
    await conn.execute(
        """UPDATE parts SET copied_etag = %s, copier = NULL, copier_since = NULL
        WHERE upload_id = %s AND number = %s""",
        [copied_etag, upload_id, number],
    )


async def let_go(conn: Conn, upload_id: UUID, copier: UUID) -> None:
    """Nothing belongs to this copier any more, whichever run of it."""
    query = "UPDATE parts SET copier = NULL, copier_since = NULL WHERE upload_id = %s AND copier = %s"
    await conn.execute(query, [upload_id, copier])


async def give_back(conn: Conn, upload_id: UUID, copier: UUID, since: datetime) -> bool:
    """Nothing belongs to this run of the copier any more; whether anything did."""
    args = {"id": upload_id, "copier": copier, "since": since}
    cursor = await conn.execute(f"UPDATE parts SET copier = NULL, copier_since = NULL WHERE {MINE}".encode(), args)
    return cursor.rowcount > 0


async def forget(conn: Conn, upload_id: UUID, numbers: Sequence[int]) -> int:
    """These parts are not in the multipart upload after all. Returns how often that was said of one of them."""
    cursor = await conn.execute(
        """UPDATE parts SET copied_etag = NULL, recopied = recopied + 1
        WHERE upload_id = %s AND number = ANY(%s) RETURNING recopied""",
        [upload_id, list(numbers)],
    )
    return max((int(row[0]) for row in await cursor.fetchall()), default=0)


async def distrust(conn: Conn, upload_id: UUID, number: int) -> None:
    """The part's object was not what was reported: as when another checksum is granted, only a new report counts."""
    query = "UPDATE parts SET grants = grants + 1 WHERE upload_id = %s AND number = %s"
    await conn.execute(query, [upload_id, number])
