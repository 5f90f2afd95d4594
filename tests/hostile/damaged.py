"""Good files that were cut off, whose bits were turned over, or which are noise: what bad disks and networks leave."""

from __future__ import annotations

import random
from collections.abc import Iterator

NAMES = (
    "base.mp4",
    "back.mp4",
    "a.mkv",
    "a.webm",
    "a.ts",
    "a.wav",
    "a.flac",
    "a.mp3",
    "a.jpg",
    "a.png",
    "a.webp",
    "a.tiff",
    "a.gif",
)
_FLIPPED = 40  # bits a file


def damaged(good: dict[str, bytes], seed: int) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes): every good file once cut off and once with bits turned over, and some noise."""
    chance = random.Random(seed)
    for name, data in good.items():
        yield f"cut-{name}", data[: chance.randrange(1, len(data))]
        flipped = bytearray(data)
        for _ in range(_FLIPPED):
            flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        yield f"flipped-{name}", bytes(flipped)
    head = good["base.mp4"]
    hole = len(head) // 3
    yield "hole.mp4", head[:hole] + bytes(hole) + head[2 * hole :]
    yield "noise-behind.mp4", head[: len(head) // 2] + chance.randbytes(len(head) // 2)
    yield "twice.mp4", head + head
    yield "noise.mp4", chance.randbytes(50_000)
    yield "ones.mov", b"\xff" * 50_000
    yield "one-byte.mkv", b"\x1a"
    yield "nothing-but-zeros.mxf", bytes(50_000)
