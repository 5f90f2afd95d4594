"""Makes a sound file's cover, and its posters, out of the picture that is embedded in it."""

from __future__ import annotations

from pathlib import Path

from rushes.errors import Rejected
from rushes.media import sizes
from rushes.media.formats import forced
from rushes.media.info import MediaInfo
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.posters import RECIPE as POSTER_RECIPE
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.source import Source
from rushes.media.video import OnProgress, ignore_progress
from rushes.media.written import check_shape, named, said, sized

RECIPE = 1
COVER = "cover.jpg"
_NO_PICTURE = {"undecodable", "truncated", "too_many_pixels"}


async def make_cover(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
) -> list[Output]:
    """cover.jpg, at most 1280 pixels long, and poster-{320,640,1280}.{jpg,webp} as far as the cover is that large.

    [] where there is none, and where it cannot be shown: a sound does not need it. Raises as `sandbox.run_task` does.
    """
    if info.kind != "audio":
        return []
    limits = limits or Limits()
    arguments = {"demuxer": forced(info.format), "max_pixels": limits.max_pixels, "cover": COVER}
    try:
        made = said((await run_task(sandbox, "cover", arguments, source, job_dir, limits)).result)
    except Rejected as refusal:
        if refusal.code not in _NO_PICTURE:
            raise
        return []
    if not made:
        return []
    cover = named(made, COVER)
    shape = cover.width, cover.height
    check_shape(cover, max(sizes.POSTERS), *shape)
    posters = sizes.names("poster", max(shape), sizes.POSTERS, ("jpg", "webp"))
    width, height = shape
    on_progress(1.0, "the cover is made")
    return [
        collect(job_dir, COVER, "cover", "image/jpeg", width=width, height=height, recipe=RECIPE),
        *sized(made, "poster", posters, job_dir, shape, recipe=POSTER_RECIPE),
    ]
