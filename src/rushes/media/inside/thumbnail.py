"""The task that makes a still picture's poster."""

from __future__ import annotations

from typing import Any

from rushes.media.inside import talk
from rushes.media.inside.picture import opened_picture
from rushes.media.inside.reader import Reader
from rushes.media.inside.rendering import flat, render


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_poster, arguments, feed)


def make_poster(arguments: dict[str, Any], reader: Reader, _: talk.Voice) -> dict[str, Any]:
    opened = opened_picture(reader, arguments["max_pixels"])
    if opened is None:
        raise talk.Refused("undecodable", "This picture cannot be read.")
    poster = flat(render(opened, arguments["poster_side"], arguments["max_pixels"]))
    poster.save(arguments["poster"], "JPEG", quality=85, optimize=True, progressive=True)
    return {"width": poster.width, "height": poster.height}
