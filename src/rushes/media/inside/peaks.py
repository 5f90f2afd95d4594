"""Waveform peaks, and their files: audiowaveform's JSON and binary form, version 2, and a picture.

Peaks are as peaks.js and wavesurfer read them: the least and greatest 8-bit sample of every `samples_per_pixel`, of each
channel. When there are too many, neighbours are folded into one and `samples_per_pixel` doubles, so memory and files stay
bounded for any length. The binary form is audiowaveform's doc/DataFormat.md: six little-endian 32-bit numbers, then the
same values as signed bytes.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

_FINEST = 256  # samples per pixel
_MOST = 65536  # pixels
_VERSION, _EIGHT_BITS = 2, 1  # of the files; the flag says that values are bytes
_INK = (37, 99, 235, 255)

Samples = npt.NDArray[np.int16]  # a row a channel


class Peaks:
    """Least and greatest samples of every `scale` samples so far."""

    def __init__(self, rate: int, channels: int) -> None:
        self.rate = rate
        self.channels = channels
        self.scale = _FINEST
        self.samples = 0
        self._lows: list[Samples] = []
        self._highs: list[Samples] = []
        self._pixels = 0
        self._rest: Samples = np.empty((channels, 0), np.int16)

    def add(self, samples: Samples) -> None:
        self.samples += samples.shape[1]
        samples = np.concatenate([self._rest, samples], axis=1)
        count = samples.shape[1] // self.scale
        self._rest = samples[:, count * self.scale :]
        self._keep(samples[:, : count * self.scale])
        if self._pixels > _MOST:
            self._fold()

    def finish(self) -> tuple[Samples, Samples]:
        """(lows, highs): a row a channel, a column a pixel."""
        missing = -self._rest.shape[1] % self.scale
        self._keep(np.pad(self._rest, ((0, 0), (0, missing)), mode="edge") if missing else self._rest)
        return self._joined()

    def _keep(self, samples: Samples) -> None:
        """Of a whole number of pixels."""
        count = samples.shape[1] // self.scale
        if count:
            pixels = samples.reshape(self.channels, count, self.scale)
            self._lows.append(pixels.min(axis=2))
            self._highs.append(pixels.max(axis=2))
            self._pixels += count

    def _joined(self) -> tuple[Samples, Samples]:
        empty = np.empty((self.channels, 0), np.int16)
        return np.concatenate([empty, *self._lows], axis=1), np.concatenate([empty, *self._highs], axis=1)

    def _fold(self) -> None:
        lows, highs = self._joined()
        if lows.shape[1] % 2:
            lows, highs = (np.concatenate([side, side[:, -1:]], axis=1) for side in (lows, highs))
        self._lows = [lows.reshape(self.channels, -1, 2).min(axis=2)]
        self._highs = [highs.reshape(self.channels, -1, 2).max(axis=2)]
        self._pixels = self._lows[0].shape[1]
        self.scale *= 2


def write(peaks: Peaks, arguments: dict[str, str | int]) -> int:
    """The files `json`, `data` and `image` (`width` by `height`); returns how many pixels each channel has."""
    lows, highs = peaks.finish()
    length = int(lows.shape[1])
    values = np.stack([lows >> 8, highs >> 8], axis=2)  # channel, pixel, side
    flat = values.transpose(1, 0, 2).reshape(-1).astype(np.int8)
    head = {
        "version": _VERSION,
        "channels": peaks.channels,
        "sample_rate": peaks.rate,
        "samples_per_pixel": peaks.scale,
        "bits": 8,
        "length": length,
        "data": flat.tolist(),
    }
    Path(str(arguments["json"])).write_text(json.dumps(head, separators=(",", ":")))
    numbers = struct.pack("<iIiiIi", _VERSION, _EIGHT_BITS, peaks.rate, peaks.scale, length, peaks.channels)
    Path(str(arguments["data"])).write_bytes(numbers + flat.tobytes())
    picture = draw(lows.min(axis=0), highs.max(axis=0), int(arguments["width"]), int(arguments["height"]))
    picture.save(str(arguments["image"]), "PNG", optimize=True)
    return length


def draw(lows: Samples, highs: Samples, width: int, height: int) -> Image.Image:
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
    return Image.fromarray(pixels, "RGBA")
