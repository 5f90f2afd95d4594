"""Queries on the segments of CMAF files: where each lies in its file, which is what playlists are written from."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from rushes.db.database import Conn
from rushes.model import Segments


async def put(conn: Conn, rendition_id: UUID, laid: Segments) -> None:
    """Set a rendition's segments."""
    await conn.execute(
        """INSERT INTO segments (rendition_id, init, lengths, seconds) VALUES (%s, %s, %s, %s)
        ON CONFLICT (rendition_id) DO UPDATE
        SET init = EXCLUDED.init, lengths = EXCLUDED.lengths, seconds = EXCLUDED.seconds""",
        [rendition_id, laid.init, list(laid.lengths), list(laid.seconds)],
    )


async def of(conn: Conn, rendition_ids: Sequence[UUID]) -> dict[UUID, Segments]:
    """The segments of those of these renditions that have any."""
    cursor = await conn.execute(
        "SELECT rendition_id, init, lengths, seconds FROM segments WHERE rendition_id = ANY(%s)", [list(rendition_ids)]
    )
    return {UUID(str(row[0])): Segments(*row[1:]) for row in await cursor.fetchall()}
