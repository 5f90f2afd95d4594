"""/v1/uploads"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response, status

from rushes import wire
from rushes.api import views
from rushes.api.auth import Ctx, Who
from rushes.api.headers import LOCATION
from rushes.api.paging import Cursor, Limit, paged
from rushes.ingest import abort, assets, begin, complete, grant, uploads
from rushes.model import UploadState

router = APIRouter(prefix="/uploads", tags=["uploads"])


@router.post("", status_code=status.HTTP_201_CREATED)
async def begin_upload(
    ctx: Ctx,
    who: Who,
    wanted: wire.BeginUpload,
    idempotency_key: Annotated[
        str | None, Header(description="Repeat it after a lost reply: nothing is reserved twice.")
    ] = None,
    user_agent: Annotated[str, Header(include_in_schema=False)] = "",
) -> wire.UploadBegun:
    """Begin an upload: reserve quota, get the part plan and a token for this upload alone."""
    upload, token = await begin.begin(
        ctx, who, wanted, idempotency_key=idempotency_key, origin=begin.origin_of("api", user_agent)
    )
    return wire.UploadBegun(
        upload_id=upload.id,
        asset_id=upload.asset_id,
        title_id=upload.title_id,
        state=upload.state,
        size=upload.size if upload.size_known else None,
        max_size=upload.size,
        layout=upload.layout,
        part_size=upload.part_size,
        part_count=upload.part_count,
        checksum_algorithm=upload.checksum_algorithm,
        expires_at=upload.expires_at,
        token=token,
    )


@router.get("")
async def list_uploads(
    ctx: Ctx,
    who: Who,
    state: Annotated[list[UploadState] | None, Query()] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> wire.Page[wire.UploadView]:
    """Your uploads, the newest first."""
    rows = await uploads.page(ctx, who, state, cursor, limit)
    return paged([views.upload(row) for row in rows], [row.upload.id for row in rows], limit)


@router.get("/{upload_id}")
async def read_upload(
    ctx: Ctx,
    who: Who,
    upload_id: UUID,
    reconcile: Annotated[
        bool, Query(description="Ask storage first: parts that nobody reported are held as well if there is no doubt.")
    ] = False,
) -> wire.UploadView:
    """State, progress, and the parts held with their checksums: all that is needed to go on."""
    bundle, held = await uploads.with_parts(ctx, who, upload_id, reconcile=reconcile)
    return views.upload(bundle, held)


@router.post("/{upload_id}/parts")
async def grant_parts(
    ctx: Ctx, who: Who, upload_id: UUID, wanted: wire.GrantRequest, request: Request
) -> wire.GrantReply:
    """Report the parts done, get URLs for the next ones: presigned ones, or where storage is out of reach, of this API."""
    return await grant.grant(ctx, who, upload_id, wanted, str(request.base_url))


@router.post(
    "/{upload_id}/complete",
    responses={
        200: {"description": "The verdict."},
        202: {"model": wire.StatusView, "description": "Storage is not done yet.", "headers": LOCATION},
    },
)
async def complete_upload(
    ctx: Ctx, who: Who, upload_id: UUID, request: wire.CompleteUpload, response: Response
) -> wire.StatusView:
    """Finalize. 200 with the verdict, or 202 while storage is busy: then poll the address in `Location`.

    Safe to repeat. 409 `parts_missing` names the parts to send (again) in `extra.missing`; 409 `manifest_mismatch` those
    that the ledger knows otherwise in `extra.numbers`; 409 `checksum_mismatch` shows both values; 409 `size_missing` asks
    where a file of unknown size ends.
    """
    upload = await complete.complete(ctx, who, upload_id, request)
    if upload.state is UploadState.FINALIZING:
        response.status_code = status.HTTP_202_ACCEPTED
        response.headers["Location"] = f"/v1/uploads/{upload_id}/status"
    return views.status(await assets.status_of(ctx, upload))


@router.get("/{upload_id}/status")
async def read_upload_status(ctx: Ctx, who: Who, upload_id: UUID) -> wire.StatusView:
    """Small, for polling."""
    return views.status(await assets.status(ctx, who, upload_id=upload_id))


@router.delete("/{upload_id}", status_code=status.HTTP_204_NO_CONTENT)
async def abort_upload(ctx: Ctx, who: Who, upload_id: UUID) -> None:
    """Give the upload up; its quota is free again and storage is cleaned."""
    await abort.abort(ctx, who, upload_id)
