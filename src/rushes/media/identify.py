"""Says what a file is, by its bytes."""

from __future__ import annotations

from pathlib import Path

from rushes.errors import Rejected, Unavailable
from rushes.media.info import MediaInfo
from rushes.media.limits import Limits
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.source import Source


async def identify(source: Source, job_dir: Path, sandbox: Sandbox, limits: Limits | None = None) -> MediaInfo:
    """What `source` holds. Reads a few megabytes of it and decodes the first frames.

    Raises Rejected (empty, not_media, undecodable, truncated, unsupported, too_many_pixels, too_many_streams,
    too_long, a limit) and Unavailable, as `sandbox.run_task` does.
    """
    limits = limits or Limits()
    if source.size == 0:
        raise Rejected("empty", "This file is empty.")
    arguments = {"max_pixels": limits.max_pixels, "max_streams": limits.max_streams, "max_seconds": limits.max_seconds}
    ended = await run_task(sandbox, "identify", arguments, source, job_dir, limits)
    try:
        return MediaInfo.from_json(ended.result)
    except ValueError as error:
        raise Unavailable(
            "tool_crashed", "A media tool said something that makes no sense.", log=str(error)[:1000]
        ) from error
