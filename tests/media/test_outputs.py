"""Proxies of real files: what comes out, measured independently of the code that made it."""

from __future__ import annotations

import asyncio
import json
import os
import re
from pathlib import Path

import av
import pytest
from PIL import Image, ImageStat

from rushes.errors import Rejected, Unavailable
from rushes.media.audio import make_sound
from rushes.media.identify import identify
from rushes.media.outputs import Output, collect
from rushes.media.posters import make_poster
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource
from rushes.media.sprites import make_sprite
from rushes.media.video import Progress, make_proxies

from .clips import FFMPEG, SECONDS, Clips, Counted
from .processes import alive, tools, until


async def _proxies(sandbox: Sandbox, job: Path, path: Path) -> list[Output]:
    source = FileSource(path)
    return await make_proxies(source, await identify(source, job, sandbox), job, sandbox)


def _decoded(path: Path) -> tuple[list[float], float]:
    """Times of all frames, and the seconds of sound, by decoding everything."""
    with av.open(str(path)) as container:
        times = [frame.time for frame in container.decode(video=0)]
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return times, 0.0
        return times, sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


PROXIES: list[tuple[str, list[tuple[int, int]], int, float]] = [
    ("large.mp4", [(1920, 1080), (1280, 720), (640, 360)], 12, 0.4),
    ("upright.mp4", [(720, 1280), (360, 640)], 12, 0.4),
    ("base.mp4", [(640, 360)], 90, SECONDS),
    ("a.webm", [(640, 360)], 90, SECONDS),
    ("a.ts", [(640, 360)], 90, SECONDS),
    ("turned.mov", [(360, 640)], 90, SECONDS),
    ("odd.mp4", [(320, 240)], 30, 1),
    ("tiny.mp4", [(34, 18)], 30, 1),
    ("silent.mp4", [(640, 360)], 90, SECONDS),
    ("anamorphic.mpg", [(480, 360)], 30, 1),
    ("hdr.mp4", [(640, 360)], 30, 1),
    ("flipped.mp4", [(640, 360)], 90, SECONDS),
]
FEW = ("large.mp4", "turned.mov", "odd.mp4", "anamorphic.mpg", "a.ts")  # what differs without ffmpeg


@pytest.mark.parametrize(("name", "sizes", "frames", "seconds"), PROXIES)
async def test_proxies(
    namespaces: Sandbox, job: Path, clips: Clips, name: str, sizes: list[tuple[int, int]], frames: int, seconds: float
) -> None:
    _check_proxies(await _proxies(namespaces, job, clips(name)), name, sizes, frames, seconds)


@pytest.mark.parametrize(("name", "sizes", "frames", "seconds"), [row for row in PROXIES if row[0] in FEW])
async def test_proxies_without_ffmpeg(
    inherited: Sandbox, job: Path, clips: Clips, name: str, sizes: list[tuple[int, int]], frames: int, seconds: float
) -> None:
    _check_proxies(await _proxies(inherited, job, clips(name)), name, sizes, frames, seconds)


def _check_proxies(outputs: list[Output], name: str, sizes: list[tuple[int, int]], frames: int, seconds: float) -> None:
    assert [(output.width, output.height) for output in outputs] == sizes
    for output in outputs:
        times, sound = _decoded(output.path)
        assert len(times) == frames
        assert times == sorted(times)
        assert times[-1] - times[0] == pytest.approx((frames - 1) / 30, abs=0.02)
        assert sound == pytest.approx(0.0 if name == "silent.mp4" else seconds, abs=0.1)
        assert output.path.read_bytes().index(b"moov") < output.path.read_bytes().index(b"mdat")
        assert output.size == output.path.stat().st_size


