"""/v1/uploads/{id}/parts/{n} and /content: the two addresses that take media, for clients that cannot reach storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, cast
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response, status
from starlette.requests import ClientDisconnect

from rushes import wire
from rushes.api import views
from rushes.api.auth import Ctx, Who
from rushes.api.headers import ETAG, LOCATION, OF_CONTENT, OF_PARTS, RANGE
from rushes.errors import Invalid, Problem
from rushes.ingest import assets, content, ranges, relay, slices
from rushes.ingest.intake import Intake, Pace, Relays
from rushes.model import UploadState

router = APIRouter(prefix="/uploads", tags=["relay"])
Number = Annotated[int, Path(ge=1, le=10_000)]


@router.put(
    "/{upload_id}/parts/{number}",
    openapi_extra=OF_PARTS,
    response_model=None,  # each status has its own
    responses={
        200: {"model": wire.RelayedPart, "description": "The whole part is held.", "headers": ETAG},
        202: {"model": wire.PartView, "description": "A slice is held; others are missing.", "headers": RANGE},
    },
)
async def put_part(
    ctx: Ctx, who: Who, upload_id: UUID, number: Number, request: Request, response: Response
) -> wire.RelayedPart | wire.PartView:
    """Send a part through the server: whole, or with `Content-Range: bytes s-e/length` in slices of at least 1 MiB.

    The part's checksum goes into the header that a grant names; without one the server's own is the part's. Safe to repeat.
    """
    async with _intake(ctx, who, request) as body:
        where = _content_range(request)
        if where is None:
            found: wire.RelayedPart | wire.PartView = await relay.relay(
                ctx, who, upload_id, number, body, request.headers
            )
        else:
            found = await slices.put(ctx, who, upload_id, number, where, body, request.headers)
    if isinstance(found, wire.RelayedPart):
        response.headers["ETag"] = f'"{found.etag}"'
    else:
        response.status_code = status.HTTP_202_ACCEPTED
        _say_held(response, found.received)
    return found


@router.get("/{upload_id}/parts/{number}", responses={200: {"headers": RANGE | ETAG}})
async def read_part(ctx: Ctx, who: Who, upload_id: UUID, number: Number, response: Response) -> wire.PartView:
    """Which bytes of a part are held. HEAD says it in headers alone: `Range`, and `ETag` once the whole part is held."""
    return await _read_part(ctx, who, upload_id, number, response)


@router.head("/{upload_id}/parts/{number}", include_in_schema=False)
async def ask_part(ctx: Ctx, who: Who, upload_id: UUID, number: Number, response: Response) -> None:
    await _read_part(ctx, who, upload_id, number, response)


async def _read_part(ctx: Ctx, who: Who, upload_id: UUID, number: Number, response: Response) -> wire.PartView:
    found = await slices.look(ctx, who, upload_id, number)
    _say_held(response, found.received)
    if found.etag is not None:
        response.headers["ETag"] = f'"{found.etag}"'
    return found


@router.put(
    "/{upload_id}/content",
    openapi_extra=OF_CONTENT,
    response_model=wire.StatusView,
    responses={
        200: {"description": "All is held, and the verdict."},
        202: {
            "model": wire.StatusView,
            "description": "All is held, and storage is not done yet.",
            "headers": LOCATION,
        },
        308: {"description": "Bytes are missing: go on behind `Range`, from 0 without one.", "headers": RANGE},
    },
)
async def put_content(
    ctx: Ctx, who: Who, upload_id: UUID, request: Request, response: Response
) -> wire.StatusView | Response:
    """Send a whole file: in one request, or in order with `Content-Range: bytes s-e/size`. Its last byte completes it.

    308 says by `Range: bytes=0-N` what is held; `Content-Range: bytes */size` with an empty body asks.
    """
    async with _intake(ctx, who, request) as body:
        progress = await content.put(ctx, who, upload_id, _content_range(request), body)
    if progress.upload is None:
        answer = Response(status_code=status.HTTP_308_PERMANENT_REDIRECT)
        _say_held(answer, [(0, progress.held - 1)] if progress.held else [])
        return answer
    if progress.upload.state is UploadState.FINALIZING:
        response.status_code = status.HTTP_202_ACCEPTED
        response.headers["Location"] = f"/v1/uploads/{upload_id}/status"
    return views.status(await assets.status(ctx, who, upload_id=upload_id))


@asynccontextmanager
async def _intake(ctx: Ctx, who: Who, request: Request) -> AsyncIterator[Intake]:
    """The body, if this process takes one more. Some of what nobody took of it is read, so that its sender comes to read
    the answer; unless it waits for a word before it sends.
    """
    length = request.headers.get("content-length", "")
    if not (length.isascii() and length.isdigit()):
        raise Invalid("length_missing", "Say how many bytes come: send Content-Length.")
    body = Intake(_chunks(request), int(length), Pace.of(ctx.settings))
    with cast(Relays, request.app.state.relays).one(body, (who.tenant, who.creator)):
        patient = request.headers.get("expect", "").lower() == "100-continue"
        try:
            yield body
        except Problem:
            if not patient:
                await body.linger()
            raise
        if not patient:
            await body.linger()


async def _chunks(request: Request) -> AsyncIterator[bytes]:
    """The body as it comes; it ends where its sender leaves."""
    try:
        async for chunk in request.stream():
            if chunk:
                yield chunk
    except ClientDisconnect:
        return


def _content_range(request: Request) -> ranges.ContentRange | None:
    text = request.headers.get("content-range")
    return None if text is None else ranges.parse(text)


def _say_held(response: Response, held: list[tuple[int, int]]) -> None:
    if held:
        response.headers["Range"] = ranges.written(held)
