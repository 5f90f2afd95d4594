"""Pieces of containers, built by hand: what no encoder would write."""

from __future__ import annotations

import struct
import zlib


def box(kind: bytes, *inside: bytes, size: int | None = None) -> bytes:
    """An ISO base media box (ISO/IEC 14496-12 §4.2); `size` is what it claims, when that is not the truth."""
    body = b"".join(inside)
    return struct.pack(">I", len(body) + 8 if size is None else size) + kind + body


def full(kind: bytes, *inside: bytes, version: int = 0, flags: int = 0) -> bytes:
    return box(kind, struct.pack(">I", version << 24 | flags), *inside)


def ftyp(brand: bytes = b"isom") -> bytes:
    return box(b"ftyp", brand, b"\0\0\2\0", brand, b"mp41")


def patched(data: bytes, find: bytes, offset: int, value: bytes) -> bytes:
    """`data` with `value` at `offset` behind the first place where `find` begins."""
    at = data.index(find) + offset
    return data[:at] + value + data[at + len(value) :]


def png(width: int, height: int, *chunks: bytes, pixels: bytes = b"") -> bytes:
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + b"".join(chunks) + chunk(b"IDAT", zlib.compress(pixels, 9)) + chunk(b"IEND")


def chunk(kind: bytes, body: bytes = b"") -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def riff(form: bytes, *inside: bytes) -> bytes:
    body = form + b"".join(inside)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def part(name: bytes, body: bytes) -> bytes:
    """A chunk of a RIFF file, filled up to an even length."""
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def wav(rate: int, channels: int, bits: int, data: bytes, *, declared: int | None = None) -> bytes:
    block = max(1, channels * bits // 8) & 0xFFFF
    form = struct.pack("<HHIIHH", 1, channels, rate, rate * block & 0xFFFFFFFF, block, bits)
    size = len(data) if declared is None else declared
    return riff(b"WAVE", b"fmt ", struct.pack("<I", len(form)), form, b"data", struct.pack("<I", size), data)


def element(number: bytes, body: bytes, *, unknown: bool = False) -> bytes:
    """An EBML element (RFC 8794); `unknown` claims no size, so that it holds all that follows."""
    return number + (b"\x01" + b"\xff" * 7 if unknown else b"\x01" + len(body).to_bytes(7, "big")) + body


def tiff(*entries: tuple[int, int, int, int], following: int = 0) -> bytes:
    """A little-endian TIFF of one directory; entries are (tag, type, count, value)."""
    rows = b"".join(struct.pack("<HHII", *entry) for entry in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + struct.pack("<I", following)
