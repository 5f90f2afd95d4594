"""Tells camera raw by its bytes. Most raw files are TIFFs whose first page is a thumbnail: they must be recognised
before Pillow takes them for that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from rushes.media.inside.reader import Reader

_MOST_DIRECTORIES = 16
_MOST_ENTRIES = 512
_BITS, _PHOTOMETRIC, _SUB_IFDS, _DNG_VERSION = 258, 262, 330, 50706
_MOSAIC, _LINEAR = 32803, 34892  # values of photometric interpretation: a colour filter array, demosaiced raw
_HEADS = {
    0: (b"FUJIFILMCCD-RAW", b"IIRO", b"IIRS", b"MMOR", b"IIU\0", b"\0MRM", b"FOVb"),
    4: (b"ftypcrx ",),
    6: (b"HEAPCCDR",),
    8: (b"CR\x02", b"IIII", b"MMMM"),
}


def format_of(reader: Reader) -> str | None:
    """ "dng", "raw", or None for a file that is no camera raw. Reads a few directories of a TIFF."""
    reader.seek(0)
    head = reader.read(32)
    if any(head[at:].startswith(mark) for at, marks in _HEADS.items() for mark in marks):
        return "raw"
    tags = [entry for directory in _directories(reader, head) for entry in directory]
    if any(tag == _DNG_VERSION for tag, _ in tags):
        return "dng"
    return "raw" if any(tag == _PHOTOMETRIC and value in {_MOSAIC, _LINEAR} for tag, value in tags) else None


def bit_depth(reader: Reader) -> int | None:
    """Of a photosite, where a TIFF tells: LibRaw would have to unpack the picture to know it."""
    reader.seek(0)
    for directory in _directories(reader, reader.read(32)):
        told = dict(directory)
        if told.get(_PHOTOMETRIC) in {_MOSAIC, _LINEAR}:
            bits = told.get(_BITS, 0)
            return bits if 1 <= bits <= 32 else None  # else the place where three numbers stand
    return None


def _directories(reader: Reader, head: bytes) -> Iterator[list[tuple[int, int]]]:
    """The entries (tag, value where it is one number) of a TIFF's first directories and of those below them."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(head[:4])
    waiting = [struct.unpack(order + "I", head[4:8])[0]] if order and len(head) >= 8 else []
    seen: set[int] = set()
    while waiting and len(seen) < _MOST_DIRECTORIES:
        place = waiting.pop(0)
        if not place or place in seen:
            continue
        seen.add(place)
        entries, below = _directory(reader, str(order), place)
        waiting += below
        yield entries


def _directory(reader: Reader, order: str, place: int) -> tuple[list[tuple[int, int]], list[int]]:
    """One directory's entries, and where the directories below it and after it begin."""
    reader.seek(place)
    count = int.from_bytes(reader.read(2), "little" if order == "<" else "big")
    data = reader.read(12 * min(count, _MOST_ENTRIES) + 4)
    entries: list[tuple[int, int]] = []
    below: list[int] = []
    for at in range(0, len(data) - 11, 12):
        tag, kind, number, value = struct.unpack_from(order + "HHII", data, at)
        if kind == 3:
            value = struct.unpack_from(order + "H", data, at + 8)[0]
        entries.append((tag, value))
        if tag == _SUB_IFDS:
            below += [value] if number == 1 else _numbers(reader, order, value, min(number, _MOST_DIRECTORIES))
    if len(data) == 12 * count + 4:
        below.append(struct.unpack_from(order + "I", data, 12 * count)[0])
    return entries, below


def _numbers(reader: Reader, order: str, place: int, count: int) -> list[int]:
    reader.seek(place)
    data = reader.read(4 * count)
    return list(struct.unpack(f"{order}{len(data) // 4}I", data[: len(data) // 4 * 4]))
