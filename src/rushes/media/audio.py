"""Makes everything that comes of a file's sound, from one decode: peaks, waveform, spectrogram, loudness; and of a sound
file what is played.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rushes.errors import Unavailable
from rushes.media import previews
from rushes.media.formats import forced
from rushes.media.info import AudioInfo, Loudness, MediaInfo
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.sandbox import Sandbox, run_task
from rushes.media.source import Source
from rushes.media.verify import check_seconds, number
from rushes.media.video import OnProgress, ignore_progress

RECIPE = 1
WAVEFORM, WAVEFORM_DATA, WAVEFORM_IMAGE, SPECTROGRAM = (
    "waveform.json",
    "waveform.dat",
    "waveform.png",
    "spectrogram.png",
)
_WIDTH, _WAVE_HEIGHT, _SPECTRUM_HEIGHT = 1800, 280, 512  # pixels
_AXES = {"lowest": 30, "floor": -100, "ceiling": -10}  # hertz; decibels of a full-scale sine at the colours' ends
_METERED = 8  # tracks whose loudness is measured
_BARE = {"mp3", "aac", "ac3", "eac3", "dts", "amr", "loas", "mlp", "truehd"}
_ESTIMATED = 0.01  # difference at which a duration is what the bit rate alone says
_LOUDNESS = TypeAdapter(dict[int, Loudness])


@dataclass(frozen=True)
class Sound:
    """What was made of the first sound."""

    outputs: list[Output]
    loudness: dict[int, Loudness]  # of each track, by its stream's index
    duration: float | None  # seconds, where identify could only estimate them


async def make_sound(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
    channels: int = 1,
) -> Sound:
    """waveform.json and .dat (of `channels` channels, 1 or 2), waveform.png, spectrogram.png; of a sound file also
    preview.m4a, preview.mp3 and hls-audio.mp4. Nothing without sound.

    Raises as `sandbox.run_task` does, and Rejected("truncated") when less sound was decoded than the file announced.
    """
    sound = first_sound(info)
    if sound is None:
        return Sound([], {}, None)
    limits = (limits or Limits()).scaled(info.seconds)
    plan = previews.plan_previews(sound, forced(info.format)) if info.kind == "audio" else []
    arguments = _arguments(info, sound, limits, min(channels, sound.channels)) | {"previews": plan}
    found = (await run_task(sandbox, "sound", arguments, source, job_dir, limits, on_progress)).result
    if found.get("changed"):  # what could be copied at first could not be later
        plan = previews.plan_previews(sound, forced(info.format), copy=False)
        found = (
            await run_task(sandbox, "sound", arguments | {"previews": plan}, source, job_dir, limits, on_progress)
        ).result
    seconds = _seconds(found, "seconds")
    expected = announced(info, sound)
    check_seconds(expected, seconds, "sound")
    outputs = _pictures(job_dir, found, seconds)
    if plan:
        outputs += await _played(plan, sound, found, seconds, job_dir, sandbox, limits)
    on_progress(1.0, "the sound is drawn")
    return Sound(outputs, _loudness(found), seconds if info.kind == "audio" and expected is None else None)


def first_sound(info: MediaInfo) -> AudioInfo | None:
    """The sound that players begin with: the one marked as default, else the first that can be decoded. Pure."""
    known = [audio for audio in info.audio if audio.channels]
    return next((audio for audio in known if getattr(audio, "default", False)), known[0] if known else None)


def announced(info: MediaInfo, sound: AudioInfo) -> float | None:
    """Seconds of sound that the file itself says it has. Pure.

    None for a bare stream without a table of contents, whose duration FFmpeg estimates by its size and the bit rate it
    begins with: that may be far off, and a file cut off looks like a whole one.
    """
    seconds = sound.duration or (info.duration if info.kind == "audio" else None)
    if seconds and sound.bit_rate and forced(info.format) in _BARE:
        estimate = info.size * 8 / sound.bit_rate
        return None if abs(seconds - estimate) < estimate * _ESTIMATED else seconds
    return seconds


def _arguments(info: MediaInfo, sound: AudioInfo, limits: Limits, channels: int) -> dict[str, Any]:
    return {
        "demuxer": forced(info.format),
        "max_pixels": limits.max_pixels,
        "index": sound.index,
        "meters": [audio.index for audio in info.audio if audio.channels][:_METERED],
        "seconds": info.seconds,
        "peaks": {
            "json": WAVEFORM,
            "data": WAVEFORM_DATA,
            "image": WAVEFORM_IMAGE,
            "width": _WIDTH,
            "height": _WAVE_HEIGHT,
            "channels": channels,
        },
        "spectrogram": {"file": SPECTROGRAM, "width": _WIDTH, "height": _SPECTRUM_HEIGHT} | _AXES,
    }


def _pictures(job_dir: Path, found: dict[str, Any], seconds: float) -> list[Output]:
    about: dict[str, Any] = {"duration": seconds, "recipe": RECIPE}
    scale: dict[str, Any] = {"length": number(found, "length"), "samples_per_pixel": number(found, "samples_per_pixel")}
    wave: dict[str, Any] = {"width": _WIDTH, "height": _WAVE_HEIGHT}
    axes: dict[str, Any] = {"scale": "log", "highest": number(found, "highest")} | _AXES
    return [
        collect(job_dir, WAVEFORM, "waveform", "application/json", **about, **scale),
        collect(job_dir, WAVEFORM_DATA, "waveform_data", "application/octet-stream", **about, **scale),
        collect(job_dir, WAVEFORM_IMAGE, "waveform_image", "image/png", **wave, **about),
        collect(
            job_dir, SPECTROGRAM, "spectrogram", "image/png", width=_WIDTH, height=_SPECTRUM_HEIGHT, **about, **axes
        ),
    ]


async def _played(
    plan: list[dict[str, Any]],
    sound: AudioInfo,
    found: dict[str, Any],
    seconds: float,
    job_dir: Path,
    sandbox: Sandbox,
    limits: Limits,
) -> list[Output]:
    """Listen to what was made, and take it in."""
    files = [{"name": file["name"], "format": _DEMUXERS[file["name"]]} for one in plan for file in one["files"]]
    heard = (await run_task(sandbox, "heard", {"files": files}, None, job_dir, limits)).result.get("files")
    by_name = {one["name"]: one for one in heard if isinstance(one, dict)} if isinstance(heard, list) else {}
    outputs = []
    for one in plan:
        expected = _seconds(found, "copied") if one["copy"] else seconds
        for file in one["files"]:
            previews.check_heard(file["name"], expected, by_name.get(file["name"], {}))
            outputs.append(previews.collected(job_dir, file["name"], one, sound, expected))
    return outputs


_DEMUXERS = {previews.M4A: "mov", previews.HLS: "mov", previews.MP3: "mp3"}


def _seconds(found: dict[str, Any], name: str) -> float:
    value = found.get(name)
    if not isinstance(value, (int, float)) or not 0 <= value < float("inf"):
        raise Unavailable("tool_crashed", "A media tool said something that makes no sense.")
    return float(value)


def _loudness(found: dict[str, Any]) -> dict[int, Loudness]:
    try:
        return _LOUDNESS.validate_python(found.get("loudness"))
    except ValueError as error:
        raise Unavailable(
            "tool_crashed", "A media tool said something that makes no sense.", log=str(error)[:1000]
        ) from error
