"""Posters and sprite sheets of real videos: what they show, measured independently of the code that made them."""

from __future__ import annotations

import re
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image, ImageStat

from rushes.errors import Unavailable
from rushes.media.identify import identify
from rushes.media.info import VideoInfo
from rushes.media.outputs import Output
from rushes.media.posters import make_poster, moments
from rushes.media.sandbox import Sandbox
from rushes.media.sizes import names, sides
from rushes.media.source import FileSource
from rushes.media.sprites import make_sprite, plan_sprite, sprite_vtt
from rushes.media.written import said, sized

from .clips import Clips, Counted, ffmpeg


async def _poster(sandbox: Sandbox, job: Path, path: Path) -> list[Output]:
    source = FileSource(path)
    return await make_poster(source, await identify(source, job, sandbox), job, sandbox)


async def _sprite(sandbox: Sandbox, job: Path, path: Path, threads: int = 0) -> list[Output]:
    source = FileSource(path)
    return await make_sprite(source, await identify(source, job, sandbox), job, sandbox, threads=threads)


def _opened(output: Output) -> Image.Image:
    with Image.open(output.path) as picture:
        picture.load()
        return picture


@pytest.mark.parametrize(
    "name", ["a.mkv", "a.ts", "a.webm", "turned.mov", "black_start.mp4", "tiny.mp4", "flipped.mp4", "anamorphic.mpg"]
)
async def test_posters(namespaces: Sandbox, job: Path, clips: Clips, name: str) -> None:
    info = await identify(FileSource(clips(name)), job, namespaces)
    assert info.video is not None
    outputs = await _poster(namespaces, job, clips(name))
    width, height = info.video.width, info.video.height
    assert [output.name for output in outputs] == names("poster", max(width, height), (320, 640, 1280), ("jpg", "webp"))
    for output in outputs:
        picture = _opened(output)
        assert picture.size == (output.width, output.height)
        assert output.content_type == f"image/{str(picture.format).lower()}"
        assert picture.width / picture.height == pytest.approx(width / height, rel=0.06)
        statistics = ImageStat.Stat(picture.convert("L"))
        assert 40 < statistics.mean[0] < 220
        assert statistics.stddev[0] > 15
    assert max(outputs[-1].width or 0, outputs[-1].height or 0) == min(max(width, height), 1280)


@pytest.mark.parametrize("name", ["turned.mov", "a.ts"])
async def test_stills_in_both_sandboxes(sandbox: Sandbox, job: Path, clips: Clips, name: str) -> None:
    poster = await _poster(sandbox, job, clips(name))
    sprite, vtt = await _sprite(sandbox, job, clips(name), threads=2)
    assert (len(poster), sprite.extra["tiles"], vtt.name) == (4, 3, "sprite.vtt")


@pytest.mark.parametrize(
    ("name", "before", "arguments"),
    [
        ("one_key.ts", (), ("-c:v", "libx264", "-preset", "ultrafast", "-g", "999", "-c:a", "mp2")),
        # An edit list hides its key frame: the first frame that is shown is decoded from it.
        ("cut.mp4", ("-ss", "1.3"), ("-c", "copy")),
        ("bare.h264", (), ("-c:v", "copy", "-an", "-bsf:v", "h264_mp4toannexb")),
    ],
)
async def test_what_cannot_be_searched_for_key_frames_has_stills(
    namespaces: Sandbox,
    job: Path,
    tmp_path: Path,
    clips: Clips,
    name: str,
    before: tuple[str, ...],
    arguments: tuple[str, ...],
) -> None:
    """A few key frames, before all places that a search finds."""
    path = tmp_path / name
    ffmpeg(*before, "-i", clips.base, *arguments, path)
    poster, *_ = await _poster(namespaces, job, path)
    sprite, _ = await _sprite(namespaces, job, path)
    for output in (poster, sprite):
        assert ImageStat.Stat(_opened(output).convert("L")).stddev[0] > 15
    assert 0 <= poster.extra["time"] < 0.1


async def test_tiles_of_windows_media_are_the_last_key_frames_before_their_middles(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips
) -> None:
    """A search in ASF ends several key frames early."""
    path = tmp_path / "grey.wmv"
    shade = (
        "drawbox=t=fill:color=black,drawbox=t=fill:color=gray:enable='between(t,1.2,2)'"
        ",drawbox=t=fill:color=white:enable='gte(t,2)'"
    )
    ffmpeg("-i", clips.base, "-vf", shade, "-c:v", "wmv2", "-g", "12", "-c:a", "wmav2", path)
    sprite, _ = await _sprite(namespaces, job, path)
    width, height = sprite.extra["tile_width"], sprite.extra["tile_height"]
    tiles = [_opened(sprite).convert("L").crop((n * width, 0, (n + 1) * width, height)) for n in range(3)]
    dark, grey, bright = (ImageStat.Stat(tile).mean[0] for tile in tiles)
    assert dark < 60 < grey < 190 < bright


