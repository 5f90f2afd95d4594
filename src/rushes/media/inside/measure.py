"""A task that plays what a job made: the first and last segments of CMAF files, and what progressive files hold. They
were made among users' bytes too.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import av
import av.error

from rushes.media.inside import talk
from rushes.media.inside.reader import Reader


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(measure, arguments, feed)


def measure(arguments: dict[str, Any], _: Reader, __: talk.Voice) -> dict[str, Any]:
    return {
        "files": [of_file(name) for name in arguments["files"]],
        "segments": [_decode(**segment) for segment in arguments.get("segments", [])],
    }


def of_file(name: str) -> dict[str, Any]:
    """What an MP4 file holds, by its index. Raises Refused."""
    try:
        with av.open(name, format="mov", options={"protocol_whitelist": "file"}) as container:
            video, audio = container.streams.video, container.streams.audio
            return {
                "name": name,
                "width": video[0].width if video else 0,
                "height": video[0].height if video else 0,
                "frames": video[0].frames if video else 0,
                "video_seconds": _seconds(video[0]) if video else 0.0,
                "audio_seconds": _seconds(audio[0]) if audio else 0.0,
                "faststart": _index_first(Path(name)),
            }
    except av.error.FFmpegError as error:
        raise talk.Refused(
            "undecodable", f"The proxy {name} that was made of this file cannot be read: {error.strerror}."
        ) from error


def _seconds(stream: Any) -> float:
    return float((stream.duration or 0) * stream.time_base)


def _index_first(path: Path) -> bool:
    """Whether moov comes before mdat (ISO/IEC 14496-12 §4.2: boxes of size and type)."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind in {b"moov", b"mdat"}:
                return kind == b"moov"
            if size < 8:
                return False
            file.seek(size - 8, 1)
    return False


def _decode(name: str, init: int, start: int, length: int) -> int:
    """How many frames a segment gives by itself, as a player that seeks there would see; damaged ones do not count."""
    with Path(name).open("rb") as file:
        data = file.read(init)
        file.seek(start)
        data += file.read(length)
    count = 0
    try:
        with av.open(io.BytesIO(data), "r", format="mov", options={"protocol_whitelist": "none"}) as container:
            stream = container.streams[0]
            stream.codec_context.options = {"skip_loop_filter": "all"} if stream.type == "video" else {}
            for packet in container.demux(stream):
                count += _whole(packet)
    except av.error.FFmpegError:
        return count
    return count


def _whole(packet: Any) -> int:
    try:
        return sum(not frame.is_corrupt for frame in packet.decode())
    except av.error.FFmpegError:
        return 0
