"""The task that makes waveform peaks and their picture.

Peaks are audiowaveform's JSON, version 2, as peaks.js and wavesurfer read it: the least and greatest 8-bit sample of
every `samples_per_pixel`, mono. When there are too many, neighbours are folded into one and `samples_per_pixel`
doubles, so memory and file stay bounded for any length.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from rushes.media.inside import plugins, talk
from rushes.media.inside.opened import Decoder, opened, packets
from rushes.media.inside.reader import Reader
from rushes.media.inside.resampled import Resampled, silence_before

plugins.load()
_FINEST = 256  # samples per pixel
_MOST = 65536  # pixels
_CHUNK = 65536  # samples gathered before they are folded
_INK = (37, 99, 235, 255)

Samples = npt.NDArray[np.int16]


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_waveform, arguments, feed)


def make_waveform(arguments: dict[str, Any], reader: Reader, voice: talk.Voice) -> dict[str, Any]:
    """Write peaks and picture; the result says how many seconds were decoded. Raises Refused."""
    peaks = Peaks()
    with opened(reader, arguments, arguments["demuxer"]) as container:
        stream = container.streams[arguments["index"]]
        rate = stream.codec_context.sample_rate
        decoder, resampled = Decoder(), Resampled(sample="s16", layout="mono", rate=rate)
        begun = False
        for packet in packets(container, stream):
            for frame in decoder.frames(packet):
                if not begun:
                    begun = True
                    for quiet in silence_before(container, frame, arguments["seconds"]):
                        peaks.take(resampled.take(quiet))
                peaks.take(resampled.take(frame))
            if arguments["seconds"]:
                done = peaks.samples / rate
                voice.progress(
                    min(0.99, done / arguments["seconds"]), f"{done:.0f} of {arguments['seconds']:.0f} s are drawn"
                )
        peaks.take(resampled.flush())
    decoder.check()
    lows, highs = peaks.finish()
    if not peaks.samples:
        raise talk.Refused("undecodable", "No sound of this file can be decoded.")
    _write_json(arguments["json"], lows, highs, rate, peaks.scale)
    _write_picture(arguments["image"], lows, highs, arguments["width"], arguments["height"])
    return {"seconds": peaks.samples / rate, "length": len(lows), "samples_per_pixel": peaks.scale}


class Peaks:
    """Least and greatest samples of every `scale` samples so far."""

    def __init__(self) -> None:
        self.scale = _FINEST
        self.samples = 0
        self._lows: list[Samples] = []
        self._highs: list[Samples] = []
        self._pixels = 0
        self._waiting: list[Samples] = []
        self._waiting_samples = 0

    def take(self, frames: Iterable[Any]) -> None:
        for frame in frames:
            self.add(frame.to_ndarray()[0])

    def add(self, samples: Samples) -> None:
        self._waiting.append(samples)
        self._waiting_samples += len(samples)
        self.samples += len(samples)
        if self._waiting_samples >= _CHUNK:
            self._drain(whole=False)

    def finish(self) -> tuple[Samples, Samples]:
        """(lows, highs), one entry a pixel."""
        self._drain(whole=True)
        return self._joined()

    def _joined(self) -> tuple[Samples, Samples]:
        empty = np.empty(0, np.int16)
        return np.concatenate([empty, *self._lows]), np.concatenate([empty, *self._highs])

    def _drain(self, *, whole: bool) -> None:
        samples = np.concatenate([np.empty(0, np.int16), *self._waiting])
        if whole and len(samples) % self.scale:
            samples = np.pad(samples, (0, -len(samples) % self.scale), mode="edge")
        count = len(samples) // self.scale
        pixels = samples[: count * self.scale].reshape(count, self.scale)
        rest = samples[count * self.scale :]
        self._waiting, self._waiting_samples = [rest], len(rest)
        if count:
            self._lows.append(pixels.min(axis=1))
            self._highs.append(pixels.max(axis=1))
            self._pixels += count
        if self._pixels > _MOST:
            self._fold()

    def _fold(self) -> None:
        lows, highs = self._joined()
        if len(lows) % 2:
            lows, highs = np.append(lows, lows[-1]), np.append(highs, highs[-1])
        self._lows, self._highs = [lows.reshape(-1, 2).min(axis=1)], [highs.reshape(-1, 2).max(axis=1)]
        self._pixels = len(self._lows[0])
        self.scale *= 2


def _write_json(path: str, lows: Samples, highs: Samples, rate: int, scale: int) -> None:
    data = np.stack([lows >> 8, highs >> 8], axis=1).reshape(-1).tolist()
    head = {
        "version": 2,
        "channels": 1,
        "sample_rate": rate,
        "samples_per_pixel": scale,
        "bits": 8,
        "length": len(lows),
        "data": data,
    }
    Path(path).write_text(json.dumps(head, separators=(",", ":")))


def _write_picture(path: str, lows: Samples, highs: Samples, width: int, height: int) -> None:
    """Peaks as bars on a transparent ground, each column as loud as its loudest moment."""
    edges = np.linspace(0, len(lows), width + 1).astype(np.intp)
    starts = np.minimum(edges[:-1], len(lows) - 1)
    low, high = np.minimum.reduceat(lows, starts), np.maximum.reduceat(highs, starts)
    middle = height / 2
    top = np.minimum(middle - high / 32768 * middle, middle - 0.5)
    bottom = np.maximum(middle - low / 32768 * middle, middle + 0.5)
    rows = np.arange(height)[:, None] + 0.5
    pixels = np.zeros((height, width, 4), np.uint8)
    pixels[(rows >= top) & (rows <= bottom)] = _INK
    Image.fromarray(pixels, "RGBA").save(path, "PNG", optimize=True)
