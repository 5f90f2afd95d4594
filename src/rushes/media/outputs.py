"""A file that a job made."""

from __future__ import annotations

import stat
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rushes.errors import Unavailable
from rushes.model import Segments


@dataclass(frozen=True)
class Output:
    name: str  # the file's name, unique within the asset
    type: str  # hls_video, hls_audio, proxy, poster, sprite …: see `RenditionView` in wire.py
    path: Path
    content_type: str
    size: int  # bytes
    width: int | None = None  # pixels
    height: int | None = None
    duration: float | None = None  # seconds
    extra: dict[str, Any] = field(default_factory=dict)  # JSON values
    recipe: int = 1  # the version of what made it
    segments: Segments | None = None  # of a CMAF file


def collect(
    job_dir: Path,
    name: str,
    kind: str,
    content_type: str,
    *,
    width: int | None = None,
    height: int | None = None,
    duration: float | None = None,
    recipe: int = 1,
    segments: Segments | None = None,
    **extra: Any,
) -> Output:
    """An output as it lies in the job's directory.

    A tool that was taken over may leave anything there: a link to a file elsewhere must not be followed and published.
    Raises Unavailable unless it is a plain, non-empty file of its own.
    """
    path = job_dir / name
    try:
        found = path.lstat()
    except FileNotFoundError:
        raise Unavailable("tool_crashed", f"A media tool did not write {name}.") from None
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1 or not found.st_size:
        raise Unavailable("tool_crashed", f"A media tool left something other than a file at {name}.")
    return Output(name, kind, path, content_type, found.st_size, width, height, duration, extra, recipe, segments)
