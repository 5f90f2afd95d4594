"""The task that makes proxies without the ffmpeg program, for machines that deny namespaces: one decode, one cascade,
by PyAV.
"""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av
import av.error

from rushes.media.inside import talk
from rushes.media.inside.opened import Decoder, opened, packets
from rushes.media.inside.reader import Reader
from rushes.media.inside.resampled import Resampled, silence_before

_CLOCK = 90000  # ticks a second of every proxy's video
_TURNS = {90: ["clock"], 180: ["clock", "clock"], 270: ["cclock"]}


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(transcode, arguments, feed)


def transcode(arguments: dict[str, Any], reader: Reader, voice: talk.Voice) -> dict[str, Any]:
    """Write every target. Raises Refused."""
    with opened(reader, arguments, arguments["demuxer"]) as container:
        video = container.streams[arguments["video"]["index"]]
        video.codec_context.thread_type = "AUTO"
        sound = container.streams[arguments["audio"]["index"]] if arguments["audio"] else None
        start = Fraction(container.start_time or 0, av.time_base)
        proxies = [Proxy(target, arguments, start) for target in arguments["targets"]]
        decoders = {stream.index: Decoder() for stream in (video, sound) if stream is not None}
        cascade: Cascade | None = None
        heard = False
        for packet in packets(container, *[stream for stream in (video, sound) if stream is not None]):
            for frame in decoders[packet.stream_index].frames(packet):
                if packet.stream_index != video.index:
                    if not heard:
                        heard = True
                        _hear(proxies, silence_before(container, frame, arguments["seconds"]))
                    _hear(proxies, [frame])
                    continue
                if cascade is None or not cascade.fits(frame):
                    cascade = Cascade(video, frame, arguments)
                for proxy, scaled in zip(proxies, cascade.scale(frame), strict=True):
                    proxy.see(scaled)
                if arguments["seconds"] and frame.time is not None:
                    done = frame.time - float(start)
                    voice.progress(
                        min(0.99, done / arguments["seconds"]),
                        f"{done:.0f} of {arguments['seconds']:.0f} s are encoded",
                    )
        decoders[video.index].check()
        for proxy in proxies:
            proxy.close()
    return {}


def _hear(proxies: list[Proxy], frames: Iterable[Any]) -> None:
    for frame in frames:
        for proxy in proxies:
            proxy.hear(frame)


class Cascade:
    """One chain of filters for all sizes: upright and square, then each size from the one above."""

    def __init__(self, video: Any, frame: Any, arguments: dict[str, Any]) -> None:
        self._shape = frame.width, frame.height, frame.format.name
        self._graph = av.filter.Graph()
        node = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or video.time_base
        )
        self._source = node
        self._sinks = []
        for turn in _TURNS.get(arguments["video"]["rotation"], []):
            node = self._link(node, 0, "transpose", turn)
        targets = arguments["targets"]
        pad = 0
        for target in targets:
            node = self._link(node, pad, "scale", f"{target['width']}:{target['height']}:flags=bicubic")
            node = self._link(node, 0, "format", "yuv420p")
            pad = 0
            sink = self._graph.add("buffersink")
            if target is not targets[-1]:
                node = self._link(node, 0, "split", "2")
                pad = 1
            node.link_to(sink, 0, 0)
            self._sinks.append(sink)
        self._graph.configure()

    def _link(self, node: Any, pad: int, name: str, arguments: str) -> Any:
        following = self._graph.add(name, arguments)
        node.link_to(following, pad, 0)
        return following

    def fits(self, frame: Any) -> bool:
        """Whether the frame is of the kind this cascade was built for; some streams change in mid-way."""
        return self._shape == (frame.width, frame.height, frame.format.name)

    def scale(self, frame: Any) -> list[Any]:
        """The frame at every target's size, largest first."""
        self._source.push(frame)
        return [sink.pull() for sink in self._sinks]


class Proxy:
    """One MP4 file in the making."""

    def __init__(self, target: dict[str, Any], arguments: dict[str, Any], start: Fraction) -> None:
        self._file = av.open(target["file"], "w", format="mp4", options={"movflags": "+faststart"})
        options = {name: value for name, value in target["options"].items() if name != "c"}
        rate = Fraction(arguments["video"]["frame_rate"] or "25/1")
        self._video: Any = self._file.add_stream("libx264", rate=rate, options=options)
        self._video.width, self._video.height, self._video.pix_fmt = target["width"], target["height"], "yuv420p"
        self._video.codec_context.time_base = Fraction(1, _CLOCK)
        self._start = start
        self._last = -1
        self._audio: Any = None
        self._heard = 0  # samples
        sound = arguments["audio"]
        if sound:
            self._audio = self._file.add_stream("aac", rate=sound["rate"], layout=sound["layout"])
            self._audio.bit_rate = target["audio_bits"]
            self._resampled = Resampled(sample="fltp", layout=sound["layout"], rate=sound["rate"], frame_size=1024)

    def see(self, frame: Any) -> None:
        if frame.pts is None:
            return
        stamp = max(0, round((frame.pts * frame.time_base - self._start) * _CLOCK))
        if stamp <= self._last:
            return  # two frames at one moment: players show the first
        self._last = stamp
        frame.pts, frame.time_base, frame.pict_type = stamp, Fraction(1, _CLOCK), 0
        self._file.mux(self._video.encode(frame))

    def hear(self, frame: Any) -> None:
        self._encode_sound(self._resampled.take(frame))

    def _encode_sound(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            frame.pts, frame.time_base = self._heard, Fraction(1, self._audio.rate)
            self._heard += frame.samples
            self._file.mux(self._audio.encode(frame))

    def close(self) -> None:
        if self._audio is not None:
            self._encode_sound(self._resampled.flush())
            self._file.mux(self._audio.encode(None))
        self._file.mux(self._video.encode(None))
        self._file.close()
