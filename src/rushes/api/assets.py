"""/v1/assets"""

from __future__ import annotations

from uuid import UUID

from fastapi import APIRouter, status

from rushes import wire
from rushes.api import views
from rushes.api.auth import Ctx, Who
from rushes.api.paging import Cursor, Limit, paged
from rushes.ingest import assets, reprocess
from rushes.ingest.links import Links
from rushes.model import AssetState
from rushes.wire_jobs import ProcessRequest

ALL = ProcessRequest()
router = APIRouter(prefix="/assets", tags=["assets"])


@router.get("")
async def list_assets(
    ctx: Ctx,
    who: Who,
    state: AssetState | None = None,
    title_id: UUID | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> wire.Page[wire.AssetView]:
    """Assets, the newest first."""
    bundles = await assets.page(ctx, who, state=state, title_id=title_id, before=cursor, limit=limit)
    links = await Links.now(ctx)
    return paged([views.asset(bundle, links) for bundle in bundles], [bundle.asset.id for bundle in bundles], limit)


@router.get("/{asset_id}")
async def read_asset(ctx: Ctx, who: Who, asset_id: UUID) -> wire.AssetView:
    """What the file is, what was proven about it, and its renditions with links."""
    return views.asset(await assets.get(ctx, who, asset_id), await Links.now(ctx))


@router.get("/{asset_id}/status")
async def read_asset_status(ctx: Ctx, who: Who, asset_id: UUID) -> wire.StatusView:
    """Small, for polling."""
    return views.status(await assets.status(ctx, who, asset_id=asset_id))


@router.patch("/{asset_id}")
async def change_asset(ctx: Ctx, who: Who, asset_id: UUID, patch: wire.AssetPatch) -> wire.AssetView:
    """Rename it or give it to another title."""
    given = patch.model_fields_set
    bundle = await assets.change(
        ctx, who, asset_id, filename=patch.filename if "filename" in given else None, title_id=patch.title_id
    )
    return views.asset(bundle, await Links.now(ctx))


@router.delete("/{asset_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_asset(ctx: Ctx, who: Who, asset_id: UUID) -> None:
    """Delete the asset, its original and its renditions."""
    await assets.delete(ctx, who, asset_id)


@router.post("/{asset_id}/process", status_code=status.HTTP_202_ACCEPTED)
async def process_asset(ctx: Ctx, who: Who, asset_id: UUID, wanted: ProcessRequest = ALL) -> wire.JobView:
    """Process again, all of it or some; what is published stays readable meanwhile."""
    wish = reprocess.Wish(tuple(wanted.stages), tuple(wanted.renditions), wanted.outdated, wanted.priority)
    return views.job(await reprocess.reprocess(ctx, who, asset_id, wish))
