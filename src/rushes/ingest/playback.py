"""Playback of private media: a token for one asset, which stands in the URL, and the playlists that it opens.

Players send no headers of ours, so the token is part of the playlists' address. It opens playlists of that asset and nothing
else; bytes come from storage, by presigned URLs that end with the token.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import jwt

from rushes.db import assets, renditions, segments
from rushes.errors import Conflict, Misconfigured, NotFound, Unauthenticated
from rushes.ingest import playlist
from rushes.ingest.context import Context
from rushes.ingest.tokens import LEEWAY, own_key, own_secret
from rushes.model import Asset, AssetState, Principal, Rendition
from rushes.storage import Signer, presign_get
from rushes.wire_play import PlayView

LONGEST = 12 * 3600  # seconds that a token lives
MASTER, SHEETS = "master.m3u8", "sprite.vtt"
SHEETS_TYPE = "text/vtt"
MOST_OF_SHEETS = 4_000_000  # bytes of a WebVTT file that are read
STEPS = 12  # of a token's life: as of its beginning URLs are signed, so that players and caches meet the same ones
_GONE = frozenset({AssetState.DELETED, AssetState.QUARANTINED})


@dataclass(frozen=True, slots=True)
class Pass:
    """What a token says: whose asset may be played, from when and until when."""

    asset_id: UUID
    who: Principal
    made_at: datetime
    expires_at: datetime


async def begin(
    ctx: Context, who: Principal, asset_id: UUID, seconds: float | None = None, base_url: str | None = None
) -> PlayView:
    """A link that plays an asset for `seconds`, for everybody who has it. While it is processed: what is there by then.

    Raises:
        NotFound: asset_not_found.
        Conflict: asset_not_playable, before anything can be played and for what never will be.
        Misconfigured: public_url_missing.
    """
    base = ctx.settings.public_url or base_url
    if base is None:
        raise Misconfigured("public_url_missing", "Set RUSHES_PUBLIC_URL: links have to name the API's own address.")
    async with ctx.db.reading() as conn:
        asset = await assets.get(conn, who, asset_id)
        if asset is None:
            raise NotFound("asset_not_found", "There is no such asset.")
        rows = (await renditions.readable(conn, [asset]))[asset.id]
    if asset.state in _GONE or not playlist.playable(rows):
        raise Conflict("asset_not_playable", "There is nothing to play of this asset (yet).", state=str(asset.state))
    now = ctx.now()
    lifetime = timedelta(seconds=int(min(seconds or ctx.settings.link_seconds, LONGEST)))
    token = mint(ctx, asset, now, lifetime)
    folder = f"{base.rstrip('/')}/v1/play/{token}/{asset.id}"
    return PlayView(
        url=f"{folder}/{MASTER}",
        token=token,
        expires_at=(now + lifetime).replace(microsecond=0),
        thumbnails_url=f"{folder}/{SHEETS}" if any(row.name == SHEETS for row in rows) else None,
    )


def mint(ctx: Context, asset: Asset, now: datetime, lifetime: timedelta) -> str:
    """A token (JWT, HS256) for the playlists of one asset; nothing else takes it, since its audience is another."""
    claims: dict[str, Any] = {
        "iss": ctx.settings.token_issuer,
        "aud": _audience(ctx),
        "iat": int(now.timestamp()),
        "exp": int((now + lifetime).timestamp()),
        "tenant": asset.tenant,
        "sub": asset.creator,
        "asset": str(asset.id),
    }
    return jwt.encode(claims, own_secret(ctx.settings), algorithm="HS256", headers={"typ": "play+jwt"})


def read(ctx: Context, token: str, asset_id: UUID) -> Pass:
    """What the token opens. Raises `Unauthenticated` for one that has expired, or is none for this asset."""
    try:
        claims = jwt.decode(
            token,
            own_key(ctx.settings),
            algorithms=["HS256"],
            audience=_audience(ctx),
            issuer=ctx.settings.token_issuer,
            leeway=LEEWAY,
            options={"require": ["exp", "iat", "iss", "aud", "sub", "tenant", "asset"]},
        )
    except jwt.ExpiredSignatureError as error:
        raise Unauthenticated("play_token_expired", "This link has expired; ask for a new one.") from error
    except jwt.InvalidTokenError as error:
        raise Unauthenticated("play_token_invalid", "This link is none of ours, or not the whole of one.") from error
    if claims["asset"] != str(asset_id):
        raise Unauthenticated("play_token_invalid", "This link is for another asset.")
    made, ends = (datetime.fromtimestamp(claims[name], UTC) for name in ("iat", "exp"))
    return Pass(asset_id, Principal(claims["tenant"], claims["sub"]), made, ends)


async def master(ctx: Context, token: str, asset_id: UUID) -> str:
    """The master playlist. Raises `Unauthenticated`, and `NotFound` (asset_not_found, playlist_not_found)."""
    rows = playlist.playable(await _readable(ctx, read(ctx, token, asset_id)))
    if not rows:
        raise _absent()
    return playlist.master(rows)


async def media(ctx: Context, token: str, asset_id: UUID, name: str) -> str | playlist.Long:
    """The playlist of one rendition, `name` as the master playlist has it. Raises as `master` does."""
    opened = read(ctx, token, asset_id)
    rows = playlist.playable(await _readable(ctx, opened))
    row = next((row for row in rows if playlist.playlist_of(row) == name), None)
    if row is None:
        raise _absent()
    async with ctx.db.reading() as conn:
        found = await segments.of(conn, row.id)
    if found is None:
        raise _absent()
    url = _link(await ctx.storage.signer(), row, opened, ctx.now())
    return playlist.Long(found, url) if isinstance(found, bytes) else playlist.media(found, url)


async def thumbnails(ctx: Context, token: str, asset_id: UUID) -> str:
    """The WebVTT track of sprite sheets, with links to them. Raises as `master` does, and storage's errors."""
    opened = read(ctx, token, asset_id)
    rows = await _readable(ctx, opened)
    row = next((row for row in rows if row.name == SHEETS), None)
    if row is None or row.size > MOST_OF_SHEETS:
        raise _absent()
    signer, now = await ctx.storage.signer(), ctx.now()
    links = {each.name: _link(signer, each, opened, now) for each in rows if each.type == "sprite"}
    async with aclosing(ctx.storage.s3.get_range(row.bucket, row.key)) as chunks:
        text = b"".join([chunk async for chunk in chunks])
    return playlist.sheets(text.decode("utf-8", "replace"), links)


