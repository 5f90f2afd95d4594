"""Identify on real files of many kinds, in both sandboxes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rushes.errors import Rejected
from rushes.media.identify import identify
from rushes.media.info import MediaInfo
from rushes.media.limits import Limits
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource

from .clips import SECONDS, Clips, Counted, ffmpeg

VIDEOS: list[tuple[str, str, str, dict[str, Any]]] = [
    ("base.mp4", "mov", "h264", {"frames": 90, "frame_rate": "30/1", "vfr": False, "matrix": "bt709"}),
    ("back.mp4", "mov", "h264", {"frames": 90, "primaries": "bt709", "transfer": "bt709", "range": "tv"}),
    ("a.mkv", "matroska", "h264", {"rotation": 0, "bit_depth": 8, "scan": "progressive", "chroma": "4:2:0"}),
    ("a.webm", "matroska", "vp9", {"fps": 30.0}),
    ("a.ts", "mpegts", "h264", {}),
    ("turned.mov", "mov", "h264", {"rotation": 90, "width": 360, "height": 640, "coded_width": 640}),
    ("odd.mp4", "mov", "h264", {"width": 321, "height": 241, "pixel_format": "yuv444p", "chroma": "4:4:4"}),
    ("vfr.mp4", "mov", "h264", {"vfr": True}),
    (
        "anamorphic.mpg",
        "mpeg",
        "mpeg2video",
        {"width": 768, "sample_aspect": "16:15", "display_aspect": "4:3", "level_name": "Main"},
    ),
    ("hdr.mp4", "mov", "hevc", {"hdr": "pq", "bit_depth": 10, "primaries": "bt2020", "transfer": "smpte2084"}),
    ("flipped.mp4", "mov", "h264", {"frames": 90}),
    ("cut.mp4", "mov", "h264", {"frames": 51, "frame_rate": "30/1"}),  # of 90: the others are hidden
    ("a.dv", "dv", "dvvideo", {"fps": 25.0, "frame_rate": "25/1", "vfr": False}),
]
SOUNDS = [
    ("a.wav", "wav", "pcm_s16le"),
    ("a.flac", "flac", "flac"),
    ("a.mp3", "mp3", "mp3"),
    ("a.ogg", "ogg", "vorbis"),
]
PICTURES = ["a.jpg", "a.png", "a.webp", "a.tiff", "a.gif", "a.bmp"]


@pytest.mark.parametrize(("name", "demuxer", "codec", "facts"), VIDEOS, ids=[video[0] for video in VIDEOS])
async def test_videos(
    namespaces: Sandbox, job: Path, clips: Clips, name: str, demuxer: str, codec: str, facts: dict[str, Any]
) -> None:
    info = await identify(FileSource(clips(name)), job, namespaces)
    assert info.kind == "video"
    assert info.format.split(",")[0] == demuxer
    assert info.size == clips(name).stat().st_size
    assert info.video is not None
    assert info.video.codec == codec
    assert {key: getattr(info.video, key) for key in facts} == facts
    if name in {"base.mp4", "a.mkv", "a.ts", "a.webm"}:
        assert info.duration == pytest.approx(SECONDS, abs=0.1)
        assert (info.audio[0].channels, info.audio[0].sample_rate, info.audio[0].layout) == (2, 48000, "stereo")
    assert MediaInfo.from_json(json.loads(json.dumps(info.to_json()))) == info


@pytest.mark.parametrize(("name", "demuxer", "codec"), SOUNDS)
async def test_sounds(namespaces: Sandbox, job: Path, clips: Clips, name: str, demuxer: str, codec: str) -> None:
    info = await identify(FileSource(clips(name)), job, namespaces)
    assert (info.kind, info.format, info.video) == ("audio", demuxer, None)
    assert info.audio[0].codec == codec
    assert info.duration == pytest.approx(SECONDS, abs=0.1)


@pytest.mark.parametrize("name", PICTURES)
async def test_pictures(namespaces: Sandbox, job: Path, clips: Clips, name: str) -> None:
    info = await identify(FileSource(clips(name)), job, namespaces)
    assert info.kind == "image"
    assert info.image is not None
    assert (info.image.width, info.image.height, info.image.has_alpha) == (640, 360, False)
    assert info.audio == ()


@pytest.mark.parametrize(
    ("name", "of", "most"),
    [
        ("front.mp4", "base.mp4", 0.9),
        ("back.mp4", "base.mp4", 0.9),
        ("a.mkv", "base.mp4", 0.9),
        ("a.ts", "base.mp4", 2.3),
        ("a.mxf", "plain.mxf", 5.0),
    ],
)
async def test_a_large_file_costs_little(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips, name: str, of: str, most: float
) -> None:
    """Of 60 MB so many are read, counted where they come from."""
    path, one = tmp_path / name, clips.base if of == "base.mp4" else clips(of)
    front = ["-movflags", "+faststart"] if name.startswith("front") else []
    ffmpeg("-stream_loop", str(60_000_000 // one.stat().st_size), "-i", one, "-c", "copy", *front, path)
    source = Counted(path)
    assert source.size > 55_000_000
    if path.suffix == ".mp4":
        assert (path.read_bytes().index(b"moov") < 1_000_000) is (name == "front.mp4")
    info = await identify(source, job, namespaces)
    assert info.duration is not None
    assert info.duration > 20
    assert source.bytes_read < most * 1e6


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("text.mp4", "not_media"),
        ("subtitles.mp4", "not_media"),
        ("zeros.mp4", "not_media"),
        ("cut_front.mp4", "truncated"),
        ("cut_back.mp4", "truncated"),
        ("cut.wav", "truncated"),
    ],
)
async def test_what_is_refused(namespaces: Sandbox, job: Path, clips: Clips, name: str, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        await identify(FileSource(clips(name)), job, namespaces)
    assert caught.value.code == code


async def test_an_empty_file(sandbox: Sandbox, job: Path, tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(Rejected, match="empty"):
        await identify(FileSource(tmp_path / "empty.mp4"), job, sandbox)


@pytest.mark.parametrize(
    ("name", "limits", "code"),
    [
        ("base.mp4", Limits(max_pixels=10_000), "too_many_pixels"),
        ("a.png", Limits(max_pixels=10_000), "too_many_pixels"),
        ("base.mp4", Limits(max_streams=1), "too_many_streams"),
        ("base.mp4", Limits(max_seconds=1), "too_long"),
    ],
)
async def test_limits(namespaces: Sandbox, job: Path, clips: Clips, name: str, limits: Limits, code: str) -> None:
    with pytest.raises(Rejected) as caught:
        await identify(FileSource(clips(name)), job, namespaces, limits)
    assert caught.value.code == code


@pytest.mark.parametrize(
    "text",
    [
        "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{url}\n#EXT-X-ENDLIST\n",
        "ffconcat version 1.0\nfile {path}\nduration 3\n",
        "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\n"
        "c=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011"><Period><AdaptationSet><Representation id="0">'
        "<BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>",
        "[Reference]\nRef1={url}\n",
        "RTSPtext {url}",
    ],
    ids=["m3u8", "concat", "sdp", "dash", "asx", "rtsp"],
)
async def test_scripts_under_a_media_name_open_nothing(
    sandbox: Sandbox, job: Path, tmp_path: Path, clips: Clips, text: str
) -> None:
    canary = tmp_path / "canary.mp4"
    canary.write_bytes(clips.base.read_bytes())
    canary.chmod(0o644)
    before = canary.stat().st_atime_ns
    script = tmp_path / "film.mp4"
    script.write_text(text.format(path=canary, url=f"file://{canary}"))
    with pytest.raises(Rejected) as caught:
        await identify(FileSource(script), job, sandbox)
    assert caught.value.code == "not_media"
    assert canary.stat().st_atime_ns == before
