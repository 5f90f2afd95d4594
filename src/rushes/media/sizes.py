"""Which sizes of a picture are made. Data and pure functions."""

from __future__ import annotations

POSTERS = (320, 640, 1280)  # pixels, the longer side
IMAGES = (320, 1024, 2048)
ANIMATED = "animated.webp"
ANIMATED_SIDE, ANIMATED_FRAMES = 320, 60
FORMATS = {"jpg": "JPEG", "webp": "WEBP", "avif": "AVIF"}  # Pillow's names by the ending of ours
CONTENT_TYPES = {"jpg": "image/jpeg", "webp": "image/webp", "avif": "image/avif"}


def sides(longest: int, wanted: tuple[int, ...]) -> tuple[int, ...]:
    """Those of the wanted sizes that a picture gets: none is enlarged, and the largest is as good as the picture is.

    A picture of 500 pixels gets of (320, 640, 1280) the first, and the second at its own 500 pixels.
    """
    return tuple(side for number, side in enumerate(wanted) if number == 0 or longest > wanted[number - 1])


def names(prefix: str, longest: int, wanted: tuple[int, ...], endings: tuple[str, ...]) -> list[str]:
    """`poster-320.jpg` …, smallest first."""
    return [f"{prefix}-{side}.{ending}" for side in sides(longest, wanted) for ending in endings]
