"""What a file really is decides, whatever it was called: kept, refused, or processed."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import pillow_heif

from rushes.config import Settings
from rushes.db import renditions
from rushes.ingest import tenants
from rushes.ingest.context import Context
from rushes.model import Asset, AssetState, Principal, Role
from tests.media.pictures import dng, quarters
from tests.pipeline.equipment import ingest_without_worker, settled, worker

PDF = b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n" + b"1 0 obj << >> endobj\n" * 50
PROGRAM = b"\x7fELF\x02\x01\x01" + bytes(500)
NOISE = random.Random(5).randbytes(5_000)


async def of_tenant(ctx: Context, *types: str, formats: Mapping[str, Sequence[str]] | None = None) -> Principal:
    """Somebody of a new tenant that takes these types and formats; with none, what everybody takes."""
    who = Principal(f"types-{uuid4().hex[:8]}", "tia", Role.OPERATOR, "studio")
    if types or formats:
        change = tenants.Change(types=types or None, formats=formats or {})
        await tenants.change(ctx.db, who.tenant, change, datetime.now(UTC))
    return who


async def test_what_a_file_really_is_decides(ctx: Context, own: Settings, clip: bytes, tmp_path: Path) -> None:
    raw = dng(tmp_path / "a.dng").read_bytes()
    pillow_heif.from_pillow(quarters()).save(tmp_path / "a.heic")
    default, office = await of_tenant(ctx), await of_tenant(ctx, "video", "application/pdf")
    sound, anything = await of_tenant(ctx, "audio"), await of_tenant(ctx, "*")
    fussy = await of_tenant(ctx, formats={"video": ["hevc", "prores"]})
    cases: list[tuple[Principal, bytes, str, str, str | None]] = [
        # who, bytes, name; then the problem, or `published` with what it is kept as
        (office, PDF, "script.pdf", "published", "application/pdf"),
        (office, NOISE, "scan.pdf", "published", "application/pdf"),
        (office, PROGRAM, "script.pdf", "type_not_allowed", "application/x-executable"),
        (office, clip, "script.pdf", "published", "video"),
        (default, PDF, "take.mov", "type_not_allowed", "application/pdf"),
        (default, b"not a film\n", "take.mov", "type_not_allowed", "text/plain"),
        (default, NOISE, "take.mov", "not_media", None),
        (sound, clip, "voice.mp4", "type_not_allowed", "video"),
        (fussy, clip, "take.mp4", "format_refused", "h264"),
        (default, raw, "still.dng", "published", "image"),
        (default, (tmp_path / "a.heic").read_bytes(), "still.heic", "published", "image"),
        (anything, NOISE, "blob", "published", "application/octet-stream"),
        (anything, PROGRAM, "take.mov", "published", "application/x-executable"),
    ]
    begun = [await ingest_without_worker(ctx, who, data, name) for who, data, name, _, _ in cases]
    async with worker(own):
        found = await asyncio.gather(*(settled(ctx, upload.asset_id) for upload in begun))
    for asset, (_, data, name, outcome, what) in zip(found, cases, strict=True):
        if outcome == "published":
            await kept(ctx, asset, what)
            continue
        assert asset.state is AssetState.FAILED, name
        assert asset.problem is not None
        assert asset.problem["code"] == outcome, asset.problem
        assert asset.problem.get("found") == what, asset.problem
        head = await ctx.storage.s3.head(asset.bucket, asset.key)
        assert head is not None, "the original stays"
        assert head.size == len(data)


async def kept(ctx: Context, asset: Asset, what: str | None) -> None:
    assert asset.state is AssetState.PUBLISHED, asset.problem
    assert asset.sha256 is not None
    assert asset.verification is not None
    assert asset.media is not None
    async with ctx.db.transaction() as conn:
        made = (await renditions.readable(conn, [asset]))[asset.id]
    if what in {"video", "image"}:
        assert asset.kind == what
        assert made
    else:
        assert (asset.kind, asset.media["format"], made) == (None, what, [])
