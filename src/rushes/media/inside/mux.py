"""The task that makes the progressive file: a picture and a sound, both made already, in one MP4 with its index in front."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import av

from rushes.media.inside import measure, talk
from rushes.media.inside.reader import Reader


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(mux, arguments, feed)


def mux(arguments: dict[str, Any], _: Reader, voice: talk.Voice) -> dict[str, Any]:
    """Packets of all inputs by their time. Nothing is encoded. `files`: what the file holds, read anew."""
    with ExitStack() as stack:
        out = stack.enter_context(
            av.open(arguments["file"], "w", format="mp4", options={"movflags": "+faststart", "fflags": "+bitexact"})
        )
        sources = []
        for name in arguments["inputs"]:
            container = stack.enter_context(av.open(name, format="mov", options={"protocol_whitelist": "file"}))
            target = out.add_stream_from_template(container.streams[0])
            sources.append((target, container.demux(container.streams[0])))
        waiting: dict[Any, Any] = {}
        last: dict[Any, int] = {}
        for target, packets in sources:
            _next(waiting, target, packets)
        while waiting:
            target, (time, packet, packets) = min(waiting.items(), key=lambda item: item[1][0])
            # Where pieces were joined, one may begin to be decoded as early as the one before ends.
            packet.dts = last[target] = max(packet.dts, last.get(target, packet.dts - 1) + 1)
            packet.stream = target
            out.mux(packet)
            if arguments["seconds"]:
                voice.progress(min(0.99, time / arguments["seconds"]), "the progressive file is written")
            _next(waiting, target, packets)
    return {"files": [measure.of_file(arguments["file"])]}


def _next(waiting: dict[Any, Any], target: Any, packets: Any) -> None:
    """The next packet of an input, or nothing more of it."""
    waiting.pop(target, None)
    for packet in packets:
        if packet.dts is not None and packet.size:
            waiting[target] = float(packet.dts * packet.time_base), packet, packets
            return
