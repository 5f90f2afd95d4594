"""What there is to know of a moving picture: from its stream, its index and its first decoded frames."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from typing import Any

import av.error
import av.filter

from rushes.media.inside import colours, naming, tags
from rushes.media.inside.dump import Dump

_MOST_RATE = 1000  # frames a second; beyond it is no rate
_INDEXED = 500_000  # entries of an index that are looked at
_FIELDS: dict[int, str] = {2: "tff", 4: "tff", 3: "bff", 5: "bff"}  # AVFieldOrder
_ALWAYS_PROGRESSIVE = {
    "vp8", "vp9", "av1", "theora", "gif", "apng", "webp", "vp6f", "flv1", "h261", "h263",
    "cinepak", "wmv1", "wmv2", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3",
}  # fmt: skip
# Whose frames say themselves whether they are interlaced. Of others only the container may say so.
_TELLING = {"h264", "hevc", "mpeg2video", "mpeg4", "vc1", "wmv3", "dvvideo", "prores", "dnxhd", "mpeg1video", "vvc",
            "mjpeg"}  # fmt: skip


def describe(stream: Any, frames: Sequence[Any], dump: Dump) -> dict[str, Any]:
    """`VideoInfo` as JSON values. `frames` are the first few."""
    frame, context = frames[0], stream.codec_context
    codec = context.codec.canonical_name
    shape = _shape(stream, frame)
    told = colours.describe(context, frame)
    mastering = _mastering(frame)
    vfr, average = _varies(stream), _average(stream)
    profile = dump.dolby_vision(stream.index)
    rate = average or stream.guessed_rate
    exact = naming.exact(average, stream.base_rate, vfr=vfr) or stream.guessed_rate
    if told["hdr"] == "pq" and mastering is not None:
        told["hdr"] = "hdr10"
    return {
        "index": stream.index,
        "codec": codec,
        "profile": context.profile,
        "level": context.level if context.level > 0 else None,
        "level_name": naming.level(codec, context.level),
        **shape,
        "scan": _scan(stream, frames),
        "fps": float(rate) if rate else None,
        "frame_rate": f"{exact.numerator}/{exact.denominator}" if exact else None,
        "vfr": vfr,
        "pixel_format": frame.format.name,
        "bit_depth": max((c.bits for c in frame.format.components), default=8),
        "chroma": _chroma(frame.format),
        "bit_rate": context.bit_rate or _tagged_rate(stream),
        "start": float(stream.start_time * stream.time_base) if stream.start_time is not None else None,
        "duration": float(stream.duration * stream.time_base) if stream.duration else None,
        "frames": _frames(stream) or None,
        **told,
        "mastering": mastering,
        "dolby_vision": profile is not None or any(one.type.name.startswith("DOVI") for one in frame.side_data),
        "dolby_vision_profile": profile,
        "gop_seconds": _gop(stream),
        "b_frames": bool(context.has_b_frames),
        "title": tags.text(stream.metadata.get("title", "")) or None,
        "language": tags.language(stream.language),
    }


def _shape(stream: Any, frame: Any) -> dict[str, Any]:
    rotation = -frame.rotation % 360
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = max(1, round(frame.width * aspect)), frame.height
    display = Fraction(frame.width, frame.height) * aspect
    if rotation in {90, 270}:
        width, height, display = height, width, 1 / display
    return {
        "width": width,
        "height": height,
        "coded_width": frame.width,
        "coded_height": frame.height,
        "sample_aspect": f"{aspect.numerator}:{aspect.denominator}",
        "display_aspect": naming.aspect(display),
        "rotation": rotation,
    }


def _scan(stream: Any, frames: Sequence[Any]) -> str:
    """The frames' own word, where they give one; else the container's."""
    codec, told = stream.codec_context.codec.canonical_name, _FIELDS.get(stream.codec_context.field_order)
    interlaced = [frame for frame in frames if frame.interlaced_frame]
    if interlaced:
        return "tff" if sum(_top_first(stream, frame) for frame in interlaced) * 2 >= len(interlaced) else "bff"
    if codec in _ALWAYS_PROGRESSIVE or stream.codec_context.field_order == 1:
        return "progressive"
    if codec in _TELLING:
        return "progressive"
    return told or "unknown"


def _top_first(stream: Any, frame: Any) -> bool:
    """By a filter that lets such frames through: PyAV has no attribute for it."""
    graph = av.filter.Graph()
    source = graph.add_buffer(
        width=frame.width, height=frame.height, format=frame.format, time_base=stream.time_base or Fraction(1, 25)
    )
    chosen, sink = graph.add("select", "eq(interlace_type,1)"), graph.add("buffersink")
    source.link_to(chosen)
    chosen.link_to(sink)
    graph.configure()
    graph.push(frame)
    try:
        graph.pull()
    except (av.error.BlockingIOError, av.error.EOFError):
        return False
    return True


def _chroma(form: Any) -> str | None:
    if form.is_rgb or form.has_palette:
        return "rgb"
    if len(form.components) < 3:
        return "grey"
    # Of a 32 by 32 picture, so that odd sizes do not blur it.
    wide, high = form.chroma_width(32), form.chroma_height(32)
    return {(32, 32): "4:4:4", (16, 32): "4:2:2", (16, 16): "4:2:0", (8, 32): "4:1:1", (8, 8): "4:1:0",
            (32, 16): "4:4:0"}.get((wide, high))  # fmt: skip


def _mastering(frame: Any) -> dict[str, Any] | None:
    """From the first frame's side data (`AVMasteringDisplayMetadata`, `AVContentLightMetadata`)."""
    found: dict[str, Any] = {}
    for side in frame.side_data:
        data = bytes(side)
        if side.type.name == "MASTERING_DISPLAY_METADATA" and len(data) >= 88:
            numbers = struct.unpack("=22i", data[:88])
            ratios = [
                top / bottom if bottom else 0.0 for top, bottom in zip(numbers[:20:2], numbers[1:20:2], strict=True)
            ]
            if numbers[20]:
                found["primaries"] = [
                    [round(x, 5), round(y, 5)] for x, y in zip(ratios[:8:2], ratios[1:8:2], strict=True)
                ]
            if numbers[21]:
                found |= {"min_luminance": round(ratios[8], 5), "max_luminance": round(ratios[9], 3)}
        if side.type.name == "CONTENT_LIGHT_LEVEL" and len(data) >= 8:
            most, average = struct.unpack("=2I", data[:8])
            found |= {"max_content": most or None, "max_average": average or None}
    return found or None


