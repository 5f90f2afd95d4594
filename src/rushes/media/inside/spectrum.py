"""A spectrogram of any length in bounded memory: time from left to right, frequency upwards on a logarithmic scale.

Hann windows of about 85 ms; a column holds the mean power of its windows, and neighbours are folded into one when there
are too many. Colours are matplotlib's "inferno" (CC0), made so that equal steps look equal.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from numpy.fft import rfft
from numpy.lib.stride_tricks import sliding_window_view
from PIL import Image, ImageDraw, ImageFont

_WINDOW_SECONDS = 0.085
_BATCH = 64  # windows transformed at a time
_TICKS = (50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000)  # hertz
_PITCHES = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 14_400)  # seconds
_MOST_TIMES = 12
_INFERNO = ((0, 0, 4), (31, 12, 72), (85, 15, 109), (136, 34, 106), (186, 54, 85),
            (227, 89, 51), (249, 140, 10), (249, 201, 50), (252, 255, 164))  # fmt: skip

_FONT = ImageFont.load_default_imagefont()

Powers = npt.NDArray[np.float32]  # a row a moment, a column a band


class Spectrum:
    """Power by band of everything heard so far, 1.0 being a full-scale sine."""

    def __init__(self, rate: int, width: int, bands: int, lowest: float) -> None:
        self.width = width
        self.lowest, self.highest = lowest, rate / 2  # hertz
        self._size = 1 << max(6, round(math.log2(rate * _WINDOW_SECONDS)))
        window = np.hanning(self._size)
        self._window = (window / window.sum() * 2 / 32768).astype(np.float32)
        self._hop = self._size // 8
        self._windows = 1  # of one column
        self._buffer: npt.NDArray[np.float32] = np.zeros(self._size // 2, np.float32)  # the first is around time 0
        self._columns: list[Powers] = []
        self._count = 0
        self._rest: Powers = np.empty((0, bands), np.float32)  # windows of a column that is not full
        edges = np.geomspace(lowest, self.highest, bands + 1) * self._size / rate  # in steps of the transform
        self._starts = np.minimum(np.ceil(edges[:-1]).astype(np.intp), self._size // 2)
        self._narrow = np.ceil(edges[:-1]) >= np.ceil(edges[1:])  # bands between two steps
        centres = np.sqrt(edges[:-1] * edges[1:])[self._narrow]
        self._below = np.minimum(centres.astype(np.intp), self._size // 2 - 1)
        self._share = (centres - self._below).astype(np.float32)

    def add(self, samples: npt.NDArray[np.float32]) -> None:
        """16-bit values of one channel."""
        self._buffer = np.concatenate([self._buffer, samples])
        while len(self._buffer) >= self._size:
            count = min(_BATCH, (len(self._buffer) - self._size) // self._hop + 1)
            frames = sliding_window_view(self._buffer, self._size)[:: self._hop][:count]
            self._take(self._bands(frames))
            self._buffer = self._buffer[count * self._hop :]
            if self._count > 2 * self.width:
                self._fold()

    def finish(self) -> Powers:
        """At least one column."""
        self.add(np.zeros(max(self._size // 2, self._size - len(self._buffer)), np.float32))
        if len(self._rest):
            self._columns.append(self._rest.mean(axis=0, keepdims=True))
        return np.concatenate(self._columns)

    def _bands(self, frames: npt.NDArray[np.float32]) -> Powers:
        transformed = rfft(frames * self._window)
        power = transformed.real**2 + transformed.imag**2
        bands = np.maximum.reduceat(power, self._starts, axis=1)
        below = power[:, self._below]
        bands[:, self._narrow] = below + (power[:, self._below + 1] - below) * self._share
        return bands.astype(np.float32, copy=False)

    def _take(self, rows: Powers) -> None:
        rows = np.concatenate([self._rest, rows])
        count = len(rows) // self._windows
        self._rest = rows[count * self._windows :]
        if count:
            grouped = rows[: count * self._windows].reshape(count, self._windows, -1)
            self._columns.append(grouped.mean(axis=1))
            self._count += count

    def _fold(self) -> None:
        """Halve the columns: first by looking less often, then, when every moment is looked at once, by averaging."""
        columns = np.concatenate(self._columns)
        if len(columns) % 2:
            columns = np.concatenate([columns, columns[-1:]])
        self._columns = [columns.reshape(len(columns) // 2, 2, -1).mean(axis=1)]
        self._count = len(self._columns[0])
        if self._hop < self._size:
            self._hop *= 2
        else:
            self._windows *= 2


def draw(spectrum: Spectrum, seconds: float, floor: float, ceiling: float) -> Image.Image:
    """The picture, with frequencies and times written into it. `floor` and `ceiling` are the decibels (of a full-scale
    sine) at the ends of the colours.
    """
    columns = spectrum.finish()
    if len(columns) > spectrum.width:
        starts = np.linspace(0, len(columns), spectrum.width + 1).astype(np.intp)
        counts = np.diff(starts).astype(np.float32)[:, None]
        columns = np.divide(np.add.reduceat(columns, starts[:-1], axis=0), counts, dtype=np.float32)
    else:
        columns = columns[np.arange(spectrum.width) * len(columns) // spectrum.width]
    decibels = 10 * np.log10(np.maximum(columns, 1e-12))
    levels = np.clip((decibels - floor) / (ceiling - floor), 0, 1) * 255
    picture = Image.fromarray(np.ascontiguousarray(levels.T[::-1]).astype(np.uint8), "P")
    picture.putpalette(_palette())
    _label(picture, spectrum, seconds)
    return picture


def _label(picture: Image.Image, spectrum: Spectrum, seconds: float) -> None:
    pen = ImageDraw.Draw(picture)
    octaves = math.log(spectrum.highest / spectrum.lowest)
    for tick in _TICKS:
        row = round(picture.height * (1 - math.log(tick / spectrum.lowest) / octaves))
        if 12 <= row < picture.height - 24:
            pen.line((0, row, 5, row), fill=255)
            _write(pen, 8, row - 5, f"{tick // 1000} kHz" if tick >= 1000 else f"{tick} Hz")
    pitch = next((pitch for pitch in _PITCHES if seconds <= pitch * _MOST_TIMES), 86_400)
    for number in range(1, math.ceil(seconds / pitch)):
        column = round(number * pitch / seconds * picture.width)
        if column < picture.width - 40:
            pen.line((column, picture.height - 5, column, picture.height), fill=255)
            _write(pen, column + 3, picture.height - 12, _clock(number * pitch))


def _write(pen: Any, left: int, top: int, text: str) -> None:
    """Light letters with a dark edge: legible on every colour."""
    for x, y in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        pen.text((left + x, top + y), text, fill=0, font=_FONT)
    pen.text((left, top), text, fill=255, font=_FONT)


def _clock(seconds: float) -> str:
    if seconds % 1:
        return f"{seconds:.1f} s"
    hours, rest = divmod(round(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}" if hours else f"{rest // 60}:{rest % 60:02d}"


def _palette() -> list[int]:
    """256 colours, red, green, blue."""
    steps = np.linspace(0, len(_INFERNO) - 1, 256)
    channels = [np.interp(steps, range(len(_INFERNO)), channel) for channel in zip(*_INFERNO, strict=True)]
    values: list[int] = np.round(np.stack(channels, axis=1)).astype(int).reshape(-1).tolist()
    return values