async def test_the_poster_is_the_frame_with_most_to_see(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips
) -> None:
    """Black, then grey mist, then a blurred picture, and a sharp one from 2.1 s to 2.5 s; each begins with a key frame."""
    path = tmp_path / "a.mp4"
    shots = (
        "drawbox=t=fill:color=black:enable='lt(t,0.9)',drawbox=t=fill:color=gray:enable='between(t,0.9,1.5)'"
        ",gblur=sigma=12:enable='between(t,1.5,2.1)',gblur=sigma=12:enable='gte(t,2.5)'"
    )
    ffmpeg("-i", clips.base, "-vf", shots, "-c:v", "libx264", "-preset", "ultrafast", "-g", "3", "-an", path)
    [poster, *_] = await _poster(namespaces, job, path)
    assert poster.extra["time"] == pytest.approx(2.2, abs=0.01)  # the frame's own, not that at which one was looked for


async def test_a_long_source_is_hardly_read_for_its_poster(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips
) -> None:
    path = tmp_path / "long.mp4"
    ffmpeg("-stream_loop", "30", "-i", clips.base, "-c", "copy", path)
    info = await identify(FileSource(path), job, namespaces)
    source = Counted(path)
    await make_poster(source, info, job, namespaces)
    assert source.bytes_read < source.size / 5


def _mean(picture: Image.Image) -> list[float]:
    return ImageStat.Stat(picture.convert("RGB").resize((160, 90))).mean


@pytest.mark.parametrize(("transfer", "filter_"), [("smpte2084", "smpte2084"), ("arib-std-b67", "arib-std-b67")])
async def test_hdr_is_as_bright_as_it_was_graded(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips, transfer: str, filter_: str
) -> None:
    """An SDR clip put into HDR with its white at 203 cd/m²: what comes out is the clip again, its highlights rolled off."""
    path = tmp_path / "hdr.mp4"
    up = (
        f"zscale=transferin=bt709:primariesin=bt709:matrixin=bt709:rangein=tv:transfer=linear:npl=203,format=gbrpf32le"
        f",zscale=primaries=bt2020,zscale=transfer={filter_}:matrix=bt2020nc:range=tv:npl=203,format=yuv420p10le"
        f",setparams=color_primaries=bt2020:color_trc={transfer}:colorspace=bt2020nc"
    )
    ffmpeg(
        "-i", clips.base, "-vf", up, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error:crf=12",
        "-t", "0.3", "-an", path,
    )  # fmt: skip
    large = _opened((await _poster(namespaces, job, path))[-1])
    with av.open(str(clips.base)) as container:
        wanted = next(container.decode(video=0)).to_image()  # type: ignore[no-untyped-call]
    for found, was in zip(_mean(large), _mean(wanted), strict=True):
        assert found == pytest.approx(was, abs=14)
    dark = np.asarray(wanted.convert("L").resize((160, 90))) < 100
    difference = np.asarray(large.convert("L").resize((160, 90))).astype(int) - np.asarray(
        wanted.convert("L").resize((160, 90))
    )
    assert np.abs(difference[dark]).mean() < 10


