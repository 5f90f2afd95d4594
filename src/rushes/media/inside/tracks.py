"""The task that makes what needs no picture decoded: the source's own picture copied, and every sound, copied or encoded
to AAC, each in a CMAF file of its own. One pass over the source.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.error

from rushes.media.inside import talk
from rushes.media.inside.opened import Decoder, opened, packets
from rushes.media.inside.reader import Reader

_JUMP = 10.0  # seconds: stamps that leap further were set anew (as FFmpeg's -dts_delta_threshold)
_BEYOND = 60.0  # seconds behind the file's announced end up to which a stamp is believed
_LIMITER = "alimiter=limit=0.89:level=0:latency=1"  # 5.1 folded into two can be louder than full scale


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_tracks, arguments, feed)


def make_tracks(arguments: dict[str, Any], reader: Reader, voice: talk.Voice) -> dict[str, Any]:
    """Write every track. The result says what was copied with holes. Raises Refused."""
    with opened(reader, arguments, arguments["demuxer"]) as container:
        tracks: dict[int, Copied | Encoded] = {}
        for wanted in arguments["tracks"]:
            stream = container.streams[wanted["index"]]
            tracks[stream.index] = (Copied if wanted["copy"] else Encoded)(stream, wanted, arguments)
        for packet in packets(container, *[container.streams[index] for index in tracks]):
            tracks[packet.stream.index].take(packet)
            if packet.dts is not None and arguments["seconds"]:
                done = float(packet.dts * packet.time_base) - arguments["zero"]
                part = min(0.99, max(0.0, done / arguments["seconds"]))
                voice.progress(part, f"{done:.0f} of {arguments['seconds']:.0f} s are read")
        for track in tracks.values():
            track.close()
    return {"tracks": [{"file": t.file, "written": t.written, "hole": t.hole} for t in tracks.values()]}


class Clock:
    """A stream's stamps on the source's time line, from 0; where a broadcast's clock was set anew they go on."""

    def __init__(self, stream: Any, arguments: dict[str, Any]) -> None:
        self._offset: int = round(Fraction(arguments["zero"]) / stream.time_base)
        self._jump = round(_JUMP / stream.time_base) if arguments["broken_clock"] else 0
        self._end = round((arguments["seconds"] + _BEYOND) / stream.time_base) if arguments["seconds"] else 0
        self._due: int | None = None

    def at(self, stamp: int, lasts: int) -> int | None:
        """The stamp from 0, in the stream's ticks; None for one that cannot be."""
        time = stamp - self._offset
        if self._jump and self._due is not None and abs(time - self._due) > self._jump:
            self._offset += time - self._due
            time = self._due
        if self._end and time > self._end:
            return None
        self._due = time + lasts
        return time

    def shift(self, stamp: int) -> int:
        """Another stamp of the packet that `at` saw last."""
        return stamp - self._offset


def _created(wanted: dict[str, Any]) -> Any:
    options = {"movflags": wanted["movflags"], "fflags": "+bitexact"} | wanted["fragments"]
    return av.open(wanted["file"], "w", format="mp4", options=options)


class Copied:
    """A track as it is, with other stamps. Packets before 0 (a sound's lead-in) are left out."""

    def __init__(self, stream: Any, wanted: dict[str, Any], arguments: dict[str, Any]) -> None:
        self.file = wanted["file"]
        self.written = 0
        self.hole = 0.0  # seconds, the longest between two packets of a sound
        self._sound = stream.type == "audio"
        self._clock = Clock(stream, arguments)
        self._out = _created(wanted)
        self._stream = self._out.add_stream_from_template(stream)
        self._base = stream.time_base
        self._framed = self._sound and not stream.codec_context.extradata
        if self._framed:
            self._stream.codec_context.extradata = _specific(wanted["rate"], wanted["channels"])
        self._due: int | None = None

    def take(self, packet: Any) -> None:
        if packet.size == 0:
            return
        if packet.pts is None or packet.dts is None:
            self.hole = float("inf")  # a frame without its time cannot be copied
            return
        lasts = packet.duration or 0
        time = self._clock.at(packet.dts, lasts)
        if time is None or (self._sound and time < 0):
            return
        if self._sound and self._due is not None:
            self.hole = max(self.hole, abs(float((time - self._due) * self._base)))
        self._due = time + lasts
        ready = _bare(packet) if self._framed else packet
        ready.pts, ready.dts = self._clock.shift(packet.pts), time
        ready.stream = self._stream
        self._out.mux(ready)
        self.written += 1

    def close(self) -> None:
        self._out.close()


