"""Renditions of real videos: what comes out, measured independently of the code that made it."""

from __future__ import annotations

import asyncio
import io
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import av
import pytest
from PIL import Image, ImageChops, ImageStat

from rushes.errors import Rejected, Unavailable
from rushes.media.identify import identify
from rushes.media.ladder import VideoSettings
from rushes.media.outputs import Output
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource
from rushes.media.video import Progress, make_video

from .clips import FFMPEG, SECONDS, Clips, Counted
from .processes import alive, tools, until

SPANS = VideoSettings(span_seconds=0.08)  # of 1080p at 30 frames: about 4 s of the 12 s films in each span


async def _made(sandbox: Sandbox, job: Path, path: Path, settings: VideoSettings | None = None) -> list[Output]:
    source = FileSource(path)
    return await make_video(source, await identify(source, job, sandbox), job, sandbox, settings=settings)


def _of(outputs: Sequence[Output], kind: str) -> list[Output]:
    return [output for output in outputs if output.type == kind]


def _opened(file: Path | io.BytesIO) -> Any:
    return av.open(file if isinstance(file, io.BytesIO) else str(file))


def _times(file: Path | io.BytesIO) -> list[float]:
    """When each frame is shown, by decoding all of them."""
    with _opened(file) as container:
        return [float(frame.pts * frame.time_base) for frame in container.decode(video=0)]


def _heard(path: Path) -> float:
    with _opened(path) as container:
        return float(sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0)))


def _segments(output: Output) -> list[bytes]:
    """Head and segment, for each: what a player that seeks there gets."""
    assert output.segments is not None
    data, at, found = output.path.read_bytes(), output.segments.init, []
    for length in output.segments.lengths:
        found.append(data[: output.segments.init] + data[at : at + length])
        at += length
    assert at == len(data) == output.size
    return found


def _check_cmaf(output: Output, frames: int) -> list[float]:
    """Every segment plays by itself, and together they are the whole; returns the times of all frames."""
    assert output.segments is not None
    whole = _times(output.path)
    assert len(whole) == frames == output.extra["frames"]
    assert whole == sorted(set(whole))
    played = [_times(io.BytesIO(segment)) for segment in _segments(output)]
    assert [time for times in played for time in times] == pytest.approx(whole, abs=1e-4)
    starts = [sum(output.segments.seconds[:n]) for n in range(len(played))]
    assert [times[0] for times in played] == pytest.approx(starts, abs=0.04)
    return whole


PICTURES: list[tuple[str, list[tuple[int, int]], int, float]] = [
    ("large.mp4", [(1920, 1080), (1280, 720), (640, 360)], 12, 0.4),
    ("upright.mp4", [(720, 1280), (360, 640)], 12, 0.4),
    ("a.webm", [(640, 360)], 90, SECONDS),
    ("a.ts", [(640, 360)], 90, SECONDS),
    ("turned.mov", [(360, 640)], 90, SECONDS),
    ("odd.mp4", [(320, 240)], 30, 1),
    ("tiny.mp4", [(34, 18)], 30, 1),
    ("silent.mp4", [(640, 360)], 90, SECONDS),
    ("anamorphic.mpg", [(480, 360)], 30, 1),
    ("flipped.mp4", [(640, 360)], 90, SECONDS),
    ("cut.mp4", [(640, 360)], 51, 1.7),
    ("safe.mp4", [(320, 180)], 360, 12),
    ("fast.mp4", [(640, 360)], 60, 1),
    ("interlaced.ts", [(640, 360)], 60, 2),
]
FEW = ("upright.mp4", "odd.mp4", "anamorphic.mpg", "a.ts", "fast.mp4", "interlaced.ts")


@pytest.mark.parametrize(("name", "sizes", "frames", "seconds"), PICTURES)
async def test_pictures(
    namespaces: Sandbox, job: Path, clips: Clips, name: str, sizes: list[tuple[int, int]], frames: int, seconds: float
) -> None:
    _check(await _made(namespaces, job, clips(name)), name, sizes, frames, seconds)