def _tagged_rate(stream: Any) -> int | None:
    """Matroska's writers leave the statistics of a stream in tags."""
    value = next((stream.metadata[key] for key in ("BPS", "BPS-eng") if key in stream.metadata), "")
    return int(value) if value.isdecimal() and len(value) < 13 else None


def _frames(stream: Any) -> int:
    """How many are shown, as the container says: an MP4's edit list may hide some of those that its table counts."""
    entries = stream.index_entries
    if stream.container.format.name.startswith("mov") and 0 < len(entries) <= min(stream.frames, _INDEXED):
        return sum(not entry.is_discard for entry in entries)
    return int(stream.frames)


def _average(stream: Any) -> Any | None:
    """Frames a second; FFmpeg takes the clock of a DV file for its average rate."""
    average = stream.average_rate
    return stream.base_rate if average and average > _MOST_RATE else average


def _varies(stream: Any) -> bool:
    """Whether the frame rate varies: by the index's own steps where there is one, else where two estimates disagree."""
    entries = stream.index_entries
    if stream.frames and len(entries) == stream.frames and stream.frames > 3:
        stamps = [entry.timestamp for entry in entries[: min(len(entries), 2000)]]
        steps = [later - earlier for earlier, later in pairwise(stamps)]
        return bool(max(steps) > 1.5 * max(1, min(steps)))
    average, base = _average(stream), stream.base_rate
    if not (average and base):
        return False
    ratio = float(base) / float(average)
    return abs(ratio - 1) > 0.02 and abs(ratio - 2) > 0.02  # twice: the rate of fields


def _gop(stream: Any) -> float | None:
    """Seconds; of an index that lists key frames only, their distances too."""
    entries = stream.index_entries
    count = min(len(entries), _INDEXED)
    stamps = [entry.timestamp for entry in entries[:count] if entry.is_keyframe]
    if count == len(entries) and stream.duration and stamps:
        stamps.append((stream.start_time or 0) + stream.duration)
    if len(stamps) < 2 or stream.time_base is None:
        return None
    longest = max(later - earlier for earlier, later in pairwise(stamps))
    return round(float(longest * stream.time_base), 3) if longest > 0 else None
