"""The films of the corpus, as ffmpeg's arguments: data. All derive from the marked masters of sources.py."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from tests.corpus.clip import Clip, Encoded
from tests.corpus.sources import MASTERS, origin

_X264 = ("-c:v", "libx264", "-preset", "veryfast", "-crf", "22", "-pix_fmt", "yuv420p")
_AAC = ("-c:a", "aac", "-b:a", "128k", "-ac", "2")


def film(
    name: str,
    master: str,
    traits: str,
    arguments: tuple[str, ...],
    expected: Mapping[str, object],
    *,
    before: tuple[str, ...] = (),
    turned: int = 0,
    **changed: Any,
) -> Clip:
    """A clip with what follows from its master filled in; `expected` has the last word, None in it takes a fact out."""
    made = MASTERS[master]
    frames: int | None = changed.get("frames", made.frames)
    rate: Fraction | None = changed.get("rate", made.rate)
    facts: dict[str, object] = {"kind": "video", "duration": float(made.seconds)}
    if rate is not None:
        facts |= {"video.frame_rate": f"{rate.numerator}/{rate.denominator}", "video.vfr": False}
    facts |= {"video.coded_width": made.width, "video.coded_height": made.height, "video.rotation": turned}
    facts |= {"video.sample_aspect": made.aspect}
    facts |= expected
    return Clip(
        name, origin(master), traits, {key: value for key, value in facts.items() if value is not None},
        Encoded(master, arguments, before), frames, rate, changed.get("marked", True), turned, master,
    )  # fmt: skip


FILMS: tuple[Clip, ...] = (
    film("web.mp4", "bunny", "H.264, AAC, index in front", (*_X264, *_AAC, "-g", "50", "-movflags", "+faststart"),
         {"wrapper": "mp4", "video.codec": "h264", "audio.0.codec": "aac", "audio.0.channels": 2}),
    film("bikes.mp4", "bikes", "H.264, AAC, index behind", (*_X264, *_AAC),
         {"wrapper": "mp4", "video.codec": "h264", "audio.0.codec": "aac"}),
    film("carphone.mkv", "carphone", "HEVC, 30000/1001, oblong pixels",
         ("-c:v", "libx265", "-preset", "veryfast", "-x265-params", "log-level=error", "-c:a", "flac"),
         {"wrapper": "mkv", "video.codec": "hevc", "audio.0.codec": "flac"}),
    film("map.mov", "map", "ProRes", ("-c:v", "prores_ks", "-profile:v", "1", "-c:a", "pcm_s16le"),
         {"wrapper": "mov", "video.codec": "prores"}),
)  # fmt: skip
