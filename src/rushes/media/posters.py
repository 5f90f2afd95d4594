"""Makes the posters of a video: one good frame in three sizes, from a few key frames reached by seeking."""

from __future__ import annotations

from pathlib import Path

from rushes.errors import Unavailable
from rushes.media import sizes
from rushes.media.formats import forced
from rushes.media.info import MediaInfo, VideoInfo
from rushes.media.limits import Limits
from rushes.media.outputs import Output
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.source import Source
from rushes.media.video import OnProgress, ignore_progress
from rushes.media.written import said, sized

RECIPE = 1
_PLACES = (0.15, 0.35, 0.55, 0.75, 0.05, 0.9)  # of the duration, in the order in which they are looked at


async def make_poster(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
) -> list[Output]:
    """poster-{320,640,1280}.{jpg,webp} as far as the video is that large; [] where there is no moving picture.

    `extra.time` is the frame's, in seconds. Raises as `sandbox.run_task` does.
    """
    if info.video is None:
        return []
    limits = limits or Limits()
    arguments = film(info, info.video, limits) | {"times": moments(info.seconds)}
    found = (await run_task(sandbox, "poster", arguments, source, job_dir, limits)).result
    shape = info.video.width, info.video.height
    time = found.get("time")
    if not isinstance(time, int | float):
        raise Unavailable("tool_crashed", "A media tool said something that makes no sense.")
    ordered = sizes.names("poster", max(shape), sizes.POSTERS, ("jpg", "webp"))
    outputs = sized(said(found), "poster", ordered, job_dir, shape, recipe=RECIPE, time=round(float(time), 3))
    on_progress(1.0, "posters are made")
    return outputs


def moments(seconds: float) -> list[float]:
    """Where to look for a good frame, in seconds; the start where the duration is not known. Pure."""
    return [round(seconds * place, 3) for place in _PLACES] if seconds > 0 else [0.0]


def film(info: MediaInfo, video: VideoInfo, limits: Limits) -> dict[str, object]:
    """What a task needs to take key frames of a video: see `inside/keyframes.py`."""
    return {
        "demuxer": forced(info.format),
        "max_pixels": limits.max_pixels,
        "index": video.index,
        "width": video.width,
        "height": video.height,
        "rotation": video.rotation,
    }
