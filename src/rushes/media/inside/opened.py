"""Opening a source with PyAV: only known containers, nothing they refer to, within the limits; errors become
refusals.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import av.error
from av.container import InputContainer

from rushes.media.formats import WHITELIST
from rushes.media.inside.reader import Reader
from rushes.media.inside.shared import View
from rushes.media.inside.talk import Refused

NOT_MEDIA = "This file is not a video, sound or picture that can be read"
_RIFF_MOST = 2**32 + 8  # bytes
_RIFF_HEAD = 256 * 1024  # bytes in which the sound begins
_MAX_ERRORS = 0.5  # of the packets of a stream may fail to decode; ffmpeg's own default is two thirds


@contextmanager
def opened(reader: Reader | View, arguments: dict[str, Any], demuxer: str | None = None) -> Iterator[InputContainer]:
    """An input container with decoders bound to `max_pixels`. Raises Refused."""
    if isinstance(reader, Reader) and reader.size > _RIFF_MOST:
        _mend(reader)
    reader.seek(0)
    options = {"protocol_whitelist": "none", "format_whitelist": demuxer or WHITELIST, "max_streams": "1000"}
    try:
        container = av.open(reader, "r", format=demuxer, options=options, metadata_errors="replace")
    except av.error.FFmpegError as error:
        raise refusal(reader, error) from error
    with container:
        for stream in container.streams.video:
            stream.codec_context.options = {"max_pixels": str(arguments["max_pixels"])}
        yield container


def _mend(reader: Reader) -> None:
    """Let a WAV file that is too long for its own 32-bit sizes say that its sound goes on to the end.

    Taken at its word, all behind the remainder of the division would be searched for chunks, eight bytes at a time.
    """
    reader.seek(0)
    head = reader.read(_RIFF_HEAD)
    if head[:4] != b"RIFF" or head[8:12] != b"WAVE":
        return
    at = 12
    while at + 8 <= len(head):
        if head[at : at + 4] == b"data":
            reader.overlay = at + 4, b"\xff\xff\xff\xff"
            return
        length = int.from_bytes(head[at + 4 : at + 8], "little")
        at += 8 + length + length % 2


def refusal(reader: Reader | View, error: av.error.FFmpegError) -> Refused:
    """Why a file could not be opened, as well as its first bytes tell."""
    reader.seek(0)
    head = reader.read(16)
    if not head:
        return Refused("empty", "This file is empty.")
    if head[4:8] in {b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip"}:
        return Refused("truncated", "This file was cut off or is damaged: its index (moov) cannot be read.")
    if head[:4] in {b"\x1aE\xdf\xa3", b"RIFF", b"fLaC", b"OggS", b"ID3\x04", b"ID3\x03"}:
        return Refused("undecodable", f"This file begins like media but is damaged: {error.strerror}.")
    return Refused("not_media", f"{NOT_MEDIA}: {error.strerror}.")


class Decoder:
    """Decodes packets of one stream, passing over damaged ones as long as they are few."""

    def __init__(self) -> None:
        self.good = 0
        self.bad = 0

    def frames(self, packet: Any) -> list[Any]:
        try:
            frames = list(packet.decode())
        except MemoryError:
            raise
        except av.error.FFmpegError:  # whatever a decoder calls damage: "operation not permitted" is among it
            self.bad += 1
            return []
        self.good += 1
        return frames

    def check(self) -> None:
        """Raises Refused when most of the stream could not be decoded."""
        if self.bad > (self.good + self.bad) * _MAX_ERRORS:
            raise Refused(
                "undecodable", f"This file is damaged: {self.bad} of {self.good + self.bad} packets cannot be decoded."
            )


def packets(container: InputContainer, *streams: Any) -> Iterator[Any]:
    """Packets to the end. Damage a demuxer stumbles over ends the stream; what is missing shows in the duration."""
    try:
        yield from container.demux(*streams)
    except (av.error.InvalidDataError, av.error.EOFError):
        return
