"""What was made, as outputs: read by its boxes, and played before it counts."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path

from rushes.errors import Unavailable
from rushes.media import cmaf
from rushes.media.info import MediaInfo
from rushes.media.ladder import MAX_FPS, RECIPE, Target
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.verify import check_decoded
from rushes.model import Segments


def picture_output(
    info: MediaInfo, target: Target, index: cmaf.Index, laid: Segments, job_dir: Path, *, copied: bool
) -> Output:
    """A whole picture."""
    peak, average = cmaf.bandwidths(laid)
    rate = info.video.fps if info.video is not None else None
    return collect(
        job_dir,
        target.file,
        "hls_video",
        "video/mp4",
        width=target.width,
        height=target.height,
        duration=index.end,
        recipe=RECIPE,
        segments=laid,
        rung=target.rung,
        codecs=index.codecs,
        bandwidth=peak,
        average_bandwidth=average,
        frame_rate=round(min(rate, MAX_FPS), 3) if rate else None,
        copied=copied,
        frames=index.samples,
        range="SDR",
    )


async def check_played(
    files: Sequence[tuple[cmaf.Index, Segments]], job_dir: Path, sandbox: Sandbox, limits: Limits
) -> None:
    """Play where the first, the middle and the last segment begin, and where the last one ends.

    Raises Unavailable unless each fragment gives all its frames.
    """
    wanted = [(index, laid.init, fragment) for index, laid in files for fragment in _tried(index, laid)]
    segments = [
        {"name": index.path.name, "init": init, "start": fragment.offset, "length": fragment.length}
        for index, init, fragment in wanted
    ]
    arguments = {"files": [], "segments": segments}
    found = (await run_task(sandbox, "measure", arguments, None, job_dir, limits.scaled(30.0))).result.get("segments")
    if not isinstance(found, list) or len(found) != len(wanted):
        raise nonsense("segments were not measured")
    for (index, _, fragment), count in zip(wanted, found, strict=True):
        check_decoded(index.path.name, fragment.samples, int(count))


def _tried(index: cmaf.Index, laid: Segments) -> list[cmaf.Fragment]:
    """A fragment begins with a key frame and so is played by itself: a picture's lasts two seconds, its segments four."""
    begins = list(accumulate(laid.lengths, initial=laid.init))[:-1]
    first = {begins[0], begins[len(begins) // 2], begins[-1]}
    return [f for f in index.fragments if f.offset in first or f is index.fragments[-1]]


def read(path: Path) -> cmaf.Index:
    """The index of a file that must be there. Raises Unavailable."""
    try:
        return cmaf.read(path)
    except (ValueError, OSError) as error:
        raise nonsense(f"{path.name}: {error}") from error


def read_or_none(path: Path) -> cmaf.Index | None:
    """None for a file without a frame, which a span without pictures leaves."""
    try:
        return cmaf.read(path)
    except (ValueError, FileNotFoundError):
        return None


def nonsense(reason: str) -> Unavailable:
    """For a tool that did not keep to its orders."""
    return Unavailable("tool_crashed", "A media tool made something that makes no sense.", log=reason[:1000])
