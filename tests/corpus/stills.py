"""Posters, sprite sheets and images, beside what was read of their source."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pillow_heif
from numpy.typing import NDArray
from PIL import Image, ImageOps

from rushes.wire import RenditionView
from tests.corpus.judged import Verdict, lasts
from tests.corpus.marks import Seen, number_of

pillow_heif.register_heif_opener()
_CUE = re.compile(r"([\d:.]+) --> ([\d:.]+)\n([^#\s]+)#xywh=(\d+),(\d+),(\d+),(\d+)")
_DARK = 10.0  # of 255: below it, and without any detail, a poster shows nothing
_ALIKE = 0.9  # correlation of brightness; tones are changed on purpose, places are not
_THUMB = (48, 48)


def grey(path: Path) -> NDArray[Any]:
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB").convert("L")).astype(float)


def poster(rendition: RenditionView, path: Path, source: Sequence[Seen], zero: float, turns: int) -> Verdict:
    """Of a marked film: not black, and the frame of the moment that it says; `zero`: the file's beginning, in seconds."""
    picture = grey(path)
    faults = _size(rendition, picture)
    if picture.mean() < _DARK and picture.std() < _DARK:
        faults.append("black")
    shown, time = number_of(np.rot90(picture, turns)), rendition.extra.get("time")
    if any(frame.number is not None for frame in source) and isinstance(time, int | float):
        moments = [frame.time - zero for frame in source if frame.number == shown]
        if not moments:
            faults.append("its number cannot be read")
        elif min(abs(moment - time) for moment in moments) > 1.5 * lasts(source):
            faults.append(f"the frame of {moments[0]:.2f} s, not of {time:.2f} s")
    return Verdict(rendition.name, faults=tuple(faults))


def _size(rendition: RenditionView, picture: NDArray[Any]) -> list[str]:
    if picture.shape == (rendition.height, rendition.width):
        return []
    return [f"{picture.shape[1]}×{picture.shape[0]} pixels for {rendition.width}×{rendition.height}"]


def sprite(
    vtt: str, sheets: Mapping[str, Path], source: Sequence[Seen], keys: Sequence[float], zero: float, turns: int
) -> Verdict:
    """Each tile shows one of the four key frames around its middle (`keys`: seconds on the source's line)."""
    pictures = {name: grey(path) for name, path in sheets.items()}
    times: dict[int, list[float]] = {}  # of a number that several frames show, as many
    for frame in source:
        if frame.number is not None:
            times.setdefault(frame.number, []).append(frame.time - zero)
    shown_keys = [max(0.0, key - zero) for key in keys]  # one that an edit list hides: the first frame that it shows
    unread = 0
    faults = []
    cues = _CUE.findall(vtt)
    for start, end, sheet, *box in cues:
        x, y, width, height = map(int, box)
        tile = pictures[sheet][y : y + height, x : x + width]
        if tile.shape != (height, width):
            faults.append(f"a tile outside of {sheet}")
            continue
        number = number_of(np.rot90(tile, turns))
        shown = [] if number is None else times.get(number, [])
        if not shown:
            unread += 1
            continue
        middle = (_seconds(start) + _seconds(end)) / 2
        allowed = [key for key in shown_keys if key <= middle][-2:] + [key for key in shown_keys if key > middle][:2]
        if min((abs(time - key) for time in shown for key in allowed), default=0.0) > 1.5 * lasts(source):
            faults.append(f"{shown[0]:.2f} s in the tile of {_seconds(start):g} to {_seconds(end):g} s")
    if times and unread:
        faults.append(f"{unread} of {len(cues)} tiles cannot be read")
    return Verdict("sprite", faults=tuple(faults) if cues else ("no tile",))


def _seconds(clock: str) -> float:
    seconds = 0.0
    for word in clock.split(":"):
        seconds = 60 * seconds + float(word)
    return seconds


def image(rendition: RenditionView, path: Path, source: Path, *, upright: bool) -> Verdict:
    """A size of a still picture: as large as it says, and the right way up where the source can be read by Pillow."""
    with Image.open(path) as picture:
        faults = [] if picture.size == (rendition.width, rendition.height) else [f"{picture.size} pixels"]
        made = _thumb(picture)
    if upright:
        with Image.open(source) as original:
            wanted = _thumb(ImageOps.exif_transpose(original))
        turned = [np.rot90(side, turns) for side in (made, made[:, ::-1]) for turns in range(4)]
        alike = [float(np.corrcoef(side.ravel(), wanted.ravel())[0, 1]) for side in turned]
        if max(alike) != alike[0]:
            faults.append("not upright")
        elif alike[0] < _ALIKE:
            faults.append(f"only {alike[0]:.2f} like its source")
    return Verdict(rendition.name, faults=tuple(faults))


def _thumb(picture: Image.Image) -> NDArray[Any]:
    """A small square of brightness, whatever the depth; what is transparent is white."""
    if picture.mode.startswith("I"):
        wide = np.asarray(picture).astype(float)
        picture = Image.fromarray((wide / max(1.0, wide.max() / 255)).astype(np.uint8))
    whole = picture.convert("RGBA")
    flat = Image.alpha_composite(Image.new("RGBA", whole.size, "white"), whole)
    return np.asarray(flat.convert("L").resize(_THUMB, Image.Resampling.BOX)).astype(float)
