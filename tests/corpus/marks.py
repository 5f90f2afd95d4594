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


def frames(file: Path | BinaryIO, *, first_line: int | None = None, turns: int = 0) -> list[Seen]:
    """Every frame as players show it, in the order in which it is decoded. `first_line` of an interlaced film: 0 where the
    upper field is the earlier one, 1 where the lower is; that field is read. `turns`: quarters by which it is turned
    against the clock after that, to be read.
    """
    with _opened(file) as container:
        rate = container.streams.video[0].average_rate or container.streams.video[0].guessed_rate
        return [
            _seen(frame, number / rate, first_line, turns) for number, frame in enumerate(container.decode(video=0))
        ]


def turns(file: Path) -> int:
    """By how many quarters against the clock a film is to be turned, after what players do, so that it can be read; 0 for
    one without marks.
    """
    with _opened(file) as container:
        frame: Any = next(container.decode(video=0))
    return next((turn for turn in range(4) if _seen(frame, 0, None, turn).number is not None), 0)


def _seen(frame: Any, otherwise: Fraction | float, first_line: int | None, turn: int) -> Seen:
    """`otherwise`: seconds, for a stream without stamps."""
    grey = frame.to_ndarray(format="gray")
    if first_line is not None:
        grey = grey[first_line::2]
    grey = np.rot90(grey, round(frame.rotation / 90) + turn)
    height, width = grey.shape
    left, right, top, bottom = _BOX
    across, down = (right - left) / 4, (bottom - top) / 4
    box = grey[
        round(height * (top + down)) : round(height * (bottom - down)),
        round(width * (left + across)) : round(width * (right - across)),
    ]
    time = otherwise if frame.pts is None else frame.pts * frame.time_base
    return Seen(float(time), number_of(grey), float(box.mean()))


def start(file: Path) -> float:
    """Seconds: when the file begins, by its own clock."""
    with _opened(file) as container:
        return float(container.start_time or 0) / float(av.time_base)


def keys(file: Path) -> list[float]:
    """When the key frames are shown, in seconds."""
    with _opened(file) as container:
        packets = [packet for packet in container.demux(video=0) if packet.is_keyframe and packet.size]
        return sorted(float(packet.pts * packet.time_base) for packet in packets if packet.pts is not None)


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
    times = np.concatenate([time + np.arange(len(level)) / rate for time, rate, level in pieces])
    levels = np.concatenate([level for _, _, level in pieces])
    return Heard(float(times[0]), float(times[-1]) + 1 / pieces[-1][1], _beeps(times, levels, pieces[-1][1]))


def _beeps(times: NDArray[Any], levels: NDArray[Any], rate: int) -> list[float]:
    """When it becomes loud and stays so for some milliseconds: a codec may make a single click of noise."""
    window = rate // 200
    sums = np.cumsum(np.concatenate([[0.0], levels, np.zeros(window)]))
    lasting = (sums[window:-1] - sums[: -window - 1]) / window
    loud = (levels > 0.4 * levels.max()) & (lasting > 0.3 * levels.max())
    beeps: list[float] = []
    before = float("-inf")
    for time in times[loud] if levels.max() > 0.05 else ():
        if time - before > 0.05:
            beeps.append(float(time))
        before = float(time)
    return beeps


def _samples(container: Any, track: int) -> Iterator[tuple[float, int, NDArray[Any]]]:
    """(when it begins in seconds, samples a second, their level) of each decoded piece."""
    plain = av.AudioResampler(format="fltp")
    time = 0.0
    for frame in container.decode(audio=track):
        for piece in plain.resample(frame):
            level = np.abs(piece.to_ndarray().mean(axis=0))
            if piece.pts is not None and piece.time_base is not None:  # what a decoder gives at its end has no stamps
                time = float(piece.pts * piece.time_base)
            yield time, piece.sample_rate, level
            time += len(level) / piece.sample_rate


def _opened(file: Path | BinaryIO) -> Any:
    return av.open(str(file) if isinstance(file, Path) else file)
