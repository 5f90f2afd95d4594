"""Reading uploads."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from uuid import UUID

from rushes.db import assets, parts, titles, uploads
from rushes.errors import NotFound
from rushes.ingest.context import Context
from rushes.ingest.reconcile import reconcile as reconcile_parts
from rushes.model import AssetState, Part, Principal, Upload, UploadState


@dataclass(frozen=True, slots=True)
class UploadBundle:
    """An upload with what belongs to it."""

    upload: Upload
    asset: AssetState
    title: str | None  # None: deleted, or not the caller's to see


async def page(
    ctx: Context, who: Principal, states: Collection[UploadState] | None, before: UUID | None, limit: int
) -> list[UploadBundle]:
    """Uploads, each with the state of its asset and the name of its title."""
    async with ctx.db.transaction() as conn:
        rows = await uploads.page(conn, who, states, before, limit)
        states_of = await assets.states(conn, [row.asset_id for row in rows])
        names = await titles.names(conn, who, [row.title_id for row in rows])
        return [UploadBundle(row, states_of[row.asset_id], names.get(row.title_id)) for row in rows]


async def get(ctx: Context, who: Principal, upload_id: UUID) -> Upload:
    """Raises `NotFound`."""
    async with ctx.db.transaction() as conn:
        upload = await uploads.get(conn, who, upload_id)
    if upload is None:
        raise NotFound("upload_not_found", "There is no such upload.")
    return upload


async def with_parts(
    ctx: Context, who: Principal, upload_id: UUID, *, reconcile: bool = False
) -> tuple[UploadBundle, list[Part]]:
    """An upload, its asset's state and the parts held: all that a client needs to go on. Raises `NotFound`.

    With `reconcile`, storage is asked first, so that parts whose report was lost count as well; then also `Unavailable`.
    """
    if reconcile:
        await reconcile_parts(ctx, who, upload_id)
    async with ctx.db.transaction() as conn:
        upload = await uploads.get(conn, who, upload_id)
        if upload is None:
            raise NotFound("upload_not_found", "There is no such upload.")
        states = await assets.states(conn, [upload.asset_id])
        held = [part for part in await parts.all_of(conn, upload_id) if part.held_at is not None]
        names = await titles.names(conn, who, [upload.title_id])
        return UploadBundle(upload, states[upload.asset_id], names.get(upload.title_id)), held