def _specific(rate: int, channels: int) -> bytes:
    """AudioSpecificConfig (ISO/IEC 14496-3 §1.6.2.1) of AAC-LC, which a stream of ADTS frames does not have."""
    return (2 << 11 | {44100: 4, 48000: 3}[rate] << 7 | channels << 3).to_bytes(2, "big")


def _bare(packet: Any) -> Any:
    """A packet without its ADTS header (§1.A.2.2), which MP4 does not have."""
    data = bytes(packet)
    if len(data) < 9 or data[0] != 0xFF or data[1] & 0xF0 != 0xF0:
        return packet
    bare = av.Packet(data[7 if data[1] & 1 else 9 :])
    bare.time_base, bare.duration, bare.is_keyframe = packet.time_base, packet.duration, True
    return bare


class Encoded:
    """A sound in AAC, mono or stereo, from 0 on: holes and a late beginning are silence."""

    def __init__(self, stream: Any, wanted: dict[str, Any], arguments: dict[str, Any]) -> None:
        self.file = wanted["file"]
        self.written = 0
        self.hole = 0.0
        self._wanted = wanted
        self._clock = Clock(stream, arguments)
        self._base = stream.time_base
        self._decoder = Decoder()
        self._out = _created(wanted)
        layout = "mono" if wanted["channels"] == 1 else "stereo"
        self._stream: Any = self._out.add_stream("aac", rate=wanted["rate"], layout=layout)
        self._stream.bit_rate = wanted["bits"]
        self._layout = layout
        self._graph: Any = None
        self._shape: tuple[object, ...] | None = None
        self._heard = 0  # samples

    def take(self, packet: Any) -> None:
        for frame in self._decoder.frames(packet):
            self._hear(frame)

    def _hear(self, frame: Any) -> None:
        if frame.pts is None:
            return
        base = frame.time_base or self._base
        lasts = round(Fraction(frame.samples, frame.sample_rate) / self._base)
        time = self._clock.at(round(frame.pts * base / self._base), lasts)
        if time is None:
            return
        shape = frame.format.name, frame.layout.name, frame.sample_rate
        if shape != self._shape:
            self._drain()
            self._graph, self._shape = self._chain(frame), shape
        frame.time_base = Fraction(1, frame.sample_rate)
        frame.pts = round(time * self._base * frame.sample_rate)
        self._graph[0].push(frame)
        self._pull()

    def _chain(self, frame: Any) -> tuple[Any, Any]:
        """Source and sink of a chain that fills holes, from the samples that were heard already."""
        graph = av.filter.Graph()
        rate = self._wanted["rate"]
        nodes = [
            graph.add_abuffer(
                sample_rate=frame.sample_rate,
                format=frame.format.name,
                layout=frame.layout.name,
                time_base=Fraction(1, frame.sample_rate),
            ),
            graph.add("aresample", f"{rate}:async=1:first_pts={self._heard}"),
            graph.add("aformat", f"sample_fmts=fltp:sample_rates={rate}:channel_layouts={self._layout}"),
        ]
        if frame.layout.nb_channels > self._wanted["channels"]:
            name, _, options = _LIMITER.partition("=")
            nodes.append(graph.add(name, options))
            nodes.append(graph.add("aformat", "sample_fmts=fltp"))
        nodes.append(graph.add("asetnsamples", "1024:p=0"))
        nodes.append(graph.add("abuffersink"))
        graph.link_nodes(*nodes).configure()
        self._keep = graph
        return nodes[0], nodes[-1]

    def _pull(self) -> None:
        while True:
            try:
                frame = self._graph[1].pull()
            except (av.error.BlockingIOError, av.error.EOFError):
                return
            frame.pts, frame.time_base = self._heard, Fraction(1, self._wanted["rate"])
            self._heard += frame.samples
            self._write(self._stream.encode(frame))

    def _drain(self) -> None:
        if self._graph is not None:
            self._graph[0].push(None)
            self._pull()

    def _write(self, ready: list[Any]) -> None:
        """The encoder's lead-in lies before 0 and is left out: decoders begin in mid-stream as well."""
        for packet in ready:
            if packet.pts is not None and packet.pts >= 0:
                self._out.mux(packet)
                self.written += 1

    def close(self) -> None:
        self._drain()
        self._decoder.check()
        if self._heard:
            self._write(self._stream.encode(None))
        self._out.close()
