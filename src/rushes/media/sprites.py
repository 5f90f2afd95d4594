"""Makes a video's sprite sheets, with the WebVTT that says which tile belongs to which time."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rushes.media.info import MediaInfo, VideoInfo
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.posters import film
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.source import Source
from rushes.media.video import OnProgress, ignore_progress
from rushes.media.written import check_shape, named, said

RECIPE = 1
VTT = "sprite.vtt"
_TILE_SIDE = 160
_COLUMNS = 10
_FULL = 100  # tiles of a full sheet
_PITCHES = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1200, 1800)  # seconds
_EVERY_TEN = 10  # seconds: up to this pitch one sheet does
_MOST_TILES = 400
_LARGE, _MOST_LARGE = 2_500_000, 200  # pixels of a frame that costs several times as much, and tiles of such a video
_SLIVER = 0.1  # of a tile's span: a shorter rest belongs to the tile before
_TILES_A_READER = 12  # fewer are not worth opening the source once more
_MOST_READERS = 4


@dataclass(frozen=True)
class SpritePlan:
    """Which moments are shown, and how the sheets are laid out."""

    pitch: float  # seconds from tile to tile
    times: tuple[float, ...]  # seconds, the middle of each tile's span
    seconds: float
    tile_width: int
    tile_height: int

    @property
    def sheets(self) -> tuple[str, ...]:
        count = math.ceil(len(self.times) / (_FULL))
        return ("sprite.jpg",) if count == 1 else tuple(f"sprite-{number}.jpg" for number in range(1, count + 1))

    def tiles(self, sheet: int) -> int:
        """How many tiles are on a sheet, counted from 0."""
        return min(_FULL, len(self.times) - sheet * _FULL)

    def size(self, sheet: int) -> tuple[int, int]:
        """Columns and rows of a sheet."""
        return min(_COLUMNS, self.tiles(sheet)), math.ceil(self.tiles(sheet) / _COLUMNS)


def plan_sprite(video: VideoInfo, seconds: float) -> SpritePlan:
    """Tiles at a round pitch: at most 100 of them, on one sheet, up to 1,000 seconds; then one each ten seconds or more,
    on up to four sheets. One tile where the duration is not known. Pure.
    """
    most = _MOST_LARGE if video.width * video.height > _LARGE else _MOST_TILES
    one = next((float(p) for p in _PITCHES if seconds <= p * _FULL and p <= _EVERY_TEN), None)
    several = next((float(p) for p in _PITCHES if seconds <= p * most and p >= _EVERY_TEN), math.ceil(seconds / most))
    pitch = float(one or several)
    count = max(1, math.ceil(seconds / pitch - _SLIVER))
    times = tuple(min((number + 0.5) * pitch, max(0.0, (number * pitch + seconds) / 2)) for number in range(count))
    scale = _TILE_SIDE / max(video.width, video.height)
    tile = max(2, round(video.width * scale)), max(2, round(video.height * scale))
    return SpritePlan(pitch, times, seconds, *tile)


def sprite_vtt(plan: SpritePlan) -> str:
    """WebVTT with media fragments (W3C Media Fragments 1.0 §4.2.2): one cue a tile. Pure."""
    cues = ["WEBVTT\n"]
    for number in range(len(plan.times)):
        sheet, place = divmod(number, _FULL)
        row, column = divmod(place, _COLUMNS)
        start = number * plan.pitch
        end = (number + 1) * plan.pitch if number + 1 < len(plan.times) else max(plan.seconds, start + 0.001)
        box = f"{column * plan.tile_width},{row * plan.tile_height},{plan.tile_width},{plan.tile_height}"
        cues.append(f"{_clock(start)} --> {_clock(end)}\n{plan.sheets[sheet]}#xywh={box}\n")
    return "\n".join(cues)


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


async def make_sprite(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
    threads: int = 0,
) -> list[Output]:
    """sprite.jpg, or sprite-1.jpg … for a long video, and sprite.vtt; [] where there is no moving picture.

    `threads` read and decode at once; 0 means one a core, four at most. Raises as `sandbox.run_task` does.
    """
    if info.video is None:
        return []
    limits = limits or Limits()
    plan = plan_sprite(info.video, info.seconds)
    readers = min(threads or os.cpu_count() or 1, _MOST_READERS, 1 + len(plan.times) // _TILES_A_READER)
    arguments = film(info, info.video, limits) | {
        "times": plan.times,
        "tile": [plan.tile_width, plan.tile_height],
        "sheets": [[name, plan.tiles(number), *plan.size(number)] for number, name in enumerate(plan.sheets)],
        "readers": readers,
    }
    found = said((await run_task(sandbox, "sprite", arguments, source, job_dir, limits, on_progress)).result)
    outputs = []
    for number, name in enumerate(plan.sheets):
        columns, rows = plan.size(number)
        shape = columns * plan.tile_width, rows * plan.tile_height
        check_shape(named(found, name), max(shape), *shape)
        extra: dict[str, Any] = {"columns": columns, "rows": rows, "tiles": plan.tiles(number), "first": number * _FULL}
        extra |= {"tile_width": plan.tile_width, "tile_height": plan.tile_height, "pitch": plan.pitch}
        width, height = shape
        outputs.append(
            collect(job_dir, name, "sprite", "image/jpeg", width=width, height=height, recipe=RECIPE, **extra)
        )
    _write(job_dir / VTT, sprite_vtt(plan))
    outputs.append(collect(job_dir, VTT, "sprite_vtt", "text/vtt", duration=info.duration, recipe=RECIPE))
    on_progress(1.0, "sprite sheets are made")
    return outputs


def _write(path: Path, text: str) -> None:
    """A new file: a task that was taken over may have left a link there."""
    path.unlink(missing_ok=True)
    with path.open("x") as file:
        file.write(text)
