"""ICC profiles for colours that a picture names without carrying a profile: Display P3, BT.2020, Adobe RGB.

A matrix profile by ICC.1:2001-04, the white adapted to D50 by Bradford's transform.
"""

from __future__ import annotations

import struct
from functools import cache
from typing import Any

import numpy as np

_D50 = np.array([0.9642, 1.0, 0.8249])
_D65 = (0.3127, 0.3290)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
_PRIMARIES = {  # x and y of red, green, blue
    "display-p3": ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
    "bt2020": ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    "adobe-rgb": ((0.64, 0.33), (0.21, 0.71), (0.15, 0.06)),
}
NAMED = {9: "bt2020", 11: "display-p3", 12: "display-p3"}  # by ITU-T H.273's number of primaries


def to_xyz(primaries: Any, white: tuple[float, float] = _D65) -> Any:
    """The 3 by 3 matrix from linear RGB with these primaries to XYZ (SMPTE RP 177)."""
    columns = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in primaries]).T
    x, y = white
    return columns * np.linalg.solve(columns, np.array([x / y, 1.0, (1 - x - y) / y]))


def to_709(primaries: int) -> Any:
    """The matrix from linear RGB with the primaries of this number (of `NAMED`; others are taken for BT.709's) to BT.709's."""
    bt709 = ((0.640, 0.330), (0.300, 0.600), (0.150, 0.060))
    name = NAMED.get(primaries)
    return np.linalg.solve(to_xyz(bt709), to_xyz(_PRIMARIES[name] if name else bt709))


@cache
def profile(name: str) -> bytes:
    """The profile of "display-p3", "bt2020" (both with sRGB's curve) or "adobe-rgb" (gamma 2.2)."""
    matrix = to_xyz(_PRIMARIES[name])
    gains = (_BRADFORD @ _D50) / (_BRADFORD @ matrix.sum(axis=1))
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(gains) @ _BRADFORD @ matrix
    curve = _curve(name)
    tags = [
        (b"desc", _description(name)),
        (b"cprt", b"text\0\0\0\0" + b"none\0"),
        (b"wtpt", _xyz(_D50)),
        *zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, adapted.T), strict=True),
        *((kind, curve) for kind in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    table, body, place = b"", b"", 128 + 4 + 12 * len(tags)
    for kind, data in tags:
        padded = data + bytes(-len(data) % 4)
        table += kind + struct.pack(">II", place + len(body), len(data))
        body += padded
    head = struct.pack(">I4xI4s4s4s12x4s24xI", place + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp", 0)
    return head.ljust(68, b"\0") + _xyz(_D50)[8:] + bytes(48) + struct.pack(">I", len(tags)) + table + body


def _curve(name: str) -> bytes:
    if name == "adobe-rgb":
        return b"curv\0\0\0\0" + struct.pack(">IH2x", 1, 0x0233)  # 2.19921875, as Adobe's has it
    encoded = np.arange(1024) / 1023
    linear = np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)
    return b"curv\0\0\0\0" + struct.pack(">I", 1024) + np.round(linear * 65535).astype(">u2").tobytes()


def _xyz(values: Any) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def _description(name: str) -> bytes:
    text = name.encode() + b"\0"
    return b"desc\0\0\0\0" + struct.pack(">I", len(text)) + text + bytes(78)
