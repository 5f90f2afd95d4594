"""The second set of a video's pictures: after publishing, at the lowest priority, by spans; and nothing of the asset hangs
on it.
"""

from __future__ import annotations

import io
import re
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from uuid import UUID

import av
import imageio_ffmpeg
import pytest

from rushes import checksum
from rushes.errors import Unavailable
from rushes.ingest import playback, process, reprocess
from rushes.ingest.context import Context
from rushes.ingest.reprocess import Wish
from rushes.media.sandbox import detect
from rushes.model import AssetState, JobState, Principal, Role, Upload
from rushes.pipeline.agenda import LOWEST
from rushes.pipeline.pieces import remove
from rushes.pipeline.process import run_process
from rushes.pipeline.stages import run_stage
from rushes.pipeline.work import Bench
from tests.pipeline.equipment import ingest_without_worker, rows, settled, with_storage
from tests.pipeline.test_again import drive
from tests.pipeline.test_spans import listed

WHO = Principal("second", "sid", Role.OPERATOR, "studio")
SECONDS, RATE = 6, 25
SPAN = 0.025  # seconds of 1080p: 3 s of this clip
SECOND_SET = "hls-vp9-108p.mp4"
FIRST_SET = {"hls-108p.mp4", "hls-audio.mp4", "proxy-108p.mp4"}


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("second") / "film.mkv"
    subprocess.run(
        [
            imageio_ffmpeg.get_ffmpeg_exe(), "-loglevel", "error",
            "-f", "lavfi", "-i", f"testsrc2=size=192x108:rate={RATE}:duration={SECONDS}",
            "-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={SECONDS}",
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


@pytest.fixture
def wishing(alone: Context) -> Context:
    """An installation that makes a second set."""
    more = {"video_second": "vp9", "video_span_seconds": SPAN, "public_url": "https://rushes.example.com"}
    return replace(alone, settings=alone.settings.model_copy(update=more))


async def published(ctx: Context, bench: Bench, film: bytes) -> Upload:
    """Processed up to publishing: the second set waits."""
    upload = await ingest_without_worker(ctx, WHO, film, "film.mkv")
    ((run_id,),) = await rows(ctx, "SELECT job_id FROM assets WHERE id = %s", upload.asset_id)
    await run_process(ctx, str(run_id))
    first = (
        "SELECT id FROM jobs WHERE parent_id = %s AND state = 'queued' AND type NOT LIKE 'extra%%' ORDER BY id LIMIT 1"
    )
    while found := await rows(ctx, first, run_id):
        await run_stage(ctx, bench, str(found[0][0]))
    asset = await settled(ctx, upload.asset_id, 1)
    assert asset.state is AssetState.PUBLISHED, asset.problem
    assert (await made(ctx, upload)).keys() >= FIRST_SET
    return upload


async def made(ctx: Context, upload: Upload) -> dict[str, str]:
    """The published renditions' keys by name."""
    query = "SELECT r.name, r.key FROM renditions r JOIN assets a ON a.published_job_id = r.job_id WHERE a.id = %s"
    return dict(await rows(ctx, query, upload.asset_id))


async def seconds_stages(ctx: Context, upload: Upload) -> Sequence[tuple[UUID, str, int, str, int]]:
    query = """SELECT j.id, j.type, j.number, j.state, j.priority FROM jobs j JOIN assets a ON a.job_id = j.parent_id
        WHERE a.id = %s AND j.type LIKE 'extra%%' ORDER BY j.id"""
    return await rows(ctx, query, upload.asset_id)


async def codecs(ctx: Context, upload: Upload) -> list[str]:
    """Those that players are offered."""
    view = await playback.begin(ctx, WHO, upload.asset_id)
    return re.findall(r'CODECS="([^",]+)', await playback.master(ctx, view.token, upload.asset_id))


async def test_it_follows_what_is_published_and_takes_the_place_of_its_older_self(
    wishing: Context, bench: Bench, film: bytes
) -> None:
    ctx = wishing
    upload = await published(ctx, bench, film)
    assert SECOND_SET not in await made(ctx, upload)
    assert [codec[:4] for codec in await codecs(ctx, upload)] == ["avc1"]
    waiting = [
        (type_, number, state, priority) for _, type_, number, state, priority in await seconds_stages(ctx, upload)
    ]
    assert waiting == [("extra", 0, "queued", LOWEST), ("extra", 1, "queued", LOWEST)]

    assert await drive(ctx, bench, upload) == ["extra", "extra", "extra_join"]
    first = await made(ctx, upload)
    assert [codec[:4] for codec in await codecs(ctx, upload)] == ["avc1", "vp09"]
    await check_picture(ctx, upload)
    tidy = "SELECT 1 FROM dbos.workflow_status WHERE name = 'tidy' AND workflow_uuid LIKE 'tidy-late-%%'"
    assert await rows(ctx, tidy)
    assert await listed(ctx, upload, "incoming") != {}
    ((epoch,),) = await rows(ctx, "SELECT epoch FROM assets WHERE id = %s", upload.asset_id)
    await remove(ctx, upload.asset_id, epoch)
    assert await listed(ctx, upload, "incoming") == {}

    await reprocess.reprocess(ctx, WHO, upload.asset_id, Wish(renditions=(SECOND_SET,)))
    ((run_id,),) = await rows(ctx, "SELECT job_id FROM assets WHERE id = %s", upload.asset_id)
    await run_process(ctx, str(run_id))
    assert await made(ctx, upload) == first  # until there is another
    assert await drive(ctx, bench, upload) == ["extra", "extra", "extra_join"]
    second = await made(ctx, upload)
    assert second.keys() == first.keys()
    assert {name for name in first if first[name] != second[name]} == {SECOND_SET}
    await check_picture(ctx, upload)


async def check_picture(ctx: Context, upload: Upload) -> None:
    """All frames are there, each at its time, and the bytes are those that the row tells of."""
    query = """SELECT r.bucket, r.key, r.checksum, r.extra, s.init, s.lengths, s.seconds FROM renditions r
        JOIN segments s ON s.rendition_id = r.id WHERE r.asset_id = %s AND r.name = %s"""
    ((bucket, key, crc, extra, init, lengths, seconds),) = await rows(ctx, query, upload.asset_id, SECOND_SET)
    data = b"".join([chunk async for chunk in ctx.storage.s3.get_range(bucket, key)])
    assert checksum.encode(checksum.crc64nvme(data)) == crc
    assert extra["codecs"].startswith("vp09.00.")
    assert init + sum(lengths) == len(data)
    assert sum(seconds) == pytest.approx(SECONDS, abs=0.1)
    opened: Any = av.open(io.BytesIO(data))
    with opened as container:
        times = [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]
    assert len(times) == extra["frames"] == SECONDS * RATE
    assert times == pytest.approx([n / RATE for n in range(SECONDS * RATE)], abs=0.002)


async def test_its_end_is_its_own_affair(wishing: Context, bench: Bench, film: bytes) -> None:
    """Cancelled or failed: all of the set stops, what is published stays as it is; and it can be retried alone."""
    ctx = wishing
    upload = await published(ctx, bench, film)
    first = await made(ctx, upload)

    (one, _) = await seconds_stages(ctx, upload)
    await process.cancel_job(ctx, WHO, one[0])
    assert [state for _, _, _, state, _ in await seconds_stages(ctx, upload)] == ["cancelled", "cancelled"]
    assert await drive(ctx, bench, upload) == []
    assert await made(ctx, upload) == first

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("storage_unreachable", "The store is away.")

    await reprocess.retry_job(ctx, WHO, one[0])
    once = ctx.settings.model_copy(update={"job_attempts": 1})
    hasty = replace(with_storage(ctx, put_object=away), settings=once)
    assert await drive(hasty, bench, upload) == ["extra"]
    (failed, other) = await seconds_stages(ctx, upload)
    assert (failed[3], other[3]) == ("failed", "cancelled")
    asset = await settled(ctx, upload.asset_id, 1)
    assert (asset.state, asset.problem) == (AssetState.PUBLISHED, None)
    assert await made(ctx, upload) == first

    again = await reprocess.retry_job(ctx, WHO, failed[0])
    assert again.state is JobState.QUEUED
    assert await made(ctx, upload) == first
    assert await drive(ctx, bench, upload) == ["extra", "extra", "extra_join"]
    assert (await made(ctx, upload)).keys() == first.keys() | {SECOND_SET}
