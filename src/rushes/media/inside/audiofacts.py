"""What there is to know of a sound. Its loudness is measured by a stage of its own, which reads all of it."""

from __future__ import annotations

import re
from typing import Any

import av.stream

from rushes.media.inside import tags
from rushes.media.inside.dump import Dump

_PCM = re.compile(r"pcm_(?:[suf])(\d\d)|pcm_(?:bluray|dvd)")
_LOSSLESS = {"flac", "alac", "wavpack", "tta", "ape", "tak", "truehd", "mlp", "shorten", "mp4als", "wmalossless"}
_PLAIN = {"1 channels": "mono", "2 channels": "stereo"}  # of containers that do not say; what everybody means
_FORMAT_BITS = {"u8": 8, "s16": 16, "s32": 32, "flt": 32, "dbl": 64}


def describe(stream: Any, dump: Dump) -> dict[str, Any]:
    """`AudioInfo` as JSON values; of a stream of an unknown codec what its container says."""
    context = stream.codec_context
    if context is None:
        return {"index": stream.index, "codec": "unknown", "channels": 0, "layout": "", "sample_rate": 0}
    codec = context.codec.canonical_name
    return {
        "index": stream.index,
        "codec": codec,
        "profile": context.profile,
        "channels": stream.channels,
        "layout": _PLAIN.get(stream.layout.name, stream.layout.name),
        "sample_rate": stream.sample_rate,
        "bit_depth": _bit_depth(codec, context, dump.bits(stream.index)),
        "bit_rate": stream.bit_rate or None,
        "duration": float(stream.duration * stream.time_base) if stream.duration else None,
        "language": tags.language(stream.language),
        "title": tags.text(stream.metadata.get("title", "")) or None,
        "default": bool(stream.disposition & av.stream.Disposition.default),
    }


def _bit_depth(codec: str, context: Any, told: int | None) -> int | None:
    pcm = _PCM.match(codec)
    if pcm is not None and pcm[1]:
        return int(pcm[1])
    if pcm is None and codec not in _LOSSLESS:
        return None
    name = context.format.name.removesuffix("p") if context.format is not None else ""
    return told or _FORMAT_BITS.get(name)
