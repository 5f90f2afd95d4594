"""What is done to an MP4 after ffmpeg has made it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

from tests.corpus.clip import ffmpeg

_PARENTS = (b"moov", b"trak", b"mdia", b"minf", b"stbl")


def cut(seconds: float) -> Callable[[Path], None]:
    """Its beginning taken away without encoding anew: what is needed to decode stays, and an edit list hides it."""

    def apply(path: Path) -> None:
        whole = path.with_name(f"whole-{path.name}")
        path.replace(whole)
        ffmpeg("-ss", str(seconds), "-i", whole, "-c", "copy", "-map", "0", path)
        whole.unlink()

    return apply


def dolby_vision(path: Path) -> None:
    """A configuration record (Dolby Vision streams within the ISO base media file format, §3.2): profile 8, compatible
    with HDR10. The file's index must lie behind its samples, whose places stay.
    """
    record = bytes([1, 0, 8 << 1, 6 << 3 | 0b101, 1 << 4]) + bytes(19)
    box = struct.pack(">I", 8 + len(record)) + b"dvvC" + record
    data = bytearray(path.read_bytes())
    sizes: list[int] = []
    at = data.index(b"moov") - 4
    end = len(data)
    for kind in _PARENTS:
        at = _child(data, at, end, kind)
        end = at + struct.unpack_from(">I", data, at)[0]
        sizes.append(at)
        at += 8
    table = _child(data, at, end, b"stsd")
    entry = table + 16
    sizes += [table, entry]
    place = entry + struct.unpack_from(">I", data, entry)[0]
    for where in sizes:
        struct.pack_into(">I", data, where, struct.unpack_from(">I", data, where)[0] + len(box))
    data[place:place] = box
    path.write_bytes(data)


def _child(data: bytearray, at: int, end: int, kind: bytes) -> int:
    while at < end:
        if data[at + 4 : at + 8] == kind:
            return at
        at += struct.unpack_from(">I", data, at)[0]
    raise ValueError(f"no {kind.decode()}")
