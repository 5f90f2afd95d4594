"""What lies in storage and belongs to no session: multipart uploads, staged parts, slices, pieces.

Nothing is touched that a session owns, that is younger than the grace time, whose session ended more recently than that
(its own `discard` is on its way), or whose key has not our shape. An upload that was ingested, and a rendition that is
there, keep even a multipart upload that storage should have forgotten: on SeaweedFS it shares its bytes with the object.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from rushes.db import leftovers
from rushes.db.leftovers import Owner
from rushes.ingest.abort import abort_in_storage
from rushes.ingest.ownership import check_own
from rushes.ingest.reclaimed import Kind, Sum
from rushes.ingest.sweeping import Sweep
from rushes.model import OPEN_UPLOADS, AssetState, Layout, UploadState
from rushes.storage import Found, ListedObject, OpenUpload, Shape, shape_of, widest_places

PIECES = "pieces/"
STAGED = "parts/"  # what the keys of staged parts go on with after the asset


def is_over(owner: Owner | None, before: datetime) -> bool:
    """Whether nobody needs what an upload left in storage, and nobody is about to remove it. None: it has no session."""
    if owner is None:
        return True
    return owner.state not in OPEN_UPLOADS and owner.changed_at < before


def may_abort(owner: Owner | None, before: datetime) -> bool:
    """Whether a multipart upload of this owner may be aborted."""
    kept = owner is not None and owner.state is UploadState.INGESTED and owner.asset_state is not AssetState.DELETED
    return is_over(owner, before) and not kept


def may_delete(owner: Owner | None, before: datetime, *, rest: str, known_slice: bool) -> bool:
    """Whether an object in the incoming place may go. An open upload needs its staged parts, and the slices in its ledger;
    an asset that is processed its pieces."""
    if owner is not None and owner.state in OPEN_UPLOADS:
        staged = owner.layout is Layout.STAGED and rest.startswith(STAGED)
        return not staged and not known_slice
    if owner is not None and owner.asset_state is AssetState.PROCESSING and rest.startswith(PIECES):
        return False
    return is_over(owner, before)


async def multiparts(sweep: Sweep) -> None:
    """Multipart uploads that nobody will complete are aborted."""
    for place in widest_places(sweep.ctx.storage):
        await check_own(sweep.ctx, place, claim=not sweep.dry)
        listed = sweep.ctx.storage.s3.list_multipart_uploads(place.bucket, place.prefix)
        async for batch in sweep.batches(listed):
            await _abort_lost(sweep, place.bucket, batch)


async def _abort_lost(sweep: Sweep, bucket: str, batch: Sequence[OpenUpload]) -> None:
    storage = sweep.ctx.storage
    found = [(item, shape_of(storage, bucket, item.key)) for item in batch if item.initiated < sweep.before]
    ours = [(item, shape) for item, shape in found if shape is not None]
    async with sweep.ctx.db.transaction() as conn:
        owners = await leftovers.by_storage_upload(conn, [item.storage_upload_id for item, _ in ours])
        processed = {shape.owner.asset for _, shape in ours if shape.shape is Shape.RENDITION and shape.owner}
        running = await leftovers.running_epochs(conn, processed)

    async def one(pair: tuple[OpenUpload, Found]) -> None:
        item, shape = pair
        if shape.shape is Shape.RENDITION and await storage.s3.head(bucket, item.key) is not None:
            return
        size = await sweep.stored_bytes(bucket, item.key, item.storage_upload_id)
        if size is None:
            return  # gone meanwhile
        if not sweep.dry:
            await abort_in_storage(sweep.ctx, bucket, item.key, item.storage_upload_id)
        owner = owners.get(item.storage_upload_id)
        sweep.count(owner.tenant if owner else shape.tenant, Kind.LOST_UPLOADS, Sum(1, size))

    lost = [
        (item, shape)
        for item, shape in ours
        if may_abort(owners.get(item.storage_upload_id), sweep.before)
        and (shape.owner is None or (shape.owner.asset, shape.epoch) not in running)
    ]
    await sweep.each(one, lost)


async def incoming(sweep: Sweep) -> None:
    """Objects in the incoming place that no session needs are deleted, and the rows of slices with them."""
    async with sweep.ctx.db.transaction() as conn:
        for tenant, count in await leftovers.dead_slices(conn, sweep.before):
            sweep.count(tenant, Kind.SLICES, Sum(count))
        if not sweep.dry:
            await leftovers.forget_dead_slices(conn, sweep.before)
    place = sweep.ctx.storage.incoming
    await check_own(sweep.ctx, place, claim=not sweep.dry)
    async for batch in sweep.batches(sweep.ctx.storage.s3.list_objects(place.bucket, place.prefix)):
        await _delete_lost(sweep, place.bucket, batch)


async def _delete_lost(sweep: Sweep, bucket: str, batch: Sequence[ListedObject]) -> None:
    storage = sweep.ctx.storage
    found = [(item, shape_of(storage, bucket, item.key)) for item in batch if item.modified < sweep.before]
    ours = [
        (item, shape) for item, shape in found if shape is not None and shape.shape in {Shape.INCOMING, Shape.PROBE}
    ]
    async with sweep.ctx.db.transaction() as conn:
        owners = await leftovers.by_asset(conn, {shape.owner.asset for _, shape in ours if shape.owner})
        slices = await leftovers.known_slices(conn, [item.key for item, _ in ours])
    lost: list[tuple[ListedObject, str]] = []
    for item, shape in ours:
        owner = owners.get(shape.owner.asset) if shape.owner else None
        rest = shape.owner.rest if shape.owner else ""
        if may_delete(owner, sweep.before, rest=rest, known_slice=item.key in slices):
            lost.append((item, owner.tenant if owner else shape.tenant))

    async def remove(items: Sequence[tuple[ListedObject, str]]) -> None:
        if not sweep.dry:
            await storage.s3.delete_objects(bucket, [item.key for item, _ in items])
        for item, tenant in items:
            sweep.count(tenant, Kind.LOST_OBJECTS, Sum(1, item.size))

    if lost:
        await sweep.each(remove, [lost])
