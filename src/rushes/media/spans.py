"""How a long source is cut into spans that workers encode side by side. Pure.

A frame belongs to the span whose half-open time holds it, judged by the same rounding on both sides of a cut, so every
frame is encoded exactly once.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

from rushes.media.formats import forced
from rushes.media.info import MediaInfo
from rushes.media.ladder import GOP_SECONDS, MAX_FPS, SEGMENT_SECONDS

_SHORTEST = 24.0  # seconds
_MOST_FRAMES = 18_000  # ten minutes of 30 a second; a picture that hardly moves has longer spans, not more of them
MOST_SPANS = 1000
MOST_KEYS = 4000  # key frames said one by one in a command
_SEEKABLE = {"mov", "matroska", "mpegts", "mxf"}  # containers that find a moment, with time stamps to be trusted
_NEAR = 0.5  # seconds: key frames are not forced closer


@dataclass(frozen=True)
class Span:
    number: int
    start: float  # seconds on the source's time line
    end: float | None  # the frame there is the next span's; None: to the end
    keys: tuple[float, ...] | None  # where key frames are forced; None: every GOP from the start


def cut(info: MediaInfo, edges: Sequence[float] | None, work: float) -> tuple[Span, ...]:
    """Spans that begin at segments' edges: the given ones, or multiples of a segment. `work`: seconds of 1080p at 30
    frames that one span holds.
    """
    video, seconds = info.video, info.seconds
    starts = [0.0]
    if video is not None and seconds and forced(info.format) in _SEEKABLE:
        rate = min(video.fps or 30.0, 2 * MAX_FPS)
        weight = video.coded_width * video.coded_height * rate / (1920 * 1080 * 30)
        lasts = min(max(work / weight, min(work, _SHORTEST)), _MOST_FRAMES / rate)
        lasts = max(lasts, seconds / MOST_SPANS)
        count = max(1, round(seconds / lasts))
        grid = edges or [n * SEGMENT_SECONDS for n in range(math.ceil(seconds / SEGMENT_SECONDS))]
        for number in range(1, count):
            at = grid[min(bisect.bisect_left(grid, seconds * number / count), len(grid) - 1)]
            if at > starts[-1] + 1 and at < seconds - 1:
                starts.append(at)
    ends = [*starts[1:], None]
    return tuple(
        Span(number, start, end, _keys(start, end, seconds, edges, single=len(starts) == 1))
        for number, (start, end) in enumerate(zip(starts, ends, strict=True))
    )


def _keys(
    start: float, end: float | None, seconds: float, edges: Sequence[float] | None, *, single: bool
) -> tuple[float, ...] | None:
    """Every edge within, and between two of them a key frame every GOP."""
    if edges is None and single:
        return None
    last = end if end is not None else seconds + SEGMENT_SECONDS
    if edges is None:
        return tuple(start + n * GOP_SECONDS for n in range(math.ceil((last - start) / GOP_SECONDS)))
    within = [edge for edge in edges if start <= edge < last] or [start]
    keys: list[float] = []
    for edge, following in zip(within, [*within[1:], last], strict=True):
        more = math.ceil((following - _NEAR - edge) / GOP_SECONDS)
        keys += [round(edge + n * GOP_SECONDS, 6) for n in range(max(1, more))]
    return tuple(keys)