async def test_interlaced_frames_have_no_combs(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    """What moves fast stands elsewhere in every other line of a coded frame."""
    path = tmp_path / "fields.ts"
    moving = "testsrc2=s=640x480:r=50,scroll=horizontal=0.02"
    ffmpeg(
        "-f", "lavfi", "-i", moving, "-vf", "tinterlace=interleave_top,fieldorder=tff", "-flags", "+ilme+ildct",
        "-c:v", "mpeg2video", "-b:v", "6M", "-t", "2", path,
    )  # fmt: skip
    with av.open(str(path)) as container:
        coded = next(container.decode(video=0)).to_image()  # type: ignore[no-untyped-call]
    shown = _opened((await _poster(namespaces, job, path))[-1])
    assert _combs(shown) < _combs(coded) / 2


def _combs(picture: Image.Image) -> float:
    luma = np.asarray(picture.convert("L")).astype(int)
    return float(np.abs(2 * luma[1:-1] - luma[:-2] - luma[2:]).mean())


async def test_tiles_show_their_own_time(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    """black_start is black up to 1.6 s and has a key frame every half second: the first tile is black, the last is
    not.
    """
    sprite, vtt = await _sprite(namespaces, job, clips("black_start.mp4"))
    sheet = _opened(sprite)
    width, height = sprite.extra["tile_width"], sprite.extra["tile_height"]
    tiles = [sheet.convert("L").crop((n * width, 0, (n + 1) * width, height)) for n in range(sprite.extra["tiles"])]
    brightness = [ImageStat.Stat(tile).mean[0] for tile in tiles]
    assert brightness[0] < 24
    assert brightness[-1] > 40
    assert sheet.size == (sprite.width, sprite.height)
    places = re.findall(r"sprite\.jpg#xywh=(\d+),(\d+),(\d+),(\d+)", vtt.path.read_text())
    assert len(places) == sprite.extra["tiles"]


async def test_a_long_video_gets_several_sheets_by_several_readers(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips
) -> None:
    """22 minutes, in which a white bar grows from left to right: each tile shows how far it is."""
    path = tmp_path / "long.mkv"
    bar = "color=black:s=64x36:r=1:d=1320,format=gray,geq=lum='if(lt(X,64*T/1320),235,16)',format=yuv420p"
    ffmpeg("-f", "lavfi", "-i", bar, "-c:v", "libx264", "-preset", "ultrafast", "-g", "2", path)
    first, second, vtt = await _sprite(namespaces, job, path, threads=3)
    assert (first.name, second.name) == ("sprite-1.jpg", "sprite-2.jpg")
    assert (first.extra["pitch"], first.extra["tiles"], second.extra["tiles"]) == (10.0, 100, 32)
    seen = []
    for sheet in (first, second):
        luma = np.asarray(_opened(sheet).convert("L"))
        width, height = sheet.extra["tile_width"], sheet.extra["tile_height"]
        for number in range(sheet.extra["tiles"]):
            row, column = divmod(number, 10)
            tile = luma[row * height : (row + 1) * height, column * width : (column + 1) * width]
            seen.append(float((tile > 128).mean()))
    assert seen == pytest.approx([(number * 10 + 5) / 1320 for number in range(132)], abs=0.06)
    assert "sprite-2.jpg#xywh=0,0," in vtt.path.read_text()


async def test_the_sprite_reads_little_of_a_large_file(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips
) -> None:
    path = tmp_path / "long.mkv"
    ffmpeg("-stream_loop", "60", "-i", clips("black_start.mp4"), "-c", "copy", "-t", "180", path)
    info = await identify(FileSource(path), job, namespaces)
    source = Counted(path)
    await make_sprite(source, info, job, namespaces)
    assert source.bytes_read < source.size * 2


def test_sprite_plans() -> None:
    video = VideoInfo(0, "h264", 1080, 1920, 1080, 1920, 0, "yuv420p", 8)
    assert (plan_sprite(video, 4.02).times, plan_sprite(video, 4.02).pitch) == ((0.5, 1.5, 2.5, 3.5), 1.0)
    plan = plan_sprite(video, 900.0)
    assert (plan.pitch, len(plan.times), plan.sheets, plan.size(0)) == (10.0, 90, ("sprite.jpg",), (10, 9))
    assert (plan.tile_width, plan.tile_height) == (90, 160)
    film = plan_sprite(video, 7200.0)
    assert (film.pitch, len(film.times), len(film.sheets), film.size(3)) == (20.0, 360, 4, (10, 6))
    assert len(plan_sprite(VideoInfo(0, "hevc", 3840, 2160, 3840, 2160, 0, "yuv420p", 8), 7200.0).times) <= 200
    assert len(plan_sprite(video, 172_800.0).times) <= 400
    assert plan_sprite(video, 0.0).times == (0.0,)
    cues = sprite_vtt(film).split("\n\n")
    assert cues[0] == "WEBVTT"
    assert cues[1 + 112] == "00:37:20.000 --> 00:37:40.000\nsprite-2.jpg#xywh=180,160,90,160"
    assert len(cues) == 361


def test_sizes_and_moments() -> None:
    assert sides(200, (320, 640, 1280)) == (320,)
    assert sides(320, (320, 640, 1280)) == (320,)
    assert sides(500, (320, 640, 1280)) == (320, 640)
    assert sides(9000, (320, 640, 1280)) == (320, 640, 1280)
    assert moments(0.0) == [0.0]
    assert all(0 <= moment < 10 for moment in moments(10.0))


def test_pictures_that_are_not_as_ordered_do_not_count(tmp_path: Path) -> None:
    Image.new("RGB", (320, 180)).save(tmp_path / "poster-320.jpg")
    row = {"name": "poster-320.jpg", "format": "JPEG", "width": 320, "height": 180}

    def order(**changes: object) -> list[Output]:
        return sized(said({"made": [row | changes]}), "poster", ["poster-320.jpg"], tmp_path, (1920, 1080), recipe=1)

    assert order()[0].size > 0
    for changes in (
        {"width": 321},
        {"width": 160, "height": 90},
        {"format": "PNG"},
        {"name": "other.jpg"},
        {"height": "x"},
    ):
        with pytest.raises(Unavailable):
            order(**changes)
