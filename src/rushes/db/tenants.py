"""Queries on tenants: what the operator of the server has set for each. A tenant without a row has the defaults."""

from __future__ import annotations

from datetime import datetime

from psycopg.types.json import Jsonb

from rushes.db.database import Conn, columns, fetch_one, row_of
from rushes.model import Tenant

TENANT = row_of(Tenant)
COLUMNS = columns(Tenant)


async def get(conn: Conn, tenant: str, *, lock: bool = False) -> Tenant:
    query = f"SELECT {COLUMNS} FROM tenants WHERE tenant = %(tenant)s" + (" FOR NO KEY UPDATE" if lock else "")
    return await fetch_one(conn, TENANT, query, {"tenant": tenant}) or Tenant(tenant)


async def exists(conn: Conn, tenant: str) -> bool:
    """Whether anything was ever set for, or begun by, this tenant."""
    query = """SELECT EXISTS (SELECT 1 FROM tenants WHERE tenant = %(tenant)s)
        OR EXISTS (SELECT 1 FROM tenant_quotas WHERE tenant = %(tenant)s)"""
    row = await (await conn.execute(query, {"tenant": tenant})).fetchone()
    return row is not None and bool(row[0])


async def locked(conn: Conn, tenant: str, now: datetime) -> Tenant:
    """The tenant's row, made if there is none, locked until the transaction ends."""
    query = "INSERT INTO tenants (tenant, updated_at) VALUES (%s, %s) ON CONFLICT DO NOTHING"
    await conn.execute(query, [tenant, now])
    return await get(conn, tenant, lock=True)


async def put(conn: Conn, row: Tenant, now: datetime) -> None:
    """Set all of the tenant's row."""
    await conn.execute(
        f"""INSERT INTO tenants ({COLUMNS})
        VALUES (%(tenant)s, %(plans)s, %(stored)s, %(month)s, %(uploads)s, %(types)s, %(formats)s, %(now)s)
        ON CONFLICT (tenant) DO UPDATE SET plans = EXCLUDED.plans, stored_bytes = EXCLUDED.stored_bytes,
            month_bytes = EXCLUDED.month_bytes, open_uploads = EXCLUDED.open_uploads, types = EXCLUDED.types,
            formats = EXCLUDED.formats, updated_at = EXCLUDED.updated_at""".encode(),
        {
            "tenant": row.tenant,
            "plans": Jsonb({name: dict(figures) for name, figures in row.plans.items()}),
            "stored": row.stored_bytes,
            "month": row.month_bytes,
            "uploads": row.open_uploads,
            "types": list(row.types),
            "formats": Jsonb({about: list(names) for about, names in row.formats.items()}),
            "now": now,
        },
    )


async def page(conn: Conn, after: str, limit: int) -> list[str]:
    """Names of tenants behind `after`: those with a row, and those that have begun anything."""
    cursor = await conn.execute(
        """SELECT tenant FROM tenants WHERE tenant > %(after)s
        UNION SELECT tenant FROM tenant_quotas WHERE tenant > %(after)s ORDER BY tenant LIMIT %(limit)s""",
        {"after": after, "limit": limit},
    )
    return [str(row[0]) for row in await cursor.fetchall()]
