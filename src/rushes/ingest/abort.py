"""Abort an upload: quota released once, and what storage holds of it removed by a durable workflow."""

from __future__ import annotations

from uuid import UUID

from rushes import events
from rushes.db import assets, uploads
from rushes.errors import Conflict
from rushes.ingest import quota, staged
from rushes.ingest.context import Context, Work
from rushes.ingest.grant import locked
from rushes.model import AssetState, Principal, Upload, UploadState

CAME_TO_NOTHING = frozenset({UploadState.REJECTED, UploadState.FAILED, UploadState.ABORTED, UploadState.EXPIRED})


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


async def discard(ctx: Context, upload_id: UUID) -> None:
    """Remove from storage what an upload that came to nothing left there: its parts, and its object. May run twice.

    The object as well: what failed its verification was assembled before, and a Complete may have been carried out
    although storage answered it with an error.
    """
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id)
    if upload is None or upload.state not in CAME_TO_NOTHING:
        return
    if upload.storage_upload_id is not None:
        await ctx.storage.s3.abort_multipart(upload.bucket, upload.key, upload.storage_upload_id)
        await ctx.storage.s3.delete_objects(upload.bucket, [upload.key])
    await staged.remove(ctx, upload_id)