async def _readable(ctx: Context, opened: Pass) -> Sequence[Rendition]:
    async with ctx.db.reading() as conn:
        asset = await assets.get(conn, opened.who, opened.asset_id)
        if asset is None or asset.state in _GONE:
            raise NotFound("asset_not_found", "There is no such asset.")
        return (await renditions.readable(conn, [asset]))[asset.id]


def _link(signer: Signer, row: Rendition, opened: Pass, now: datetime) -> str:
    """A presigned URL, the same for a twelfth of the token's life; it outlives the token by no more."""
    start, end = span(opened, now)
    return presign_get(
        signer, row.bucket, row.key, at=start, seconds=(end - start).total_seconds(), content_type=row.content_type
    )


def span(opened: Pass, now: datetime) -> tuple[datetime, datetime]:
    """As of when a URL is signed and when it ends: the steps around now and around the token's end."""
    step = max(1, int((opened.expires_at - opened.made_at).total_seconds()) // STEPS)
    start = int(now.timestamp()) // step * step
    end = -(-int(opened.expires_at.timestamp()) // step) * step
    return datetime.fromtimestamp(start, UTC), datetime.fromtimestamp(max(end, start + step), UTC)


def _audience(ctx: Context) -> str:
    return f"{ctx.settings.token_audience}:play"


def _absent() -> NotFound:
    return NotFound("playlist_not_found", "There is no such playlist (yet).")
