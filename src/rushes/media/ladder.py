"""The ladder as data: rungs, encoders, and which pictures a source gets. Pure.

Whatever is changed here so that outputs change raises `RECIPE`: what was made before then counts as outdated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

RECIPE = 2  # 1 were progressive files of every rung

MAX_FPS = 60
SEGMENT_SECONDS = 4.0
GOP_SECONDS = 2.0
_LONGEST_SIDE = 4096  # pixels: what H.264 decoders in browsers and phones take


@dataclass(frozen=True)
class Rung:
    side: int  # pixels, the shorter side
    crf: int
    max_kbits: int  # per second, at most 30 frames a second

    @property
    def name(self) -> str:
        return f"{self.side}p"


LADDER = (Rung(2160, 23, 18000), Rung(1080, 23, 6500), Rung(720, 23, 3500), Rung(360, 23, 1100))


@dataclass(frozen=True)
class Encoder:
    """How ffmpeg is told to encode; `{crf}`, `{kbits}`, `{twice}` and `{device}` are filled in."""

    codec: str  # ffmpeg's name
    options: dict[str, str]
    before: tuple[str, ...] = ()  # ffmpeg's arguments before the input
    frames: str = ""  # filters after the cascade, for what takes frames of its own kind
    keys: dict[str, str] = field(default_factory=dict)  # {keys}: key frames only where they are forced

    def for_rung(self, rung: Rung, rate: float, threads: int) -> dict[str, str]:
        """Options by FFmpeg's names; `rate` in frames a second."""
        kbits = round(rung.max_kbits * max(1.0, min(rate, MAX_FPS) / 30) ** 0.6)
        far = round(10 * max(1.0, min(rate, MAX_FPS)))
        words = {"crf": rung.crf, "kbits": kbits, "twice": 2 * kbits, "far": far, "half": far // 2 + 1}
        options = {name: value.format(**words) for name, value in (self.options | self.keys).items()}
        return options | ({"threads": str(threads)} if threads else {})


# Key frames stand where they are forced, at the same moments in all rungs. x264 takes a scene's change for a key frame
# only after `keyint_min`, which is never reached: within a GOP it becomes an ordinary I frame.
_FORCED = {"g": "{far}", "keyint_min": "{half}", "forced-idr": "1"}
_BITS = {"maxrate": "{kbits}k", "bufsize": "{twice}k"}
ENCODERS = {
    "x264": Encoder(
        "libx264", {"preset": "veryfast", "profile": "high", "crf": "{crf}"} | _BITS, keys=_FORCED,
    ),
    # The next four were written by FFmpeg's documentation and have not been tried: there was no such hardware.
    "nvenc": Encoder(
        "h264_nvenc",
        {"preset": "p4", "profile": "high", "rc": "vbr", "cq": "{crf}", "b": "0", "no-scenecut": "1"} | _BITS,
        keys={"g": "{far}", "forced-idr": "1"},
    ),
    "vaapi": Encoder(
        "h264_vaapi",
        {"profile": "high", "rc_mode": "QVBR", "global_quality": "{crf}", "b": "{kbits}k"} | _BITS,
        before=("-init_hw_device", "vaapi=gpu:{device}", "-filter_hw_device", "gpu"),
        frames=",format=nv12,hwupload",
        keys={"g": "{far}"},
    ),
    "qsv": Encoder(
        "h264_qsv",
        {"preset": "veryfast", "profile": "high", "global_quality": "{crf}", "look_ahead": "0"} | _BITS,
        keys={"g": "{far}", "forced_idr": "1", "adaptive_i": "0"},
    ),
    "videotoolbox": Encoder(
        "h264_videotoolbox", {"profile": "high", "b": "{kbits}k"} | _BITS, keys={"g": "{far}"},
    ),
}  # fmt: skip
# A second set, for players that know these codecs; made when nothing else waits.
SECOND = {
    "vp9": Encoder(
        "libvpx-vp9",
        {"deadline": "good", "cpu-used": "5", "row-mt": "1", "tile-columns": "2", "crf": "33", "b": "{kbits}k"},
        keys={"g": "{far}"},
    ),
    "av1": Encoder("libsvtav1", {"preset": "9", "crf": "34"}, keys={"g": "{far}", "svtav1-params": "scd=0"}),
}  # fmt: skip


@dataclass(frozen=True)
class VideoSettings:
    """What an operator may choose."""

    encoder: str = "x264"  # of ENCODERS
    device: str = ""  # of a hardware encoder, such as /dev/dri/renderD128
    tallest: int = 1080  # pixels, the shorter side of the highest rung; 2160 is made when asked
    proxy_height: int = 720  # of the progressive file; the highest rung not above it
    second: str = ""  # of SECOND, or none
    threads: int = 0  # of each encoder; 0 leaves it to ffmpeg
    span_seconds: float = 120.0  # of 1080p at 30 frames a second that one worker encodes in one go
    fast_decode: bool = True  # no loop filter in decoding when every picture is made smaller


@dataclass(frozen=True)
class Target:
    """One picture to make: a rung at this source's shape."""

    rung: str
    width: int
    height: int
    prefix: str = "hls"

    @property
    def file(self) -> str:
        return f"{self.prefix}-{self.rung}.mp4"


def rung_of(target: Target) -> Rung:
    """Quality and rate; those of the next rung above for a source's own size."""
    side = min(target.width, target.height)
    return next((rung for rung in reversed(LADDER) if rung.side >= side), LADDER[0])


def targets_for(width: int, height: int, tallest: int = 1080, prefix: str = "hls") -> list[Target]:
    """Largest first: the rungs not above the source's shorter side, or one at the source's own size.

    Sides are even.
    """
    shorter = min(width, height)
    sides = [rung.side for rung in LADDER if rung.side <= min(shorter, tallest)]
    if not sides:
        own = _fit(width, height, shorter)
        return [Target(f"{min(own)}p", *own, prefix)]
    return [Target(f"{side}p", *_fit(width, height, side), prefix) for side in sides]


def _fit(width: int, height: int, shorter: int) -> tuple[int, int]:
    scale = min(shorter / min(width, height), _LONGEST_SIDE / max(width, height))
    return _even(width * scale), _even(height * scale)


def _even(length: float) -> int:
    """The nearest even number from 2; the lower one for an odd length, so that nothing is upscaled."""
    return max(2, 2 * int(length / 2 + 0.49))


def audio_rate(sample_rate: int) -> int:
    """44.1 kHz and 48 kHz stay; everything else becomes 48 kHz."""
    return sample_rate if sample_rate in {44100, 48000} else 48000


def audio_bits(channels: int) -> int:
    """Bits a second of AAC."""
    return 80_000 if channels == 1 else 128_000


def proxy_side(targets: Sequence[Target], height: int) -> Target:
    """The picture that the progressive file takes: the highest not above `height`, or the lowest."""
    return next((t for t in targets if min(t.width, t.height) <= height), targets[-1])
