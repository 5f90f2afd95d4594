"""Queries on titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from psycopg import sql
from psycopg.types.json import Jsonb

from rushes.db.database import Conn, columns, fetch_all, fetch_one, row_of
from rushes.db.scope import scope, scope_args
from rushes.model import Principal, Title

TITLE = row_of(Title)
COLUMNS = columns(Title)
SCOPE = scope("id") + " AND deleted_at IS NULL"
PATCHABLE = frozenset({"title", "description", "genre", "tags", "release_date", "project_id", "metadata"})


@dataclass(frozen=True, slots=True)
class TitleFilter:
    """None means "any". `text` matches anywhere in title or description, whatever the case."""

    text: str | None = None
    genre: str | None = None
    tag: str | None = None
    project_id: str | None = None
    creator: str | None = None
    released_from: date | None = None
    released_to: date | None = None
    metadata: dict[str, Any] | None = None  # contained in the title's metadata


async def insert(conn: Conn, row: Title) -> None:
    names = columns(Title).split(", ")
    values = {name: getattr(row, name) for name in names} | {"metadata": Jsonb(row.metadata)}
    places = ", ".join(f"%({name})s" for name in names)
    await conn.execute(f"INSERT INTO titles ({COLUMNS}) VALUES ({places})".encode(), values)


async def get(conn: Conn, who: Principal, title_id: UUID, *, lock: bool = False) -> Title | None:
    """With `lock`, the title cannot be deleted before the transaction ends; one that is being deleted is waited for."""
    query = f"SELECT {COLUMNS} FROM titles WHERE id = %(id)s AND {SCOPE}{' FOR SHARE' if lock else ''}"
    return await fetch_one(conn, TITLE, query, {"id": title_id} | scope_args(who))


async def names(conn: Conn, who: Principal, title_ids: Sequence[UUID]) -> dict[UUID, str]:
    """What the titles are called, of those that the caller may see."""
    query = f"SELECT id, title FROM titles WHERE id = ANY(%(ids)s) AND {SCOPE}"
    cursor = await conn.execute(query.encode(), {"ids": list(title_ids)} | scope_args(who))
    return dict(await cursor.fetchall())


async def page(conn: Conn, who: Principal, wanted: TitleFilter, before: UUID | None, limit: int) -> list[Title]:
    """Titles, the newest first, older than `before`."""
    conditions = {
        "text": "(title ILIKE %(text)s OR description ILIKE %(text)s)",
        "genre": "genre = %(genre)s",
        "tag": "tags @> ARRAY[%(tag)s]",
        "project_id": "project_id = %(project_id)s",
        "creator": "creator = %(by)s",
        "released_from": "release_date >= %(released_from)s",
        "released_to": "release_date <= %(released_to)s",
        "metadata": "metadata @> %(metadata)s",
    }
    used = [condition for name, condition in conditions.items() if getattr(wanted, name) is not None]
    args: dict[str, Any] = {name: getattr(wanted, name) for name in conditions if name != "creator"}
    args |= {
        "text": None if wanted.text is None else f"%{_literal(wanted.text)}%",
        "by": wanted.creator,
        "metadata": None if wanted.metadata is None else Jsonb(wanted.metadata),
        "before": before,
        "limit": limit,
    }
    where = " AND ".join([SCOPE, "(%(before)s::uuid IS NULL OR id < %(before)s)", *used])
    query = f"SELECT {COLUMNS} FROM titles WHERE {where} ORDER BY id DESC LIMIT %(limit)s"
    return await fetch_all(conn, TITLE, query, args | scope_args(who))


async def update(conn: Conn, who: Principal, title_id: UUID, changes: dict[str, Any], now: datetime) -> Title | None:
    """Set the columns in `changes` (a subset of PATCHABLE); None when there is no such title in scope."""
    names = sorted(PATCHABLE & changes.keys())
    values = {name: Jsonb(changes[name]) if name == "metadata" else changes[name] for name in names}
    sets = sql.SQL("").join(sql.SQL("{} = {}, ").format(sql.Identifier(name), sql.Placeholder(name)) for name in names)
    query = (
        f"UPDATE titles SET {sets.as_string()}updated_at = %(now)s WHERE id = %(id)s AND {SCOPE} RETURNING {COLUMNS}"
    )
    return await fetch_one(conn, TITLE, query, values | {"now": now, "id": title_id} | scope_args(who))


async def delete(conn: Conn, who: Principal, title_id: UUID, now: datetime) -> bool:
    """Hide a title for good; the rows of deleted assets still refer to it. False when there is none in scope.

    Holds the row's lock from then on, so that what `is_used` says stays true until the transaction ends.
    """
    query = f"UPDATE titles SET deleted_at = %(now)s WHERE id = %(id)s AND {SCOPE}"
    cursor = await conn.execute(query.encode(), {"id": title_id, "now": now} | scope_args(who))
    return cursor.rowcount == 1


async def is_used(conn: Conn, title_id: UUID) -> bool:
    cursor = await conn.execute(
        "SELECT EXISTS (SELECT FROM assets WHERE title_id = %s AND state <> 'deleted')", [title_id]
    )
    row = await cursor.fetchone()
    return bool(row and row[0])


def _literal(text: str) -> str:
    return text.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
