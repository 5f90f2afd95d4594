"""Queries on uploads. Changes of state go through `move`, which refuses to act on a state that is no longer there."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from rushes.db.database import Conn, columns, fetch_all, fetch_one, row_of
from rushes.db.scope import scope, scope_args
from rushes.model import UPLOAD_MOVES, ChecksumAlgorithm, Json, Layout, Principal, Upload, UploadState, check_move

UPLOAD = row_of(Upload, state=UploadState, checksum_algorithm=ChecksumAlgorithm, layout=Layout)
COLUMNS = columns(Upload)
SCOPE = scope("title_id", "id")


@dataclass(frozen=True, slots=True)
class IdempotencyKey:
    """By which a client repeats a begin, and a digest of what it asked for."""

    text: str
    digest: str


async def insert(conn: Conn, row: Upload, key: IdempotencyKey | None) -> None:
    names = COLUMNS.split(", ")
    values = {name: getattr(row, name) for name in names} | {
        "problem": None,
        "declared": Jsonb(row.declared),
        "idempotency_key": None if key is None else key.text,
        "request_digest": None if key is None else key.digest,
    }
    places = ", ".join(f"%({name})s" for name in names)
    query = f"""INSERT INTO uploads ({COLUMNS}, idempotency_key, request_digest)
        VALUES ({places}, %(idempotency_key)s, %(request_digest)s)"""
    await conn.execute(query.encode(), values)


async def by_idempotency_key(conn: Conn, who: Principal, key: str) -> Upload | None:
    """The upload that `who` began with this key. Waits for a twin of this transaction to end first."""
    await conn.execute(
        "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
        ["\x1f".join((who.tenant, who.creator, key))],
    )
    query = f"""SELECT {COLUMNS} FROM uploads
        WHERE tenant = %(tenant)s AND creator = %(creator)s AND idempotency_key = %(key)s"""
    return await fetch_one(conn, UPLOAD, query, {"tenant": who.tenant, "creator": who.creator, "key": key})


async def asked_the_same(conn: Conn, upload_id: UUID, digest: str) -> bool:
    """Whether the upload was begun by a request with this digest; also if it was begun before digests were kept."""
    cursor = await conn.execute(
        "SELECT request_digest IS NULL OR request_digest = %s FROM uploads WHERE id = %s", [digest, upload_id]
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


async def get(conn: Conn, who: Principal, upload_id: UUID, *, lock: bool = False) -> Upload | None:
    query = f"SELECT {COLUMNS} FROM uploads WHERE id = %(id)s AND {SCOPE}{_lock(lock)}"
    return await fetch_one(conn, UPLOAD, query, {"id": upload_id} | scope_args(who))


async def load(conn: Conn, upload_id: UUID, *, lock: bool = False) -> Upload | None:
    """For workflows, which act for the system: no scope."""
    query = f"SELECT {COLUMNS} FROM uploads WHERE id = %(id)s{_lock(lock)}"
    return await fetch_one(conn, UPLOAD, query, {"id": upload_id})


async def of_assets(conn: Conn, asset_ids: Sequence[UUID]) -> dict[UUID, Upload]:
    """The uploads behind assets that the caller may see, by asset."""
    query = f"SELECT {COLUMNS} FROM uploads WHERE asset_id = ANY(%(ids)s)"
    rows = await fetch_all(conn, UPLOAD, query, {"ids": list(asset_ids)})
    return {row.asset_id: row for row in rows}


async def page(
    conn: Conn, who: Principal, states: Collection[UploadState] | None, before: UUID | None, limit: int
) -> list[Upload]:
    query = f"""SELECT {COLUMNS} FROM uploads WHERE {SCOPE} AND (%(before)s::uuid IS NULL OR id < %(before)s)
        AND (%(states)s::text[] IS NULL OR state = ANY(%(states)s)) ORDER BY id DESC LIMIT %(limit)s"""
    args = {"before": before, "limit": limit, "states": [str(state) for state in states] if states else None}
    return await fetch_all(conn, UPLOAD, query, args | scope_args(who))


async def outstanding(conn: Conn) -> int:
    """Bytes announced by open uploads and not in storage yet; staged ones are there twice in the end."""
    cursor = await conn.execute(
        """SELECT COALESCE(sum((size - held_bytes) * (1 + (layout = 'staged')::int)), 0)::bigint FROM uploads
        WHERE state IN ('initiated', 'uploading', 'finalizing') AND expires_at > now()"""
    )
    row = await cursor.fetchone()
    assert row is not None, "an aggregate has a row"
    return int(row[0])


async def finalizing(conn: Conn, upload_ids: Sequence[UUID]) -> set[UUID]:
    """Which of these are being finalized. For waiting alone: what is then answered is asked for in the caller's scope."""
    cursor = await conn.execute(
        "SELECT id FROM uploads WHERE id = ANY(%s) AND state = 'finalizing'", [list(upload_ids)]
    )
    return {row[0] for row in await cursor.fetchall()}


