"""Assets: what a file became. Deleting one removes its objects by a durable workflow."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, jobs, renditions, titles, uploads
from rushes.errors import Conflict, NotFound
from rushes.ingest import quota
from rushes.ingest.abort import delete_listed
from rushes.ingest.context import Context, Work
from rushes.ingest.process import stop_run
from rushes.ingest.tokens import check_reach
from rushes.model import OPEN_UPLOADS, Asset, AssetState, Job, Principal, Rendition, Upload, UploadState
from rushes.storage import asset_prefix


@dataclass(frozen=True, slots=True)
class AssetBundle:
    """An asset with what belongs to it."""

    asset: Asset
    upload: Upload
    renditions: list[Rendition]
    title: str | None  # None: deleted, or not the caller's to see


async def find(ctx: Context, who: Principal, asset_id: UUID) -> Asset:
    """The asset alone. Raises `NotFound`."""
    async with ctx.db.transaction() as conn:
        asset = await assets.get(conn, who, asset_id)
    if asset is None:
        raise _absent()
    return asset


async def get(ctx: Context, who: Principal, asset_id: UUID) -> AssetBundle:
    async with ctx.db.transaction() as conn:
        asset = await assets.get(conn, who, asset_id)
        if asset is None:
            raise _absent()
        return (await _bundles(conn, who, [asset]))[0]


async def page(
    ctx: Context, who: Principal, *, state: AssetState | None, title_id: UUID | None, before: UUID | None, limit: int
) -> list[AssetBundle]:
    async with ctx.db.transaction() as conn:
        return await _bundles(
            conn, who, await assets.page(conn, who, state=state, title_id=title_id, before=before, limit=limit)
        )


async def _bundles(conn: Conn, who: Principal, found: Sequence[Asset]) -> list[AssetBundle]:
    of_asset = await uploads.of_assets(conn, [asset.id for asset in found])
    made = await renditions.readable(conn, found)
    names = await titles.names(conn, who, [asset.title_id for asset in found])
    return [AssetBundle(row, of_asset[row.id], made[row.id], names.get(row.title_id)) for row in found]


@dataclass(frozen=True, slots=True)
class Status:
    """What pollers want."""

    asset: Asset
    upload: Upload
    job: Job | None


async def status(
    ctx: Context, who: Principal, *, asset_id: UUID | None = None, upload_id: UUID | None = None
) -> Status:
    """The state of things by asset or by upload. Raises `NotFound`."""
    async with ctx.db.reading() as conn:
        if upload_id is not None:
            upload = await uploads.get(conn, who, upload_id)
            if upload is None:
                raise NotFound("upload_not_found", "There is no such upload.")
            asset = await assets.load(conn, upload.asset_id)
        else:
            assert asset_id is not None, "one of the two is given"
            asset = await assets.get(conn, who, asset_id)
            upload = None if asset is None else await uploads.load(conn, asset.upload_id)
        if asset is None or upload is None:
            raise _absent()
        return Status(asset, upload, await jobs.current(conn, asset.id))


async def status_of(ctx: Context, upload: Upload) -> Status:
    """The state of things of an upload that the caller has just read."""
    async with ctx.db.reading() as conn:
        asset = await assets.load(conn, upload.asset_id)
        assert asset is not None, "begin made it, and the upload refers to it"
        return Status(asset, upload, await jobs.current(conn, asset.id))


async def change(
    ctx: Context, who: Principal, asset_id: UUID, *, filename: str | None, title_id: UUID | None
) -> AssetBundle:
    """Rename an asset, or give it and its upload to another title."""
    async with ctx.db.transaction() as conn:
        asset = await assets.get(conn, who, asset_id)
        if asset is None:
            raise _absent()
        check_reach(who)
        await uploads.load(conn, asset.upload_id, lock=True)  # before the asset, as everywhere
        if await assets.get(conn, who, asset_id, lock=True) is None:
            raise _absent()
        if title_id is not None and await titles.get(conn, who, title_id, lock=True) is None:
            raise NotFound("title_not_found", "There is no such title.")
        if title_id is not None:
            await uploads.give_to(conn, asset.upload_id, title_id)
        wanted = {"filename": filename, "title_id": title_id}
        await assets.change(conn, asset_id, ctx.now(), **{name: v for name, v in wanted.items() if v is not None})
    return await get(ctx, who, asset_id)


async def delete(ctx: Context, who: Principal, asset_id: UUID) -> None:
    """Delete an asset whose upload has ended; its objects go durably, its quota at once."""
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        asset = await assets.get(conn, who, asset_id)
        if asset is None:
            raise _absent()
        check_reach(who)
        upload = await uploads.load(conn, asset.upload_id, lock=True)  # before quota and asset, as everywhere
        assert upload is not None, "assets refer to their upload"
        if upload.state in OPEN_UPLOADS:
            raise Conflict("upload_open", "This asset is still being uploaded; abort the upload instead.")
        if await assets.get(conn, who, asset_id) is None:
            raise _absent()  # whoever deleted it held the lock that we hold now
        if upload.state is UploadState.INGESTED:
            await quota.free(conn, asset)
        asset = await assets.load(conn, asset.id, lock=True)
        assert asset is not None, "assets keep their rows"
        await stop_run(conn, asset, now)
        await renditions.delete_of_asset(conn, asset.id)
        await assets.move(conn, asset, AssetState.DELETED, now)
        await events.append(conn, "asset_deleted", asset, now)
        # Twice: a stage that was putting an object away when the asset went is surely over the second time.
        for again, delay in (("", 0.0), ("-again", 3 * ctx.settings.takeover_seconds)):
            work = Work("remove", f"remove-{asset.id}{again}", (str(asset.id),), asset.tenant, delay=delay)
            await ctx.engine.enqueue(conn, work)


async def remove(ctx: Context, asset_id: UUID) -> None:
    """Remove every object of a deleted asset. May run twice."""
    async with ctx.db.transaction() as conn:
        asset = await assets.load(conn, asset_id)
    if asset is None or asset.state is not AssetState.DELETED:
        return
    await ctx.storage.s3.delete_objects(asset.bucket, [asset.key])
    for place in (ctx.storage.renditions, ctx.storage.incoming):
        prefix = asset_prefix(place, asset.tenant, asset.creator, asset.id)
        await delete_listed(ctx, place.bucket, ctx.storage.s3.list_objects(place.bucket, prefix))


def _absent() -> NotFound:
    return NotFound("asset_not_found", "There is no such asset.")