@pytest.mark.parametrize(("name", "sizes", "frames", "seconds"), [row for row in PICTURES if row[0] in FEW])
async def test_pictures_without_ffmpeg(
    inherited: Sandbox, job: Path, clips: Clips, name: str, sizes: list[tuple[int, int]], frames: int, seconds: float
) -> None:
    _check(await _made(inherited, job, clips(name)), name, sizes, frames, seconds)


def _check(outputs: list[Output], name: str, sizes: list[tuple[int, int]], frames: int, seconds: float) -> None:
    assert [(output.width, output.height) for output in _of(outputs, "hls_video")] == sizes
    [proxy] = _of(outputs, "proxy")
    for picture in _of(outputs, "hls_video"):
        times = _check_cmaf(picture, frames)
        assert times[0] == pytest.approx(0.0, abs=0.04)
        assert times[-1] - times[0] == pytest.approx((frames - 1) * seconds / frames, abs=0.03)
    assert len(_times(proxy.path)) == frames
    data = proxy.path.read_bytes()
    assert data.index(b"moov") < data.index(b"mdat")
    sounds = _of(outputs, "hls_audio")
    if name == "silent.mp4":
        assert sounds == []
        return
    for path in (sounds[0].path, proxy.path):
        assert _heard(path) == pytest.approx(seconds, abs=0.1)
    assert [len(_segments(sound)) for sound in sounds] == [max(1, round(seconds / 4))]


