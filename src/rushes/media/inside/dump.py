"""What FFmpeg says of a container's streams in words: the few facts that PyAV has no attribute for.

`av_dump_format` prints a line a stream, and its side data below: the bits of lossless sound, Dolby Vision's record.
"""

from __future__ import annotations

import logging
import re
from typing import Any

import av.logging

_STREAM = re.compile(r"^  Stream #0:(\d+)", re.MULTILINE)
_BITS = re.compile(r"\((\d{1,2}) bit\)")
_DOVI = re.compile(
    r"^ {4,}DOVI configuration record: version: [\d.]+, profile: (\d+),.*compatibility id: (\d+)", re.MULTILINE
)
_LONGEST = 512 * 1024  # characters


class Dump:
    """The text, cut into streams."""

    def __init__(self, container: Any) -> None:
        whole = _dumped(container)[:_LONGEST]
        starts = [(int(match[1]), match.start()) for match in _STREAM.finditer(whole)]
        ends = [start for _, start in starts[1:]] + [len(whole)]
        self._streams = {index: whole[start:end] for (index, start), end in zip(starts, ends, strict=True)}

    def bits(self, index: int) -> int | None:
        """Bits of a sample, where FFmpeg's own format has more."""
        match = _BITS.search(self._streams.get(index, "").split("\n", 1)[0])
        return int(match[1]) if match else None

    def dolby_vision(self, index: int) -> str | None:
        """The profile as people write it, "5" or "8.4"; None without a record."""
        match = _DOVI.search(self._streams.get(index, ""))
        if match is None:
            return None
        return match[1] if match[2] == "0" else f"{match[1]}.{match[2]}"


def _dumped(container: Any) -> str:
    """PyAV gets the text from FFmpeg's log, which it has to listen to for it."""
    logging.getLogger("libav").propagate = False
    level = av.logging.get_level()
    av.logging.set_level(av.logging.INFO)
    try:
        return str(container.dumps_format())
    finally:
        av.logging.set_level(level)
