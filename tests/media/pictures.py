"""Pictures for the tests, written as their formats say, with four quarters of known colours: red, green above blue, grey."""

from __future__ import annotations

import io
import struct
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 160, 40), (40, 50, 190), (128, 128, 128)


Entry = tuple[int, int, Any]  # of a TIFF: tag, type, value


def quarters(width: int = 640, height: int = 480) -> Image.Image:
    picture = Image.new("RGB", (width, height), GREY)
    picture.paste(RED, (0, 0, width // 2, height // 2))
    picture.paste(GREEN, (width // 2, 0, width, height // 2))
    picture.paste(BLUE, (0, height // 2, width // 2, height))
    return picture


def corners(picture: Image.Image) -> list[tuple[int, ...]]:
    """The colours in the middles of the quarters, in reading order."""
    width, height = picture.size
    places = [(width // 4, height // 4), (width * 3 // 4, height // 4)]
    places += [(width // 4, height * 3 // 4), (width * 3 // 4, height * 3 // 4)]
    pixels = np.asarray(picture.convert("RGB"))
    return [tuple(map(int, pixels[y, x])) for x, y in places]


def dng(
    path: Path,
    width: int = 640,
    height: int = 480,
    orientation: int = 1,
    preview: tuple[int, int] | None = None,
    *,
    cut: bool = False,
) -> Path:
    """A DNG 1.4 as cameras lay it out: a tiny thumbnail first, the mosaic (RGGB, 16 bits) and a JPEG preview below it."""
    pixels = np.asarray(quarters(width, height)).astype(np.float64) / 255
    linear = (np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4) * 60000).astype("<u2")
    mosaic = np.empty((height, width), "<u2")
    for (row, column), channel in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        mosaic[row::2, column::2] = linear[row::2, column::2, channel]
    matrix = (32404542, -15371385, -4985314, -9692660, 18760108, 415560, 556434, -2040259, 10572252)  # XYZ to sRGB
    colours = [number for value in matrix for number in (value, 10_000_000)]
    below = [_raw_page([1 << 27] if cut else mosaic.tobytes(), width, height)]  # far behind the file's end
    if preview is not None:
        below.append(_preview_page(preview))
    small = bytes(3 * 16 * 12)
    first: list[Entry] = [
        (254, 4, [1]), (256, 4, [16]), (257, 4, [12]), (258, 3, [8, 8, 8]), (259, 3, [1]), (262, 3, [2]),
        (271, 2, b"Rushes\0"), (272, 2, b"Test camera\0"), (273, 4, small), (274, 3, [orientation]), (277, 3, [3]),
        (278, 4, [12]), (279, 4, [len(small)]), (330, 4, below), (50706, 1, bytes([1, 4, 0, 0])),
        (50707, 1, bytes([1, 1, 0, 0])), (50708, 2, b"Rushes test camera\0"), (50721, 10, colours),
        (50728, 5, [1, 1, 1, 1, 1, 1]), (50778, 3, [21]),
    ]  # fmt: skip
    path.write_bytes(_tiff(first))
    return path


def _raw_page(mosaic: bytes | list[int], width: int, height: int) -> list[Entry]:
    return [
        (254, 4, [0]), (256, 4, [width]), (257, 4, [height]), (258, 3, [16]), (259, 3, [1]), (262, 3, [32803]),
        (273, 4, mosaic), (277, 3, [1]), (278, 4, [height]), (279, 4, [2 * width * height]), (33421, 3, [2, 2]),
        (33422, 1, bytes([0, 1, 1, 2])), (50717, 4, [60000]),
    ]  # fmt: skip


def _preview_page(size: tuple[int, int]) -> list[Entry]:
    out = io.BytesIO()
    quarters(*size).save(out, "JPEG", quality=92)
    jpeg = out.getvalue()
    return [
        (254, 4, [1]), (256, 4, [size[0]]), (257, 4, [size[1]]), (258, 3, [8, 8, 8]), (259, 3, [7]), (262, 3, [6]),
        (273, 4, jpeg), (277, 3, [3]), (278, 4, [size[1]]), (279, 4, [len(jpeg)]),
    ]  # fmt: skip


_FORMS = {1: "B", 2: "B", 3: "H", 4: "I", 5: "I", 10: "i"}


def _tiff(first: list[Entry]) -> bytes:
    """A little-endian TIFF: of each directory its entries, then its values; bytes under a number type are stored data."""
    out = bytearray(b"II*\0" + bytes(4))
    out[4:8] = struct.pack("<I", _directory(out, first))
    return bytes(out)


def _directory(out: bytearray, entries: list[Entry]) -> int:
    """Writes what the entries point to, then the directory; returns where it lies."""
    rows = []
    for tag, kind, value in entries:
        data = _value(out, kind, value)
        count = len(data) // struct.calcsize(_FORMS[kind]) // (2 if kind in {5, 10} else 1)
        place = data.ljust(4, b"\0") if len(data) <= 4 else struct.pack("<I", _stored(out, data))
        rows.append(struct.pack("<HHI", tag, kind, count) + place)
    return _stored(out, struct.pack("<H", len(rows)) + b"".join(rows) + bytes(4))


def _value(out: bytearray, kind: int, value: Any) -> bytes:
    if isinstance(value, bytes):
        return struct.pack("<I", _stored(out, value)) if kind == 4 else value
    numbers = [_directory(out, below) if isinstance(below, list) else below for below in value]
    return struct.pack(f"<{len(numbers)}{_FORMS[kind]}", *numbers)


def _stored(out: bytearray, data: bytes) -> int:
    out += bytes(len(out) % 2)
    place = len(out)
    out += data
    return place
