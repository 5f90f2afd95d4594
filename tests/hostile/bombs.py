"""Small files that ask for much: pixels, streams, seconds, samples, memory, depth; and absurd rates and loops."""

from __future__ import annotations

import io
import struct
import zipfile
import zlib
from collections.abc import Iterator

from tests.hostile.built import box, chunk, element, ftyp, full, part, patched, png, riff, tiff, wav

GB = 10**9


def bombs(mp4: bytes, mkv: bytes, ts: bytes) -> Iterator[tuple[str, bytes]]:
    """(file name, bytes); the three are the same sound clip, which some are made from."""
    yield from _pictures()
    yield from _movies(mp4)
    yield from _matroska(mkv)
    yield from _sounds()
    yield "zip-bomb.mp4", _zip_bomb()
    yield "zlib-bomb.mkv", zlib.compress(bytes(50_000_000), 9)
    yield "programs.ts", _programs(ts)
    yield "y4m-wide.y4m", b"YUV4MPEG2 W1000000000 H1000000000 F1:1 Ip A1:1 C420jpeg\nFRAME\n"
    yield "y4m-fast.y4m", b"YUV4MPEG2 W16 H16 F2147483647:1 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + bytes(384)) * 4
    yield "y4m-slow.y4m", b"YUV4MPEG2 W16 H16 F1:2147483647 Ip A1:1 C420jpeg\n" + (b"FRAME\n" + bytes(384)) * 4
    yield (
        "ivf-frame.ivf",
        b"DKIF\0\0\x20\0VP80" + struct.pack("<HHIII", 16, 16, 30, 1, 9) + bytes(4) + b"\xff\xff\xff\x7f" + bytes(8),
    )
    yield "gif-frames.gif", _gif(20_000)
    yield "avi-rates.avi", _avi()


def _pictures() -> Iterator[tuple[str, bytes]]:
    yield "pixels.png", png(30_000, 30_000, pixels=bytes(90_001 * 100))
    yield "most-pixels.png", png(0x7FFFFFFF, 0x7FFFFFFF)
    yield "no-pixels.png", png(0, 0)
    yield "wide.png", png(4_000_000, 30, pixels=bytes(12_000_001 * 30))
    yield (
        "text-bomb.png",
        png(8, 8, *[chunk(b"zTXt", b"x\0\0" + zlib.compress(bytes(60_000_000), 9))] * 3, pixels=bytes(200)),
    )
    yield (
        "itxt-bomb.png",
        png(8, 8, chunk(b"iTXt", b"x\0\1\0\0\0" + zlib.compress(bytes(90_000_000), 9)), pixels=bytes(200)),
    )
    yield "icc-bomb.png", png(8, 8, chunk(b"iCCP", b"x\0\0" + zlib.compress(bytes(90_000_000), 9)), pixels=bytes(200))
    yield "pixels.jpg", _jpeg(65_500, 65_500)
    yield "exif-loop.jpg", _jpeg(64, 64, b"Exif\0\0" + tiff((0x8769, 4, 1, 8), following=8))
    yield (
        "pixels.gif",
        b"GIF89a"
        + struct.pack("<HHBBB", 65_535, 65_535, 0x80, 0, 0)
        + bytes(6)
        + b","
        + struct.pack("<HHHHB", 0, 0, 65_535, 65_535, 0)
        + b"\2\2\x4c\1\0;",
    )
    yield (
        "pixels.tif",
        tiff(
            (256, 4, 1, 200_000), (257, 4, 1, 200_000), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 9)
        ),
    )
    yield (
        "loop.tif",
        tiff(
            (256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (262, 3, 1, 1), (273, 4, 1, 8), (279, 4, 1, 64), following=8
        ),
    )
    yield "counts.tif", tiff((256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 0x7FFFFFFF, 8), (270, 2, 0x7FFFFFFF, 8))
    yield "pixels.bmp", b"BM" + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, 60_000, -60_000, 1, 24, 0, 0, 0, 0, 0, 0)
    yield (
        "rle.bmp",
        b"BM"
        + struct.pack("<IIIIiiHHIIiiII", 60, 0, 54, 40, 11_000, 11_000, 1, 8, 1, 0, 0, 0, 0, 0)
        + b"\0\2\xff\xff" * 99,
    )
    yield "canvas.webp", riff(b"WEBP", b"VP8X", struct.pack("<I", 10), b"\2\0\0\0" + b"\xff\xff\xff" * 2)
    yield (
        "tiles.jp2",
        bytes.fromhex("ff4fff510029000000010000000100000000000000000000000100000001000000000000000000010701")
        + b"\x01" * 9,
    )
    yield "extents.heic", ftyp(b"heic") + full(b"meta", full(b"iloc", b"\x88\x80\xff\xff" + b"\xff" * 64, version=0))
    yield "extents.avif", ftyp(b"avif") + full(b"meta", full(b"iloc", b"\x88\x80\x00\x01" + b"\xff" * 64, version=0))


