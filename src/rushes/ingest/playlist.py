"""HLS playlists (RFC 8216bis) of CMAF files that are addressed by byte range. Pure.

A master playlist names the files by playlists beside it; a media playlist names its file by one URL, the same on every line.
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from awscrt.checksums import combine_crc32

from rushes.model import Rendition, Segments

CONTENT_TYPE = "application/vnd.apple.mpegurl"
VIDEO, AUDIO = "hls_video", "hls_audio"
FIRST_BITS = 2_500_000  # a second: what a player is offered first has at most so many, as Apple advises for HLS
# From here on the URL is a variable of the playlist: 43,000 lines of 500 bytes would be 20 MB. Shorter playlists do without,
# since not every player knows variables (hls.js, Safari, Shaka and ExoPlayer do, FFmpeg does not).
MANY_SEGMENTS = 5_000
VARIABLE = "file"
_GZIP_HEAD = b"\x1f\x8b\x08\0\0\0\0\0\0\xff"  # deflated, no name, no time, of any system (RFC 1952)
_LAST_BLOCK = b"\x03\0"  # an empty one (RFC 1951, section 3.2.6)
_ENDING = struct.Struct("<II")  # CRC-32, length
_UNQUOTABLE = re.compile(r'["\x00-\x1f\x7f]')


@dataclass(frozen=True, slots=True)
class Track:
    """A sound file and what it is called in the playlist."""

    row: Rendition
    name: str


def playable(rows: Sequence[Rendition]) -> list[Rendition]:
    """Those that playlists name."""
    return [row for row in rows if row.type in {VIDEO, AUDIO}]


def playlist_of(row: Rendition) -> str:
    """The name of a rendition's media playlist: hls-720p.m3u8 for hls-720p.mp4."""
    return f"{row.name.removesuffix('.mp4')}.m3u8"


def master(rows: Sequence[Rendition]) -> str:
    """The master playlist over these renditions, of which at least one is playable."""
    tracks = _tracks([row for row in rows if row.type == AUDIO])
    pictures = _in_order([row for row in rows if row.type == VIDEO])
    lines = ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-INDEPENDENT-SEGMENTS"]
    if pictures:
        lines += [_media(track) for track in tracks]
        sound = [track.row for track in tracks]
        for row in pictures:
            lines += [_stream(row, sound), playlist_of(row)]
    else:
        for track in tracks:
            lines += [_stream(track.row, ()), playlist_of(track.row)]
    return "\n".join([*lines, ""])


def media(laid: Segments, url: str) -> str:
    """The media playlist of one file, which is complete and not of many segments."""
    return "\n".join(["#EXTM3U", "#EXT-X-VERSION:7", *_lines(laid, url)])


def packed(laid: Segments) -> bytes | None:
    """What a `Long` playlist of this file is made of, for good; None: its playlist is not long."""
    if len(laid.lengths) <= MANY_SEGMENTS:
        return None
    text = "\n".join(_lines(laid, f"{{${VARIABLE}}}")).encode()
    return _deflated(text) + _ENDING.pack(zlib.crc32(text), len(text))


@dataclass(frozen=True, slots=True)
class Long:
    """The media playlist of a file of many segments: only where the URL is defined it differs from one reader to the next.

    `packed` is deflated up to a byte's edge, without an end, and followed by the CRC-32 and the length of the text (RFC 1951,
    1952): what is gzipped for a reader is the head alone.
    """

    packed: bytes
    url: str

    def gzipped(self) -> bytes:
        head = self._head()
        crc, size = _ENDING.unpack_from(self.packed, len(self.packed) - _ENDING.size)
        whole = _ENDING.pack(combine_crc32(zlib.crc32(head), crc, size), (len(head) + size) & 0xFFFFFFFF)
        return b"".join([_GZIP_HEAD, _deflated(head), self._rest(), _LAST_BLOCK, whole])

    def text(self) -> bytes:
        return self._head() + zlib.decompressobj(-zlib.MAX_WBITS).decompress(self._rest())

    def _rest(self) -> bytes:
        return self.packed[: -_ENDING.size]

    def _head(self) -> bytes:
        return f'#EXTM3U\n#EXT-X-VERSION:8\n#EXT-X-DEFINE:NAME="{VARIABLE}",VALUE="{self.url}"\n'.encode()


