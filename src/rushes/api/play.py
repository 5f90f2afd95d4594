"""/v1/play: playlists for players, which send no Authorization; and the links to them.

Tokens stand in these addresses, so nothing that answers them may be kept by a shared cache or told to other hosts.
"""

from __future__ import annotations

import asyncio
import gzip
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Path, Request, Response

from rushes.api.auth import Ctx, Who
from rushes.ingest import playback, playlist
from rushes.wire_play import PlayRequest, PlayView

router = APIRouter(tags=["play"])

HEADERS = {"Cache-Control": "private, no-cache", "Referrer-Policy": "no-referrer", "Vary": "Accept-Encoding"}
SMALL = 1_400  # bytes: one packet, which cannot become fewer
AT_ONCE = 200_000  # bytes that are compressed without a thread
_ANSWERS = {playlist.CONTENT_TYPE: {"schema": {"type": "string"}}}

Token = Annotated[str, Path(max_length=2_000)]
Name = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,98}$")]


@router.post("/assets/{asset_id}/play")
async def play_asset(ctx: Ctx, who: Who, asset_id: UUID, wanted: PlayRequest, request: Request) -> PlayView:
    """A link that plays the asset, for everybody who has it. It is readable as soon as one rendition is."""
    return await playback.begin(ctx, who, asset_id, wanted.seconds, str(request.base_url))


@router.get("/play/{token}/{asset_id}/master.m3u8", response_class=Response, responses={200: {"content": _ANSWERS}})
async def read_master_playlist(ctx: Ctx, token: Token, asset_id: UUID, request: Request) -> Response:
    """The HLS master playlist: what can be played by now."""
    return await _answer(request, await playback.master(ctx, token, asset_id), playlist.CONTENT_TYPE)


@router.get(
    "/play/{token}/{asset_id}/sprite.vtt",
    response_class=Response,
    responses={200: {"content": {playback.SHEETS_TYPE: {"schema": {"type": "string"}}}}},
)
async def read_thumbnail_track(ctx: Ctx, token: Token, asset_id: UUID, request: Request) -> Response:
    """The sprite sheets as a WebVTT track whose cues are presigned links."""
    return await _answer(request, await playback.thumbnails(ctx, token, asset_id), playback.SHEETS_TYPE)


@router.get("/play/{token}/{asset_id}/{name}.m3u8", response_class=Response, responses={200: {"content": _ANSWERS}})
async def read_media_playlist(ctx: Ctx, token: Token, asset_id: UUID, name: Name, request: Request) -> Response:
    """The HLS playlist of one rendition: byte ranges of one presigned link."""
    return await _answer(request, await playback.media(ctx, token, asset_id, f"{name}.m3u8"), playlist.CONTENT_TYPE)


async def _answer(request: Request, text: str | playlist.Long, content_type: str) -> Response:
    headers, zips = dict(HEADERS), "gzip" in request.headers.get("accept-encoding", "")
    if isinstance(text, playlist.Long):
        body = text.gzipped() if zips else await asyncio.to_thread(text.text)
    else:
        body = text.encode()
        zips = zips and len(body) > SMALL
        if zips:  # level 1: the same URL on every line shrinks to a hundredth all the same
            body = gzip.compress(body, 1) if len(body) < AT_ONCE else await asyncio.to_thread(gzip.compress, body, 1)
    if zips:
        headers["Content-Encoding"] = "gzip"
    return Response(body, headers=headers, media_type=content_type)


for _path, _asked in (
    ("master.m3u8", read_master_playlist),
    ("sprite.vtt", read_thumbnail_track),
    ("{name}.m3u8", read_media_playlist),
):
    router.add_api_route(f"/play/{{token}}/{{asset_id}}/{_path}", _asked, methods=["HEAD"], include_in_schema=False)
