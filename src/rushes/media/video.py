"""Makes the renditions of a video, in steps that may run on different machines.

1. `copy_source`: the source's own picture where browsers play it, and every sound: nothing is decoded that need not be.
2. `encode_span`, for each span of the plan: a piece of every other picture, all from one decode.
3. `join`: whole pictures of the pieces, and the progressive file.

Each picture and each sound is one CMAF file; `Output.segments` says where its segments lie. `make_video` does all in a
row.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from rushes.errors import Rejected, Unavailable
from rushes.media import cmaf
from rushes.media.commands import (
    MOVFLAGS,
    TICKS,
    before_scaling,
    encode_arguments,
    encoder_options,
    piece_file,
)
from rushes.media.formats import forced
from rushes.media.info import MediaInfo
from rushes.media.ladder import GOP_SECONDS, RECIPE, SEGMENT_SECONDS, Target, VideoSettings, audio_bits
from rushes.media.limits import Limits
from rushes.media.outputs import Output, collect
from rushes.media.plan import Track, VideoPlan, encoder_of, plan_video, zero_of
from rushes.media.played import check_played, nonsense, picture_output, read, read_or_none
from rushes.media.sandbox import SOURCE_URL, Sandbox, ffmpeg, run_task, run_tool
from rushes.media.source import Source
from rushes.media.spans import Span
from rushes.media.verify import (
    TOGETHER,
    Measured,
    check_pictures,
    check_progressive,
    check_sound,
    unfit,
)

OnProgress = Callable[[float, str], None]
_MEASURED = TypeAdapter(list[Measured])
_LEAST_SEGMENT = 3.5  # seconds, of a copied picture, where its key frames allow
_HOLE = 0.1  # seconds missing in a sound that is copied
_MS = 1_000_000
_LEAD = 1.5  # seconds before a span from which is read: frames are stored in another order than they are shown
_LONG_LEAD = 60.0
_BLIND_LEAD = 12.0  # where the container does not say where key frames are
_CLOCKS = {"mpegts", "mpeg"}  # containers whose clock may be set anew


def ignore_progress(_: float, __: str) -> None:
    """For callers that do not watch."""


@dataclass(frozen=True)
class Piece:
    """One span of one picture."""

    file: str  # the picture's name
    path: Path
    frames: int


async def make_video(
    source: Source,
    info: MediaInfo,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
    settings: VideoSettings | None = None,
) -> list[Output]:
    """Every rendition of a video, one step after the other; [] when there is no moving picture. Files of an earlier run
    are replaced.

    Raises as `sandbox.run_tool` does, and Rejected("truncated") when the source gave less than it announced.
    """
    if info.video is None:
        return []
    settings, limits = settings or VideoSettings(), limits or Limits()
    plan = plan_video(info, settings)
    outputs = await copy_source(source, info, plan, job_dir, sandbox, part(on_progress, 0.0, 0.1), limits=limits)
    plan = replan(info, settings, plan, outputs)
    pieces: dict[str, list[Path]] = {}
    for span in plan.spans if plan.targets else ():
        watch = part(on_progress, 0.1 + 0.8 * span.number / len(plan.spans), 0.8 / len(plan.spans))
        for piece in await encode_span(source, info, plan, span.number, job_dir, sandbox, watch, limits=limits):
            pieces.setdefault(piece.file, []).append(piece.path)
    made = {output.name: output.path for output in outputs}
    outputs += await join(info, plan, pieces, made, job_dir, sandbox, part(on_progress, 0.9, 0.1), limits=limits)
    on_progress(1.0, "the video is made")
    return outputs


def replan(info: MediaInfo, settings: VideoSettings, plan: VideoPlan, copied: Sequence[Output]) -> VideoPlan:
    """The plan for what is to be encoded, knowing what was copied."""
    if plan.copied is None:
        return plan
    own = next((output for output in copied if output.name == plan.copied.file), None)
    return plan_video(info, settings, copy=False) if own is None else plan_video(info, settings, own.segments)


def part(on_progress: OnProgress, begin: float, share: float) -> OnProgress:
    """Progress of a step as progress of the whole."""
    return lambda fraction, message: on_progress(begin + share * fraction, message)


async def copy_source(
    source: Source,
    info: MediaInfo,
    plan: VideoPlan,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
) -> list[Output]:
    """The source's own picture, unless it turns out to be unfit, and every sound.

    What is copied costs the reading only. Raises as `sandbox.run_task` does, and Rejected("truncated").
    """
    limits = limits or Limits()
    picture = plan.copied
    report = await _run_tracks(source, info, picture, plan.tracks, job_dir, sandbox, on_progress, limits)
    checked = [await _whole(track, report[track.file], job_dir, sandbox, limits) for track in plan.tracks if track.copy]
    again = [replace(track, copy=False) for track in checked if track is not None]
    if again:
        report |= await _run_tracks(source, info, None, again, job_dir, sandbox, on_progress, limits)
    tracks = {track.file: track for track in (*plan.tracks, *again)}
    sounds = [
        await _sound(info, track, job_dir, sandbox, limits)
        for track in tracks.values()
        if report[track.file]["written"]
    ]
    pictures = []
    if picture is not None:
        heard = max((sound.duration or 0.0 for sound in sounds), default=0.0)
        pictures = await _own_picture(info, picture, report[picture.file], heard, job_dir, sandbox, limits)
    on_progress(1.0, "the source's own tracks are copied")
    return pictures + sounds


async def _run_tracks(
    source: Source,
    info: MediaInfo,
    picture: Target | None,
    tracks: Sequence[Track],
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress,
    limits: Limits,
) -> dict[str, dict[str, Any]]:
    """What the task says of each file."""
    wanted: list[dict[str, Any]] = []
    if picture is not None and info.video is not None:
        fragments = {"min_frag_duration": str(round(1.9 * _MS))}
        own = {"index": info.video.index, "file": picture.file, "copy": True}
        wanted.append(own | {"movflags": MOVFLAGS, "fragments": fragments})
    for track in tracks:
        fragments = {"frag_duration": str(round(SEGMENT_SECONDS * _MS))}
        sound = {"bits": audio_bits(track.channels), "movflags": MOVFLAGS.replace("+frag_keyframe", "")}
        wanted.append(asdict(track) | sound | {"fragments": fragments})
    if not wanted:
        return {}
    arguments = {
        "demuxer": forced(info.format),
        "max_pixels": limits.max_pixels,
        "zero": zero_of(info),
        "seconds": info.seconds,
        "broken_clock": forced(info.format) in _CLOCKS,
        "tracks": wanted,
    }
    scaled = replace(limits.scaled(info.seconds), output_bytes=limits.output_bytes + 2 * info.size)
    ended = await run_task(sandbox, "tracks", arguments, source, job_dir, scaled, on_progress)
    said = ended.result.get("tracks")
    report = {str(row.get("file")): row for row in said} if isinstance(said, list) else {}
    if set(report) != {row["file"] for row in wanted}:
        raise nonsense("not every track was made")
    return report


async def _own_picture(
    info: MediaInfo,
    picture: Target,
    said: dict[str, Any],
    heard: float,
    job_dir: Path,
    sandbox: Sandbox,
    limits: Limits,
) -> list[Output]:
    """The copied picture, or nothing when it cannot be played by segments."""
    path = job_dir / picture.file
    frames = info.video.frames if info.video is not None and not said.get("hole") else None
    try:
        index = cmaf.read(path)
        laid = cmaf.segmented(index, _LEAST_SEGMENT)
        if not said.get("hole") and not unfit(index, frames):
            check_pictures(info, [(picture, index)], heard)
            await check_played([(index, laid)], job_dir, sandbox, limits)
            return [picture_output(info, picture, index, laid, job_dir, copied=True)]
    except (ValueError, Unavailable):
        pass  # damaged, or not as it said: it is encoded like any other source
    path.unlink(missing_ok=True)
    return []


async def _whole(track: Track, said: dict[str, Any], job_dir: Path, sandbox: Sandbox, limits: Limits) -> Track | None:
    """The track, unless its copy begins with the file, has no holes and can be played."""
    hole = said.get("hole")
    try:
        index = cmaf.read(job_dir / track.file)
        if isinstance(hole, int | float) and hole <= _HOLE and index.begin <= TOGETHER:
            await check_played([(index, cmaf.segmented(index, SEGMENT_SECONDS - 1))], job_dir, sandbox, limits)
            return None
    except (ValueError, Unavailable):
        pass  # damaged, or not as it said: it is encoded like any other sound
    return track


async def _sound(info: MediaInfo, track: Track, job_dir: Path, sandbox: Sandbox, limits: Limits) -> Output:
    index = read(job_dir / track.file)
    laid = cmaf.segmented(index, SEGMENT_SECONDS - 1)
    check_sound(next(sound for sound in info.audio if sound.index == track.index), index)
    if not track.copy:  # what was copied was played before it was kept
        await check_played([(index, laid)], job_dir, sandbox, limits)
    peak, average = cmaf.bandwidths(laid)
    return collect(
        job_dir,
        track.file,
        "hls_audio",
        "audio/mp4",
        duration=index.end,
        recipe=RECIPE,
        segments=laid,
        codecs=index.codecs,
        channels=track.channels,
        language=track.language,
        bandwidth=peak,
        average_bandwidth=average,
        default=track.default,
        copied=track.copy,
    )


async def encode_span(
    source: Source,
    info: MediaInfo,
    plan: VideoPlan,
    number: int,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
) -> list[Piece]:
    """A piece of every picture of the plan; [] where the source has no picture in this span.

    Raises as `sandbox.run_tool` does.
    """
    span = plan.spans[number]
    limits = limits or Limits()
    lead = _lead(info)
    pieces = await _encode(source, info, plan, span, lead, job_dir, sandbox, on_progress, limits)
    if span.number and lead < _LONG_LEAD and _late(info, span, pieces):
        # Its key frame lies further back, or the source has no picture here; from far enough back it is one or the other.
        pieces = await _encode(source, info, plan, span, _LONG_LEAD, job_dir, sandbox, on_progress, limits)
    on_progress(1.0, "the span is encoded")
    return [Piece(index.path.name.split("-", 2)[2], index.path, index.samples) for index in pieces]


def _lead(info: MediaInfo) -> float:
    known = info.video.gop_seconds if info.video is not None else None
    if forced(info.format) == "mpegts":
        return float(known) + _LEAD if known else _BLIND_LEAD
    return _LEAD


def _late(info: MediaInfo, span: Span, pieces: Sequence[cmaf.Index]) -> bool:
    frame = 1 / info.video.fps if info.video is not None and info.video.fps else 0.1
    return not pieces or pieces[0].begin > span.start + 1.5 * frame + 0.01


async def _encode(
    source: Source,
    info: MediaInfo,
    plan: VideoPlan,
    span: Span,
    lead: float,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress,
    limits: Limits,
) -> list[cmaf.Index]:
    files = [piece_file(target, span) for target in plan.targets]
    for name in files:
        (job_dir / name).unlink(missing_ok=True)
    end = span.end if span.end is not None else info.seconds
    scaled = limits.scaled(max(0.0, end - span.start) + lead)
    if sandbox.tools:
        arguments = encode_arguments(info, plan, span, SOURCE_URL, scaled, lead)
        progress = Progress(span.start, end, on_progress)
        await run_tool(sandbox, [ffmpeg(), *arguments], source, job_dir, scaled, progress.take)
    else:
        task = _task_arguments(info, plan, span, scaled, lead)
        await run_task(sandbox, "transcode", task, source, job_dir, scaled, on_progress)
    made = [index for name in files if (index := read_or_none(job_dir / name)) is not None]
    if len(made) not in {0, len(files)}:
        raise nonsense(f"{len(made)} of {len(files)} pictures were made")
    return made


class Progress:
    """Turns the lines of ffmpeg's -progress into fractions that never fall."""

    def __init__(self, start: float, end: float, on_progress: OnProgress) -> None:
        self._start, self._seconds = start, end - start
        self._on_progress = on_progress
        self._fraction = 0.0

    def take(self, line: str) -> None:
        name, _, value = line.partition("=")
        if name != "out_time_us" or not value.lstrip("-").isdigit():
            return
        done = max(0.0, int(value) / 1e6 - self._start)
        if self._seconds > 0:
            self._fraction = max(self._fraction, min(0.99, done / self._seconds))
            self._on_progress(self._fraction, f"{done:.0f} of {self._seconds:.0f} s are encoded")
        else:
            self._on_progress(self._fraction, f"{done:.0f} s are encoded")


