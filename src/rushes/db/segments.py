"""Queries on the segments of CMAF files: where each lies in its file, which is what playlists are written from."""

from __future__ import annotations

from uuid import UUID

from rushes.db.database import Conn
from rushes.model import Segments


async def put(conn: Conn, rendition_id: UUID, laid: Segments, playlist: bytes | None = None) -> None:
    """Set a rendition's segments; `playlist` is what theirs is made of, if it is long."""
    await conn.execute(
        """INSERT INTO segments (rendition_id, init, lengths, seconds, playlist) VALUES (%s, %s, %s, %s, %s)
        ON CONFLICT (rendition_id) DO UPDATE SET init = EXCLUDED.init, lengths = EXCLUDED.lengths,
        seconds = EXCLUDED.seconds, playlist = EXCLUDED.playlist""",
        [rendition_id, laid.init, list(laid.lengths), list(laid.seconds), playlist],
    )


async def of(conn: Conn, rendition_id: UUID) -> Segments | bytes | None:
    """The rendition's segments, if it has any; or what their playlist is made of, where that is kept: they are many."""
    query = """SELECT playlist, init, CASE WHEN playlist IS NULL THEN lengths END,
        CASE WHEN playlist IS NULL THEN seconds END FROM segments WHERE rendition_id = %s"""
    cursor = await conn.execute(query, [rendition_id], binary=True)
    row = await cursor.fetchone()
    if row is None:
        return None
    return Segments(*row[1:]) if row[0] is None else bytes(row[0])
