"""Open uploads without progress: warned of, counted as abandoned, expired at last.

An upload lives for its plan's idle time after the last sign of life. Each expiry is a transaction of its own under the
upload's lock, so of a complete, an abort, a grant and an expiry that race exactly one has its way.
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, idle, uploads
from rushes.db.idle import Idle
from rushes.errors import Problem
from rushes.ingest import quota
from rushes.ingest.abort import discard_work, staged_objects
from rushes.ingest.reclaimed import Kind, Sum
from rushes.ingest.sweeping import Sweep
from rushes.model import AssetState, Upload, UploadState


async def expire(sweep: Sweep) -> None:
    """Uploads past their time end as `expired`; what storage holds of them goes durably."""

    async def one(upload: Upload) -> None:
        size = await _size(sweep, upload)
        if sweep.dry or await _expire(sweep, upload):
            sweep.count(upload.tenant, Kind.EXPIRED, Sum(1, size))

    async for page in sweep.pages(partial(_page, Idle.EXPIRED, sweep)):
        await sweep.each(one, page)


async def _expire(sweep: Sweep, found: Upload) -> bool:
    """Whether this was the end of the upload: progress, a complete or an abort may have come first."""
    now = sweep.at
    async with sweep.ctx.db.transaction() as conn:
        for upload in await idle.locked(conn, Idle.EXPIRED, sweep.clock, [found.id]):
            await uploads.move(conn, upload, UploadState.EXPIRED, now)
            await quota.release(conn, upload)
            asset = await assets.load(conn, upload.asset_id, lock=True)
            assert asset is not None, "begin made it, and the upload refers to it"
            await assets.move(conn, asset, AssetState.DELETED, now)
            await events.append(conn, "upload_expired", upload, now, held_bytes=upload.held_bytes)
            await sweep.ctx.engine.enqueue(conn, discard_work(upload))
            return True
    return False


async def _size(sweep: Sweep, upload: Upload) -> int:
    """Bytes that storage holds of the upload; what the ledger knows when storage does not tell."""
    try:
        size = sum([item.size async for item in staged_objects(sweep.ctx, upload)])
        if upload.storage_upload_id is not None:
            size += await sweep.stored_bytes(upload.bucket, upload.key, upload.storage_upload_id) or 0
    except Problem:
        return upload.held_bytes
    return size


async def warn(sweep: Sweep) -> None:
    """Tell the creators of uploads that are about to expire, once each; progress makes it untold."""
    async for page in sweep.pages(partial(_page, Idle.EXPIRING, sweep)):
        told = page
        if not sweep.dry:
            async with sweep.ctx.db.transaction() as conn:
                told = await idle.locked(conn, Idle.EXPIRING, sweep.clock, [upload.id for upload in page])
                await idle.warned(conn, [upload.id for upload in told], sweep.at)
                for upload in told:
                    when = upload.expires_at.isoformat()
                    await events.append(conn, "upload_expiring", upload, sweep.at, expires_at=when)
        for upload in told:
            sweep.count(upload.tenant, Kind.WARNED, Sum(1, upload.held_bytes))


async def abandon(sweep: Sweep) -> None:
    """Count the uploads that have stopped making progress, once each; any of them may still go on."""
    async for page in sweep.pages(partial(_page, Idle.NEWLY_ABANDONED, sweep)):
        counted = page
        if not sweep.dry:
            async with sweep.ctx.db.transaction() as conn:
                counted = await idle.locked(conn, Idle.NEWLY_ABANDONED, sweep.clock, [upload.id for upload in page])
                await idle.abandoned(conn, [upload.id for upload in counted], sweep.at)
                for upload in counted:
                    since = upload.progress_at.isoformat()
                    await events.append(conn, "upload_abandoned", upload, sweep.at, progress_at=since)
        for upload in counted:
            sweep.count(upload.tenant, Kind.ABANDONED, Sum(1, upload.held_bytes))


async def measure_abandoned(sweep: Sweep, *, ask_storage: bool) -> None:
    """What abandoned uploads hold now: as the ledger knows it or, one question each, as storage does."""
    if not ask_storage:
        async with sweep.ctx.db.transaction() as conn:
            for tenant, count, size in await idle.abandoned_sums(conn, sweep.clock):
                sweep.tally.add_abandoned(tenant, Sum(count, size))
        return

    async def one(upload: Upload) -> None:
        sweep.tally.add_abandoned(upload.tenant, Sum(1, await _size(sweep, upload)))

    async for page in sweep.pages(partial(_page, Idle.ABANDONED, sweep)):
        await sweep.each(one, page)


async def _page(what: Idle, sweep: Sweep, conn: Conn, after: UUID | None, limit: int) -> list[Upload]:
    return await idle.page(conn, what, sweep.clock, after, limit)
