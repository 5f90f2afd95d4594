"""Objects that rows say nobody needs: renditions of runs that lost, originals that came to nothing or were deleted.

Each asset is looked at once after it was processed or deleted, each upload once after it came to nothing, when the grace
time has passed: originals and renditions are never listed as a whole. Rows go first, objects after.
"""

from __future__ import annotations

from functools import partial
from uuid import UUID

from rushes.db import Conn, assets, leftovers
from rushes.ingest.reclaimed import Kind, Sum
from rushes.ingest.sweeping import Sweep
from rushes.model import Asset, Upload, UploadState
from rushes.storage import Shape, asset_prefix, shape_of


async def renditions(sweep: Sweep) -> None:
    """What runs made that were replaced by others."""

    async def one(asset: Asset) -> None:
        async with sweep.ctx.db.transaction() as conn:
            if not sweep.dry:
                current = await assets.load(conn, asset.id, lock=True)
                if current is None or (current.epoch, current.job_id) != (asset.epoch, asset.job_id):
                    return  # it is being processed again: the next sweep looks at it
                await leftovers.forget_renditions(conn, asset)
            kept = await leftovers.kept_renditions(conn, asset)
        if await _delete_renditions(sweep, asset, kept) and not sweep.dry:
            async with sweep.ctx.db.transaction() as conn:
                await leftovers.swept(conn, asset)

    async for page in sweep.pages(lambda conn, after, limit: leftovers.unswept(conn, sweep.before, after, limit)):
        await sweep.each(one, page)


async def _delete_renditions(sweep: Sweep, asset: Asset, kept: set[str]) -> bool:
    """Delete the renditions of runs up to the asset's epoch, as the row shows it, but for those to keep; whether that
    were all: one that a lost run wrote a moment ago is left for a later sweep."""
    storage = sweep.ctx.storage
    place = storage.renditions
    lost: list[str] = []
    size, young = 0, 0
    prefix = asset_prefix(place, asset.tenant, asset.creator, asset.id)
    async for item in storage.s3.list_objects(place.bucket, prefix):
        found = shape_of(storage, place.bucket, item.key)
        old = found is not None and found.shape is Shape.RENDITION and (found.epoch or 0) <= asset.epoch
        if not old or item.key in kept:
            continue
        if item.modified >= sweep.before:
            young += 1
            continue
        lost.append(item.key)
        size += item.size
    if lost and not sweep.dry:
        await storage.s3.delete_objects(place.bucket, lost)
    if lost:
        sweep.count(asset.tenant, Kind.LOST_RENDITIONS, Sum(len(lost), size))
    return young == 0


async def originals(sweep: Sweep) -> None:
    """Objects of uploads that came to nothing, then all objects of deleted assets."""

    async def nothing(upload: Upload) -> None:
        if upload.storage_upload_id is not None:
            await _delete_original(sweep, upload.tenant, upload.bucket, upload.key)
        if not sweep.dry:
            async with sweep.ctx.db.transaction() as conn:
                await leftovers.upload_cleared(conn, upload.id, sweep.at)

    async for came_to_nothing in sweep.pages(partial(_uncleared_uploads, sweep)):
        await sweep.each(nothing, came_to_nothing)

    async def deleted(asset: Asset, *, ingested: bool) -> None:
        if ingested:
            await _delete_original(sweep, asset.tenant, asset.bucket, asset.key)
        if (not ingested or await _delete_renditions(sweep, asset, set())) and not sweep.dry:
            async with sweep.ctx.db.transaction() as conn:
                await leftovers.asset_cleared(conn, asset.id, sweep.at)

    async for gone in sweep.pages(partial(_uncleared_assets, sweep)):
        async with sweep.ctx.db.transaction() as conn:
            owners = await leftovers.by_asset(conn, [asset.id for asset in gone])
        whole = {id_ for id_, owner in owners.items() if owner.state is UploadState.INGESTED}
        for were in (True, False):
            await sweep.each(partial(deleted, ingested=were), [asset for asset in gone if (asset.id in whole) is were])


async def _delete_original(sweep: Sweep, tenant: str, bucket: str, key: str) -> None:
    head = await sweep.ctx.storage.s3.head(bucket, key)
    if head is None:
        return
    if not sweep.dry:
        await sweep.ctx.storage.s3.delete_objects(bucket, [key])
    sweep.count(tenant, Kind.LOST_ORIGINALS, Sum(1, head.size))


async def _uncleared_uploads(sweep: Sweep, conn: Conn, after: UUID | None, limit: int) -> list[Upload]:
    return await leftovers.uncleared_uploads(conn, sweep.before, after, limit)


async def _uncleared_assets(sweep: Sweep, conn: Conn, after: UUID | None, limit: int) -> list[Asset]:
    return await leftovers.uncleared_assets(conn, sweep.before, after, limit)
