"""Whether the pictures that a task wrote are those that were ordered: it read each back, decoded it and says what it is.
The numbers are judged here, outside of its sandbox.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from rushes.errors import Unavailable
from rushes.media.outputs import Output, collect
from rushes.media.sizes import CONTENT_TYPES, FORMATS

_ROUNDING = 1.5  # pixels
_CAMERA_RAW = 0.1  # of the size: previews are cropped otherwise than the sensor


@dataclass(frozen=True)
class Written:
    """One file as it was read back."""

    name: str
    format: str  # Pillow's name
    width: int
    height: int

    @property
    def ending(self) -> str:
        return self.name.rsplit(".", 1)[-1]


_ALL = TypeAdapter(list[Written])


def said(result: dict[str, Any]) -> dict[str, Written]:
    """What a task says in `made`, by name. Raises Unavailable for what is no such list."""
    try:
        made = _ALL.validate_python(result.get("made"))
    except ValidationError as error:
        raise Unavailable(
            "tool_crashed", "A media tool said something that makes no sense.", log=str(error)[:1000]
        ) from (error)
    return {picture.name: picture for picture in made}


def named(made: dict[str, Written], name: str) -> Written:
    """Raises Unavailable where a task did not write it."""
    if name not in made:
        raise Unavailable("tool_crashed", f"A media tool did not write {name}.")
    return made[name]


def check_shape(written: Written, side: int, width: int, height: int, *, raw: bool = False) -> None:
    """One size, at most `side` long, of a picture of `width` by `height`. Raises Unavailable."""
    scale = min(1.0, side / max(width, height))
    slack = _CAMERA_RAW * side if raw else _ROUNDING
    fits = max(written.width, written.height) <= side and min(written.width, written.height) >= 1
    alike = abs(written.width - width * scale) <= slack and abs(written.height - height * scale) <= slack
    if not fits or not alike or written.format != FORMATS.get(written.ending):
        raise Unavailable(
            "tool_crashed",
            f"{written.name} came out as {written.format} of {written.width} by {written.height}, not as ordered.",
        )


def sized(
    made: dict[str, Written],
    kind: str,
    ordered: list[str],
    job_dir: Path,
    shape: tuple[int, int],
    *,
    recipe: int,
    raw: bool = False,
    **extra: Any,
) -> list[Output]:
    """The ordered files (`prefix-side.ending`) of one type, checked. Raises Unavailable."""
    outputs = []
    for name in ordered:
        written = named(made, name)
        check_shape(written, int(name.rsplit(".", 1)[0].rsplit("-", 1)[1]), *shape, raw=raw)
        outputs.append(
            collect(
                job_dir,
                name,
                kind,
                CONTENT_TYPES[written.ending],
                width=written.width,
                height=written.height,
                recipe=recipe,
                **extra,
            )
        )
    return outputs
