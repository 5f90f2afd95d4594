"""The task that makes a video's poster and sprite sheet, from key frames reached by seeking: a 17-minute file costs
seconds, not minutes.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import av.error
from PIL import Image, ImageStat

from rushes.media.inside import plugins, talk
from rushes.media.inside.opened import opened
from rushes.media.inside.reader import Reader

plugins.load()
_QUALITY = 82
_DARK, _BRIGHT = 24, 232  # mean luma outside of which a frame is hardly a picture


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_stills, arguments, feed)


def make_stills(arguments: dict[str, Any], reader: Reader, voice: talk.Voice) -> dict[str, Any]:
    """Write poster, sheet and WebVTT; the result holds the poster's size and time. Raises Refused."""
    with opened(reader, arguments, arguments["demuxer"]) as container:
        stream = container.streams[arguments["index"]]
        stream.codec_context.skip_frame = "NONKEY"
        tiles = _tiles(container, stream, arguments, voice)
        best = max(tiles, key=lambda time: _worth(tiles[time]))
        poster = _key_frame(container, stream, best, arguments, arguments["poster_side"])
        if poster is None:
            raise talk.Refused("undecodable", "No key frame of this file can be decoded.")
    poster.save(arguments["poster"], "JPEG", quality=_QUALITY, optimize=True, progressive=True)
    _sheet(tiles, arguments).save(arguments["sprite"], "JPEG", quality=_QUALITY - 10, optimize=True)
    Path(arguments["sprite_vtt"]).write_text(arguments["vtt"])
    return {"width": poster.width, "height": poster.height, "time": best}


def _tiles(container: Any, stream: Any, arguments: dict[str, Any], voice: talk.Voice) -> dict[float, Image.Image]:
    """A small picture for each time; where none can be had, the one before (or after) stands in."""
    found: dict[float, Image.Image | None] = {}
    times = arguments["times"]
    for number, time in enumerate(times):
        voice.progress(number / len(times), f"{number} of {len(times)} stills")
        found[time] = _key_frame(
            container, stream, time, arguments, max(arguments["tile_width"], arguments["tile_height"])
        )
    standing = next((tile for tile in found.values() if tile is not None), None)
    if standing is None:
        raise talk.Refused("undecodable", "No key frame of this file can be decoded.")
    tiles = {}
    for time, tile in found.items():
        standing = tile or standing
        tiles[time] = standing
    return tiles


def _key_frame(container: Any, stream: Any, time: float, arguments: dict[str, Any], side: int) -> Image.Image | None:
    """The key frame at or before `time` (seconds from the start), upright, its longer side at most `side`."""
    start = container.start_time or 0
    try:
        container.seek(start + int(time * av.time_base))
        frame = next(_decoded(container, stream), None)
    except (av.error.FFmpegError, OSError):
        return None
    return None if frame is None else _picture(frame, arguments, side)


def _decoded(container: Any, stream: Any) -> Iterator[Any]:
    for packet in container.demux(stream):
        try:
            yield from packet.decode()
        except (av.error.InvalidDataError, av.error.UndefinedError):
            continue


def _picture(frame: Any, arguments: dict[str, Any], side: int) -> Image.Image:
    """Scaled to the displayed shape, then turned."""
    width, height = arguments["width"], arguments["height"]
    scale = min(1.0, side / max(width, height))
    size = max(1, round(width * scale)), max(1, round(height * scale))
    rotation = arguments["rotation"]
    flat = size[::-1] if rotation in {90, 270} else size
    matrix = "ITU709" if frame.colorspace == 2 and frame.height >= 720 else None  # 2: unspecified
    picture: Image.Image = frame.to_image(width=flat[0], height=flat[1], interpolation="AREA", src_colorspace=matrix)
    turn = {90: Image.Transpose.ROTATE_270, 180: Image.Transpose.ROTATE_180, 270: Image.Transpose.ROTATE_90}.get(
        rotation
    )
    return picture if turn is None else picture.transpose(turn)


def _worth(tile: Image.Image) -> float:
    """How much there is to see: the spread of luma, far less for a frame nearly black or white."""
    statistics = ImageStat.Stat(tile.convert("L"))
    mean, spread = statistics.mean[0], statistics.stddev[0]
    return spread if _DARK < mean < _BRIGHT else spread / 10


def _sheet(tiles: dict[float, Image.Image], arguments: dict[str, Any]) -> Image.Image:
    width, height, columns = arguments["tile_width"], arguments["tile_height"], arguments["columns"]
    rows = -(-len(tiles) // columns)
    sheet = Image.new("RGB", (width * columns, height * rows))
    for number, tile in enumerate(tiles.values()):
        row, column = divmod(number, columns)
        fitted = tile if tile.size == (width, height) else tile.resize((width, height))
        sheet.paste(fitted, (column * width, row * height))
    return sheet
