"""A task that listens to the sound files a job made: how long they really are, and whether beginning and end decode."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from typing import Any

import av
import av.error

from rushes.media.inside import talk
from rushes.media.inside.reader import Reader

_PACKETS = 100  # decoded at either end


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(hear, arguments, feed)


def hear(arguments: dict[str, Any], _: Reader, __: talk.Voice) -> dict[str, Any]:
    """Of each of `files` ({name, format}) seconds, and the samples decoded of the first and the last packets."""
    return {"files": [_hear_one(file["name"], file["format"]) for file in arguments["files"]]}


def _hear_one(name: str, demuxer: str) -> dict[str, Any]:
    try:
        with av.open(name, format=demuxer, options={"protocol_whitelist": "file"}) as container:
            stream: Any = container.streams.audio[0]
            ticks, first = 0, 0
            last: deque[Any] = deque(maxlen=_PACKETS)
            for number, packet in enumerate(container.demux(stream)):
                ticks += packet.duration or 0
                if number < _PACKETS:
                    first += _samples(packet)
                elif packet.size:
                    last.append(packet)
            ended = first if not last else sum(_samples(packet) for packet in last)
            return {"name": name, "seconds": float(ticks * stream.time_base), "first": first, "last": ended,
                    "size": Path(name).stat().st_size}  # fmt: skip
    except (av.error.FFmpegError, IndexError) as error:
        raise talk.Refused("undecodable", f"The preview {name} that was made of this file cannot be read.") from error


def _samples(packet: Any) -> int:
    return sum(frame.samples for frame in packet.decode())
