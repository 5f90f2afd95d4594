"""Sound in one format, whatever the stream turns into on the way, beginning when the file begins."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import av
import numpy as np
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler

_PIECE = 48000  # samples of silence made at a time
_GUESSED = 8  # channels


class Resampled:
    """Feeds frames through a resampler, and through a new one when rate, layout or format change in mid-stream."""

    def __init__(self, sample: str, layout: Any, rate: int, frame_size: int | None = None) -> None:
        self._wanted: dict[str, Any] = {"format": sample, "layout": layout, "rate": rate, "frame_size": frame_size}
        self._resampler = AudioResampler(**self._wanted)
        self._shape: tuple[object, ...] | None = None

    def take(self, frame: Any) -> Iterator[Any]:
        """The frames that one frame becomes."""
        frame = laid_out(frame)
        shape = frame.format.name, frame.layout.name, frame.sample_rate
        if self._shape is not None and shape != self._shape:
            yield from self.flush()
        self._shape = shape
        frame.pts = None  # counted by whoever writes: stamps of broken files jump
        yield from self._resampler.resample(frame)

    def flush(self) -> Iterator[Any]:
        """What is left; the next frame starts afresh."""
        if self._shape is not None:
            yield from self._resampler.resample(None)
            self._resampler = AudioResampler(**self._wanted)
            self._shape = None


def laid_out(frame: Any) -> Any:
    """The frame, or a stereo one of it when it has more channels than FFmpeg guesses loudspeakers for: a recorder's
    tracks, odd ones left and even ones right.
    """
    if frame.layout.nb_channels <= _GUESSED or not frame.layout.name.endswith(" channels"):
        return frame
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, frame.layout.nb_channels).T
    if samples.dtype.kind == "u":
        samples = (samples.astype(np.float32) - 128) / 128
    elif samples.dtype.kind == "i":
        samples = samples / np.float32(-float(np.iinfo(samples.dtype).min))
    sides = np.stack([samples[::2].mean(axis=0), samples[1::2].mean(axis=0)]).astype(np.float32)
    stereo = AudioFrame.from_ndarray(sides, format="fltp", layout="stereo")
    stereo.sample_rate, stereo.pts, stereo.time_base = frame.sample_rate, frame.pts, frame.time_base
    return stereo


def silence_before(container: Any, frame: Any, seconds: float) -> Iterator[Any]:
    """Silent frames of the first frame's kind, for a sound that starts later than its file; at most `seconds` long."""
    frame = laid_out(frame)
    late = (frame.time or 0.0) - (container.start_time or 0) / av.time_base
    samples = round(max(0.0, min(late, seconds)) * frame.sample_rate)
    for start in range(0, samples, _PIECE):
        yield quiet(frame, min(_PIECE, samples - start))


def quiet(frame: Any, samples: int) -> Any:
    """Silence of a frame's kind."""
    silent = AudioFrame(frame.format.name, frame.layout.name, samples)
    silent.sample_rate = frame.sample_rate
    for plane in silent.planes:
        plane.update((b"\x80" if frame.format.name.startswith("u8") else b"\0") * plane.buffer_size)
    return silent
