"""Whether the encoders that an operator has named work here: tried on a tenth of a second of grey, confined as they will be.

Hardware's need a device and its driver's library, which a build of ffmpeg may name without the machine having them.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from rushes.errors import Misconfigured, Problem
from rushes.media.ladder import ENCODERS, LADDER, SECOND, Encoder
from rushes.media.limits import Limits
from rushes.media.sandbox import Sandbox, ffmpeg, run_tool
from rushes.media.source import FileSource

_SURE = {"", "x264"}  # not asked for, and always there
_RATE = 30
_SPEAKER = re.compile(r"^\[[^\]]*\] ")  # which part of ffmpeg says it


async def try_encoders(sandbox: Sandbox, names: Sequence[str], device: str = "") -> list[str]:
    """Those of these names that were tried, and work. Raises Misconfigured: encoder_missing."""
    tried = [name for name in names if name not in _SURE]
    for name in tried:
        await _try(sandbox, name, device)
    return tried


async def _try(sandbox: Sandbox, name: str, device: str) -> None:
    encoder = (ENCODERS | SECOND)[name]
    if not sandbox.tools:
        if name in SECOND:
            return  # PyAV brings its own
        raise _missing(name, encoder, "hardware is used by the ffmpeg program only, which cannot be confined here")
    with tempfile.TemporaryDirectory(prefix="rushes-probe-") as directory:
        nothing = Path(directory) / "nothing"
        nothing.touch()
        try:
            argv = [ffmpeg(), *_arguments(encoder, device)]
            await run_tool(sandbox, argv, FileSource(nothing), nothing.parent, Limits(), lambda _: None)
        except Problem as problem:
            said = str(problem.details.get("log") or "").strip() or problem.message
            raise _missing(name, encoder, _SPEAKER.sub("", said.splitlines()[0])) from problem


def _arguments(encoder: Encoder, device: str) -> list[str]:
    arguments = ["-nostdin", "-hide_banner", "-loglevel", "error"]
    arguments += [word.format(device=device) for word in encoder.before]
    arguments += ["-f", "lavfi", "-i", f"color=gray:size=640x360:rate={_RATE}:duration=0.1"]
    arguments += ["-vf", f"format=yuv420p{encoder.frames}", "-c:v", encoder.codec]
    for option, value in encoder.for_rung(LADDER[-1], _RATE, 1).items():
        arguments += [f"-{option}:v", value]
    return [*arguments, "-f", "null", "-"]


def _missing(name: str, encoder: Encoder, reason: str) -> Misconfigured:
    return Misconfigured(
        "encoder_missing",
        f"The encoder {name} ({encoder.codec}) does not work on this machine: {reason.rstrip('.')}. "
        + ("Set RUSHES_VIDEO_SECOND otherwise." if name in SECOND else "Set RUSHES_VIDEO_ENCODER=x264."),
        encoder=name,
    )
