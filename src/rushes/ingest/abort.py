"""Abort an upload: quota released once, and what storage holds of it removed by a durable workflow."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import UUID

from rushes import events
from rushes.db import assets, leftovers, uploads
from rushes.errors import Conflict, NotFound, Unavailable
from rushes.ingest import quota
from rushes.ingest.context import Context, Work
from rushes.ingest.grant import locked
from rushes.model import AssetState, Principal, Upload, UploadState
from rushes.storage import ListedObject, asset_prefix

CAME_TO_NOTHING = frozenset({UploadState.REJECTED, UploadState.FAILED, UploadState.ABORTED, UploadState.EXPIRED})
LATE_SECONDS = 600.0  # how long after the last grant's end a part may still be on its way
AT_ONCE = 1_000  # keys deleted in one request


async def abort(ctx: Context, who: Principal, upload_id: UUID) -> None:
    """Give an upload up. Aborting twice is fine; one that finalizes or has been ingested raises `Conflict`."""
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        upload = await locked(conn, who, upload_id)
        if upload.state is UploadState.ABORTED:
            return
        if upload.state is UploadState.INGESTED:
            raise Conflict("upload_ingested", "This upload is complete; delete the asset instead.")
        await uploads.move(conn, upload, UploadState.ABORTED, now)
        await quota.release(conn, upload)
        asset = await assets.load(conn, upload.asset_id, lock=True)
        assert asset is not None, "begin made it, and the upload refers to it"
        await assets.move(conn, asset, AssetState.DELETED, now)
        await events.append(conn, "upload_aborted", upload, now)
        await ctx.engine.enqueue(conn, discard_work(upload))


def discard_work(upload: Upload) -> Work:
    return Work("discard", f"discard-{upload.id}", (str(upload.id),), upload.tenant)


async def discard_again(ctx: Context, upload_id: UUID) -> None:
    """Have the upload discarded once more when no grant is good any longer: a part may have landed meanwhile."""
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id)
        if upload is None or upload.storage_upload_id is None:
            return
        delay = ctx.settings.grant_seconds + LATE_SECONDS
        again = Work("discard", f"discard-{upload.id}-again", (str(upload.id), 1), upload.tenant, delay=delay)
        await ctx.engine.enqueue(conn, again)


async def discard(ctx: Context, upload_id: UUID) -> None:
    """Remove from storage all that an upload that came to nothing left there: parts, slices, object. May run twice.

    The object as well: what failed its verification was assembled before, and a Complete may have been carried out
    although storage answered it with an error.

    Raises `Unavailable` storage_abort_undone when a part landed while its upload was aborted: then it is tried again.
    """
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id)
    if upload is None or upload.state not in CAME_TO_NOTHING:
        return
    if upload.storage_upload_id is not None:
        await abort_in_storage(ctx, upload.bucket, upload.key, upload.storage_upload_id)
        await ctx.storage.s3.delete_objects(upload.bucket, [upload.key])
    async with ctx.db.transaction() as conn:
        await leftovers.forget_slices(conn, upload.id)
    await delete_listed(ctx, ctx.storage.incoming.bucket, staged_objects(ctx, upload))


async def abort_in_storage(ctx: Context, bucket: str, key: str, storage_upload_id: str) -> None:
    """Abort a multipart upload and see that it is gone.

    Parts that were on their way may have landed in between, and count until the upload is aborted again (S3 API,
    AbortMultipartUpload). Raises `Unavailable`.
    """
    await ctx.storage.s3.abort_multipart(bucket, key, storage_upload_id)
    try:
        left = await ctx.storage.s3.list_parts(bucket, key, storage_upload_id)
    except NotFound:
        return
    if left:
        raise Unavailable("storage_abort_undone", "Parts landed while their upload was aborted.", count=len(left))


def staged_objects(ctx: Context, upload: Upload) -> AsyncIterator[ListedObject]:
    """What lies in the incoming place for this upload: staged parts and slices."""
    place = ctx.storage.incoming
    prefix = asset_prefix(place, upload.tenant, upload.creator, upload.asset_id)
    return ctx.storage.s3.list_objects(place.bucket, prefix)


async def delete_listed(ctx: Context, bucket: str, listed: AsyncIterator[ListedObject]) -> None:
    """Delete what is listed, as it is listed."""
    keys: list[str] = []
    async for item in listed:
        keys.append(item.key)
        if len(keys) == AT_ONCE:
            await ctx.storage.s3.delete_objects(bucket, keys)
            keys = []
    if keys:
        await ctx.storage.s3.delete_objects(bucket, keys)