async def test_a_source_that_browsers_play_is_copied(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    """Frame by frame the same bytes; the sound too."""
    outputs = await _made(sandbox, job, clips("safe.mp4"))
    [picture], [sound] = _of(outputs, "hls_video"), _of(outputs, "hls_audio")
    assert picture.extra["copied"]
    assert sound.extra["copied"]
    assert _packets(picture.path, "video") == _packets(clips("safe.mp4"), "video")
    assert _packets(sound.path, "audio") == _packets(clips("safe.mp4"), "audio")[1:]  # without the lead-in
    assert picture.segments is not None
    assert picture.segments.seconds == pytest.approx([5.0, 5.0, 2.0])


def _packets(path: Path, kind: str) -> list[bytes]:
    with _opened(path) as container:
        [stream] = getattr(container.streams, kind)
        return [bytes(packet) for packet in container.demux(stream) if packet.size]


@pytest.mark.parametrize("name", ["open.mp4", "flipped_safe.mp4", "sparse.mp4"])
async def test_what_cannot_be_played_by_segments_is_not_copied(
    namespaces: Sandbox, job: Path, clips: Clips, name: str
) -> None:
    """Open groups of pictures, damage, key frames far apart: seen only once it was copied."""
    outputs = await _made(namespaces, job, clips(name))
    [picture] = _of(outputs, "hls_video")
    assert not picture.extra["copied"]


async def test_all_pictures_have_the_copied_ones_segments(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    """Key frames every 5 s in the source: the encoded pictures begin their segments there, and have others between."""
    outputs = await _made(namespaces, job, clips("two.mp4"))
    own, encoded = _of(outputs, "hls_video")
    assert [own.extra["copied"], encoded.extra["copied"]] == [True, False]
    assert [own.height, encoded.height] == [384, 360]
    assert own.segments is not None
    assert encoded.segments is not None
    assert encoded.segments.seconds == pytest.approx(own.segments.seconds, abs=0.001)
    assert _check_cmaf(own, 360) == pytest.approx(_check_cmaf(encoded, 360), abs=0.001)
    [proxy] = _of(outputs, "proxy")
    assert proxy.name == "proxy-384p.mp4"


@pytest.mark.parametrize("name", ["two.mp4", "long.mkv", "long.ts", "long.mxf", "open.mp4", "long_vfr.mp4"])
async def test_spans_are_the_whole(namespaces: Sandbox, job: Path, clips: Clips, name: str) -> None:
    await _check_spans(namespaces, job, clips, name)


@pytest.mark.parametrize("name", ["open.mp4", "long.ts"])
async def test_spans_are_the_whole_without_ffmpeg(inherited: Sandbox, job: Path, clips: Clips, name: str) -> None:
    await _check_spans(inherited, job, clips, name)


async def _check_spans(sandbox: Sandbox, job: Path, clips: Clips, name: str) -> None:
    """Encoded in spans, every frame is there once, at its time, and shows what it should."""
    outputs = await _made(sandbox, job, clips(name), SPANS)
    picture = _of(outputs, "hls_video")[-1]
    assert not picture.extra["copied"]
    wanted = _times(clips(name))
    found = _check_cmaf(picture, len(wanted))
    assert found[0] == pytest.approx(0.0, abs=0.04)  # a sound's lead-in may come before the picture
    moved = [time - found[1] for time in found[1:]]
    assert moved == pytest.approx([time - wanted[1] for time in wanted[1:]], abs=0.002)
    assert _difference_in(picture.path, clips(name)) < 6


def _difference_in(one: Path, other: Path) -> float:
    """The largest mean difference of luma between frames of the same number."""
    worst = 0.0
    with _opened(one) as first, _opened(other) as second:
        for a, b in zip(first.decode(video=0), second.decode(video=0), strict=True):
            pictures = [frame.to_image(width=160, height=90).convert("L") for frame in (a, b)]
            worst = max(worst, ImageStat.Stat(ImageChops.difference(*pictures)).mean[0])
    return worst


async def test_variable_frame_rates_keep_their_times(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    [output] = _of(await _made(sandbox, job, clips("vfr.mp4")), "hls_video")
    assert _times(output.path) == pytest.approx(_times(clips("vfr.mp4")), abs=0.002)


async def test_sound_that_starts_late_stays_late(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    outputs = await _made(sandbox, job, clips("late_sound.mkv"))
    for output in (*_of(outputs, "hls_audio"), *_of(outputs, "proxy")):
        measure = ["-af", "silencedetect=n=-50dB:d=0.3", "-f", "null", "-"]
        said = (await _run(FFMPEG, "-i", str(output.path), *measure)).decode()
        assert float(re.findall(r"silence_end: ([\d.]+)", said)[0]) == pytest.approx(1.0, abs=0.06)


async def _run(*command: str) -> bytes:
    """What a command said on stderr."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stderr=pipe, stdin=asyncio.subprocess.DEVNULL)
    _, said = await process.communicate()
    assert process.returncode == 0, said
    return said


async def test_every_sound_is_there_with_its_language(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    """Three tracks, one of them in 5.1: folded into two channels, loud in both and never clipped."""
    sounds = _of(await _made(sandbox, job, clips("languages.mkv")), "hls_audio")
    assert [(s.name, s.extra["language"], s.extra["channels"]) for s in sounds] == [
        ("hls-audio.mp4", "eng", 2),
        ("hls-audio-2.mp4", "deu", 2),
        ("hls-audio-3.mp4", "fra", 1),
    ]
    assert [s.extra["default"] for s in sounds].count(True) == 1
    said = (await _run(FFMPEG, "-i", str(sounds[1].path), "-af", "astats", "-f", "null", "-")).decode()
    peaks = [float(peak) for peak in re.findall(r"Peak level dB: (-?[\d.]+)", said)]
    assert max(peaks) < 2  # AAC overshoots
    assert min(peaks) > -12


@pytest.mark.parametrize("name", ["flash.ts", "late_picture.ts"])
async def test_picture_and_sound_stay_together(sandbox: Sandbox, job: Path, clips: Clips, name: str) -> None:
    """A white frame and a beep at the same moment of the source are together in every rendition, within a frame."""
    outputs = await _made(sandbox, job, clips(name))
    beeps = [await _loud(output.path) for output in (*_of(outputs, "hls_audio"), *_of(outputs, "proxy"))]
    flashes = [_bright(output.path) for output in (*_of(outputs, "hls_video"), *_of(outputs, "proxy"))]
    for moment in (*beeps, *flashes):
        assert moment == pytest.approx(flashes[0], abs=1 / 25)


def _bright(path: Path) -> float:
    with _opened(path) as container:
        for frame in container.decode(video=0):
            if ImageStat.Stat(frame.to_image(width=16, height=16).convert("L")).mean[0] > 128:
                return float(frame.pts * frame.time_base)
    raise AssertionError("no bright frame")


async def _loud(path: Path) -> float:
    with _opened(path) as container:
        for frame in container.decode(audio=0):
            levels = abs(frame.to_ndarray()).max(axis=0)
            if (levels > 0.1).any():
                return float(frame.time + int((levels > 0.1).argmax()) / frame.sample_rate)
    raise AssertionError("no sound")


async def test_bright_pictures_stay_bright_in_sdr(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    """The clip's SDR in PQ, its white at 203 cd/m²: what comes back is nearly as bright, and tagged as what it is."""
    [output] = _of(await _made(sandbox, job, clips("pq.mp4")), "hls_video")
    with _opened(output.path) as container:
        context = container.streams.video[0].codec_context
        assert (context.color_primaries, context.color_trc, context.colorspace, context.color_range) == (1, 1, 1, 1)
    bright = [ImageStat.Stat(_first_picture(path).convert("L")).mean[0] for path in (output.path, clips.base)]
    assert bright[0] == pytest.approx(bright[1], rel=0.15)


def _first_picture(path: Path) -> Image.Image:
    with _opened(path) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0
        return Image.fromarray(frame.to_ndarray(format="rgb24"))


async def test_rotation_is_baked_in(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    """The clock, at the top left of the coded picture, is at the top right after a quarter turn clockwise."""
    [output] = _of(await _made(sandbox, job, clips("turned.mov")), "hls_video")
    turned = _first_picture(output.path)
    wanted = _first_picture(clips.base).transpose(Image.Transpose.ROTATE_270)
    grey = [picture.convert("L").resize((90, 160)) for picture in (turned, wanted)]
    assert ImageStat.Stat(ImageChops.difference(*grey)).mean[0] < 12


@pytest.mark.parametrize("name", ["cut.mkv"])
async def test_a_source_that_was_cut_off_is_noticed(sandbox: Sandbox, job: Path, clips: Clips, name: str) -> None:
    with pytest.raises(Rejected) as caught:
        await _made(sandbox, job, clips(name))
    assert caught.value.code == "truncated"


async def test_progress_is_real_and_never_falls(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    source = FileSource(clips("a.webm"))
    info = await identify(source, job, sandbox)
    said: list[float] = []
    await make_video(source, info, job, sandbox, lambda fraction, _: said.append(fraction))
    assert said == sorted(said)
    assert said[-1] == 1.0
    assert len(said) > 1


def test_progress_of_a_stream_of_unknown_length_stays_at_nothing() -> None:
    said: list[tuple[float, str]] = []
    progress = Progress(0.0, 0.0, lambda fraction, message: said.append((fraction, message)))
    for line in ("out_time_us=N/A", "frame=3", "out_time_us=-100", "out_time_us=2000000"):
        progress.take(line)
    assert said == [(0.0, "0 s are encoded"), (0.0, "2 s are encoded")]


async def test_a_storage_that_hangs_up_is_not_a_short_film(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    info = await identify(FileSource(clips("a.ts")), job, sandbox)
    with pytest.raises(Unavailable) as caught:
        await make_video(Counted(clips("a.ts"), fail_after=2_500_000), info, job, sandbox)
    assert caught.value.code == "source_unreadable"


async def test_cancelled_work_leaves_no_process(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    source = Counted(clips.base, delay=0.05)
    info = await identify(FileSource(clips.base), job, namespaces)
    work = asyncio.ensure_future(make_video(source, info, job, namespaces))
    await until(lambda: source.bytes_read > 200_000)
    running = tools(os.getpid())
    assert running
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert alive(running) == []


async def test_a_sound_has_no_pictures(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    source = FileSource(clips("a.wav"))
    info: Any = await identify(source, job, namespaces)
    assert await make_video(source, info, job, namespaces) == []
