"""Queries on quotas: what each creator, and each tenant, has stored and reserved, in bytes.

CHECK constraints hold every sum at ≥ 0. `month` is the first day of the month that `month_bytes` belongs to; it only moves
forward, and what was begun in another month is neither charged to it nor given back. Rows are locked in one order: the
creator's, then the tenant's.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from typing import Any

from rushes.db.database import Conn
from rushes.db.scope import scope, scope_args
from rushes.model import Principal
from rushes.plan import Sums

CREATORS = ("quotas", "tenant, creator", "%(tenant)s, %(creator)s", "tenant = %(tenant)s AND creator = %(creator)s")
TENANTS = ("tenant_quotas", "tenant", "%(tenant)s", "tenant = %(tenant)s")
THIS_MONTH = "CASE WHEN month = %(month)s THEN month_bytes ELSE 0 END"
SCOPE = scope(None)


async def charge(
    conn: Conn, tenant: str, creator: str, month: date, *, reserved: int, open_uploads: int
) -> tuple[Sums, Sums]:
    """Add to what is reserved, and to the month. Returns the creator's and the tenant's sums as they were, locked."""
    args = {"tenant": tenant, "creator": creator, "month": month, "reserved": reserved, "uploads": open_uploads}
    return await _charge(conn, CREATORS, args), await _charge(conn, TENANTS, args)


async def _charge(conn: Conn, where: tuple[str, str, str, str], args: Mapping[str, Any]) -> Sums:
    table, key, values, _ = where
    query = f"""INSERT INTO {table} AS q ({key}, reserved, open_uploads, month, month_bytes)
        VALUES ({values}, %(reserved)s, %(uploads)s, %(month)s, %(reserved)s)
        ON CONFLICT ({key}) DO UPDATE SET
            reserved = q.reserved + EXCLUDED.reserved,
            open_uploads = q.open_uploads + EXCLUDED.open_uploads,
            month = GREATEST(q.month, EXCLUDED.month),
            month_bytes = CASE WHEN q.month = EXCLUDED.month THEN q.month_bytes + EXCLUDED.month_bytes
                WHEN q.month > EXCLUDED.month THEN q.month_bytes ELSE EXCLUDED.month_bytes END
        RETURNING stored, reserved - %(reserved)s, open_uploads - %(uploads)s,
            CASE WHEN month = %(month)s THEN month_bytes - %(reserved)s ELSE 0 END"""
    cursor = await conn.execute(query.encode(), args)
    row = await cursor.fetchone()
    assert row is not None, "an upsert without a condition returns its row"
    return Sums(*(int(value) for value in row))


async def add(
    conn: Conn,
    tenant: str,
    creator: str,
    *,
    stored: int = 0,
    reserved: int = 0,
    open_uploads: int = 0,
    month: date | None = None,
    month_bytes: int = 0,
) -> None:
    """Add to the creator's and the tenant's sums; `month_bytes` only while `month` is the month they are in."""
    args = {
        "tenant": tenant,
        "creator": creator,
        "stored": stored,
        "reserved": reserved,
        "uploads": open_uploads,
        "month": month,
        "bytes": month_bytes,
    }
    for table, _, _, condition in (CREATORS, TENANTS):
        query = f"""UPDATE {table} SET stored = stored + %(stored)s, reserved = reserved + %(reserved)s,
            open_uploads = open_uploads + %(uploads)s,
            month_bytes = month_bytes + CASE WHEN month = %(month)s THEN %(bytes)s ELSE 0 END
            WHERE {condition}"""
        await conn.execute(query.encode(), args)


async def sums(conn: Conn, who: Principal, month: date) -> tuple[Sums, Sums]:
    """What `who` and their tenant have stored, reserved and begun this month."""
    args = {"tenant": who.tenant, "creator": who.creator, "month": month}
    found = []
    for table, _, _, condition in (CREATORS, TENANTS):
        query = f"SELECT stored, reserved, open_uploads, {THIS_MONTH} FROM {table} WHERE {condition}"
        row = await (await conn.execute(query.encode(), args)).fetchone()
        found.append(Sums() if row is None else Sums(*(int(value) for value in row)))
    return found[0], found[1]


async def page(conn: Conn, who: Principal, month: date, after: str | None, limit: int) -> list[tuple[str, Sums]]:
    """(creator, sums) of those that `who` may see, in the order of their names."""
    query = f"""SELECT creator, stored, reserved, open_uploads, {THIS_MONTH} FROM quotas
        WHERE {SCOPE} AND (%(after)s::text IS NULL OR creator > %(after)s)
        ORDER BY creator LIMIT %(limit)s"""
    args = scope_args(who) | {"month": month, "after": after, "limit": limit}
    cursor = await conn.execute(query.encode(), args)
    return [(str(row[0]), Sums(*(int(value) for value in row[1:]))) for row in await cursor.fetchall()]


async def of_tenants(conn: Conn, tenants: list[str], month: date) -> dict[str, Sums]:
    """For the operator of the server: sums by tenant."""
    query = (
        f"SELECT tenant, stored, reserved, open_uploads, {THIS_MONTH} FROM tenant_quotas WHERE tenant = ANY(%(names)s)"
    )
    cursor = await conn.execute(query.encode(), {"names": tenants, "month": month})
    return {str(row[0]): Sums(*(int(value) for value in row[1:])) for row in await cursor.fetchall()}
