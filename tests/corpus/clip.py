"""A file of the corpus: where its detail comes from, how it is made, and what is true of it because it was made so."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Protocol

import imageio_ffmpeg

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()


class Sources(Protocol):
    """Where real detail is had from (sources.py); every file is made when first asked for."""

    def film(self, name: str) -> Path:
        """A lossless master, marked, of 4 to 6 s, with sound of six channels."""
        ...

    def photo(self, name: str) -> Path:
        """A photograph as its package has it."""
        ...

    @property
    def scratch(self) -> Path:
        """For files on the way."""
        ...


@dataclass(frozen=True, eq=False)
class Clip:
    """`expected` maps a dotted path into `MediaInfo`'s JSON ("video.codec", "audio.0.language") to its value.

    `rate` and `frames` are those of the file as it plays (None: a rate that varies, or no video), `turned` the degrees
    clockwise that players turn it by. `marked`: the picture carries frame numbers and flashes, the sound beeps
    (marks.py).
    """

    name: str  # of the file
    source: str
    traits: str  # in words, for the table
    expected: Mapping[str, object]
    make: Callable[[Path, Sources], None]
    frames: int | None = None
    rate: Fraction | None = None
    marked: bool = False
    turned: int = 0
    master: str | None = None  # of `sources.MASTERS`


@dataclass(frozen=True)
class Encoded:
    """Made by ffmpeg from a master: `before` stands before the input, `arguments` after it."""

    master: str
    arguments: tuple[str, ...]
    before: tuple[str, ...] = ()
    after: Callable[[Path], None] | None = None

    def __call__(self, path: Path, sources: Sources) -> None:
        ffmpeg(*self.before, "-i", sources.film(self.master), *self.arguments, path)
        if self.after is not None:
            self.after(path)


def ffmpeg(*arguments: str | Path) -> None:
    """Raises RuntimeError with what it said."""
    command = [FFMPEG, "-y", "-nostdin", "-loglevel", "error", *map(str, arguments)]
    ended = subprocess.run(command, check=False, capture_output=True, text=True)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)}: {ended.stderr[-2000:]}")
