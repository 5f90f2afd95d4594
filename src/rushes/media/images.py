"""Makes a picture's sizes: posters and images, upright, in sRGB, without the metadata of the source; of an animation
also a small film.
"""

from __future__ import annotations

from pathlib import Path

from rushes.errors import Unavailable
from rushes.media import sizes
from rushes.media.formats import RAW
from rushes.media.info import MediaInfo
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.source import Source
from rushes.media.video import OnProgress, ignore_progress
from rushes.media.written import Written, check_shape, said, sized

RECIPE = 2  # 1 left HDR pictures dark


async def make_images(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
) -> list[Output]:
    """poster-{320,640,1280}.{jpg,webp}, image-{320,1024,2048}.{webp,jpg,avif} as far as the picture is that large, and
    animated.webp; [] for what is no picture. Raises as `sandbox.run_task` does.
    """
    if info.image is None:
        return []
    limits = limits or Limits()
    found = (
        await run_task(sandbox, "images", {"max_pixels": limits.max_pixels}, source, job_dir, limits, on_progress)
    ).result
    made = said(found)
    largest = max((max(picture.width, picture.height) for picture in made.values()), default=0)
    shape, raw = (info.image.width, info.image.height), info.format in RAW
    posters = sizes.names("poster", largest, sizes.POSTERS, ("jpg", "webp"))
    images = sizes.names("image", largest, sizes.IMAGES, ("webp", "jpg", "avif"))
    outputs = sized(made, "poster", posters, job_dir, shape, recipe=RECIPE, raw=raw)
    outputs += sized(made, "image", images, job_dir, shape, recipe=RECIPE, raw=raw)
    if sizes.ANIMATED in made:
        outputs.append(_animated(made[sizes.ANIMATED], found.get("frames"), shape, job_dir))
    on_progress(1.0, "images are made")
    return outputs


def _animated(written: Written, frames: object, shape: tuple[int, int], job_dir: Path) -> Output:
    check_shape(written, sizes.ANIMATED_SIDE, *shape)
    if not isinstance(frames, int) or not 1 < frames <= sizes.ANIMATED_FRAMES:
        raise Unavailable("tool_crashed", "A media tool said something that makes no sense.")
    width, height = written.width, written.height
    return collect(
        job_dir, written.name, "image", "image/webp", width=width, height=height, recipe=RECIPE, frames=frames
    )