def _task_arguments(info: MediaInfo, plan: VideoPlan, span: Span, limits: Limits, lead: float) -> dict[str, Any]:
    video, encoder = info.video, encoder_of(plan)
    if video is None:
        raise ValueError("only a moving picture has renditions of video")
    return {
        "demuxer": forced(info.format),
        "max_pixels": limits.max_pixels,
        "seconds": info.seconds,
        "zero": zero_of(info),
        "start": span.start,
        "end": span.end,
        "lead": lead,
        "keys": span.keys,
        "gop": GOP_SECONDS,
        "ticks": TICKS,
        "movflags": MOVFLAGS,
        "video": {"index": video.index, "rotation": video.rotation, "frame_rate": video.frame_rate, "hdr": video.hdr},
        "before": [step.split("=", 1) for step in before_scaling(video, span) if step.startswith(("bwdif", "fps"))],
        "targets": [
            {
                "file": piece_file(target, span),
                "width": target.width,
                "height": target.height,
                "codec": encoder.codec,
                "options": encoder_options(video, target, span, encoder, plan.threads),
            }
            for target in plan.targets
        ],
    }


async def join(
    info: MediaInfo,
    plan: VideoPlan,
    pieces: Mapping[str, Sequence[Path]],
    made: Mapping[str, Path],
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress = ignore_progress,
    *,
    limits: Limits | None = None,
) -> list[Output]:
    """Whole pictures of their pieces (paths in the spans' order, removed as they are written), and the progressive file.

    `made`: what `copy_source` made, by name; the progressive file takes its sound, and its picture where that was
    copied, from `job_dir`. Raises Rejected("truncated" or "undecodable") and Unavailable as `verify` does.
    """
    limits = limits or Limits()
    sounds = {track.file: read(made[track.file]) for track in plan.tracks if track.file in made}
    pictures: list[tuple[Target, cmaf.Index]] = []
    for target in plan.targets:
        indexes = [read(path) for path in pieces.get(target.file, ())]
        if not indexes:
            raise Rejected("undecodable", "No picture of this file could be decoded.")
        pictures.append((target, _joined(indexes, job_dir / target.file)))
    if pictures:
        check_pictures(info, pictures, max((sound.end for sound in sounds.values()), default=0.0))
    laid = [(index, cmaf.segmented(index, SEGMENT_SECONDS - 0.1, plan.edges)) for _, index in pictures]
    if laid:
        await check_played(laid, job_dir, sandbox, limits)
    outputs = [
        picture_output(info, target, index, segments, job_dir, copied=False)
        for (target, _), (index, segments) in zip(pictures, laid, strict=True)
    ]
    on_progress(0.5, "pictures are joined")
    if plan.proxy is not None:
        own = made.get(plan.proxy.file)
        picture = read(own) if own is not None else {t.file: index for t, index in pictures}[plan.proxy.file]
        sound = next((sounds[t.file] for t in plan.tracks if t.default and t.file in sounds), None)
        outputs.append(
            await _progressive(info, plan.proxy, picture, sound, job_dir, sandbox, part(on_progress, 0.5, 0.5), limits)
        )
    return outputs


