"""Playable files of a sound, written while it is decoded: encoded once for all files of a codec, or copied."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction
from typing import Any

import av

from rushes.media.inside.resampled import Resampled, laid_out, quiet

_LEAST = 20  # of a second


class Encoded:
    """One encoder and the files its packets go into."""

    def __init__(self, preview: dict[str, Any]) -> None:
        self._rate = preview["rate"]
        self._files = [
            av.open(file["name"], "w", format=file["format"], options=file["options"]) for file in preview["files"]
        ]
        self._encoder: Any = self._files[0].add_stream(
            preview["codec"], rate=self._rate, layout=preview["layout"], options=preview["options"]
        )
        self._encoder.bit_rate = preview["bit_rate"]
        self._encoder.codec_context.open()
        self._streams = [
            self._encoder, *(file.add_stream_from_template(self._encoder) for file in self._files[1:])
        ]  # fmt: skip
        for stream in self._streams[1:]:  # a template has not got it yet, and browsers refuse AAC that does not say how
            stream.codec_context.extradata = self._encoder.codec_context.extradata
        self._resampled = Resampled("fltp", preview["layout"], self._rate, self._encoder.codec_context.frame_size)
        self._heard = 0  # samples
        self._last: Any = None

    def hear(self, frame: Any) -> None:
        self._last = laid_out(frame)
        self._encode(self._resampled.take(self._last))

    def finish(self) -> None:
        if self._last is not None and not self._heard:  # less than one packet: decoders would hear nothing of it
            self._encode(self._resampled.take(quiet(self._last, self._last.sample_rate // _LEAST)))
        self._encode(self._resampled.flush())
        self._write(self._encoder.encode(None))
        for file in self._files:
            file.close()

    def _encode(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            frame.pts, frame.time_base = self._heard, Fraction(1, self._rate)
            self._heard += frame.samples
            self._write(self._encoder.encode(frame))

    def _write(self, packets: Iterable[Any]) -> None:
        for packet in packets:
            for file, stream in zip(self._files, self._streams, strict=True):
                packet.stream = stream
                file.mux(packet)


class Copied:
    """Packets as they are, stamped anew, since stamps of broken files jump.

    `changed` turns true when the sound becomes of another kind on the way: players would not follow. `seconds` are those
    copied.
    """

    def __init__(self, preview: dict[str, Any], source: Any) -> None:
        self._files = [
            av.open(file["name"], "w", format=file["format"], options=file["options"]) for file in preview["files"]
        ]
        self._streams = [file.add_stream_from_template(source) for file in self._files]
        self._samples: int = preview["frame_size"]
        self._rate: int = preview["rate"]
        self._written = 0  # samples
        self._packets = 0
        self._shape: tuple[int, str] | None = None
        self.changed = False

    @property
    def seconds(self) -> float:
        return self._packets * self._samples / self._rate

    def pass_on(self, packet: Any, frames: list[Any]) -> None:
        """`frames` are what was decoded of the packet."""
        for frame in frames:
            shape = frame.sample_rate, frame.layout.name
            self.changed = self.changed or self._shape not in {None, shape}
            self._shape = shape
        if not packet.size:
            return  # the decoder's last word
        if not self._packets and packet.pts is not None and packet.pts < 0:  # what the encoder needs to begin
            self._written = -self._samples * max(1, round(-packet.pts * packet.time_base * self._rate / self._samples))
        packet.time_base = Fraction(1, self._rate)
        packet.pts = packet.dts = self._written
        packet.duration = self._samples
        self._written += self._samples
        self._packets += 1
        for file, stream in zip(self._files, self._streams, strict=True):
            packet.stream = stream
            file.mux(packet)

    def finish(self) -> None:
        for file in self._files:
            file.close()
