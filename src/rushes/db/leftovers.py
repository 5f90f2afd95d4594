"""Queries by which a sweep tells what storage holds for somebody from what it holds for nobody."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from rushes.db.assets import ASSET
from rushes.db.assets import COLUMNS as ASSET_COLUMNS
from rushes.db.database import Conn, fetch_all, row_of
from rushes.db.uploads import COLUMNS as UPLOAD_COLUMNS
from rushes.db.uploads import UPLOAD
from rushes.model import Asset, AssetState, Layout, Upload, UploadState

ENDED_BADLY = "('rejected', 'failed', 'aborted', 'expired')"


@dataclass(frozen=True, slots=True)
class Owner:
    """The upload that something in storage belongs to, or belonged to."""

    upload_id: UUID
    asset_id: UUID
    tenant: str
    state: UploadState
    layout: Layout
    storage_upload_id: str | None
    asset_state: AssetState
    changed_at: datetime  # the last change of the upload or of its asset


OWNER = row_of(Owner, state=UploadState, layout=Layout, asset_state=AssetState)
OWNERS = """SELECT u.id AS upload_id, u.asset_id, u.tenant, u.state, u.layout, u.storage_upload_id,
    a.state AS asset_state, greatest(u.updated_at, a.updated_at) AS changed_at
    FROM uploads u JOIN assets a ON a.id = u.asset_id"""


async def by_storage_upload(conn: Conn, ids: Collection[str]) -> dict[str, Owner]:
    rows = await fetch_all(conn, OWNER, f"{OWNERS} WHERE u.storage_upload_id = ANY(%(ids)s)", {"ids": list(ids)})
    return {row.storage_upload_id: row for row in rows if row.storage_upload_id is not None}


async def by_asset(conn: Conn, ids: Collection[UUID]) -> dict[UUID, Owner]:
    rows = await fetch_all(conn, OWNER, f"{OWNERS} WHERE u.asset_id = ANY(%(ids)s)", {"ids": list(ids)})
    return {row.asset_id: row for row in rows}


async def running_epochs(conn: Conn, assets: Collection[UUID]) -> set[tuple[UUID, int]]:
    """(asset, epoch) of the runs that may be writing renditions now."""
    cursor = await conn.execute(
        "SELECT asset_id, epoch FROM jobs WHERE state = 'running' AND asset_id = ANY(%s)", [list(assets)]
    )
    return {(row[0], int(row[1])) for row in await cursor.fetchall()}


async def known_slices(conn: Conn, keys: Sequence[str]) -> set[str]:
    """Those of these keys that the ledger of slices refers to."""
    cursor = await conn.execute("SELECT key FROM slices WHERE key = ANY(%s)", [list(keys)])
    return {str(row[0]) for row in await cursor.fetchall()}


_DEAD_SLICES = """FROM slices s USING uploads u WHERE u.id = s.upload_id
    AND u.state NOT IN ('initiated', 'uploading', 'finalizing') AND u.updated_at < %(before)s"""


async def dead_slices(conn: Conn, before: datetime) -> list[tuple[str, int]]:
    """(tenant, rows) of slices whose upload ended before this."""
    query = f"SELECT u.tenant, count(*) {_DEAD_SLICES.replace(' USING ', ', ')} GROUP BY u.tenant"
    cursor = await conn.execute(query.encode(), {"before": before})
    return [(str(tenant), int(count)) for tenant, count in await cursor.fetchall()]


async def forget_dead_slices(conn: Conn, before: datetime) -> None:
    await conn.execute(f"DELETE {_DEAD_SLICES}".encode(), {"before": before})


async def forget_slices(conn: Conn, upload_id: UUID) -> None:
    """Forget the slices of an upload that has ended."""
    await conn.execute("DELETE FROM slices WHERE upload_id = %s", [upload_id])


# --- renditions -------------------------------------------------------------------------------------------------------


async def unswept(conn: Conn, before: datetime, after: UUID | None, limit: int) -> list[Asset]:
    """Assets that were processed since they were last swept, rest since `before`, and are not being processed."""
    query = f"""SELECT {ASSET_COLUMNS} FROM assets a WHERE swept_epoch < epoch AND state <> 'deleted'
        AND updated_at < %(before)s AND (%(after)s::uuid IS NULL OR id > %(after)s)
        AND NOT EXISTS (SELECT FROM jobs j WHERE j.asset_id = a.id AND j.state IN ('queued', 'running'))
        ORDER BY id LIMIT %(limit)s"""
    return await fetch_all(conn, ASSET, query, {"before": before, "after": after, "limit": limit})


async def kept_renditions(conn: Conn, asset: Asset) -> set[str]:
    """The keys of what the published run, and the run that counts, have made."""
    cursor = await conn.execute(
        "SELECT key FROM renditions WHERE asset_id = %s AND job_id = ANY(%s)",
        [asset.id, [job for job in (asset.published_job_id, asset.job_id) if job is not None]],
    )
    return {str(row[0]) for row in await cursor.fetchall()}


async def forget_renditions(conn: Conn, asset: Asset) -> None:
    """Forget what other runs have made. The caller holds the asset's lock."""
    await conn.execute(
        "DELETE FROM renditions WHERE asset_id = %s AND job_id <> ALL(%s)",
        [asset.id, [job for job in (asset.published_job_id, asset.job_id) if job is not None]],
    )


async def swept(conn: Conn, asset: Asset) -> None:
    await conn.execute("UPDATE assets SET swept_epoch = %s WHERE id = %s", [asset.epoch, asset.id])


# --- what came to nothing, and what was deleted -----------------------------------------------------------------------


async def uncleared_uploads(conn: Conn, before: datetime, after: UUID | None, limit: int) -> list[Upload]:
    """Uploads that came to nothing before this and that no sweep has looked at since."""
    query = f"""SELECT {UPLOAD_COLUMNS} FROM uploads WHERE cleared_at IS NULL AND state IN {ENDED_BADLY}
        AND updated_at < %(before)s AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s"""
    return await fetch_all(conn, UPLOAD, query, {"before": before, "after": after, "limit": limit})


async def uncleared_assets(conn: Conn, before: datetime, after: UUID | None, limit: int) -> list[Asset]:
    """Assets that were deleted before this and that no sweep has looked at since."""
    query = f"""SELECT {ASSET_COLUMNS} FROM assets WHERE cleared_at IS NULL AND state = 'deleted'
        AND updated_at < %(before)s AND (%(after)s::uuid IS NULL OR id > %(after)s) ORDER BY id LIMIT %(limit)s"""
    return await fetch_all(conn, ASSET, query, {"before": before, "after": after, "limit": limit})


async def upload_cleared(conn: Conn, upload_id: UUID, now: datetime) -> None:
    await conn.execute("UPDATE uploads SET cleared_at = %s WHERE id = %s", [now, upload_id])


async def asset_cleared(conn: Conn, asset_id: UUID, now: datetime) -> None:
    await conn.execute("UPDATE assets SET cleared_at = %s WHERE id = %s", [now, asset_id])
