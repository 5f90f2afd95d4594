"""The task that encodes a span of a source without the ffmpeg program, for machines that deny namespaces: one decode, one
cascade, by PyAV. Each picture becomes a CMAF file, times on the source's line.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.error

from rushes.media.inside import talk
from rushes.media.inside.opened import Decoder, opened, packets
from rushes.media.inside.reader import Reader

_TURNS = {90: ["clock"], 180: ["clock", "clock"], 270: ["cclock"]}
_BT709 = 1  # ITU-T H.273's number for primaries, transfer and matrix


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(transcode, arguments, feed)


def transcode(arguments: dict[str, Any], reader: Reader, voice: talk.Voice) -> dict[str, Any]:
    """Write every target. Raises Refused."""
    start, end = arguments["start"], arguments["end"]
    with opened(reader, arguments, arguments["demuxer"]) as container:
        video = container.streams[arguments["video"]["index"]]
        video.codec_context.thread_type = "AUTO"
        zero = Fraction(arguments["zero"])
        if start > arguments["lead"]:
            container.seek(int((float(zero) + start - arguments["lead"]) * av.time_base))
        pictures = [Picture(target, arguments) for target in arguments["targets"]]
        decoder, cascade = Decoder(), None
        for packet in packets(container, video):
            for frame in decoder.frames(packet):
                if frame.pts is None:
                    continue
                time = float(frame.pts * (frame.time_base or video.time_base) - zero)
                if (start and time < start) or (end is not None and time >= end):
                    continue
                if cascade is None or not cascade.fits(frame):
                    if cascade is not None:
                        _see(pictures, cascade.rest(), zero)
                    cascade = Cascade(video, frame, arguments)
                _see(pictures, cascade.scale(frame), zero)
                _say(voice, time - start, (end or arguments["seconds"]) - start)
            if end is not None and packet.dts is not None and _past(packet, zero, end):
                break
        decoder.check()
        if cascade is not None:
            _see(pictures, cascade.rest(), zero)
        for picture in pictures:
            picture.close()
    return {}


def _past(packet: Any, zero: Fraction, end: float) -> bool:
    """Whether every frame of the span has been read: decoding runs ahead of showing."""
    return float(packet.dts * packet.time_base - zero) > end + 1.0


def _see(pictures: list[Picture], scaled: list[list[Any]], zero: Fraction) -> None:
    for picture, frames in zip(pictures, scaled, strict=True):
        for frame in frames:
            picture.see(frame, zero)


def _say(voice: talk.Voice, done: float, seconds: float) -> None:
    if seconds > 0:
        voice.progress(min(0.99, max(0.0, done / seconds)), f"{done:.0f} of {seconds:.0f} s are encoded")


class Cascade:
    """One chain of filters for all sizes: deinterlaced, upright and square, then each size from the one above."""

    def __init__(self, video: Any, frame: Any, arguments: dict[str, Any]) -> None:
        self._shape = frame.width, frame.height, frame.format.name
        self._graph = av.filter.Graph()
        node = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base or video.time_base
        )
        self._source = node
        self._sinks = []
        for name, options in [
            *arguments["before"],
            *(("transpose", turn) for turn in _TURNS.get(arguments["video"]["rotation"], [])),
        ]:
            node = self._link(node, 0, name, options)
        targets = arguments["targets"]
        pad = 0
        for target in targets:
            scale = f"{target['width']}:{target['height']}:flags=bicubic"
            if arguments["video"]["hdr"] and target is targets[0]:
                scale += ":out_color_matrix=bt709:out_primaries=bt709:out_transfer=bt709:out_range=tv"
            node = self._link(node, pad, "scale", scale)
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

    def scale(self, frame: Any) -> list[list[Any]]:
        """What comes out at every target's size, largest first; a deinterlacer holds one frame back."""
        self._source.push(frame)
        return self._pulled()

    def rest(self) -> list[list[Any]]:
        """What was held back."""
        self._source.push(None)
        return self._pulled()

    def _pulled(self) -> list[list[Any]]:
        return [_all_of(sink) for sink in self._sinks]


def _all_of(sink: Any) -> list[Any]:
    frames = []
    while True:
        try:
            frames.append(sink.pull())
        except (av.error.BlockingIOError, av.error.EOFError):
            return frames


class Picture:
    """One CMAF file in the making."""

    def __init__(self, target: dict[str, Any], arguments: dict[str, Any]) -> None:
        options = {"movflags": arguments["movflags"], "fflags": "+bitexact"}
        self._file = av.open(target["file"], "w", format="mp4", options=options)
        rate = Fraction(arguments["video"]["frame_rate"] or "25/1")
        self._clock = arguments["ticks"]
        self._video: Any = self._file.add_stream(target["codec"], rate=rate, options=target["options"])
        self._video.width, self._video.height, self._video.pix_fmt = target["width"], target["height"], "yuv420p"
        context = self._video.codec_context
        context.time_base = Fraction(1, self._clock)
        if arguments["video"]["hdr"]:
            context.color_primaries = context.color_trc = context.colorspace = _BT709
        self._from_zero = arguments["start"] == 0
        self._keys = arguments["keys"]
        self._gop = round(arguments["gop"] * self._clock)
        self._next = 0  # the key that comes next
        self._last = -1

    def see(self, frame: Any, zero: Fraction) -> None:
        """A picture that begins after the sound is shown from the beginning."""
        first = self._last < 0
        stamp = 0 if first and self._from_zero else round((frame.pts * frame.time_base - zero) * self._clock)
        if stamp <= self._last or stamp < 0:
            return  # two frames at one moment: players show the first
        self._last = stamp
        frame.pts, frame.time_base = stamp, Fraction(1, self._clock)
        frame.pict_type = 1 if self._key(stamp) else 0
        self._file.mux(self._video.encode(frame))

    def _key(self, stamp: int) -> bool:
        """Whether a key frame is due: every GOP, or at the moments that were said (see `commands.forced_keys`)."""
        if self._keys is None:
            due = stamp + self._clock // 200 >= self._next * self._gop
            self._next += due
            return bool(due)
        due = False
        while self._next < len(self._keys) and stamp / self._clock >= self._keys[self._next] - 0.005:
            due, self._next = True, self._next + 1
        return due

    def close(self) -> None:
        if self._last >= 0:
            self._file.mux(self._video.encode(None))
        self._file.close()
