"""What is to be made of a video: which of its own tracks are copied, what is encoded, in which spans. Pure.

A plan is made twice where the source's own picture is copied: before, and with the segments that copying found, so that
the encoded pictures have the same.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from itertools import accumulate
from typing import Any

from pydantic import TypeAdapter

from rushes.media.formats import forced
from rushes.media.info import AudioInfo, MediaInfo, VideoInfo
from rushes.media.ladder import (
    ENCODERS,
    MAX_FPS,
    SECOND,
    Target,
    VideoSettings,
    audio_rate,
    proxy_side,
    targets_for,
)
from rushes.media.spans import MOST_KEYS, Span, cut
from rushes.model import Segments

MOST_TRACKS = 8
LONGEST_GOP = 10.5  # seconds: x264's own 250 frames at 24 a second
_PROFILES = {"High", "Main", "Baseline", "Constrained Baseline"}
_HIGHEST_LEVEL = 51
_BITS_PER_PIXEL = 1.0  # of a frame: 62 Mb/s of 1080p at 30
_COPIED_FROM = {"mov", "matroska", "mpegts", "flv"}  # containers whose time stamps are each frame's own


@dataclass(frozen=True)
class Track:
    """One sound to make."""

    index: int
    file: str
    copy: bool  # the source's own AAC
    rate: int  # hertz
    channels: int  # 1 or 2
    source_channels: int
    language: str | None
    default: bool


@dataclass(frozen=True)
class VideoPlan:
    copied: Target | None  # the source's own picture
    targets: tuple[Target, ...]  # to encode, largest first
    spans: tuple[Span, ...]
    tracks: tuple[Track, ...]
    proxy: Target | None  # which picture the progressive file takes
    edges: tuple[float, ...] | None  # seconds: where segments begin, when the copied picture says so
    encoder: str
    device: str
    threads: int
    skip_loop_filter: bool

    @property
    def copies(self) -> bool:
        """Whether there is anything to do before pictures are encoded."""
        return self.copied is not None or bool(self.tracks)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(value: dict[str, Any]) -> VideoPlan:
        """Raises ValueError for anything that `to_json` did not make."""
        return _ADAPTER.validate_python(value)


_ADAPTER = TypeAdapter(VideoPlan)


def plan_video(
    info: MediaInfo, settings: VideoSettings, copied: Segments | None = None, *, copy: bool = True
) -> VideoPlan:
    """ValueError without a moving picture. `copied`: the segments of the copied picture, once it is there; `copy`:
    whether it may be copied, which is over once it turned out to be unfit.
    """
    video = info.video
    if video is None:
        raise ValueError("only a moving picture has renditions of video")
    own = _own(info, video, settings) if copy else None
    targets = targets_for(video.width, video.height, settings.tallest)
    edges = None if copied is None or own is None else tuple(accumulate(copied.seconds, initial=0.0))[:-1]
    if own is not None:
        targets = [t for t in targets if min(t.width, t.height) < min(own.width, own.height)]
    spans = cut(info, edges, settings.span_seconds)
    if edges is not None and len(edges) > MOST_KEYS * len(spans):
        return plan_video(info, settings, copy=False)
    pictures = [own, *targets] if own is not None else targets
    smaller = bool(targets) and min(targets[0].width, targets[0].height) < 0.75 * min(video.width, video.height)
    return VideoPlan(
        copied=own,
        targets=tuple(targets),
        spans=spans,
        tracks=_tracks(info),
        proxy=proxy_side(pictures, settings.proxy_height),
        edges=edges,
        encoder=settings.encoder,
        device=settings.device,
        threads=settings.threads,
        skip_loop_filter=settings.fast_decode and smaller and video.codec in {"h264", "hevc"},
    )


def plan_second(info: MediaInfo, settings: VideoSettings) -> VideoPlan | None:
    """The second set: the same pictures in another codec, beside the same sound. None when it is not asked for."""
    if settings.second not in SECOND or info.video is None:
        return None
    plan = plan_video(info, settings, copy=False)
    targets = targets_for(info.video.width, info.video.height, settings.tallest, f"hls-{settings.second}")
    return replace(plan, targets=tuple(targets), tracks=(), proxy=None, encoder=settings.second)


def encoder_of(plan: VideoPlan) -> Any:
    """Of ENCODERS or SECOND."""
    return (ENCODERS | SECOND)[plan.encoder]


def zero_of(info: MediaInfo) -> float:
    """Seconds: the source's time that becomes 0. A few hundredths below 0 are an audio codec's lead-in, not the
    picture's.
    """
    start = info.start or 0.0
    return start if start > 0 or start < -0.1 else 0.0


def _own(info: MediaInfo, video: VideoInfo, settings: VideoSettings) -> Target | None:
    """The source's own picture where browsers play it as it is."""
    rate = video.fps or 0.0
    bits = video.bit_rate or info.bit_rate or 0
    fit = (
        forced(info.format) in _COPIED_FROM
        and video.codec == "h264"
        and video.profile in _PROFILES
        and (video.level or 99) <= _HIGHEST_LEVEL
        and video.pixel_format == "yuv420p"
        and video.bit_depth == 8
        and video.hdr is None
        and video.rotation == 0
        and video.sample_aspect in {"1:1", "0:1"}
        and video.scan in {"progressive", "unknown"}
        and (video.width, video.height) == (video.coded_width, video.coded_height)
        and video.width % 2 == video.height % 2 == 0
        and min(video.width, video.height) <= settings.tallest
        and 0 < rate <= MAX_FPS + 0.5
        and 0 < bits <= _BITS_PER_PIXEL * video.width * video.height * max(rate, 24)
        and (video.gop_seconds or 0.0) <= LONGEST_GOP
    )
    return Target(f"{min(video.width, video.height)}p", video.width, video.height) if fit else None


def _tracks(info: MediaInfo) -> tuple[Track, ...]:
    heard = [sound for sound in info.audio if sound.channels][:MOST_TRACKS]
    marked = next((n for n, sound in enumerate(heard) if sound.default), 0)
    return tuple(
        Track(
            index=sound.index,
            file="hls-audio.mp4" if number == 0 else f"hls-audio-{number + 1}.mp4",
            copy=_safe_sound(info, sound),
            rate=audio_rate(sound.sample_rate),
            channels=min(2, sound.channels),
            source_channels=sound.channels,
            language=sound.language,
            default=number == marked,
        )
        for number, sound in enumerate(heard)
    )


def _safe_sound(info: MediaInfo, sound: AudioInfo) -> bool:
    return (
        forced(info.format) in _COPIED_FROM
        and sound.codec == "aac"
        and (sound.profile or "LC") == "LC"
        and sound.channels in {1, 2}
        and sound.sample_rate in {44100, 48000}
        and (sound.bit_rate or 0) <= 400_000
    )
