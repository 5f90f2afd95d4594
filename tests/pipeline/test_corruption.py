"""What storage holds is not what was uploaded: nothing of it is ever published."""

from __future__ import annotations

from pathlib import Path

import pytest

from rushes.config import Settings
from rushes.db import renditions
from rushes.ingest.context import Context
from rushes.model import AssetState, Principal, Role
from tests.pipeline.equipment import ingest_without_worker, settled, worker

WHO = Principal("corrupt", "cora", Role.OPERATOR, "studio")


async def test_the_same_file_untouched_is_published(ctx: Context, own: Settings, clip: bytes) -> None:
    upload = await ingest_without_worker(ctx, WHO, clip, "fine.mp4")
    async with worker(own):
        asset = await settled(ctx, upload.asset_id)
    assert asset.state is AssetState.PUBLISHED
    assert asset.published_job_id == asset.job_id


async def test_an_overwritten_original_is_not_published(ctx: Context, own: Settings, clip: bytes) -> None:
    upload = await ingest_without_worker(ctx, WHO, clip, "clip.mp4")
    flipped = bytearray(clip)
    flipped[len(clip) // 2] ^= 1
    await ctx.storage.s3.put_object(upload.bucket, upload.key, bytes(flipped), size=len(flipped))
    async with worker(own):
        asset = await settled(ctx, upload.asset_id)
    assert asset.state is AssetState.FAILED
    assert asset.sha256 is None
    assert asset.problem is not None
    assert asset.problem["code"] == "original_corrupt"
    async with ctx.db.transaction() as conn:
        assert (await renditions.readable(conn, [asset]))[asset.id] == []


async def test_bytes_that_no_longer_have_the_ledgers_checksum_are_not_published(
    ctx: Context, own: Settings, clip: bytes
) -> None:
    upload = await ingest_without_worker(ctx, WHO, clip, "clip.mp4")
    async with ctx.db.transaction() as conn:
        await conn.execute("UPDATE assets SET checksum = 'AAAAAAAAAAA=' WHERE id = %s", [upload.asset_id])
    async with worker(own):
        asset = await settled(ctx, upload.asset_id)
    assert asset.state is AssetState.FAILED
    assert asset.sha256 is None
    assert asset.problem is not None
    assert (asset.problem["code"], asset.problem["expected"]) == ("original_corrupt", "AAAAAAAAAAA=")


@pytest.mark.timeout(900)
async def test_a_bit_that_rots_on_the_disk_is_not_published(ctx: Context, own: Settings, clip: bytes) -> None:
    """The store notices by itself, thinks for a quarter of a minute or, seldom, is silent for a whole one, and answers
    with an error; each reading is tried four times, so that one attempt of a job will do."""
    upload = await ingest_without_worker(ctx, WHO, clip, "rotten.mp4")
    rot(own.data_dir, clip[1000:1100])
    async with worker(own.model_copy(update={"job_attempts": 1})):
        asset = await settled(ctx, upload.asset_id, 800)
    assert asset.state is AssetState.FAILED
    assert asset.sha256 is None


def rot(directory: Path, pattern: bytes) -> None:
    """Flip one bit of every place in the store's volumes where `pattern` lies."""
    places = 0
    for volume in directory.rglob("*.dat"):
        with volume.open("r+b") as file:
            data = file.read()
            at = data.find(pattern)
            while at >= 0:
                file.seek(at)
                file.write(bytes([data[at] ^ 1]))
                places += 1
                at = data.find(pattern, at + 1)
    assert places, "the pattern is not in the store"
