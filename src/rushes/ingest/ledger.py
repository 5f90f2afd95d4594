"""Counting parts: every change of what is held goes through here, so that rows, sums and events agree.

The caller holds the upload's row lock. Each function counts what really changed, so it may run twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rushes import events
from rushes.db import Conn, parts, uploads
from rushes.model import Upload, Way


async def hold(conn: Conn, upload: Upload, etags: Sequence[tuple[int, str]], now: datetime, *, way: Way) -> None:
    """Record (number, ETag) as held, with an event for each part that was not held before."""
    fresh = await parts.hold(conn, upload.id, etags, now, way)
    data = [{"number": number, "size": size, "way": way} for number, size in fresh]
    await events.append_each(conn, "part_completed", upload, now, data)
    if fresh and upload.abandoned_at is not None:
        await events.append(conn, "upload_resumed", upload, now)
    await _count(conn, upload, len(fresh), sum(size for _, size in fresh), now)


async def release(conn: Conn, upload: Upload, numbers: Sequence[int], now: datetime) -> None:
    """These parts turned out not to be in storage as they should: they are not held any more."""
    gone = await parts.release(conn, upload.id, numbers)
    await _count(conn, upload, -len(gone), -sum(size for _, size in gone), now)


async def reopen(conn: Conn, upload: Upload, rows: Sequence[tuple[int, int, str]], now: datetime) -> None:
    """Open a checksum, given as (number, size, checksum), for each part; those that had another are not held any more."""
    gone, size = await parts.open_checksums(conn, upload.id, rows)
    await _count(conn, upload, -gone, -size, now)


async def reopen_unproven(conn: Conn, upload: Upload, number: int, size: int, ticket: str, now: datetime) -> None:
    """Open a part whose checksum only its bytes will tell; see `parts.open_unproven`."""
    gone = await parts.release(conn, upload.id, [number])
    await parts.open_unproven(conn, upload.id, number, size, ticket)
    await _count(conn, upload, -len(gone), -sum(size for _, size in gone), now)


async def _count(conn: Conn, upload: Upload, change: int, size: int, now: datetime) -> None:
    if change:
        await uploads.record_progress(conn, upload.id, parts=change, size=size, now=now, expires_at=upload.expires_at)
