"""The task that says what a file is, by its bytes: a picture, a video or a sound, and everything a job needs to know
of it.

Reads the container's head (and tail, where its index lies) and decodes the first frame of each kind; a few megabytes
of any file.
"""

from __future__ import annotations

from fractions import Fraction
from itertools import pairwise
from typing import Any

import av
import av.error

from rushes.media.inside import colours, picture, talk
from rushes.media.inside.opened import NOT_MEDIA, Decoder, opened
from rushes.media.inside.reader import Reader

_PROBED_PACKETS = 2000
_UNKNOWN_RIFF = 0x7FFF0000
_TAG_LIMIT = 100
_TEXT_LIMIT = 1000
_PICTURE_BRANDS = {"heic", "heix", "heim", "heis", "mif1", "msf1"}


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(identify, arguments, feed)


def identify(arguments: dict[str, Any], reader: Reader, _: talk.Voice) -> dict[str, Any]:
    """`MediaInfo` as JSON values. Raises Refused."""
    found = picture.identify(reader, arguments["max_pixels"])
    if found is not None:
        return {
            "kind": "image",
            "format": found.pop("format"),
            "size": reader.size,
            "image": found.pop("image"),
            "tags": found.pop("tags"),
        }
    _check_riff(reader)
    with opened(reader, arguments) as container:
        return _describe(container, arguments, reader.size)


def _check_riff(reader: Reader) -> None:
    """WAV and AVI say in their head how long they are. Writers that could not know leave 0 or nearly 2 or 4 GiB."""
    reader.seek(0)
    head = reader.read(8)
    declared = int.from_bytes(head[4:], "little") + 8
    if head[:4] == b"RIFF" and reader.size + 1 < declared < _UNKNOWN_RIFF:
        raise talk.Refused(
            "truncated", f"This file was cut off: it should have {declared} bytes, but it has only {reader.size}."
        )


def _describe(container: Any, arguments: dict[str, Any], size: int) -> dict[str, Any]:
    _check_streams(container, arguments)
    video = next((s for s in container.streams.video if not _still(s)), None)
    sounds = list(container.streams.audio)
    if video is None and not sounds:
        raise talk.Refused("not_media", f"{NOT_MEDIA}: it holds neither moving picture nor sound.")
    _check_whole(container, size)
    first = _first_frames(container, video, sounds[:1])
    seconds = _duration(container, [s for s in (video, *sounds) if s is not None])
    if seconds is not None and seconds > arguments["max_seconds"]:
        raise talk.Refused(
            "too_long", f"This file lasts {seconds:.0f} s; {arguments['max_seconds']:.0f} s are allowed."
        )
    return {
        "kind": "video" if video is not None else "audio",
        "format": container.format.name,
        "container": container.format.long_name,
        "size": size,
        "duration": seconds,
        "bit_rate": container.bit_rate or None,
        "start": None if container.start_time is None else container.start_time / av.time_base,
        "video": _video(video, first[video.index]) if video is not None else None,
        "audio": [_audio(s) for s in sounds],
        "streams": len(container.streams),
        "tags": _tags(container.metadata),
    }


def _check_streams(container: Any, arguments: dict[str, Any]) -> None:
    if len(container.streams) > arguments["max_streams"]:
        raise talk.Refused(
            "too_many_streams",
            f"This file has {len(container.streams)} streams; {arguments['max_streams']} are allowed.",
        )
    if container.metadata.get("major_brand", "").strip() in _PICTURE_BRANDS:
        raise talk.Refused("undecodable", "This HEIC picture is damaged, or of a kind that is not known.")
    for stream in container.streams.video:
        if stream.codec_context is not None and stream.width * stream.height > arguments["max_pixels"]:
            raise talk.Refused(
                "too_many_pixels",
                f"The picture is {stream.width} by {stream.height}; {arguments['max_pixels']} pixels are allowed.",
            )


def _still(stream: Any) -> bool:
    return (
        bool(stream.disposition & (av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails))
        or stream.codec_context is None
    )


def _check_whole(container: Any, size: int) -> None:
    """Where the index says where samples lie, the last ones must lie inside the file. Costs no reading."""
    for stream in container.streams:
        entries = stream.index_entries
        if container.format.name.startswith("mov") and len(entries):
            last = entries[len(entries) - 1]
            if last.pos + last.size > size:
                raise talk.Refused(
                    "truncated",
                    f"This file was cut off: its index reaches to byte {last.pos + last.size}, but it has only {size}.",
                )


