"""Makes the proxies of a video: all rungs from one decode, then measured against what identify found."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rushes.errors import Rejected, Unavailable
from rushes.media.formats import forced
from rushes.media.info import MediaInfo
from rushes.media.ladder import LADDER, Rung, Target, audio_rate, encoder_options, proxy_arguments, targets_for
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.sandbox import SOURCE_URL, Sandbox, ffmpeg, run_task, run_tool
from rushes.media.source import Source
from rushes.media.verify import Measured, check_proxy

OnProgress = Callable[[float, str], None]
_MEASURED = TypeAdapter(list[Measured])


def ignore_progress(_: float, __: str) -> None:
    """For callers that do not watch."""


async def make_proxies(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
    ladder: Sequence[Rung] = LADDER,
    threads: int = 0,
) -> list[Output]:
    """H.264 and AAC in MP4 with the index in front, largest first; [] when there is no moving picture. Files of an
    earlier run are replaced.

    `threads` bounds each encoder; 0 leaves it to ffmpeg. Raises as `sandbox.run_tool` does, and Rejected("truncated")
    when the source gave less than it announced.
    """
    if info.video is None:
        return []
    limits = limits or Limits()
    targets = targets_for(info.video.width, info.video.height, ladder)
    scaled = limits.scaled(info.seconds)
    if sandbox.tools:
        await _by_ffmpeg(source, info, targets, job_dir, sandbox, on_progress, scaled, threads)
    else:
        arguments = _task_arguments(info, targets, scaled, threads)
        await run_task(sandbox, "transcode", arguments, source, job_dir, scaled, on_progress)
    measured = await _measure(targets, job_dir, sandbox, limits)
    for target, found in zip(targets, measured, strict=True):
        check_proxy(info, target, found)
    on_progress(1.0, "proxies are made")
    return [
        collect(
            job_dir,
            t.file,
            "proxy",
            "video/mp4",
            width=t.width,
            height=t.height,
            duration=max(m.video_seconds, m.audio_seconds),
            rung=t.rung.name,
            frames=m.frames,
        )
        for t, m in zip(targets, measured, strict=True)
    ]


async def _by_ffmpeg(
    source: Source,
    info: MediaInfo,
    targets: list[Target],
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress,
    limits: Limits,
    threads: int,
) -> None:
    arguments = proxy_arguments(
        info,
        targets,
        SOURCE_URL,
        max_pixels=limits.max_pixels,
        max_streams=max(1000, limits.max_streams),
        threads=threads,
    )
    await run_tool(sandbox, [ffmpeg(), *arguments], source, job_dir, limits, Progress(info.seconds, on_progress).take)


class Progress:
    """Turns the lines of ffmpeg's -progress into fractions that never fall."""

    def __init__(self, seconds: float, on_progress: OnProgress) -> None:
        self._seconds = seconds
        self._on_progress = on_progress
        self._fraction = 0.0

    def take(self, line: str) -> None:
        name, _, value = line.partition("=")
        if name != "out_time_us" or not value.lstrip("-").isdigit():
            return
        done = max(0, int(value)) / 1e6
        if self._seconds > 0:
            self._fraction = max(self._fraction, min(0.99, done / self._seconds))
        self._on_progress(
            self._fraction,
            f"{done:.0f} of {self._seconds:.0f} s are encoded" if self._seconds else f"{done:.0f} s are encoded",
        )


def _task_arguments(info: MediaInfo, targets: list[Target], limits: Limits, threads: int) -> dict[str, Any]:
    video = info.video
    if video is None:
        raise ValueError("only a moving picture has proxies")
    sound = info.audio[0] if info.audio and info.audio[0].channels else None
    return {
        "demuxer": forced(info.format),
        "max_pixels": limits.max_pixels,
        "seconds": info.seconds,
        "video": asdict(video),
        "audio": None
        if sound is None
        else {
            "index": sound.index,
            "rate": audio_rate(sound.sample_rate),
            "layout": "mono" if sound.channels == 1 else "stereo",
        },
        "targets": [
            {
                "file": t.file,
                "width": t.width,
                "height": t.height,
                "options": encoder_options(video, t.rung, threads),
                "audio_bits": t.rung.audio_kbits * 1000,
            }
            for t in targets
        ],
    }


async def _measure(targets: list[Target], job_dir: Path, sandbox: Sandbox, limits: Limits) -> list[Measured]:
    ended = await run_task(sandbox, "measure", {"files": [t.file for t in targets]}, None, job_dir, limits)
    try:
        measured = _MEASURED.validate_python(ended.result.get("files"))
    except ValueError as error:
        raise Unavailable(
            "tool_crashed", "A media tool said something that makes no sense.", log=str(error)[:1000]
        ) from error
    if len(measured) != len(targets):
        raise Rejected("undecodable", "Not every proxy of this file could be made.")
    return measured