async def open_in_storage(conn: Conn, upload_id: UUID, storage_upload_id: str, now: datetime) -> bool:
    """Compare-and-set: whether ours is the storage upload that counts. The loser aborts its own."""
    cursor = await conn.execute(
        """UPDATE uploads SET storage_upload_id = %(storage)s, state = 'uploading', updated_at = %(now)s
        WHERE id = %(id)s AND storage_upload_id IS NULL AND state = 'initiated'""",
        {"id": upload_id, "storage": storage_upload_id, "now": now},
    )
    return cursor.rowcount == 1


async def move(conn: Conn, upload: Upload, new: UploadState, now: datetime, problem: Json | None = None) -> None:
    """Move a locked upload to `new`; the reason stays readable on it. Raises `Conflict` for an illegal move."""
    check_move(UPLOAD_MOVES, "upload", upload.state, new)
    await conn.execute(
        """UPDATE uploads SET state = %(new)s, problem = %(problem)s, updated_at = %(now)s,
        attempt = attempt + (%(new)s = 'finalizing')::int, verified_bytes = NULL WHERE id = %(id)s""",
        {"id": upload.id, "new": new, "now": now, "problem": None if problem is None else Jsonb(problem)},
    )


async def record_progress(
    conn: Conn,
    upload_id: UUID,
    *,
    parts: int,
    size: int,
    now: datetime,
    expires_at: datetime,
    alive: bool = False,
) -> tuple[int, int]:
    """Add to what is held (negative takes away), slide the expiry. Returns the (parts, bytes) now held.

    `alive` says that bytes came which make no whole part yet.
    """
    args: dict[str, Any] = {"id": upload_id, "parts": parts, "size": size, "now": now, "expires": expires_at}
    args["alive"] = alive or parts > 0
    cursor = await conn.execute(
        """UPDATE uploads SET held_parts = held_parts + %(parts)s, held_bytes = held_bytes + %(size)s,
        updated_at = %(now)s, progress_at = CASE WHEN %(alive)s THEN %(now)s ELSE progress_at END,
        abandoned_at = CASE WHEN %(alive)s THEN NULL ELSE abandoned_at END,
        warned_at = CASE WHEN %(expires)s > expires_at THEN NULL ELSE warned_at END,
        expires_at = GREATEST(expires_at, %(expires)s) WHERE id = %(id)s RETURNING held_parts, held_bytes""",
        args,
    )
    row = await cursor.fetchone()
    assert row is not None, "the caller holds the row's lock"
    return int(row[0]), int(row[1])


async def give_to(conn: Conn, upload_id: UUID, title_id: UUID) -> None:
    """An upload belongs to its asset's title: tokens for a title see both or neither."""
    await conn.execute("UPDATE uploads SET title_id = %s WHERE id = %s", [title_id, upload_id])


async def set_size(conn: Conn, upload_id: UUID, size: int, part_count: int, now: datetime) -> None:
    """The size of an upload that was begun without one."""
    await conn.execute(
        "UPDATE uploads SET size = %s, part_count = %s, size_known = true, updated_at = %s WHERE id = %s AND NOT size_known",
        [size, part_count, now, upload_id],
    )


async def declare(conn: Conn, upload_id: UUID, checksums: Mapping[str, str]) -> None:
    """Add {algorithm: value} to what the client says of the whole file."""
    if not checksums:
        return
    query = "UPDATE uploads SET declared = declared || %s WHERE id = %s"
    await conn.execute(query, [Jsonb(dict(checksums)), upload_id])


async def note_verified(conn: Conn, upload_id: UUID, attempt: int, done: int) -> None:
    """Show how many bytes of the object a worker has read, while it is this attempt that finalizes."""
    await conn.execute(
        """UPDATE uploads SET verified_bytes = %(done)s
        WHERE id = %(id)s AND attempt = %(attempt)s AND state = 'finalizing'""",
        {"id": upload_id, "attempt": attempt, "done": done},
    )


def _lock(lock: bool) -> str:
    return " FOR NO KEY UPDATE" if lock else ""
