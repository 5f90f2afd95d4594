"""The ladder's decisions, by examples and in general."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.media.info import AudioInfo, MediaInfo, VideoInfo
from rushes.media.ladder import filter_graph, proxy_arguments, targets_for

VIDEO = VideoInfo(0, "h264", 1920, 1080, 1920, 1080, 0, "yuv420p", 8, fps=30000 / 1001, frame_rate="30000/1001")
SOUND = AudioInfo(1, "aac", 6, "5.1", 96000)
INFO = MediaInfo("video", "mov,mp4,m4a,3gp,3g2,mj2", 1000, duration=10.0, video=VIDEO, audio=(SOUND,))
URL = "http://127.0.0.1:8000/source"


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (3840, 2160, [("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360)]),
        (1920, 1080, [("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360)]),
        (1080, 1920, [("1080p", 1080, 1920), ("720p", 720, 1280), ("360p", 360, 640)]),
        (1920, 800, [("720p", 1728, 720), ("360p", 864, 360)]),
        (854, 480, [("360p", 640, 360)]),
        (1366, 768, [("720p", 1280, 720), ("360p", 640, 360)]),
        (321, 241, [("360p", 320, 240)]),
        (10000, 100, [("360p", 4096, 40)]),
        (1, 1, [("360p", 2, 2)]),
    ],
)
def test_targets(width: int, height: int, expected: list[tuple[str, int, int]]) -> None:
    assert [(t.rung.name, t.width, t.height) for t in targets_for(width, height)] == expected


@settings(database=None)
@given(st.integers(16, 16384), st.integers(160, 8192))
def test_targets_are_even_never_upscaled_and_keep_the_shape(width: int, height: int) -> None:
    targets = targets_for(width, height)
    assert targets
    for target in targets:
        assert target.width % 2 == target.height % 2 == 0
        assert target.width <= width
        assert target.height <= height
        # rounding to even numbers shifts the shape by at most this much
        assert abs(target.width * height - target.height * width) <= 2 * (width + height)
    assert [t.height for t in targets] == sorted((t.height for t in targets), reverse=True)


def test_one_decode_feeds_a_cascade() -> None:
    graph = filter_graph(VIDEO, targets_for(1920, 1080))
    assert graph == (
        "[0:0]scale=1920:1080:flags=bicubic,setsar=1,format=yuv420p,split=2[v0][s0];"
        "[s0]scale=1280:720:flags=bicubic,split=2[v1][s1];[s1]scale=640:360:flags=bicubic[v2]"
    )


def test_high_rates_and_hdr_are_brought_down_before_the_cascade() -> None:
    graph = filter_graph(replace(VIDEO, fps=120.0, hdr="pq"), targets_for(640, 360))
    assert graph.startswith("[0:0]fps=60,scale=640:360")
    assert graph.index("tonemap") < graph.index("format=yuv420p")


def test_arguments() -> None:
    targets = targets_for(640, 360)
    arguments = " ".join(proxy_arguments(INFO, targets, URL, max_pixels=99, max_streams=9, threads=2))
    assert "-protocol_whitelist http,tcp -format_whitelist mov -f mov -max_pixels 99 -max_streams 9" in arguments
    assert f"-i {URL} -filter_complex" in arguments
    assert "-map [v0] -fps_mode vfr -c:v libx264 -preset:v veryfast" in arguments
    assert "-g:v 60" in arguments
    assert "-threads:v 2" in arguments
    assert "-map 0:1 -af aresample=async=1:first_pts=0 -c:a aac -b:a 96k -ac 2 -ar 48000" in arguments
    assert arguments.endswith("-map_metadata -1 -map_chapters -1 -movflags +faststart -f mp4 proxy-360p.mp4")
    assert "enc_time_base" not in arguments


def test_arguments_for_silent_and_variable_sources() -> None:
    silent = replace(INFO, audio=(), video=replace(VIDEO, vfr=True))
    arguments = proxy_arguments(silent, targets_for(1920, 1080), URL, max_pixels=99, max_streams=9)
    assert "aac" not in arguments
    assert arguments.count("-enc_time_base:v") == 3


@pytest.mark.parametrize("name", ["hls", "concat", "sdp", "image2", "lavfi", ""])
def test_no_other_demuxer_is_ever_forced(name: str) -> None:
    with pytest.raises(ValueError, match="may not be opened"):
        proxy_arguments(replace(INFO, format=name), targets_for(640, 360), URL, max_pixels=1, max_streams=1)


def test_a_sound_has_no_proxies() -> None:
    with pytest.raises(ValueError, match="moving picture"):
        proxy_arguments(replace(INFO, video=None), targets_for(640, 360), URL, max_pixels=1, max_streams=1)
