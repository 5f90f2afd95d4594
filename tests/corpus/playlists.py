"""HLS as a player reads it: from the link that an asset gives out, by playlists and byte ranges."""

from __future__ import annotations

import io
import re
import urllib.request
from dataclasses import dataclass
from urllib.parse import urljoin

_RANGE = re.compile(r"(\d+)@(\d+)")
_ATTRIBUTE = re.compile(r'([A-Z-]+)=("[^"]*"|[^,]*)')


@dataclass(frozen=True)
class Played:
    """What a master playlist offers: name of each playlist to its file's bytes, the head and all segments."""

    pictures: dict[str, bytes]
    sounds: dict[str, bytes]
    default: str | None  # of the sounds

    def picture(self, name: str) -> io.BytesIO:
        return io.BytesIO(self.pictures[name])


def played(url: str) -> Played:
    """Everything that the master playlist at `url` names."""
    pictures: dict[str, bytes] = {}
    sounds: dict[str, bytes] = {}
    default = None
    wanted = ""
    for line in _text(url).splitlines():
        if line.startswith("#EXT-X-MEDIA:"):
            attributes = {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line)}
            name = _name(attributes["URI"])
            sounds[name] = _file(urljoin(url, attributes["URI"]))
            default = name if attributes["DEFAULT"] == "YES" else default
        elif line.startswith("#EXT-X-STREAM-INF:"):
            wanted = line
        elif line and not line.startswith("#"):
            found = pictures if "RESOLUTION=" in wanted else sounds
            found[_name(line)] = _file(urljoin(url, line))
    return Played(pictures, sounds, default)


def _name(address: str) -> str:
    return f"{address.rsplit('/', 1)[-1].removesuffix('.m3u8')}.mp4"


def _file(url: str) -> bytes:
    """Head and segments of a media playlist, each fetched by its own range."""
    pieces: list[bytes] = []
    length = start = 0
    for line in _text(url).splitlines():
        if line.startswith("#EXT-X-MAP:"):
            attributes = {name: value.strip('"') for name, value in _ATTRIBUTE.findall(line)}
            pieces.append(_bytes(urljoin(url, attributes["URI"]), *_range(attributes["BYTERANGE"])))
        elif line.startswith("#EXT-X-BYTERANGE:"):
            length, start = _range(line)
        elif line and not line.startswith("#"):
            pieces.append(_bytes(urljoin(url, line), length, start))
    return b"".join(pieces)


def _range(text: str) -> tuple[int, int]:
    found = _RANGE.search(text)
    assert found is not None, text
    return int(found[1]), int(found[2])


def _text(url: str) -> str:
    with urllib.request.urlopen(url, timeout=60) as reply:
        return bytes(reply.read()).decode()


def _bytes(url: str, length: int, start: int) -> bytes:
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-{start + length - 1}"})
    with urllib.request.urlopen(request, timeout=60) as reply:
        data = bytes(reply.read())
    assert len(data) == length, f"{len(data)} of {length} bytes"
    return data
