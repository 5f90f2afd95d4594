"""Marks that a film carries through every encoding, and what reads them back: the frame's number as a bar code, and at
the same instants a flash in the picture and a beep in the sound.

A master is marked; what derives from it keeps the master's numbers. A film of another rate, made with `fps`, therefore
shows some numbers twice or leaves some out, one with a variable rate leaves out those of the frames it leaves out, and
an interlaced one shows two numbers in each frame, a field each.

The bar code is a band at the top: a row of cells and below it their inverse, so that a cell is read by comparing the
two, whatever was done to the light. The places are shares of the picture: it may be scaled in any way.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, BinaryIO

import av
import numpy as np
from numpy.typing import NDArray

BITS = 10  # of the number, the lowest at the left
_COLUMNS = BITS + 2  # and their parity, and one that is always set: a picture upside down is not read
_ROW = 1 / 12  # of the height
_BOX = (0.375, 0.625, 0.6, 0.9)  # the flash: left, right, top, bottom
_LEAST = 40  # of 255: what a cell differs from its inverse
_LASTS = 0.12  # seconds, a flash and a beep
# Whole seconds are frames' own at every whole rate; not every third, so that a sound that is a second late is noticed.
# A little early: 1.0 must not be missed because it was reckoned as 0.9999999.
_ON = "lt(mod(t+{early},1),{lasts})*gt(mod(floor(t+{early}),3),0)"
_LOUD, _QUIET = 0.5, 0.1  # of full scale: the beep, and what is left of the film's own sound


def instants(seconds: float) -> list[float]:
    """When a master of this length flashes and beeps, in seconds."""
    return [float(n) for n in range(1, int(seconds - _LASTS) + 1) if n % 3]


def _box(x: str, y: str, w: str, h: str, colour: str, when: str = "") -> str:
    return f"drawbox=x={x}:y={y}:w={w}:h={h}:t=fill:color={colour}" + (f":enable='{when}'" if when else "")


def _video() -> str:
    on = _ON.format(early=0.0005, lasts=_LASTS)
    left, right, top, bottom = _BOX
    flash = f"iw*{left}", f"ih*{top}", f"iw*{right - left}", f"ih*{bottom - top:.3f}"
    row = f"ih*{_ROW:.6f}"
    steps = [_box("0", "0", "iw", row, "black"), _box("0", row, "iw", row, "white")]
    parity = "+".join(f"floor(n/{1 << bit})" for bit in range(BITS))
    set_when = [*(f"mod(floor(n/{1 << bit}),2)" for bit in range(BITS)), f"mod({parity},2)", ""]
    for column, when in enumerate(set_when):
        place = f"iw*{column}/{_COLUMNS}", f"iw/{_COLUMNS}"
        steps += [_box(place[0], y, place[1], row, colour, when) for y, colour in (("0", "white"), (row, "black"))]
    return ",".join([*steps, _box(*flash, "black"), _box(*flash, "white", on)])


def _audio() -> str:
    on = _ON.format(early=0.000001, lasts=_LASTS)
    own = f"{_QUIET}*val(ch)*gt(mod(t+0.1,1),0.4)"  # nothing around a beep
    return f"aeval=exprs='if({on},{_LOUD}*sin(2*PI*1000*t),{own})':c=same"


MARKS_VIDEO = _video()  # for ffmpeg's -vf, on a film that begins at 0
MARKS_AUDIO = _audio()  # for ffmpeg's -af


@dataclass(frozen=True)
class Seen:
    """One frame as it was decoded."""

    time: float  # seconds, as a player places it
    number: int | None  # of the master's frame; None: not to be read
    light: float  # of the flash's box, 0 to 255


def number_of(grey: NDArray[Any]) -> int | None:
    """The frame's number in a picture's luma (0 to 255), upright."""
    height, width = grey.shape
    cells = []
    for row in (0, 1):
        top = height * _ROW * row
        lines = grey[round(top + height * _ROW * 0.25) : max(round(top + height * _ROW * 0.75), round(top) + 1)]
        edges = [(width * (column + 0.25) / _COLUMNS, width * (column + 0.75) / _COLUMNS) for column in range(_COLUMNS)]
        cells.append([float(lines[:, round(a) : max(round(b), round(a) + 1)].mean()) for a, b in edges])
    differences = [one - other for one, other in zip(*cells, strict=True)]
    if min(map(abs, differences)) < _LEAST or differences[-1] < 0:
        return None
    bits = [difference > 0 for difference in differences[:-1]]
    if sum(bits) % 2:
        return None
    return sum(1 << place for place, bit in enumerate(bits[:BITS]) if bit)


def frames(file: Path | BinaryIO, *, first_line: int | None = None) -> list[Seen]:
    """Every frame, upright, in the order in which it is decoded. `first_line` of an interlaced film: 0 where the upper
    field is the earlier one, 1 where the lower is; that field is read.
    """
    with _opened(file) as container:
        return [_seen(frame, first_line) for frame in container.decode(video=0)]


def _seen(frame: Any, first_line: int | None) -> Seen:
    grey = frame.to_ndarray(format="gray")
    if first_line is not None:
        grey = grey[first_line::2]
    grey = np.rot90(grey, round(frame.rotation / 90))
    height, width = grey.shape
    left, right, top, bottom = _BOX
    across, down = (right - left) / 4, (bottom - top) / 4
    box = grey[
        round(height * (top + down)) : round(height * (bottom - down)),
        round(width * (left + across)) : round(width * (right - across)),
    ]
    return Seen(float(frame.pts * frame.time_base), number_of(grey), float(box.mean()))


def keys(file: Path) -> list[float]:
    """When the key frames are shown, in seconds."""
    with _opened(file) as container:
        return sorted(
            float((packet.pts if packet.pts is not None else packet.dts) * packet.time_base)
            for packet in container.demux(video=0)
            if packet.is_keyframe and packet.size and packet.dts is not None
        )


def flashes(seen: Sequence[Seen]) -> list[float]:
    """When a frame is lit and the one before was not, in seconds."""
    lights = [frame.light for frame in seen]
    if not lights or max(lights) - min(lights) < 2 * _LEAST:
        return []
    lit = [light > (max(lights) + min(lights)) / 2 for light in lights]
    return [frame.time for frame, now, before in zip(seen[1:], lit[1:], lit, strict=False) if now and not before]


@dataclass(frozen=True)
class Heard:
    """A sound as it was decoded."""

    begin: float  # seconds: when the first sample is heard
    end: float
    beeps: list[float]  # seconds: when each begins


def sound(file: Path | BinaryIO, track: int = 0) -> Heard | None:
    """One of a file's sounds; None where it has no such track."""
    with _opened(file) as container:
        if len(container.streams.audio) <= track:
            return None
        pieces = list(_samples(container, track))
    if not pieces:
        return None
    beeps: list[float] = []
    loud = 0.4 * max(float(level.max()) for _, _, level in pieces)
    quiet_since = float("-inf")
    for time, rate, level in pieces:
        for place in np.flatnonzero(level > loud) if loud > 0.02 else ():
            at = time + float(place) / rate
            if at - quiet_since > 0.05:
                beeps.append(at)
            quiet_since = at
    time, rate, level = pieces[-1]
    return Heard(pieces[0][0], time + len(level) / rate, beeps)


def _samples(container: Any, track: int) -> Iterator[tuple[float, int, NDArray[Any]]]:
    """(when it begins in seconds, samples a second, their level) of each decoded piece."""
    plain = av.AudioResampler(format="fltp")
    for frame in container.decode(audio=track):
        for piece in plain.resample(frame):
            level = np.abs(piece.to_ndarray().mean(axis=0))
            begins = (piece.pts or 0) * (piece.time_base or Fraction(1, piece.sample_rate))
            yield float(begins), piece.sample_rate, level


def _opened(file: Path | BinaryIO) -> Any:
    return av.open(str(file) if isinstance(file, Path) else file)