def _lines(laid: Segments, url: str) -> list[str]:
    """All lines but those that only a long playlist has otherwise."""
    lines = [
        "#EXT-X-INDEPENDENT-SEGMENTS",
        f"#EXT-X-TARGETDURATION:{max(1, math.floor(max(laid.seconds) + 0.5))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        "#EXT-X-PLAYLIST-TYPE:VOD",
        f'#EXT-X-MAP:URI="{url}",BYTERANGE="{laid.init}@0"',
    ]
    start = laid.init
    for length, seconds in zip(laid.lengths, laid.seconds, strict=True):
        lines.append(f"#EXTINF:{seconds:.6f},\n#EXT-X-BYTERANGE:{length}@{start}\n{url}")
        start += length
    return [*lines, "#EXT-X-ENDLIST", ""]


def _deflated(text: bytes) -> bytes:
    """Raw, and ended so that what was deflated elsewhere may follow."""
    made = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return made.compress(text) + made.flush(zlib.Z_FULL_FLUSH)


def _tracks(rows: Sequence[Rendition]) -> list[Track]:
    """The default one first; each under a name of its own, which it must have in its group."""
    found: list[Track] = []
    for number, row in enumerate(sorted(rows, key=lambda row: (not row.extra.get("default"), row.name)), 1):
        language = row.extra.get("language")
        name = str(language) if language and language != "und" else "Sound"
        taken = any(track.name == name for track in found)
        found.append(Track(row, f"{name} {number}" if taken else name))
    return found


def _in_order(rows: Sequence[Rendition]) -> list[Rendition]:
    """H.264, which everything plays, before other codecs; of each the one to begin with, then upwards."""

    def is_other(row: Rendition) -> bool:
        return not str(row.extra.get("codecs", "")).startswith("avc1")

    ordered = sorted(rows, key=lambda row: (is_other(row), _bandwidth(row)))
    fitting = [row for row in ordered if not is_other(row) and _bandwidth(row) <= FIRST_BITS]
    first = fitting[-1:] or ordered[:1]
    return [*first, *(row for row in ordered if row not in first)]


def _media(track: Track) -> str:
    extra = track.row.extra
    default = "YES" if extra.get("default") else "NO"
    attributes = ["TYPE=AUDIO", 'GROUP-ID="sound"', f"NAME={_quoted(track.name)}"]
    if (language := extra.get("language")) and language != "und":
        attributes.append(f"LANGUAGE={_quoted(language)}")
    attributes += [f"DEFAULT={default}", "AUTOSELECT=YES"]
    if channels := extra.get("channels"):
        attributes.append(f'CHANNELS="{channels}"')
    return f"#EXT-X-MEDIA:{','.join(attributes)},URI={_quoted(playlist_of(track.row))}"


def _stream(row: Rendition, sound: Sequence[Rendition]) -> str:
    """The line above a variant; its rates are those of the picture with the richest of its tracks."""
    extra = row.extra
    peak = _bandwidth(row) + max((_bandwidth(track) for track in sound), default=0)
    average = _average(row) + max((_average(track) for track in sound), default=0)
    codecs = list(dict.fromkeys(str(each.extra["codecs"]) for each in (row, *sound) if each.extra.get("codecs")))
    attributes = [f"BANDWIDTH={max(1, peak)}", f"AVERAGE-BANDWIDTH={max(1, average)}"]
    if codecs:
        attributes.append(f"CODECS={_quoted(','.join(codecs))}")
    if row.type == VIDEO:
        if row.width and row.height:
            attributes.append(f"RESOLUTION={row.width}x{row.height}")
        if rate := extra.get("frame_rate"):
            attributes.append(f"FRAME-RATE={rate:.3f}")
        attributes.append(f"VIDEO-RANGE={extra.get('range', 'SDR')}")
    if sound:
        attributes.append('AUDIO="sound"')
    return f"#EXT-X-STREAM-INF:{','.join(attributes)}"


def _bandwidth(row: Rendition) -> int:
    return int(row.extra.get("bandwidth") or _average(row))


def _average(row: Rendition) -> int:
    return int(row.extra.get("average_bandwidth") or row.size * 8 / (row.duration or 1))


def _quoted(value: Any) -> str:
    """A quoted string (section 4.2), which has neither quotes nor line breaks in it: a file's language may be any text."""
    return f'"{_UNQUOTABLE.sub("_", str(value))}"'


def sheets(vtt: str, links: dict[str, str]) -> str:
    """A WebVTT track of sprite sheets, with the sheets it names beside it under links of their own."""

    def linked(found: re.Match[str]) -> str:
        return links.get(found[1], found[1]) + found[2]

    return re.sub(r"^([^\s#]+)(#xywh=)", linked, vtt, flags=re.MULTILINE)
