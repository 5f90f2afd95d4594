"""The second set of a video's pictures, in VP9 and AV1: by spans, with and without the ffmpeg program."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import ImageChops, ImageStat

from rushes.media.identify import identify
from rushes.media.ladder import VideoSettings
from rushes.media.outputs import Output
from rushes.media.plan import plan_second
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource
from rushes.media.video import encode_span, join

from .clips import Clips

FRAMES, RATE = 180, 30
CODECS = {"vp9": "vp09.00.", "av1": "av01.0."}


async def _made(sandbox: Sandbox, job: Path, path: Path, codec: str) -> tuple[int, list[Output]]:
    """How many spans there were, and the set."""
    source = FileSource(path)
    info = await identify(source, job, sandbox)
    plan = plan_second(info, VideoSettings(second=codec, span_seconds=0.02))
    assert plan is not None
    pieces: dict[str, list[Path]] = {}
    for span in plan.spans:
        for piece in await encode_span(source, info, plan, span.number, job, sandbox):
            pieces.setdefault(piece.file, []).append(piece.path)
    return len(plan.spans), await join(info, plan, pieces, {}, job, sandbox)


@pytest.mark.parametrize("codec", CODECS)
async def test_spans_become_one_picture(namespaces: Sandbox, job: Path, clips: Clips, codec: str) -> None:
    _check(await _made(namespaces, job, clips("six.mp4"), codec), clips("six.mp4"), codec)


@pytest.mark.parametrize("codec", CODECS)
async def test_spans_become_one_picture_without_ffmpeg(inherited: Sandbox, job: Path, clips: Clips, codec: str) -> None:
    _check(await _made(inherited, job, clips("six.mp4"), codec), clips("six.mp4"), codec)


def _check(made: tuple[int, list[Output]], source: Path, codec: str) -> None:
    spans, [output] = made
    assert spans == 2
    assert (output.name, output.type) == (f"hls-{codec}-90p.mp4", "hls_video")
    assert output.extra["codecs"].startswith(CODECS[codec])
    assert output.extra["frames"] == FRAMES
    assert output.segments is not None
    assert len(output.segments.lengths) == 2
    times, at, data = [], output.segments.init, output.path.read_bytes()
    for length in output.segments.lengths:  # each plays by itself
        times += _times(data[: output.segments.init] + data[at : at + length])
        at += length
    assert at == len(data)
    assert times == pytest.approx([n / RATE for n in range(FRAMES)], abs=0.04)
    assert len(set(times)) == FRAMES
    assert _difference(output.path, source) < 6


def _times(data: bytes) -> list[float]:
    with _opened(io.BytesIO(data)) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def _opened(file: io.BytesIO | str) -> Any:
    return av.open(file)


def _difference(one: Path, other: Path) -> float:
    """The largest mean difference of luma between frames of the same number."""
    worst = 0.0
    with _opened(str(one)) as first, _opened(str(other)) as second:
        for a, b in zip(first.decode(video=0), second.decode(video=0), strict=True):
            pictures = [frame.to_image(width=160, height=90).convert("L") for frame in (a, b)]
            worst = max(worst, ImageStat.Stat(ImageChops.difference(*pictures)).mean[0])
    return worst
