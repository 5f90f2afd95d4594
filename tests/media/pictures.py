"""Pictures for the tests, written as their formats say, with four quarters of known colours: red, green above blue, grey."""

from __future__ import annotations

import io
import struct
import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import numpy as np
import pillow_heif
from PIL import Image

RED, GREEN, BLUE, GREY = (200, 30, 30), (30, 160, 40), (40, 50, 190), (128, 128, 128)


HDR = {"pq": 16, "hlg": 18}  # transfers by ITU-T H.273


def in_hdr(picture: Image.Image, transfer: str) -> Any:
    """An sRGB picture as it is coded in BT.2020 with PQ or HLG (ITU-R BT.2100), its white at 203 cd/m²; from 0 to 1."""
    coded = np.asarray(picture.convert("RGB")) / 255
    light = np.where(coded <= 0.04045, coded / 12.92, ((coded + 0.055) / 1.055) ** 2.4)
    to_2020 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
    nits = 203 * np.clip(light @ to_2020.T, 0, 1)
    if transfer == "pq":
        power = (nits / 10000) ** 0.1593017578125
        return ((0.8359375 + 18.8515625 * power) / (1 + 18.6875 * power)) ** 78.84375
    shown = nits / 1000
    luma = np.maximum(shown @ np.array([0.2627, 0.6780, 0.0593]), 1e-9)[..., None]
    scene = shown * luma ** (1 / 1.2 - 1)
    high = 0.17883277 * np.log(np.maximum(12 * scene - 0.28466892, 1e-9)) + 0.55991073
    return np.where(scene <= 1 / 12, np.sqrt(3 * scene), high)


def hdr(path: Path, picture: Image.Image, transfer: str) -> Path:
    """A HEIC or AVIF with 10 bits."""
    levels = (in_hdr(picture, transfer) * 65535 + 0.5).astype("<u2").tobytes()
    if path.suffix == ".heic":
        nclx = {"transfer_characteristics": HDR[transfer], "matrix_coefficients": 9, "full_range_flag": 1}
        coded = pillow_heif.from_bytes("RGB;16", picture.size, levels)
        coded.save(path, quality=95, chroma=444, save_nclx_profile=True, color_primaries=9, **nclx)
        return path
    names = {"pq": "smpte2084", "hlg": "arib-std-b67"}
    tags = f"color_primaries=bt2020:color_trc={names[transfer]}:colorspace=bt2020nc:range=pc"
    matrix = f"scale=out_color_matrix=bt2020:out_range=pc,format=yuv444p10le,setparams={tags}"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-loglevel", "error", "-f", "rawvideo", "-pix_fmt", "rgb48le"]
    command += ["-s", "{}x{}".format(*picture.size), "-i", "-", "-vf", matrix, "-frames:v", "1", "-c:v", "libaom-av1"]
    subprocess.run([*command, "-still-picture", "1", "-crf", "12", "-cpu-used", "8", path], input=levels, check=True)
    return path


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
    of: Image.Image | None = None,
) -> Path:
    """A DNG 1.4 as cameras lay it out: a tiny thumbnail first, the mosaic (RGGB, 16 bits) and a JPEG preview below it.
    What was before the camera was `of`, or the quarters.
    """
    scene = quarters(width, height) if of is None else of.resize((width, height))
    pixels = np.asarray(scene).astype(np.float64) / 255
    linear = (np.where(pixels <= 0.04045, pixels / 12.92, ((pixels + 0.055) / 1.055) ** 2.4) * 60000).astype("<u2")
    mosaic = np.empty((height, width), "<u2")
    for (row, column), channel in {(0, 0): 0, (0, 1): 1, (1, 0): 1, (1, 1): 2}.items():
        mosaic[row::2, column::2] = linear[row::2, column::2, channel]
    matrix = (32404542, -15371385, -4985314, -9692660, 18760108, 415560, 556434, -2040259, 10572252)  # XYZ to sRGB
    colours = [number for value in matrix for number in (value, 10_000_000)]
    below = [_raw_page([1 << 27] if cut else mosaic.tobytes(), width, height)]  # far behind the file's end
    if preview is not None:
        below.append(_preview_page(scene.resize(preview)))
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


def _preview_page(picture: Image.Image) -> list[Entry]:
    out, size = io.BytesIO(), picture.size
    picture.save(out, "JPEG", quality=92)
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
