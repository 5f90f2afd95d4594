"""Makes the waveform of the first sound of a file: peaks for players, and a picture."""

from __future__ import annotations

from pathlib import Path

from rushes.media.formats import forced
from rushes.media.info import MediaInfo
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.source import Source
from rushes.media.stills import number
from rushes.media.verify import check_seconds
from rushes.media.video import OnProgress, ignore_progress

WAVEFORM, WAVEFORM_IMAGE = "waveform.json", "waveform.png"
_WIDTH, _HEIGHT = 1800, 280  # pixels


async def make_waveform(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
) -> list[Output]:
    """waveform.json (audiowaveform's JSON, version 2) and waveform.png; [] without sound.

    Raises as `sandbox.run_task` does, and Rejected("truncated") when less sound was decoded than the file announced.
    """
    sound = next((audio for audio in info.audio if audio.channels), None)
    if sound is None:
        return []
    limits = limits or Limits()
    arguments = {
        "demuxer": forced(info.format),
        "max_pixels": limits.max_pixels,
        "index": sound.index,
        "seconds": info.seconds,
        "json": WAVEFORM,
        "image": WAVEFORM_IMAGE,
        "width": _WIDTH,
        "height": _HEIGHT,
    }
    found = (
        await run_task(sandbox, "waveform", arguments, source, job_dir, limits.scaled(info.seconds), on_progress)
    ).result
    seconds = float(found.get("seconds", 0))
    check_seconds(sound.duration or (info.duration if info.kind == "audio" else None), seconds, "sound")
    on_progress(1.0, "the waveform is drawn")
    length, scale = number(found, "length"), number(found, "samples_per_pixel")
    return [
        collect(
            job_dir, WAVEFORM, "waveform", "application/json", duration=seconds, length=length, samples_per_pixel=scale
        ),
        collect(job_dir, WAVEFORM_IMAGE, "waveform_image", "image/png", width=_WIDTH, height=_HEIGHT, duration=seconds),
    ]
