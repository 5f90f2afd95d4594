"""The ladder: which proxies a source gets, and the ffmpeg arguments that make them. Pure; the rungs are data.

One decode feeds all rungs, each scaled from the one above (1080 → 720 → 360, bicubic): 60 CPU seconds for 30 s of
1080p against 103 with one process a rendition, at the same VMAF.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rushes.media.formats import forced
from rushes.media.info import MediaInfo, VideoInfo

MAX_FPS = 60
_LONGEST_SIDE = 4096  # pixels: what H.264 decoders in browsers and phones take
_GOP_SECONDS = 2


@dataclass(frozen=True)
class Rung:
    name: str
    side: int  # pixels, the shorter side
    crf: int
    max_kbits: int  # per second, video
    audio_kbits: int


LADDER = (Rung("1080p", 1080, 23, 6500, 160), Rung("720p", 720, 23, 3500, 128), Rung("360p", 360, 23, 1100, 96))


@dataclass(frozen=True)
class Target:
    """One proxy to make: a rung at this source's shape."""

    rung: Rung
    width: int
    height: int

    @property
    def file(self) -> str:
        return f"proxy-{self.rung.name}.mp4"


def targets_for(width: int, height: int, ladder: Sequence[Rung] = LADDER) -> list[Target]:
    """Largest first: the rungs not above the source's shorter side, or the lowest one at the source's own size.

    Sides are even.
    """
    shorter = min(width, height)
    rungs = [rung for rung in sorted(ladder, key=lambda rung: -rung.side) if rung.side <= shorter]
    if not rungs:
        return [Target(min(ladder, key=lambda rung: rung.side), *_fit(width, height, shorter))]
    return [Target(rung, *_fit(width, height, rung.side)) for rung in rungs]


def _fit(width: int, height: int, shorter: int) -> tuple[int, int]:
    scale = min(shorter / min(width, height), _LONGEST_SIDE / max(width, height))
    return _even(width * scale), _even(height * scale)


def _even(length: float) -> int:
    """The nearest even number from 2; the lower one for an odd length, so that nothing is upscaled."""
    return max(2, 2 * int(length / 2 + 0.49))


def filter_graph(video: VideoInfo, targets: Sequence[Target]) -> str:
    """A cascade from the first decode down to the last rung; outputs are labelled [v0], [v1] …"""
    steps = [f"[0:{video.index}]"]
    if video.fps and video.fps > MAX_FPS + 0.5:
        steps.append(f"fps={MAX_FPS},")
    for number, target in enumerate(targets):
        steps.append(f"scale={target.width}:{target.height}:flags=bicubic")
        if number == 0:
            steps.append((_TONE_MAP if video.hdr else "") + ",setsar=1,format=yuv420p")
        steps.append(f"[v{number}]" if target is targets[-1] else f",split=2[v{number}][s{number}];[s{number}]")
    return "".join(steps)


# From absolute light to SDR; npl is the white that SDR's white stands for.
_TONE_MAP = (
    ",zscale=transfer=linear:npl=203,format=gbrpf32le,zscale=primaries=bt709"
    ",tonemap=mobius:desat=0,zscale=transfer=bt709:matrix=bt709:range=tv"
)


def proxy_arguments(
    info: MediaInfo, targets: Sequence[Target], url: str, *, max_pixels: int, max_streams: int, threads: int = 0
) -> list[str]:
    """ffmpeg's arguments, without its name, that make all targets of `info` in the current directory.

    ValueError without a moving picture.
    """
    if info.video is None:
        raise ValueError("only a moving picture has proxies")
    demuxer = forced(info.format)
    arguments = [
        "-nostdin",
        "-hide_banner",
        "-y",
        "-loglevel",
        "level+warning",
        "-nostats",
        "-progress",
        "pipe:1",
        "-stats_period",
        "0.5",
    ]
    if threads:
        arguments += ["-filter_complex_threads", str(threads), "-threads", str(threads)]
    arguments += ["-protocol_whitelist", "http,tcp", "-format_whitelist", demuxer, "-f", demuxer]
    arguments += [
        "-max_pixels",
        str(max_pixels),
        "-max_streams",
        str(max_streams),
        "-multiple_requests",
        "1",
        "-i",
        url,
    ]
    arguments += ["-filter_complex", filter_graph(info.video, targets)]
    for number, target in enumerate(targets):
        arguments += _output(info, info.video, number, target, threads)
    return arguments


def _output(info: MediaInfo, video: VideoInfo, number: int, target: Target, threads: int) -> list[str]:
    arguments = ["-map", f"[v{number}]", "-fps_mode", "vfr", *(["-enc_time_base:v", "1:90000"] if video.vfr else [])]
    for option, value in encoder_options(video, target.rung, threads).items():
        arguments += [f"-{option}:v", value]
    if info.audio and info.audio[0].channels:
        sound = info.audio[0]
        arguments += [
            "-map",
            f"0:{sound.index}",
            "-af",
            "aresample=async=1:first_pts=0",
            "-c:a",
            "aac",
            "-b:a",
            f"{target.rung.audio_kbits}k",
        ]
        arguments += ["-ac", str(min(2, sound.channels)), "-ar", str(audio_rate(sound.sample_rate))]
    return [
        *arguments,
        "-map_metadata",
        "-1",
        "-map_chapters",
        "-1",
        "-movflags",
        "+faststart",
        "-f",
        "mp4",
        target.file,
    ]


def encoder_options(video: VideoInfo, rung: Rung, threads: int) -> dict[str, str]:
    """libx264's options for one rung, by FFmpeg's names."""
    rate = min(video.fps or 25.0, MAX_FPS)
    options = {
        "c": "libx264",
        "preset": "veryfast",
        "profile": "high",
        "crf": str(rung.crf),
        "maxrate": f"{rung.max_kbits}k",
        "bufsize": f"{2 * rung.max_kbits}k",
        "g": str(max(1, round(rate * _GOP_SECONDS))),
    }
    return options | ({"threads": str(threads)} if threads else {})


def audio_rate(sample_rate: int) -> int:
    """44.1 kHz and 48 kHz stay; everything else becomes 48 kHz."""
    return sample_rate if sample_rate in {44100, 48000} else 48000
