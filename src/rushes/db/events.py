"""Queries on events.

Rows carry the id of the transaction that wrote them. Transactions commit in another order than they begin, so a reader
goes by (xid, id) and only below the horizon, the oldest transaction that is still under way: below it nothing is added
any more. Transaction ids are the whole server's: a long one in another database of it holds the horizon as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from rushes.db.database import Conn, fetch_all, row_of
from rushes.db.scope import scope_args
from rushes.model import Event, Job, Json, Principal

EVENT = row_of(Event)
COLUMNS = "xid::text::bigint AS xid, id, tenant, creator, type, title_id, upload_id, asset_id, data, created_at"
# A title's events are those of the uploads that belong to it now, as everywhere.
SCOPE = """tenant = %(tenant)s AND (%(sees_tenant)s OR creator = %(creator)s)
    AND (%(token_upload)s::uuid IS NULL OR upload_id = %(token_upload)s)
    AND (%(token_title)s::uuid IS NULL
        OR upload_id IN (SELECT own.id FROM uploads own WHERE own.title_id = %(token_title)s))"""


async def insert_each(
    conn: Conn,
    *,
    tenant: str,
    creator: str,
    type_: str,
    title_id: UUID | None,
    upload_id: UUID | None,
    asset_id: UUID | None,
    data: Sequence[Json],
    now: datetime,
) -> None:
    """One event for each of `data`, in order, in one statement."""
    await conn.execute(
        """INSERT INTO events (tenant, creator, type, title_id, upload_id, asset_id, data, created_at)
        SELECT %s, %s, %s, %s, %s, %s, one.data, %s
        FROM jsonb_array_elements(%s) WITH ORDINALITY AS one (data, place) ORDER BY one.place""",
        [tenant, creator, type_, title_id, upload_id, asset_id, now, Jsonb(list(data))],
    )


async def older(conn: Conn, before: datetime) -> list[tuple[str, int]]:
    """(tenant, events) older than this."""
    cursor = await conn.execute("SELECT tenant, count(*) FROM events WHERE created_at < %s GROUP BY tenant", [before])
    return [(str(tenant), int(count)) for tenant, count in await cursor.fetchall()]


async def prune(conn: Conn, before: datetime, limit: int) -> list[tuple[str, int]]:
    """Forget the oldest `limit` events, as far as they are older than this; returns (tenant, how many)."""
    cursor = await conn.execute(
        """WITH oldest AS (SELECT id, created_at FROM events ORDER BY id LIMIT %s),
        gone AS (DELETE FROM events USING oldest WHERE events.id = oldest.id AND oldest.created_at < %s
            RETURNING events.tenant)
        SELECT tenant, count(*) FROM gone GROUP BY tenant""",
        [limit, before],
    )
    return [(str(tenant), int(count)) for tenant, count in await cursor.fetchall()]


async def insert_of_job(conn: Conn, type_: str, job: Job, data: Json, now: datetime) -> None:
    """An event about a job: it belongs to the upload and the title of the job's asset."""
    await conn.execute(
        """INSERT INTO events (tenant, creator, type, title_id, upload_id, asset_id, data, created_at)
        SELECT tenant, creator, %s, title_id, upload_id, id, %s, %s FROM assets WHERE id = %s""",
        [type_, Jsonb(data), now, job.asset_id],
    )


async def horizon(conn: Conn) -> int:
    """The transaction id below which every transaction has ended and can be seen by whatever this asks next."""
    cursor = await conn.execute("SELECT pg_snapshot_xmin(pg_current_snapshot())::text::bigint")
    row = await cursor.fetchone()
    assert row is not None, "a SELECT without FROM has a row"
    return int(row[0])


async def news(conn: Conn, since: int, below: int, most: int) -> list[tuple[str, str, UUID | None, UUID | None]] | None:
    """Whom events of transactions in [since, below) are about, as (tenant, creator, upload, asset); None for too many."""
    cursor = await conn.execute(
        """SELECT DISTINCT tenant, creator, upload_id, asset_id FROM events
        WHERE xid >= %s::text::xid8 AND xid < %s::text::xid8 LIMIT %s""",
        [str(since), str(below), most + 1],
    )
    rows = await cursor.fetchall()
    return None if len(rows) > most else [(row[0], row[1], row[2], row[3]) for row in rows]


async def page(
    conn: Conn,
    who: Principal,
    *,
    upload_id: UUID | None,
    asset_id: UUID | None,
    after: tuple[int, int],
    below: int,
    limit: int,
) -> list[Event]:
    """The next events that `who` may see, of one upload or asset where it is given."""
    args: dict[str, Any] = {"xid": str(after[0]), "id": after[1], "below": str(below), "limit": limit}
    only = ""
    if upload_id is not None:
        only, args["upload"] = only + " AND upload_id = %(upload)s", upload_id
    if asset_id is not None:
        only, args["asset"] = only + " AND asset_id = %(asset)s", asset_id
    query = f"""SELECT {COLUMNS} FROM events WHERE {SCOPE}{only}
        AND (events.xid, id) > (%(xid)s::text::xid8, %(id)s) AND events.xid < %(below)s::text::xid8
        ORDER BY events.xid, id LIMIT %(limit)s"""
    return await fetch_all(conn, EVENT, query, args | scope_args(who))
