"""Makes the poster of a video or picture, and a video's sprite sheet with the WebVTT that says which tile belongs to
which time.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rushes.errors import Unavailable
from rushes.media.formats import forced
from rushes.media.info import MediaInfo, VideoInfo
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.source import Source
from rushes.media.video import OnProgress, ignore_progress

POSTER, SPRITE, SPRITE_VTT = "poster.jpg", "sprite.jpg", "sprite.vtt"
_POSTER_SIDE = 1280  # pixels, the longer side
_TILE_SIDE = 160
_COLUMNS = 10
_MOST_TILES = 100
_SLIVER = 0.1  # of a tile's span: a shorter rest belongs to the tile before
_PITCHES = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 1200, 1800)  # seconds


@dataclass(frozen=True)
class SpritePlan:
    """Which moments go on a sheet, and how it is laid out."""

    pitch: float  # seconds from tile to tile
    times: tuple[float, ...]  # seconds, the middle of each tile's span
    seconds: float
    columns: int
    tile_width: int
    tile_height: int


def plan_sprite(video: VideoInfo, seconds: float) -> SpritePlan:
    """At most 100 tiles at a round pitch, ten in a row; one tile where the duration is not known. Pure."""
    pitch = float(next((p for p in _PITCHES if seconds <= p * _MOST_TILES), math.ceil(seconds / _MOST_TILES)))
    count = max(1, math.ceil(seconds / pitch - _SLIVER))
    times = tuple(min((number + 0.5) * pitch, max(0.0, (number * pitch + seconds) / 2)) for number in range(count))
    scale = _TILE_SIDE / max(video.width, video.height)
    tile = max(2, round(video.width * scale)), max(2, round(video.height * scale))
    return SpritePlan(pitch, times, seconds, min(_COLUMNS, count), *tile)


def sprite_vtt(plan: SpritePlan, image: str) -> str:
    """WebVTT with media fragments (W3C Media Fragments 1.0 §4.2.2): one cue a tile. Pure."""
    cues = ["WEBVTT\n"]
    for number in range(len(plan.times)):
        row, column = divmod(number, plan.columns)
        start = number * plan.pitch
        end = (number + 1) * plan.pitch if number + 1 < len(plan.times) else max(plan.seconds, start + 0.001)
        place = f"{column * plan.tile_width},{row * plan.tile_height},{plan.tile_width},{plan.tile_height}"
        cues.append(f"{_clock(start)} --> {_clock(end)}\n{image}#xywh={place}\n")
    return "\n".join(cues)


def _clock(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    minutes, rest = divmod(milliseconds, 60_000)
    return f"{minutes // 60:02d}:{minutes % 60:02d}:{rest // 1000:02d}.{rest % 1000:03d}"


async def make_stills(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
) -> list[Output]:
    """poster.jpg, and for a video sprite.jpg and sprite.vtt; [] for a sound. Raises as `sandbox.run_task` does."""
    limits = limits or Limits()
    if info.image is not None:
        outputs = [await _picture_poster(source, job_dir, sandbox, limits)]
    elif info.video is not None:
        outputs = await _video_stills(source, info, info.video, job_dir, sandbox, on_progress, limits)
    else:
        return []
    on_progress(1.0, "stills are made")
    return outputs


async def _picture_poster(source: Source, job_dir: Path, sandbox: Sandbox, limits: Limits) -> Output:
    arguments = {"max_pixels": limits.max_pixels, "poster": POSTER, "poster_side": _POSTER_SIDE}
    ended = await run_task(sandbox, "thumbnail", arguments, source, job_dir, limits)
    return collect(
        job_dir,
        POSTER,
        "poster",
        "image/jpeg",
        width=number(ended.result, "width"),
        height=number(ended.result, "height"),
    )


async def _video_stills(
    source: Source,
    info: MediaInfo,
    video: VideoInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress,
    limits: Limits,
) -> list[Output]:
    plan = plan_sprite(video, info.seconds)
    arguments = {
        "demuxer": forced(info.format),
        "max_pixels": limits.max_pixels,
        "index": video.index,
        "width": video.width,
        "height": video.height,
        "rotation": video.rotation,
        "times": plan.times,
        "columns": plan.columns,
        "tile_width": plan.tile_width,
        "tile_height": plan.tile_height,
        "vtt": sprite_vtt(plan, SPRITE),
        "poster": POSTER,
        "poster_side": _POSTER_SIDE,
        "sprite": SPRITE,
        "sprite_vtt": SPRITE_VTT,
    }
    found = (await run_task(sandbox, "stills", arguments, source, job_dir, limits, on_progress)).result
    rows = math.ceil(len(plan.times) / plan.columns)
    sheet: dict[str, Any] = {
        "columns": plan.columns,
        "rows": rows,
        "tiles": len(plan.times),
        "tile_width": plan.tile_width,
        "tile_height": plan.tile_height,
        "pitch": plan.pitch,
    }
    return [
        collect(
            job_dir,
            POSTER,
            "poster",
            "image/jpeg",
            width=number(found, "width"),
            height=number(found, "height"),
            time=found.get("time"),
        ),
        collect(
            job_dir,
            SPRITE,
            "sprite",
            "image/jpeg",
            width=plan.columns * plan.tile_width,
            height=rows * plan.tile_height,
            **sheet,
        ),
        collect(job_dir, SPRITE_VTT, "sprite_vtt", "text/vtt", duration=info.duration),
    ]


def number(result: dict[str, Any], name: str) -> int:
    """A whole number that a task reported. Raises Unavailable for anything else."""
    value = result.get(name)
    if not isinstance(value, int) or value <= 0:
        raise Unavailable("tool_crashed", "A media tool said something that makes no sense.")
    return value
