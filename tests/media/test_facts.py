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


async def test_a_recorder_tells_the_moment(namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path) -> None:
    """A Broadcast Wave: samples since midnight, the day and the time in fields of their own."""
    stamps = ("origination_date=2024-05-01", "origination_time=10:20:30", f"time_reference={48000 * 36_000 + 24_000}")
    options = [word for stamp in stamps for word in ("-metadata", stamp)]
    info = await _told(clips, namespaces, job, tmp_path / "a.wav", "-vn", "-write_bext", "1", *options)
    assert (info.timecode, info.created) == ("10:00:00.500", "2024-05-01T10:20:30")
    assert info.audio[0].layout == "stereo", "two channels of which nothing is said are left and right"


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("a.aac", ("-c:a", "aac")),
        ("a.amr", ("-c:a", "libopencore_amrnb", "-ar", "8000", "-ac", "1", "-b:a", "12.2k")),
        ("a.mp3", ("-c:a", "libmp3lame", "-q:a", "5", "-write_xing", "0", "-id3v2_version", "3")),
    ],
)
async def test_sound_without_an_index_is_counted(
    namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path, name: str, options: tuple[str, ...]
) -> None:
    """Its second half is silent and takes fewer bits: what the first frames' bit rate says is far off."""
    ffmpeg("-i", clips.base, "-vn", "-af", "apad=whole_dur=6", *options, tmp_path / name)
    info = await identify(FileSource(tmp_path / name), job, namespaces)
    assert info.duration == pytest.approx(6, abs=0.1)
    assert info.audio[0].duration == info.duration


async def test_dv_has_its_rate(namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path) -> None:
    options = ("-vf", "scale=720:576,fps=25", "-pix_fmt", "yuv420p", "-c:a", "pcm_s16le")
    info = await _told(clips, namespaces, job, tmp_path / "a.dv", *options)
    assert (_video(info).frame_rate, _video(info).vfr, info.wrapper) == ("25/1", False, "dv")


async def test_frames_that_an_edit_list_hides_are_not_counted(
    namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path
) -> None:
    """A film cut by a phone: what was before the cut is kept where the rest needs it to decode."""
    ffmpeg("-i", clips.base, "-c:v", "libx264", "-preset", "ultrafast", "-g", "999", "-an", tmp_path / "whole.mp4")
    ffmpeg("-ss", "1", "-i", tmp_path / "whole.mp4", "-c", "copy", tmp_path / "cut.mp4")
    info = await identify(FileSource(tmp_path / "cut.mp4"), job, namespaces)
    assert info.duration == pytest.approx(2, abs=0.05)
    assert _video(info).frames == 60
