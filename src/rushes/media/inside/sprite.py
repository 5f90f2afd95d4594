"""The task that makes a video's sprite sheets: small pictures of key frames, by several readers of the source at once."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from PIL import Image

from rushes.media.inside import plugins, shown, talk
from rushes.media.inside.keyframes import key_frames
from rushes.media.inside.reader import Reader
from rushes.media.inside.saved import save
from rushes.media.inside.shared import Shared

plugins.load()
_MOST_CPU = 30.0  # seconds: then the tiles that are still missing are those beside them


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_sprite, arguments, feed)


def make_sprite(arguments: dict[str, Any], reader: Reader, voice: talk.Voice) -> dict[str, Any]:
    """`made`: name, format, width and height of each sheet. Raises Refused."""
    tiles = _Tiles(arguments, Shared(reader), voice).all()
    made, first = [], 0
    for name, count, columns, rows in arguments["sheets"]:
        made.append(save(_sheet(tiles[first : first + count], arguments["tile"], columns, rows), name, quality=72))
        first += count
    return {"made": made}


class _Tiles:
    """A small picture for each time. The readers share the times, the ends and the middles first, so that those which
    are left when a source costs too much lie between others.
    """

    def __init__(self, arguments: dict[str, Any], shared: Shared, voice: talk.Voice) -> None:
        self._arguments = arguments
        self._shared = shared
        self._voice = voice
        self._lock = threading.Lock()
        count = len(arguments["times"])
        self._waiting = sorted(range(count), key=lambda number: f"{number:016b}"[::-1], reverse=True)
        self._found: list[Image.Image | None] = [None] * count
        self._known: dict[int, Image.Image] = {}  # by the key frame's timestamp: neighbours may show the same one

    def all(self) -> list[Image.Image]:
        """Where none can be had, the one before (or after) stands in. Raises Refused."""
        count = self._arguments["readers"]
        with ThreadPoolExecutor(count) as pool:
            for done in [pool.submit(self._read) for _ in range(count)]:
                done.result()
        standing = next((tile for tile in self._found if tile is not None), None)
        if standing is None:
            raise talk.Refused("undecodable", "No key frame of this file can be decoded.")
        tiles = []
        for tile in self._found:
            standing = tile or standing
            tiles.append(standing)
        return tiles

    def _read(self) -> None:
        side = max(self._arguments["tile"])
        threads = 1 if self._arguments["readers"] > 1 else 0
        with key_frames(self._shared, self._arguments, fast=True, threads=threads) as frames:
            while (number := self._next()) is not None:
                packet = frames.packet(self._arguments["times"][number])
                if packet is None:
                    continue
                tile = None if packet.pts is None else self._known.get(packet.pts)
                if tile is None and (frame := frames.decoded(packet)) is not None:
                    tile = shown.picture(frame, self._arguments, side)
                    self._known[packet.pts] = tile
                self._found[number] = tile

    def _next(self) -> int | None:
        with self._lock:
            count = len(self._found)
            done = count - len(self._waiting)
            self._voice.progress(done / count, f"{done} of {count} stills")
            return self._waiting.pop() if self._waiting and time.process_time() < _MOST_CPU else None


def _sheet(tiles: list[Image.Image], size: list[int], columns: int, rows: int) -> Image.Image:
    width, height = size
    sheet = Image.new("RGB", (width * columns, height * rows))
    for number, tile in enumerate(tiles):
        row, column = divmod(number, columns)
        fitted = tile if tile.size == (width, height) else tile.resize((width, height))
        sheet.paste(fitted, (column * width, row * height))
    return sheet
