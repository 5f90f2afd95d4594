"""The task that makes a still picture's sizes: posters first, then images, then a small film of an animation."""

from __future__ import annotations

from typing import Any

from PIL import Image

from rushes.media import sizes
from rushes.media.inside import talk
from rushes.media.inside.picture import BROKEN, opened_picture
from rushes.media.inside.reader import Reader
from rushes.media.inside.rendering import render, scaled, shown_as
from rushes.media.inside.saved import read_back, save_sizes

_ANIMATIONS = {"gif", "webp", "png", "avif"}  # the pages of a TIFF and the pictures of a HEIC are not one
_MOST_WORK = 1_000_000_000  # pixels decoded for an animation; one with more has none
_LEAST_SHOWN = 20  # milliseconds: browsers take less for "unspecified"


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_images, arguments, feed)


def make_images(arguments: dict[str, Any], reader: Reader, voice: talk.Voice) -> dict[str, Any]:
    """`made`: name, format, width and height of each file; `frames` of the animation. Raises Refused."""
    opened = opened_picture(reader, arguments["max_pixels"])
    if opened is None:
        raise talk.Refused("undecodable", "This picture cannot be read.")
    largest = render(opened, max(sizes.IMAGES), arguments["max_pixels"])
    voice.progress(0.4, "decoded")
    posters = save_sizes(scaled(largest, max(sizes.POSTERS)), "poster", sizes.POSTERS, ("jpg", "webp"))
    voice.progress(0.6, "posters are made")
    images = save_sizes(largest, "image", sizes.IMAGES, ("webp", "jpg", "avif"))
    frames = _animation(opened.image) if opened.image is not None and opened.format in _ANIMATIONS else 0
    return {"made": [*posters, *images, *([read_back(sizes.ANIMATED)] if frames else [])], "frames": frames}


def _animation(picture: Any) -> int:
    """Writes an animated WebP with at most so many frames, which last as long as all did together; returns how many.

    0 for a picture that stands still, for one that would cost too much, and for one whose later frames are damaged.
    """
    count = int(getattr(picture, "n_frames", 1))
    if count < 2 or count * picture.width * picture.height > _MOST_WORK:
        return 0
    step = -(-count // sizes.ANIMATED_FRAMES)
    frames: list[Image.Image] = []
    lasting: list[int] = []
    try:
        for number in range(count):
            picture.seek(number)
            picture.load()  # each: how long a WebP's frame lasts is counted from the one that was decoded before it
            if number % step == 0:
                frames.append(scaled(shown_as(picture.copy()), sizes.ANIMATED_SIDE))
                lasting.append(0)
            lasting[-1] += max(_LEAST_SHOWN, round(picture.info.get("duration") or 100))
        frames[0].save(
            sizes.ANIMATED,
            "WEBP",
            save_all=True,
            append_images=frames[1:],
            duration=lasting,
            loop=0,
            quality=70,
            method=2,
        )
    except BROKEN:
        return 0
    return len(frames)