def _joined(pieces: Sequence[cmaf.Index], out: Path) -> cmaf.Index:
    out.unlink(missing_ok=True)
    if len(pieces) == 1:
        pieces[0].path.rename(out)
        return replace(pieces[0], path=out)
    try:
        cmaf.join(pieces, out)
    except ValueError as error:
        raise nonsense(str(error)) from error
    return read(out)


async def _progressive(
    info: MediaInfo,
    target: Target,
    picture: cmaf.Index,
    sound: cmaf.Index | None,
    job_dir: Path,
    sandbox: Sandbox,
    on_progress: OnProgress,
    limits: Limits,
) -> Output:
    name = f"proxy-{target.rung}.mp4"
    inputs = [index.path.name for index in (picture, sound) if index is not None]
    size = sum(index.path.stat().st_size for index in (picture, sound) if index is not None)
    scaled = replace(limits.scaled(info.seconds), output_bytes=limits.output_bytes + 2 * size)
    arguments = {"file": name, "inputs": inputs, "seconds": info.seconds}
    ended = await run_task(sandbox, "mux", arguments, None, job_dir, scaled, on_progress)
    try:
        [measured] = _MEASURED.validate_python(ended.result.get("files"))
    except ValueError as error:
        raise nonsense(str(error)) from error
    check_progressive(target, picture.samples, measured)
    return collect(
        job_dir,
        name,
        "proxy",
        "video/mp4",
        width=target.width,
        height=target.height,
        duration=max(measured.video_seconds, measured.audio_seconds),
        recipe=RECIPE,
        rung=target.rung,
        frames=measured.frames,
    )
