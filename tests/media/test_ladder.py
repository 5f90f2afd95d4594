"""What a video gets, by examples and in general: rungs, what is copied, commands."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.media.commands import encode_arguments, filter_graph
from rushes.media.info import AudioInfo, MediaInfo, VideoInfo
from rushes.media.ladder import ENCODERS, SECOND, Target, VideoSettings, targets_for
from rushes.media.limits import Limits
from rushes.media.plan import VideoPlan, plan_second, plan_video
from rushes.media.spans import Span
from rushes.model import Segments

VIDEO = VideoInfo(
    0, "h264", 1920, 1080, 1920, 1080, 0, "yuv420p", 8,
    profile="High", level=40, fps=30000 / 1001, frame_rate="30000/1001", bit_rate=8_000_000,
)  # fmt: skip
SOUND = AudioInfo(1, "aac", 6, "5.1", 96000)
INFO = MediaInfo("video", "mov,mp4,m4a,3gp,3g2,mj2", 1000, duration=10.0, video=VIDEO, audio=(SOUND,))
URL = "http://127.0.0.1:8000/source"
ALL = Span(0, 0.0, None, None)
X264 = ENCODERS["x264"]


@pytest.mark.parametrize(
    ("width", "height", "tallest", "expected"),
    [
        (3840, 2160, 1080, [("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360)]),
        (3840, 2160, 2160, [("2160p", 3840, 2160), ("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360)]),
        (1920, 1080, 2160, [("1080p", 1920, 1080), ("720p", 1280, 720), ("360p", 640, 360)]),
        (1080, 1920, 1080, [("1080p", 1080, 1920), ("720p", 720, 1280), ("360p", 360, 640)]),
        (1920, 800, 1080, [("720p", 1728, 720), ("360p", 864, 360)]),
        (854, 480, 1080, [("360p", 640, 360)]),
        (1366, 768, 1080, [("720p", 1280, 720), ("360p", 640, 360)]),
        (321, 241, 1080, [("240p", 320, 240)]),
        (10000, 100, 1080, [("40p", 4096, 40)]),
        (1, 1, 1080, [("2p", 2, 2)]),
    ],
)
def test_targets(width: int, height: int, tallest: int, expected: list[tuple[str, int, int]]) -> None:
    assert [(t.rung, t.width, t.height) for t in targets_for(width, height, tallest)] == expected


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
    assert filter_graph(VIDEO, targets_for(1920, 1080), ALL, X264) == (
        r"[0:0]setpts=if(eq(N\,0)\,0\,PTS),scale=1920:1080:flags=bicubic,setsar=1,format=yuv420p,split=2[s0][t0];"
        "[t0]null[v0];[s0]scale=1280:720:flags=bicubic,split=2[s1][t1];[t1]null[v1];[s1]scale=640:360:flags=bicubic[v2]"
    )


def test_what_nearly_all_films_are_is_scaled_by_the_cheaper_program() -> None:
    plain = replace(VIDEO, pixel_format="yuv420p", scan="progressive", matrix="bt709")
    bicubic = "filter=bicubic:param_a=0:param_b=0.6"
    assert filter_graph(plain, targets_for(1920, 1080)[1:], ALL, X264) == (
        r"[0:0]setpts=if(eq(N\,0)\,0\,PTS),setparams=field_mode=prog:colorspace=bt709,"
        f"zscale=1280:720:{bicubic},setsar=1,format=yuv420p,split=2[s0][t0];[t0]null[v0];[s0]zscale=640:360:{bicubic}[v1]"
    )
    for other in (
        {"scan": "tff"},
        {"pixel_format": "yuv422p"},
        {"matrix": "gbr"},
        {"hdr": "pq"},
        {"coded_width": 1919},
    ):
        assert "zscale=1280" not in filter_graph(replace(plain, **other), targets_for(1920, 1080)[1:], ALL, X264)


def test_high_rates_and_hdr_are_brought_down_before_the_cascade() -> None:
    graph = filter_graph(replace(VIDEO, fps=120.0, hdr="pq"), targets_for(640, 360), ALL, X264)
    assert graph.index("fps=60") < graph.index("scale=640:360")
    assert graph.index("tonemap") < graph.index("format=yuv420p")


def test_a_span_is_cut_by_time_and_read_from_before_it() -> None:
    plan = plan_video(replace(INFO, duration=1000.0), VideoSettings(threads=2), copy=False)
    assert len(plan.spans) == 8
    assert [span.start % 4 for span in plan.spans] == [0] * 8
    assert [span.end for span in plan.spans] == [*(span.start for span in plan.spans[1:]), None]
    span = plan.spans[1]
    arguments = " ".join(encode_arguments(INFO, plan, span, URL, Limits(max_pixels=99, max_streams=9), 1.5))
    assert f"-copyts -itsoffset -0.000000 -ss {span.start - 1.5:.6f} -noaccurate_seek" in arguments
    assert "-protocol_whitelist http,tcp -format_whitelist mov -f mov -max_pixels 99 -max_streams 1000" in arguments
    assert f"-i {URL} -filter_complex [0:0]trim=start={span.start:.6f}:end={span.end:.6f}," in arguments
    assert "-map [v0] -fps_mode vfr -enc_time_base:v 1:90000 -c:v libx264 -preset:v veryfast" in arguments
    assert f"-force_key_frames:v {span.start - 0.005:.3f},{span.start + 1.995:.3f}," in arguments
    assert arguments.endswith("-f mp4 piece-1-hls-360p.mp4")


@pytest.mark.parametrize("name", ["hls", "concat", "sdp", "image2", "lavfi", ""])
def test_no_other_demuxer_is_ever_forced(name: str) -> None:
    plan = plan_video(INFO, VideoSettings())
    with pytest.raises(ValueError, match="may not be opened"):
        encode_arguments(replace(INFO, format=name), plan, ALL, URL, Limits(), 0.0)


def test_a_sound_has_no_pictures() -> None:
    with pytest.raises(ValueError, match="moving picture"):
        plan_video(replace(INFO, video=None), VideoSettings())


def test_what_browsers_play_is_copied() -> None:
    plan = plan_video(INFO, VideoSettings())
    assert plan.copied == Target("1080p", 1920, 1080)
    assert [target.rung for target in plan.targets] == ["720p", "360p"]
    assert plan.proxy == Target("720p", 1280, 720)


@pytest.mark.parametrize(
    "trait",
    [
        {"codec": "hevc"}, {"profile": "High 10"}, {"level": 52}, {"pixel_format": "yuv422p"}, {"hdr": "hlg"},
        {"rotation": 90}, {"sample_aspect": "4:3"}, {"coded_width": 1440}, {"width": 1919, "coded_width": 1919},
        {"fps": 120.0}, {"fps": None}, {"bit_rate": 100_000_000}, {"bit_depth": 10},
        {"width": 3840, "coded_width": 3840, "height": 2160, "coded_height": 2160},
    ],
)  # fmt: skip
def test_what_they_do_not_play_is_not(trait: dict[str, Any]) -> None:
    plan = plan_video(replace(INFO, video=replace(VIDEO, **trait)), VideoSettings())
    assert plan.copied is None
    assert plan.targets


def test_spans_and_key_frames_follow_the_copied_picture() -> None:
    laid = Segments(700, [1] * 200, [5.0] * 199 + [4.0])
    info = replace(INFO, duration=999.0)
    plan = plan_video(info, VideoSettings(), laid)
    assert len(plan.spans) == 8
    assert all(span.start % 5 == 0 for span in plan.spans)
    keys = plan.spans[0].keys
    assert keys is not None
    assert keys[:7] == (0.0, 2.0, 4.0, 5.0, 7.0, 9.0, 10.0)
    assert VideoPlan.from_json(plan.to_json()) == plan


@settings(database=None, deadline=None)
@given(st.floats(0.5, 200_000), st.floats(1, 120), st.sampled_from(["mov", "matroska", "avi"]))
def test_spans_follow_each_other_to_the_end(seconds: float, rate: float, name: str) -> None:
    info = replace(INFO, format=name, duration=seconds, video=replace(VIDEO, fps=rate))
    spans = plan_video(info, VideoSettings(), copy=False).spans
    assert spans[0].start == 0
    assert spans[-1].end is None
    assert [span.number for span in spans] == list(range(len(spans)))
    assert all(one.end == other.start for one, other in pairwise(spans))
    assert len(spans) <= 1001
    assert len(spans) == 1 or name != "avi"


@pytest.mark.parametrize("name", [*ENCODERS, *SECOND])
def test_every_encoder_has_a_command(name: str) -> None:
    encoder = (ENCODERS | SECOND)[name]
    plan = replace(plan_video(INFO, VideoSettings()), encoder=name, device="/dev/dri/renderD128")
    arguments = encode_arguments(INFO, plan, plan.spans[0], URL, Limits(), 0.0)
    assert arguments.count(encoder.codec) == len(plan.targets)
    assert not any("{" in word for word in arguments)


def test_the_second_set_has_names_of_its_own() -> None:
    assert plan_second(INFO, VideoSettings()) is None
    plan = plan_second(INFO, VideoSettings(second="vp9"))
    assert plan is not None
    assert [target.file for target in plan.targets] == ["hls-vp9-1080p.mp4", "hls-vp9-720p.mp4", "hls-vp9-360p.mp4"]
    assert plan.tracks == ()
    assert plan.copied is None


def test_a_picture_that_hardly_moves_is_not_cut_small() -> None:
    """Each span costs a process: ninety frames in thirteen hours are not worth seventy-seven."""
    assert INFO.video is not None
    video = replace(INFO.video, fps=1 / 512, frame_rate="1/512")
    slow = replace(INFO, duration=46_080.0, video=video)
    assert len(plan_video(slow, VideoSettings(), copy=False).spans) == 1
