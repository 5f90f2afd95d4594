"""The task that takes the picture out of a sound file (ID3's APIC, FLAC's PICTURE, MP4's covr …) and makes its sizes."""

from __future__ import annotations

import io
from typing import Any, cast

import av

from rushes.media import sizes
from rushes.media.inside import talk
from rushes.media.inside.opened import opened
from rushes.media.inside.picture import opened_picture
from rushes.media.inside.reader import Reader
from rushes.media.inside.rendering import render, scaled
from rushes.media.inside.saved import save, save_sizes

_MOST = 64 * 1024 * 1024  # bytes
_HEADS = (b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"RIFF", b"BM")  # what covers are; nothing slower is tried


def main(arguments: dict[str, Any], feed: int) -> None:
    talk.run(make_cover, arguments, feed)


def make_cover(arguments: dict[str, Any], reader: Reader, _: talk.Voice) -> dict[str, Any]:
    """`made`: name, format, width and height of each file; none where there is no cover. Raises Refused."""
    with opened(reader, arguments, arguments["demuxer"]) as container:
        data = _attached(container)
    if data is None:
        return {"made": []}
    if len(data) > _MOST or not data.startswith(_HEADS):
        raise talk.Refused("undecodable", "The cover is no picture that can be read.")
    picture = opened_picture(cast("Reader", io.BytesIO(data)), arguments["max_pixels"])
    if picture is None:
        raise talk.Refused("undecodable", "The cover cannot be read.")
    largest = render(picture, max(sizes.POSTERS), arguments["max_pixels"])
    cover = save(largest, arguments["cover"])
    return {"made": [cover, *save_sizes(scaled(largest, max(sizes.POSTERS)), "poster", sizes.POSTERS, ("jpg", "webp"))]}


def _attached(container: Any) -> bytes | None:
    """The first attached picture, as it is in the file."""
    for stream in container.streams.video:
        if stream.disposition & av.stream.Disposition.attached_pic:
            packet = next((packet for packet in container.demux(stream) if packet.size), None)
            return None if packet is None else bytes(packet)
    return None