async def test_variable_frame_rates_keep_their_times(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    [output] = await _proxies(sandbox, job, clips("vfr.mp4"))
    wanted, _ = _decoded(clips("vfr.mp4"))
    found, _ = _decoded(output.path)
    assert found == pytest.approx(wanted, abs=0.002)


async def test_sound_that_starts_late_stays_late(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    [output] = await _proxies(sandbox, job, clips("late_sound.mkv"))
    measure = ["-af", "silencedetect=n=-50dB:d=0.3", "-f", "null", "-"]
    said = (await _run(FFMPEG, "-i", str(output.path), *measure)).decode()
    assert float(re.findall(r"silence_end: ([\d.]+)", said)[0]) == pytest.approx(1.0, abs=0.06)
    source = FileSource(clips("late_sound.mkv"))
    peaks = (await make_sound(source, await identify(source, job, sandbox), job, sandbox)).outputs[0]
    data = json.loads(peaks.path.read_text())["data"]
    assert next(n for n, value in enumerate(data) if value > 5) / 2 * 256 / 48000 == pytest.approx(1.0, abs=0.06)


async def _run(*command: str) -> bytes:
    """What a command said on stderr."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stderr=pipe, stdin=asyncio.subprocess.DEVNULL)
    _, said = await process.communicate()
    assert process.returncode == 0, said
    return said


def _first_picture(path: Path) -> Image.Image:
    with av.open(str(path)) as container:
        frame = next(container.decode(video=0))
        assert frame.rotation == 0
        return Image.fromarray(frame.to_ndarray(format="rgb24"))


async def test_rotation_is_baked_in(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    """The clock, at the top left of the coded picture, is at the top right after a quarter turn clockwise."""
    [output] = await _proxies(sandbox, job, clips("turned.mov"))
    turned = _first_picture(output.path)
    wanted = _first_picture(clips.base).transpose(Image.Transpose.ROTATE_270)
    [difference] = ImageStat.Stat(_difference(turned, wanted)).mean
    assert difference < 12


def _difference(one: Image.Image, other: Image.Image) -> Image.Image:
    from PIL import ImageChops

    return ImageChops.difference(one.convert("L").resize((90, 160)), other.convert("L").resize((90, 160)))


@pytest.mark.parametrize("name", ["cut.mkv"])
async def test_a_source_that_was_cut_off_is_noticed(sandbox: Sandbox, job: Path, clips: Clips, name: str) -> None:
    with pytest.raises(Rejected) as caught:
        await _proxies(sandbox, job, clips(name))
    assert caught.value.code == "truncated"


async def test_progress_is_real_and_never_falls(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    source = FileSource(clips("large.mp4"))
    info = await identify(source, job, sandbox)
    said: list[float] = []
    await make_proxies(source, info, job, sandbox, lambda fraction, _: said.append(fraction))
    assert said == sorted(said)
    assert said[-1] == 1.0
    assert len(said) > 1


def test_progress_of_a_stream_of_unknown_length_stays_at_nothing() -> None:
    said: list[tuple[float, str]] = []
    progress = Progress(0.0, lambda fraction, message: said.append((fraction, message)))
    for line in ("out_time_us=N/A", "frame=3", "out_time_us=-100", "out_time_us=2000000"):
        progress.take(line)
    assert said == [(0.0, "0 s are encoded"), (0.0, "2 s are encoded")]


async def test_a_storage_that_hangs_up_is_not_a_short_film(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    info = await identify(FileSource(clips("a.ts")), job, sandbox)
    with pytest.raises(Unavailable) as caught:
        await make_proxies(Counted(clips("a.ts"), fail_after=2_500_000), info, job, sandbox)
    assert caught.value.code == "source_unreadable"


async def test_cancelled_proxies_leave_no_process(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    source = Counted(clips.base, delay=0.05)
    info = await identify(FileSource(clips.base), job, namespaces)
    work = asyncio.ensure_future(make_proxies(source, info, job, namespaces))
    await until(lambda: source.bytes_read > 200_000)
    running = tools(os.getpid())
    assert running
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert alive(running) == []


async def test_nothing_to_make_is_an_empty_list(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    sound, silent = FileSource(clips("a.wav")), FileSource(clips("silent.mp4"))
    info = await identify(sound, job, namespaces)
    assert await make_proxies(sound, info, job, namespaces) == []
    assert await make_poster(sound, info, job, namespaces) == []
    assert await make_sprite(sound, info, job, namespaces) == []
    assert (await make_sound(silent, await identify(silent, job, namespaces), job, namespaces)).outputs == []


def test_a_link_left_behind_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "poster.jpg").symlink_to(tmp_path / "secret")
    (tmp_path / "sprite.jpg").hardlink_to(tmp_path / "secret")
    (tmp_path / "empty.jpg").touch()
    for name in ("poster.jpg", "sprite.jpg", "empty.jpg", "missing.jpg"):
        with pytest.raises(Unavailable):
            collect(tmp_path, name, "poster", "image/jpeg")