def _jpeg(width: int, height: int, app1: bytes = b"") -> bytes:
    head = b"\xff\xd8" + (b"\xff\xe1" + struct.pack(">H", len(app1) + 2) + app1 if app1 else b"")
    frame = b"\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\1\x11\0"
    return head + b"\xff\xdb\0\x43\0" + b"\1" * 64 + frame + b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(64) + b"\xff\xd9"


def _movies(mp4: bytes) -> Iterator[tuple[str, bytes]]:
    yield "duration.mp4", patched(patched(mp4, b"mvhd", 20, b"\x7f\xff\xff\xff"), b"tkhd", 24, b"\x7f\xff\xff\xff")
    yield "duration-of-media.mp4", patched(mp4, b"mdhd", 20, b"\xff\xff\xff\xfe")
    yield "no-timescale.mp4", patched(patched(mp4, b"mvhd", 16, bytes(4)), b"mdhd", 16, bytes(4))
    yield "fast-timescale.mp4", patched(mp4, b"mdhd", 16, b"\xff\xff\xff\xff")
    yield "one-tick-a-second.mp4", patched(mp4, b"mdhd", 16, b"\0\0\0\1")
    yield "long-frames.mp4", patched(mp4, b"stts", 16, b"\x0f\xff\xff\xff")
    yield "counts.mp4", patched(mp4, b"stts", 8, b"\x7f\xff\xff\xff")
    yield "sizes.mp4", patched(mp4, b"stsz", 12, b"\x7f\xff\xff\xff")
    yield "chunks.mp4", patched(mp4, b"stsc", 8, b"\x7f\xff\xff\xff")
    yield "wide-track.mp4", patched(mp4, b"avc1", 28, b"\xff\xff\xff\xff")
    yield "no-sps.mp4", patched(mp4, b"avcC", 4, b"\xff" * 40)
    deep = b""
    for _ in range(20_000):
        deep = box(b"moov", deep, size=len(deep) + 8) if len(deep) < 2**31 else deep
    yield "deep.mp4", ftyp() + deep
    yield "box-of-nothing.mp4", ftyp() + box(b"moov", size=0) + box(b"trak", size=1)
    yield "streams.mp4", ftyp() + box(b"moov", *[box(b"trak", full(b"tkhd", bytes(80)))] * 5_000)
    track = mp4[mp4.index(b"trak") - 4 :]
    track = track[: struct.unpack(">I", track[:4])[0]]
    at = mp4.index(b"moov") - 4
    size = struct.unpack(">I", mp4[at : at + 4])[0]
    moov = box(b"moov", mp4[at + 8 : at + size], *[track] * 700)
    yield "many-pictures.mp4", mp4[:at] + mp4[at + size :] + moov
    edits = full(b"elst", struct.pack(">I", 50_000), struct.pack(">IiI", 1000, 0, 1 << 16) * 50_000)
    yield "edits.mp4", ftyp() + box(b"moov", box(b"trak", box(b"edts", edits)))


def _matroska(mkv: bytes) -> Iterator[tuple[str, bytes]]:
    head = element(b"\x1a\x45\xdf\xa3", element(b"\x42\x82", b"matroska"))
    deep = b""
    for _ in range(5_000):
        deep = element(b"\xa3", b"") + element(b"\xa0", deep)
    yield "deep.mkv", head + element(b"\x18\x53\x80\x67", deep, unknown=True)
    track = element(b"\xae", element(b"\xd7", b"\1") + element(b"\x83", b"\2") + element(b"\x86", b"A_PCM/INT/LIT"))
    yield "streams.mkv", head + element(b"\x18\x53\x80\x67", element(b"\x16\x54\xae\x6b", track * 20_000))
    yield "size.mkv", head + b"\x18\x53\x80\x67\x01\xff\xff\xff\xff\xff\xff\xfe" + mkv[200:400]
    cluster = element(
        b"\x1f\x43\xb6\x75",
        element(b"\xe7", b"\x7f" + b"\xff" * 7) + element(b"\xa3", b"\x81\x7f\xff\x80" + b"\0" * 64),
    )
    yield "late.mkv", mkv + cluster


