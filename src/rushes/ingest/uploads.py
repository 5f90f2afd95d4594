"""Reading uploads."""

from __future__ import annotations

from collections.abc import Collection
from uuid import UUID

from rushes.db import parts, uploads
from rushes.errors import NotFound
from rushes.ingest.context import Context
from rushes.ingest.reconcile import reconcile as reconcile_parts
from rushes.model import Part, Principal, Upload, UploadState


async def page(
    ctx: Context, who: Principal, states: Collection[UploadState] | None, before: UUID | None, limit: int
) -> list[Upload]:
    async with ctx.db.transaction() as conn:
        return await uploads.page(conn, who, states, before, limit)


async def get(ctx: Context, who: Principal, upload_id: UUID) -> Upload:
    """Raises `NotFound`."""
    async with ctx.db.transaction() as conn:
        upload = await uploads.get(conn, who, upload_id)
    if upload is None:
        raise NotFound("upload_not_found", "There is no such upload.")
    return upload


async def with_parts(
    ctx: Context, who: Principal, upload_id: UUID, *, reconcile: bool = False
) -> tuple[Upload, list[Part]]:
    """An upload and the parts held: all that a client needs to go on. Raises `NotFound`.

    With `reconcile`, storage is asked first, so that parts whose report was lost count as well; then also `Unavailable`.
    """
    if reconcile:
        await reconcile_parts(ctx, who, upload_id)
    async with ctx.db.transaction() as conn:
        upload = await uploads.get(conn, who, upload_id)
        if upload is None:
            raise NotFound("upload_not_found", "There is no such upload.")
        return upload, [part for part in await parts.all_of(conn, upload_id) if part.held_at is not None]
