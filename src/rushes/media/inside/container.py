"""What there is to know of a container: its name in one word, its streams, its timecode, its chapters; and whether it is
as large as its index says.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import av
import av.error
import av.stream

from rushes.media.inside import tags, talk
from rushes.media.inside.reader import Reader

_WORDS = {
    "matroska": "mkv", "mpegts": "ts", "mpeg": "mpg", "h264": "h264", "mpegvideo": "mpg", "yuv4mpegpipe": "y4m",
    "aac": "aac", "dtshd": "dts", "mpc8": "mpc", "loas": "aac",
}  # fmt: skip
_EBML_HEAD = 128  # bytes in which the document type stands
_OTHERS = 100  # streams that are named one by one
_FRAMES_ONLY = {
    "aac",
    "loas",
    "amr",
    "mp3",
    "ac3",
    "eac3",
    "dts",
    "truehd",
    "mlp",
}  # FFmpeg supposes that all of them have the bit rate of the first
_FIRST_FRAME = 4096  # bytes that hold it, and padding before it
_COUNTED = 4 * 1024 * 1024  # bytes
_UNKNOWN_RIFF = 0x7FFF0000


def check_riff(reader: Reader) -> None:
    """WAV and AVI say in their head how long they are. Writers that could not know leave 0 or nearly 2 or 4 GiB.

    Raises Refused.
    """
    reader.seek(0)
    head = reader.read(8)
    declared = int.from_bytes(head[4:], "little") + 8
    if head[:4] == b"RIFF" and reader.size + 1 < declared < _UNKNOWN_RIFF:
        raise talk.Refused(
            "truncated", f"This file was cut off: it should have {declared} bytes, but it has only {reader.size}."
        )


def check_whole(container: Any, size: int) -> None:
    """Where the index says where samples lie, the last ones must lie inside the file. Costs no reading. Raises Refused."""
    for stream in container.streams:
        entries = stream.index_entries
        if container.format.name.startswith("mov") and len(entries):
            last = entries[len(entries) - 1]
            if last.pos + last.size > size:
                raise talk.Refused(
                    "truncated",
                    f"This file was cut off: its index reaches to byte {last.pos + last.size}, but it has only {size}.",
                )


def wrapper(container: Any, reader: Reader) -> str:
    """One word for the container: FFmpeg reads MP4 and QuickTime, Matroska and WebM, by one demuxer each."""
    name = str(container.format.name).split(",", 1)[0]
    if name == "mov":
        brand = container.metadata.get("major_brand", "qt").strip().lower()
        return "mov" if brand == "qt" else "3gp" if brand.startswith("3g") else "mp4"
    if name == "matroska":
        position = reader.tell()  # which the open container counts on
        reader.seek(0)
        head = reader.read(_EBML_HEAD)
        reader.seek(position)
        return "webm" if b"\x42\x82\x84webm" in head else "mkv"
    return _WORDS.get(name, name)


def still(stream: Any) -> bool:
    """A cover or the like, or something of which nobody knows how to decode it."""
    pictures = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    return bool(stream.disposition & pictures) or stream.codec_context is None


def streams(container: Any, used: set[int]) -> dict[str, Any]:
    """How many of which kind, the ones not `used` by name, and the cover's index."""
    attached = av.stream.Disposition.attached_pic
    covers = [s.index for s in container.streams.video if s.disposition & attached and s.codec_context is not None]
    others = [s for s in container.streams if s.index not in used]
    return {
        "streams": len(container.streams),
        "counts": dict(Counter(s.type or "unknown" for s in container.streams)),
        "others": [_other(s) for s in others[:_OTHERS]],
        "cover": covers[0] if covers else None,
        "chapters": len(container.chapters()),
    }


def _other(stream: Any) -> dict[str, Any]:
    return {
        "index": stream.index,
        "kind": stream.type or "unknown",
        "codec": "unknown" if stream.codec_context is None else stream.codec_context.codec.canonical_name,
        "language": tags.language(stream.language),
        "title": tags.text(stream.metadata.get("title", "")) or None,
    }


def timecode(container: Any, video: Any, frame: Any, sounds: list[Any]) -> str | None:
    """Of the first frame: a timecode track's, the container's, or what the picture itself carries if it is not zero.

    Of a sound recorder's file the samples since midnight (EBU Tech 3285, TimeReference), if they are not zero.
    """
    tracks = [s.metadata.get("timecode") for s in container.streams if s.type == "data"]
    own = video.metadata.get("timecode") if video is not None else None
    carried = str(frame.metadata.get("timecode", "")) if frame is not None else ""
    since = container.metadata.get("time_reference", "")
    heard = tags.clock(int(since) / sounds[0].sample_rate) if sounds and re.fullmatch(r"[1-9]\d{0,12}", since) else None
    return tags.timecode(own, *tracks, container.metadata.get("timecode"), carried.strip("0:;.") and carried, heard)


def counted(container: Any, stream: Any, reader: Reader) -> float | None:
    """Seconds of a sound that is nothing but frames, by those frames; of a large one by its beginning. None for others."""
    name = container.format.name
    if name not in _FRAMES_ONLY or stream.time_base is None or (name == "mp3" and _indexed(reader)):
        return None
    ticks = read = 0
    try:
        container.seek(0)
        for packet in container.demux(stream):
            ticks, read = ticks + (packet.duration or 0), read + packet.size
            if read >= _COUNTED:
                break
    except av.error.FFmpegError:
        """What follows is damaged."""
    seconds: float = ticks * float(stream.time_base)
    return (seconds * reader.size / read if read >= _COUNTED else seconds) or None


def _indexed(reader: Reader) -> bool:
    """Whether an MP3 says in its first frame how many it has."""
    position = reader.tell()  # which the open container counts on
    reader.seek(0)
    head = reader.read(10)
    tags = sum((byte & 127) << 7 * (3 - place) for place, byte in enumerate(head[6:])) + 10 if head[:3] == b"ID3" else 0
    reader.seek(tags)
    frame = reader.read(_FIRST_FRAME)
    reader.seek(position)
    return any(mark in frame for mark in (b"Xing", b"Info", b"VBRI"))


def duration(container: Any, used: list[Any]) -> float | None:
    """Seconds: the container's word, else the longest stream's."""
    if container.duration:
        return float(container.duration / av.time_base)
    known = [float(s.duration * s.time_base) for s in used if s.duration]
    return max(known, default=None)


def origin(container: Any, video: Any, sounds: list[Any]) -> dict[str, Any]:
    """`created`, `camera`, `place`, `tags`."""
    tracks = [s.metadata for s in container.streams if s.type == "data"]
    own = [s.metadata for s in (video, *sounds[:1]) if s is not None]
    # A stream's encoder is the codec's library, not what made the file.
    fitting = [{k: v for k, v in table.items() if k.lower() != "encoder"} for table in (*own, *tracks)]
    return tags.found(container.metadata, *fitting) | {"tags": tags.cleaned(container.metadata)}
