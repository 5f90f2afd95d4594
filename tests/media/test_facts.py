"""Facts of films that only some files have: fields, HDR metadata, timecode, covers, deep sound, further streams."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from rushes.media.identify import identify
from rushes.media.info import Mastering, MediaInfo
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource

from .clips import Clips, ffmpeg

_MASTER = "G(13250,34500)B(7500,3000)R(34000,16000)WP(15635,16450)L(10000000,1)"
_HDR10 = f"log-level=error:hdr10=1:repeat-headers=1:master-display={_MASTER}:max-cll=1000,400"
_PQ = (
    "scale=160:90,format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc:range=tv"
)
_FIELDS = ("-flags", "+ildct+ilme", "-an")


async def _told(clips: Clips, sandbox: Sandbox, job: Path, path: Path, *arguments: str) -> MediaInfo:
    ffmpeg("-t", "0.6", "-i", clips.base, *arguments, path)
    return await identify(FileSource(path), job, sandbox)


def _video(info: MediaInfo) -> Any:
    assert info.video is not None
    return info.video


async def test_hdr10_with_its_metadata(sandbox: Sandbox, job: Path, clips: Clips, tmp_path: Path) -> None:
    options = ("-vf", _PQ, "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", _HDR10, "-an")
    info = await _told(clips, sandbox, job, tmp_path / "a.mp4", *options, "-timecode", "01:02:03:04")
    video = _video(info)
    assert (video.hdr, video.bit_depth, video.chroma, video.dolby_vision) == ("hdr10", 10, "4:2:0", False)
    points = ((0.68, 0.32), (0.265, 0.69), (0.15, 0.06), (0.3127, 0.329))
    assert video.mastering == Mastering(points, 0.0001, 1000.0, 1000, 400)
    assert (info.timecode, info.wrapper, info.counts) == ("01:02:03:04", "mp4", {"video": 1, "data": 1})


@pytest.mark.parametrize(
    ("name", "scan", "options"),
    [
        ("a.ts", "tff", ("-c:v", "libx264", "-x264-params", "tff=1")),
        ("b.mp4", "bff", ("-c:v", "libx264", "-x264-params", "bff=1")),
        ("c.mkv", "bff", ("-c:v", "mpeg2video")),
        ("d.mpg", "tff", ("-c:v", "mpeg2video")),
    ],
)
async def test_which_field_comes_first(
    namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path, name: str, scan: str, options: tuple[str, ...]
) -> None:
    woven = f"scale=320:192,interlace=scan={scan},setfield={scan}"
    info = await _told(clips, namespaces, job, tmp_path / name, "-vf", woven, *options, *_FIELDS)
    assert _video(info).scan == scan


async def test_a_mezzanine_with_timecode(namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path) -> None:
    options = ("-vf", "scale=160:90", "-c:v", "prores_ks", "-profile:v", "3", "-c:a", "pcm_s24le")
    info = await _told(clips, namespaces, job, tmp_path / "a.mov", *options, "-timecode", "10:00:00:00")
    video = _video(info)
    assert (info.timecode, info.wrapper, video.profile, video.chroma) == ("10:00:00:00", "mov", "HQ", "4:2:2")
    assert (video.scan, video.gop_seconds, info.audio[0].bit_depth) == (
        "progressive",
        pytest.approx(1 / 30, abs=1e-3),
        24,
    )


async def test_streams_with_names(namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path) -> None:
    words = tmp_path / "words.srt"
    words.write_text("1\n00:00:00,000 --> 00:00:00,500\nHello\n")
    maps = (
        "-i",
        str(words),
        "-map",
        "0:v",
        "-map",
        "0:a",
        "-map",
        "0:a",
        "-map",
        "1:s",
        "-c:v",
        "copy",
        "-c:a",
        "flac",
    )
    names = ("-metadata:s:a:0", "language=eng", "-metadata:s:a:1", "language=deu", "-metadata:s:a:1", "title=Ton")
    rest = ("-disposition:a:0", "0", "-disposition:a:1", "default", "-metadata:s:s:0", "language=fra")
    info = await _told(clips, namespaces, job, tmp_path / "a.mkv", *maps, *names, *rest)
    told = [(sound.language, sound.title, sound.default, sound.bit_depth) for sound in info.audio]
    assert told == [("eng", None, False, 24), ("deu", "Ton", True, 24)]
    assert [(other.kind, other.language) for other in info.others] == [("subtitle", "fra")]
    assert (info.wrapper, info.counts) == ("mkv", {"video": 1, "audio": 2, "subtitle": 1})