def _first_frames(container: Any, video: Any, sounds: list[Any]) -> dict[int, Any]:
    """The first decoded frame by stream.

    Raises Refused when the picture, or the sound of a sound file, does not decode.
    """
    wanted = {s.index: Decoder() for s in (video, *sounds) if s is not None and s.codec_context is not None}
    first: dict[int, Any] = {}
    try:
        for count, packet in enumerate(container.demux([s for s in container.streams if s.index in wanted])):
            frames = wanted[packet.stream_index].frames(packet)
            if frames:
                first.setdefault(packet.stream_index, frames[0])
            if len(first) == len(wanted) or count >= _PROBED_PACKETS:
                break
    except av.error.FFmpegError as error:
        raise talk.Refused("undecodable", f"This file is damaged: {error.strerror}.") from error
    needed = video if video is not None else sounds[0]
    if needed.index not in first:
        name = needed.codec_context.name if needed.codec_context is not None else "an unknown codec"
        raise talk.Refused(
            "undecodable", f"No frame of this file can be decoded ({name}): it is damaged or of an unknown kind."
        )
    return first


def _duration(container: Any, streams: list[Any]) -> float | None:
    """Seconds: the container's word, else the longest stream's."""
    if container.duration:
        return float(container.duration / av.time_base)
    known = [float(s.duration * s.time_base) for s in streams if s.duration]
    return max(known, default=None)


def _video(stream: Any, frame: Any) -> dict[str, Any]:
    context = stream.codec_context
    rotation = -frame.rotation % 360
    aspect = stream.sample_aspect_ratio or Fraction(1)
    width, height = max(1, round(frame.width * aspect)), frame.height
    if rotation in {90, 270}:
        width, height = height, width
    rate = stream.average_rate or stream.guessed_rate
    return {
        "index": stream.index,
        "codec": context.codec.canonical_name,
        "profile": context.profile,
        "level": context.level if context.level > 0 else None,
        "width": width,
        "height": height,
        "coded_width": frame.width,
        "coded_height": frame.height,
        "sample_aspect": f"{aspect.numerator}:{aspect.denominator}",
        "rotation": rotation,
        "fps": float(rate) if rate else None,
        "frame_rate": f"{rate.numerator}/{rate.denominator}" if rate else None,
        "vfr": _varies(stream),
        "pixel_format": frame.format.name,
        "bit_depth": max((c.bits for c in frame.format.components), default=8),
        "bit_rate": context.bit_rate or None,
        "duration": float(stream.duration * stream.time_base) if stream.duration else None,
        "frames": stream.frames or None,
        **colours.describe(context, frame),
    }


def _varies(stream: Any) -> bool:
    """Whether the frame rate varies: by the index's own steps where there is one, else where two estimates disagree."""
    entries = stream.index_entries
    if stream.frames and len(entries) == stream.frames and stream.frames > 3:
        stamps = [entry.timestamp for entry in entries[: min(len(entries), _PROBED_PACKETS)]]
        steps = [later - earlier for earlier, later in pairwise(stamps)]
        return bool(max(steps) > 1.5 * max(1, min(steps)))
    average, base = stream.average_rate, stream.base_rate
    return bool(average and base and abs(float(base) / float(average) - 1) > 0.02)


def _audio(stream: Any) -> dict[str, Any]:
    context = stream.codec_context
    return {
        "index": stream.index,
        "codec": context.codec.canonical_name if context is not None else "unknown",
        "profile": context.profile if context is not None else None,
        "channels": stream.channels if context is not None else 0,
        "layout": stream.layout.name if context is not None else "",
        "sample_rate": stream.sample_rate if context is not None else 0,
        "bit_rate": (stream.bit_rate or None) if context is not None else None,
        "duration": float(stream.duration * stream.time_base) if stream.duration else None,
        "language": stream.language,
    }


def _tags(metadata: dict[str, str]) -> dict[str, str]:
    return {str(key)[:_TEXT_LIMIT]: str(value)[:_TEXT_LIMIT] for key, value in list(metadata.items())[:_TAG_LIMIT]}
