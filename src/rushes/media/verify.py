"""Whether what was made is whole, judged by numbers only. Pure.

Truncated and damaged sources can end with exit code 0 and a shorter file: duration and frames are compared with what
identify found.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rushes.errors import Rejected, Unavailable
from rushes.media.info import MediaInfo
from rushes.media.ladder import MAX_FPS, Target

_SLACK_SECONDS = 1.0
_SLACK_SHARE = 0.02  # of the duration, or of the frames


@dataclass(frozen=True)
class Measured:
    """One MP4 file as `inside/measure.py` found it."""

    name: str
    width: int
    height: int
    frames: int
    video_seconds: float
    audio_seconds: float
    faststart: bool


def check_proxy(info: MediaInfo, target: Target, measured: Measured) -> None:
    """Raises Rejected("truncated" or "undecodable") for a source that gave less than it announced, Unavailable for a
    proxy that is not as ordered.
    """
    video = info.video
    if video is None or not measured.frames:
        raise Rejected("undecodable", "No picture of this file could be decoded.")
    if (measured.width, measured.height) != (target.width, target.height) or not measured.faststart:
        raise Unavailable(
            "tool_crashed", f"{measured.name} came out as {measured.width} by {measured.height}, not as ordered."
        )
    if video.duration:
        check_seconds(video.duration, measured.video_seconds, "picture")
    else:  # the container's duration is that of its longest stream
        check_seconds(info.duration, max(measured.video_seconds, measured.audio_seconds), "picture or sound")
    expected_frames = video.frames or 0
    if (
        expected_frames
        and not video.vfr
        and (video.fps or 0) <= MAX_FPS
        and measured.frames < expected_frames * (1 - _SLACK_SHARE) - 2
    ):
        raise Rejected(
            "truncated", f"This file announces {expected_frames} frames, but only {measured.frames} can be decoded."
        )
    if info.audio and info.audio[0].duration:
        check_seconds(info.audio[0].duration, measured.audio_seconds, "sound")


def check_seconds(expected: float | None, found: float, what: str) -> None:
    """Raises Rejected("truncated") when clearly less was found than the file announced; what announces nothing
    passes.
    """
    if (
        expected
        and found < expected - max(_SLACK_SECONDS, expected * _SLACK_SHARE)
        and found < expected * (1 - _SLACK_SHARE)
    ):
        raise Rejected(
            "truncated",
            f"This file announces {expected:.1f} s of {what}, but only {found:.1f} s can be decoded.",
        )


def number(result: dict[str, Any], name: str) -> int:
    """A whole number that a task reported. Raises Unavailable for anything else."""
    value = result.get(name)
    if not isinstance(value, int) or value <= 0:
        raise Unavailable("tool_crashed", "A media tool said something that makes no sense.")
    return value
