"""Uploads finalized without a worker, and workers started by hand: what happens between the two is the test's."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from uuid import UUID

import httpx

from rushes import checksum
from rushes.config import Settings
from rushes.db import assets
from rushes.embedded.stack import environment
from rushes.ingest import begin, complete, finalize, grant
from rushes.ingest.context import Context
from rushes.model import Asset, AssetState, Principal, Upload
from rushes.wire import BeginUpload, CompleteUpload, DonePart, GrantRequest, WantedPart


async def send(ctx: Context, who: Principal, data: bytes, filename: str) -> tuple[Upload, CompleteUpload]:
    """Begin, grant and put; returns the upload and what completes it."""
    upload, _ = await begin.begin(
        ctx, who, BeginUpload(filename=filename, size=len(data)), idempotency_key=None, origin="test"
    )
    pieces = [data[at : at + upload.part_size] for at in range(0, len(data), upload.part_size)]
    sums = [checksum.encode(checksum.crc64nvme(piece)) for piece in pieces]
    want = [WantedPart(number=number, checksum=crc) for number, crc in enumerate(sums, 1)]
    reply = await grant.grant(ctx, who, upload.id, GrantRequest(want=want))
    done = []
    async with httpx.AsyncClient(timeout=60) as http:
        for granted, piece, crc in zip(reply.grants, pieces, sums, strict=True):
            answer = await http.put(granted.url, content=piece, headers=granted.headers)
            assert answer.status_code == 200, answer.text
            done.append(DonePart(number=granted.number, etag=answer.headers["ETag"], checksum=crc))
    return upload, CompleteUpload(done=done)


async def ingest_without_worker(ctx: Context, who: Principal, data: bytes, filename: str) -> Upload:
    """An upload that is whole in storage, its processing queued; every step of finalizing was run here."""
    upload, request = await send(ctx, who, data, filename)
    assert not await complete.start(ctx, who, upload.id, request)
    assert await finalize.reconcile(ctx, upload.id, 1) == "ready"
    assert await finalize.assemble(ctx, upload.id, 1) == "whole"
    await finalize.settle(ctx, upload.id, 1)
    return upload


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """`rushes worker` as a process of its own; it must stop in good order."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rushes", "worker", env=os.environ | environment(settings)
    )
    try:
        yield process
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0


async def settled(ctx: Context, asset_id: UUID, seconds: float = 120) -> Asset:
    """The asset once it is published or failed."""
    async with asyncio.timeout(seconds):
        while True:
            async with ctx.db.transaction() as conn:
                asset = await assets.load(conn, asset_id)
            assert asset is not None
            if asset.state in {AssetState.PUBLISHED, AssetState.FAILED}:
                return asset
            await asyncio.sleep(0.1)
