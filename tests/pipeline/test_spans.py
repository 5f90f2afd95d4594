"""A video in several spans: any worker encodes any, one joins them, and kill -9 at any point changes nothing of the outcome."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest

from rushes import checksum, main
from rushes.config import Settings
from rushes.ingest.context import Context
from rushes.media.sandbox import detect
from rushes.model import Asset, AssetState, Principal, Role, Upload
from rushes.pipeline.pieces import remove
from rushes.pipeline.work import Bench
from rushes.storage import asset_prefix
from tests.conftest import ROUNDS, SEED
from tests.pipeline.equipment import database_apart, ingest_without_worker, rows, settled, started, until, worker
from tests.pipeline.test_again import drive

WHO = Principal("spans", "sid", Role.OPERATOR, "studio")
SECONDS, RATE = 9, 25
SPAN = 0.25  # seconds of 1080p: 2.8 s of this clip
KILLS = 2 if ROUNDS == 1 else 20
LONG = SECONDS if ROUNDS == 1 else 30
LAST = (
    0.9  # of the run's progress: the last point of which it may be said beforehand that there is something yet to kill
)
REACHED = """SELECT s.type, s.number FROM jobs s JOIN jobs r ON r.id = s.parent_id
    WHERE s.state = 'running' AND s.epoch > %s AND r.progress >= %s"""


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return film_of(SECONDS, tmp_path_factory.mktemp("film") / "film.mkv")


def film_of(seconds: int, path: Path) -> bytes:
    """What no browser plays as it is."""
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error",
            "-f", "lavfi", "-i", f"testsrc2=size=640x360:rate={RATE}:duration={seconds}",
            "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={seconds}",
            "-c:v", "mpeg4", "-q:v", "4", "-g", "25", "-c:a", "aac", path,
        ],
        check=True, timeout=120,
    )  # fmt: skip
    return path.read_bytes()


@pytest.fixture(scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    scratch = tmp_path_factory.mktemp("bench")
    scratch.chmod(0o711)  # as a worker's own directory: the sandbox's user goes through it
    return Bench(scratch, await detect())


async def listed(ctx: Context, upload: Upload, place: str) -> dict[str, int]:
    found = getattr(ctx.storage, place)
    prefix = asset_prefix(found, upload.tenant, upload.creator, upload.asset_id)
    return {item.key: item.size async for item in ctx.storage.s3.list_objects(found.bucket, prefix)}


async def test_spans_travel_through_storage(alone: Context, bench: Bench, film: bytes) -> None:
    ctx = replace(alone, settings=alone.settings.model_copy(update={"video_span_seconds": SPAN}))
    upload = await ingest_without_worker(ctx, WHO, film, "film.mkv")
    done = await drive(ctx, bench, upload)
    asset = await settled(ctx, upload.asset_id, 1)
    assert asset.state is AssetState.PUBLISHED, asset.problem
    assert done.count("encode") == 3
    assert done.index("copy") < done.index("encode") < done.index("join")
    pieces = await listed(ctx, upload, "incoming")
    assert len(pieces) == done.count("encode")  # one picture
    recorded = await rows(ctx, "SELECT result FROM jobs WHERE type = 'encode' AND asset_id = %s", upload.asset_id)
    assert {piece["key"] for (result,) in recorded for piece in result["pieces"]} == pieces.keys()
    await check_renditions(ctx, upload, asset)
    tidy = "SELECT workflow_uuid FROM dbos.workflow_status WHERE name = 'tidy' AND workflow_uuid = %s"
    assert await rows(ctx, tidy, f"tidy-{asset.published_job_id}")
    await remove(ctx, upload.asset_id, asset.epoch)
    assert await listed(ctx, upload, "incoming") == {}


async def test_a_worker_killed_anywhere_changes_nothing(
    settings: Settings, tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """Each kill meets a worker with some stage of the run under way, at a random part of the run's progress."""
    chance = random.Random(SEED)
    hurried = {"takeover_seconds": 2.0, "job_attempts": 100, "video_span_seconds": SPAN}
    film = film_of(LONG, tmp_path / "film.mkv")
    with database_apart(settings.model_copy(update=hurried)) as found:
        async with main.open_context(found) as ctx:
            upload = await ingest_without_worker(ctx, WHO, film, "film.mkv")
            met = []
            for point in sorted(chance.uniform(0, LAST) for _ in range(KILLS)):
                ((floor,),) = await rows(ctx, "SELECT epoch FROM assets WHERE id = %s", upload.asset_id)
                async with started(found) as victim:
                    await until(lambda: rows(ctx, REACHED, floor, point), 120, f"not at {point}")  # noqa: B023
                    met.append((round(point, 2), await rows(ctx, REACHED, floor, point)))
                    victim.kill()
            async with worker(found):
                asset = await settled(ctx, upload.asset_id)
                waiting = "SELECT 1 FROM dbos.workflow_status WHERE status <> 'SUCCESS'"
                await until(lambda: nothing(ctx, waiting), 60, "workflows that are not done")
            record_property("saw", f"{KILLS} kills; at which progress, and what was under way: {met}")
            assert asset.state is AssetState.PUBLISHED, asset.problem
            await check_renditions(ctx, upload, asset, LONG)
            assert await listed(ctx, upload, "incoming") == {}
            assert await rows(ctx, "SELECT 1 FROM jobs WHERE state <> 'succeeded'") == []


async def nothing(ctx: Context, query: str) -> bool:
    return not await rows(ctx, query)


async def check_renditions(ctx: Context, upload: Upload, asset: Asset, seconds: int = SECONDS) -> None:
    """Each is there once, its bytes are those that its row tells of, the picture has all frames, and nothing else lies there."""
    query = "SELECT job_id, name, bucket, key, size, checksum, extra FROM renditions WHERE asset_id = %s"
    found = await rows(ctx, query, upload.asset_id)
    assert {row[0] for row in found} == {asset.published_job_id}
    names = [row[1] for row in found]
    assert len(names) == len(set(names))
    assert {"hls-360p.mp4", "hls-audio.mp4", "proxy-360p.mp4", "sprite.vtt", "waveform.json"} <= set(names)
    assert await listed(ctx, upload, "renditions") == {row[3]: row[4] for row in found}
    for _, name, bucket, key, size, crc, extra in found:
        data = b"".join([chunk async for chunk in ctx.storage.s3.get_range(bucket, key)])
        assert (len(data), checksum.encode(checksum.crc64nvme(data))) == (size, crc), name
        if name in {"hls-360p.mp4", "proxy-360p.mp4"}:
            assert extra["frames"] == seconds * RATE
    laid: list[Any] = await rows(
        ctx,
        "SELECT s.seconds FROM segments s JOIN renditions r ON r.id = s.rendition_id WHERE r.asset_id = %s AND r.name = %s",
        upload.asset_id,
        "hls-360p.mp4",
    )
    assert sum(laid[0][0]) == pytest.approx(seconds, abs=0.1)
