"""The task that makes a still picture's poster."""

from __future__ import annotations

from typing import Any

from rushes.media.inside import picture, talk
from rushes.media.inside.reader import Reader


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_poster, arguments, feed)


def make_poster(arguments: dict[str, Any], reader: Reader, _: talk.Voice) -> dict[str, Any]:
    poster = picture.poster(reader, arguments["max_pixels"], arguments["poster_side"])
    poster.save(arguments["poster"], "JPEG", quality=85, optimize=True, progressive=True)
    return {"width": poster.width, "height": poster.height}