def _sounds() -> Iterator[tuple[str, bytes]]:
    yield "no-rate.wav", wav(0, 2, 16, bytes(4_000))
    yield "rate.wav", wav(0xFFFFFFFF, 2, 16, bytes(4_000))
    yield "one-hertz.wav", wav(1, 1, 8, bytes(40_000))
    yield "channels.wav", wav(48_000, 65_535, 16, bytes(400_000))
    yield "bits.wav", wav(48_000, 2, 65_535, bytes(4_000))
    yield "declared.wav", wav(8_000, 1, 8, bytes(4_000), declared=0xFFFFFFFF)
    yield "huge-id3.mp3", b"ID3\4\0\0\x7f\x7f\x7f\x7f" + bytes(5_000)
    yield "frames.mp3", b"\xff\xfb\x00\x00" * 5_000
    yield (
        "blocks.flac",
        b"fLaC\0\0\0\x22" + struct.pack(">HH", 16, 65_535) + bytes(6) + b"\xff" * 24 + b"\x84\xff\xff\xff" + bytes(99),
    )
    yield (
        "picture.flac",
        b"fLaC\0\0\0\x22" + struct.pack(">HH", 16, 65_535) + bytes(30) + b"\x86\xff\xff\xff" + b"\xff" * 99,
    )
    page = b"OggS\0\2" + bytes(8) + b"%b" + bytes(8) + b"\1\x1e\1vorbis\0\0\0\0\2\x44\xac\0\0" + bytes(12) + b"\xb8\1"
    yield "chained.ogg", b"".join(page.replace(b"%b", struct.pack("<I", number)) for number in range(20_000))
    yield "tags.au", b".snd" + struct.pack(">IIIII", 0x7FFFFFFF, 0xFFFFFFFF, 3, 0xFFFFFFFF, 0xFFFFFFFF) + bytes(99)


def _zip_bomb() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("a.mp4", bytes(100_000_000))
    return file.getvalue()


def _programs(ts: bytes) -> bytes:
    """A transport stream that announces a program on each of thousands of packet ids."""
    head = b"".join(
        b"\x47"
        + struct.pack(">H", 0x4000 | number)
        + b"\x10\0"
        + b"\2\xb0\x12\0\1\xc1\0\0\xe1\0\xf0\0\x1b\xe1\0\xf0\0"
        + bytes(4)
        + b"\xff" * 162
        for number in range(32, 8_000)
    )
    return head + ts


def _gif(frames: int) -> bytes:
    frame = b"!\xf9\4\0\0\0\0\0,\0\0\0\0\1\0\1\0\0\2\2D\1\0"
    return b"GIF89a\1\0\1\0\x80\0\0\0\0\0\xff\xff\xff!\xff\x0bNETSCAPE2.0\3\1\0\0\0" + frame * frames + b";"


def _avi() -> bytes:
    header = b"vidsMJPG" + struct.pack(
        "<IHHIIIIIIIIHHHH", 0, 0, 0, 0, 0, 0xFFFFFFFF, 0, 0xFFFFFFFF, 0, 0, 0, 0, 0, 16, 16
    )
    form = struct.pack("<IiiHHIIiiII", 40, 16, 16, 1, 24, 0x47504A4D, 0, 0, 0, 0, 0)
    main = struct.pack("<14I", 0, 0, 0, 0x10, 0xFFFFFFFF, 0, 1, 0, 16, 16, 0, 0, 0, 0)

    stream = part(b"LIST", b"strl" + part(b"strh", header) + part(b"strf", form))
    index = part(b"idx1", b"00dc" + struct.pack("<III", 16, 4, 0x7FFFFFFF))
    return riff(
        b"AVI ",
        part(b"LIST", b"hdrl" + part(b"avih", main) + stream),
        part(b"LIST", b"movi" + part(b"00dc", bytes(9) + b"\0")),
        index,
    )
