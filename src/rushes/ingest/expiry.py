"""Open uploads without progress: warned of, counted as abandoned, expired at last.

An upload lives for its plan's idle time after the last sign of life. Each expiry is a transaction of its own under the
upload's lock, so of a complete, an abort, a grant and an expiry that race exactly one has its way.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
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

    async for page in sweep.uploads(Idle.EXPIRED):
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


@dataclass(frozen=True, slots=True)
class _Notice:
    """Said once of an upload that stays as it is, until progress makes it unsaid."""

    of: Idle
    kind: Kind
    event: str
    fact: str  # the moment that the event tells, a field of the upload
    mark: Callable[[Conn, Sequence[UUID], datetime], Awaitable[None]]  # in the rows, that it was said


_EXPIRING = _Notice(Idle.EXPIRING, Kind.WARNED, "upload_expiring", "expires_at", idle.warned)
_ABANDONED = _Notice(Idle.NEWLY_ABANDONED, Kind.ABANDONED, "upload_abandoned", "progress_at", idle.abandoned)


async def warn(sweep: Sweep) -> None:
    """Tell the creators of uploads that are about to expire, once each; progress makes it untold."""
    await _tell(sweep, _EXPIRING)


async def abandon(sweep: Sweep) -> None:
    """Count the uploads that have stopped making progress, once each; any of them may still go on."""
    await _tell(sweep, _ABANDONED)


async def _tell(sweep: Sweep, notice: _Notice) -> None:
    async for page in sweep.uploads(notice.of):
        told = page
        if not sweep.dry:
            async with sweep.ctx.db.transaction() as conn:
                told = await idle.locked(conn, notice.of, sweep.clock, [upload.id for upload in page])
                await notice.mark(conn, [upload.id for upload in told], sweep.at)
                for upload in told:
                    fact = {notice.fact: getattr(upload, notice.fact).isoformat()}
                    await events.append(conn, notice.event, upload, sweep.at, **fact)
        for upload in told:
            sweep.count(upload.tenant, notice.kind, Sum(1, upload.held_bytes))


async def measure_abandoned(sweep: Sweep, *, ask_storage: bool) -> None:
    """What abandoned uploads hold now: as the ledger knows it or, one question each, as storage does."""
    if not ask_storage:
        async with sweep.ctx.db.transaction() as conn:
            for tenant, count, size in await idle.abandoned_sums(conn, sweep.clock):
                sweep.tally.add_abandoned(tenant, Sum(count, size))
        return

    async def one(upload: Upload) -> None:
        sweep.tally.add_abandoned(upload.tenant, Sum(1, await _size(sweep, upload)))

    async for page in sweep.uploads(Idle.ABANDONED):
        await sweep.each(one, page)
