"""Whether what was made is whole, judged by numbers only. Pure.

Truncated and damaged sources can end with exit code 0 and a shorter file: duration and frames are compared with what
identify found.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from rushes.errors import Rejected, Unavailable
from rushes.media.cmaf import Index
from rushes.media.info import AudioInfo, MediaInfo
from rushes.media.ladder import MAX_FPS, Target
from rushes.media.plan import LONGEST_GOP

_SLACK_SECONDS = 1.0
_SLACK_SHARE = 0.02  # of the duration, or of the frames
TOGETHER = 0.04  # seconds between the beginnings of picture and sound
_HOLE = 1.0  # seconds


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


def check_pictures(info: MediaInfo, made: Sequence[tuple[Target, Index]], sound_end: float) -> None:
    """All encoded pictures of a source, of whole length; `sound_end`: seconds of its sound. Raises Rejected("truncated"
    or "undecodable") for a source that gave less than it announced, Unavailable for a picture that is not as ordered.
    """
    video = info.video
    if video is None or not made:
        raise Rejected("undecodable", "No picture of this file could be decoded.")
    for target, index in made:
        if (index.width, index.height) != (target.width, target.height):
            raise _not_as_ordered(target.file, f"{index.width} by {index.height} pixels")
        check_continuous(index, hole=float("inf") if video.vfr else _HOLE)
        if index.begin > TOGETHER:
            raise _not_as_ordered(target.file, f"beginning at {index.begin:.3f} s")
    frames = min(index.samples for _, index in made)
    seconds = min(index.end for _, index in made)
    if max(index.samples for _, index in made) != frames and (video.fps or 0) <= MAX_FPS:
        raise _not_as_ordered("The pictures", "of different numbers of frames")
    if video.duration:
        check_seconds(video.duration, seconds, "picture")
    else:  # the container's duration is that of its longest stream
        check_seconds(info.duration, max(seconds, sound_end), "picture or sound")
    expected = video.frames or 0
    if expected and not video.vfr and (video.fps or 0) <= MAX_FPS and frames < expected * (1 - _SLACK_SHARE) - 2:
        raise Rejected("truncated", f"This file announces {expected} frames, but only {frames} can be decoded.")


def check_continuous(index: Index, hole: float) -> None:
    """Raises Unavailable unless every fragment begins with a key frame, where the one before ends; a source without
    pictures for a moment may leave a `hole` (seconds) where two spans meet.
    """
    for fragment in index.fragments:
        if not fragment.key:
            raise _not_as_ordered(index.path.name, "with a fragment that does not begin with a key frame")
    for one, other in pairwise(index.fragments):
        gap = (other.decode - one.decode - one.duration) / index.timescale
        frame = one.duration / max(1, one.samples) / index.timescale
        if not -max(TOGETHER, 2 * frame) < gap <= max(hole, 2 * frame):
            raise _not_as_ordered(index.path.name, f"with {gap:.3f} s missing at {other.start / index.timescale:.3f} s")


def unfit(index: Index, frames: int | None) -> str:
    """Why a copied picture cannot be played by segments as it is; "" when it can."""
    if not all(fragment.key for fragment in index.fragments):
        return "a fragment does not begin with a key frame"
    if any(fragment.open for fragment in index.fragments):
        return "its groups of pictures are open"
    if index.begin > TOGETHER:
        return f"it begins at {index.begin:.3f} s"
    longest = max(fragment.duration for fragment in index.fragments) / index.timescale
    if longest > LONGEST_GOP:
        return f"its key frames are up to {longest:.1f} s apart"
    if frames and index.samples != frames:
        return f"{index.samples} of {frames} frames were copied"
    return ""


def check_sound(sound: AudioInfo, index: Index) -> None:
    """Raises Rejected("truncated") where less was found than the file announced."""
    if index.begin > TOGETHER:
        raise _not_as_ordered(index.path.name, f"beginning at {index.begin:.3f} s")
    check_seconds(sound.duration, index.end, "sound")


def check_progressive(target: Target, frames: int, measured: Measured) -> None:
    """Raises Unavailable for a progressive file that is not its picture's copy."""
    if (measured.width, measured.height) != (target.width, target.height) or not measured.faststart:
        raise _not_as_ordered(measured.name, f"{measured.width} by {measured.height} pixels")
    if measured.frames != frames:
        raise _not_as_ordered(measured.name, f"{measured.frames} of {frames} frames")


def check_decoded(name: str, expected: int, found: int) -> None:
    """Raises Unavailable unless a segment gives every frame it should."""
    if found < expected:
        raise _not_as_ordered(name, f"with a segment of which {found} of {expected} frames can be played")


def _not_as_ordered(name: str, found: str) -> Unavailable:
    return Unavailable("tool_crashed", f"{name} came out {found}, not as ordered.")


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
