"""The task that makes a video's posters: of a few key frames the one with most to see, in three sizes."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from PIL import Image

from rushes.media import sizes
from rushes.media.inside import plugins, shown, talk
from rushes.media.inside.keyframes import key_frames
from rushes.media.inside.reader import Reader
from rushes.media.inside.saved import save_sizes
from rushes.media.inside.shared import Shared

plugins.load()
_JUDGED_SIDE = 320  # pixels
_DARK, _BRIGHT = 24, 232  # mean luma outside of which a frame is hardly a picture
_PATIENCE = 1.0  # CPU seconds after which the best of what was found is taken


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_poster, arguments, feed)


def make_poster(arguments: dict[str, Any], reader: Reader, _: talk.Voice) -> dict[str, Any]:
    """`made`: name, format, width and height of each file; `time` of the frame in seconds. Raises Refused."""
    until = time.process_time() + _PATIENCE
    best: tuple[float, float, Any] | None = None
    seen: set[int | None] = set()
    with key_frames(Shared(reader), arguments) as frames:
        for moment in arguments["times"]:
            packet = frames.packet(moment)
            if packet is None or packet.pts in seen:
                continue
            seen.add(packet.pts)
            frame = frames.decoded(packet)
            if frame is None:
                continue
            worth = _worth(shown.picture(frame, arguments, _JUDGED_SIDE))
            if best is None or worth > best[0]:
                best = worth, frames.time(frame, moment), frame
            if time.process_time() > until:
                break
        if best is None:
            raise talk.Refused("undecodable", "No key frame of this file can be decoded.")
        poster = shown.picture(best[2], arguments, max(sizes.POSTERS), combs=True)
    return {"made": save_sizes(poster, "poster", sizes.POSTERS, ("jpg", "webp")), "time": best[1]}


def _worth(picture: Image.Image) -> float:
    """How much there is to see: the variety of luma (bits of its histogram), and how sharp it is; far less for a frame
    nearly black or white. Blurred frames and dissolves, two pictures at half strength, have less of both.
    """
    luma = np.asarray(picture.convert("L"), np.float32)
    counts = np.bincount((luma / 4).astype(np.int64).ravel(), minlength=64) / luma.size
    bits = float(-(counts[counts > 0] * np.log2(counts[counts > 0])).sum())
    edges = float(np.abs(np.diff(luma, axis=0)).mean() + np.abs(np.diff(luma, axis=1)).mean())
    worth = float(bits * (1 + edges) ** 0.5)
    return worth if _DARK < float(luma.mean()) < _BRIGHT else worth / 10
