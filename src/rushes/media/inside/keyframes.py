"""Key frames of a video, reached by seeking: what a picture of a moment costs is one seek and one decoded frame.

A source without an index is searched by its demuxer, a damaged one may hold no key frame for long: what may be read in
all is bounded (`shared.py`), and so are the packets looked at after a seek.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import av
import av.error

from rushes.media.inside.opened import opened
from rushes.media.inside.shared import Shared, View

_MOST_PACKETS = 3000  # after a seek; a key frame each ten seconds, between many sounds, is found
# Seconds before the moment from which is read, one after the other until there is a key frame: a transport stream is
# searched for a packet, and behind it there may be none, most of all in a short film that has only one.
_LEADS = (0.0, 12.0, 120.0)
_LOOSE = {"asf"}  # demuxers that find a place a second or more before the moment, several key frames early
_DAMAGED = (av.error.FFmpegError, OSError, ValueError)


class KeyFrames:
    """The key frames of one stream."""

    def __init__(self, container: Any, stream: Any) -> None:
        self._container = container
        self._stream = stream
        self._loose = container.format.name in _LOOSE
        # A stream without a container has no times: it is read on, and nobody knows how long it lasts.
        self._timed = container.duration is not None or container.start_time is not None

    def packet(self, seconds: float) -> Any | None:
        """The key frame at or before this time (counted from the file's first), still coded, or else the next one; None
        where there is none.
        """
        for lead in _LEADS:
            try:
                found = self._after(seconds - lead, seconds)
            except _DAMAGED:
                continue
            if found is not None:
                return found
        return None

    def _after(self, since: float, until: float) -> Any | None:
        """The first key frame behind the place where a search for `since` ends; a loose search goes on to the last one
        before `until`.
        """
        if self._timed:
            self._container.seek((self._container.start_time or 0) + int(since * av.time_base))
        found = None
        for number, packet in enumerate(self._container.demux(self._stream)):
            if number > _MOST_PACKETS:
                break
            if packet.is_keyframe and packet.size:
                if found is not None and self.time(packet, until) > until:
                    break
                found = packet
                if not self._loose:
                    break
        return found

    def decoded(self, packet: Any) -> Any | None:
        """Its frame: by draining the decoder, which otherwise waits for the frames that may be shown before it. Where the
        packet alone gives none, what follows is decoded until there is one.
        """
        context = self._stream.codec_context
        try:
            frames = context.decode(packet) or context.decode(None)
        except _DAMAGED:
            frames = []
        context.flush_buffers()  # a drained decoder takes nothing more
        if frames:
            return frames[0]
        if packet.is_discard:  # an edit list begins behind it: the first frame that is shown is no key frame
            context.skip_frame = "DEFAULT"
        try:
            return next(self._decoding(packet), None)
        finally:
            context.skip_frame = "NONKEY"

    def _decoding(self, packet: Any) -> Iterator[Any]:
        for coded in self._following(packet):
            try:
                yield from self._stream.codec_context.decode(coded)
            except _DAMAGED:
                continue

    def time(self, frame: Any, otherwise: float) -> float:
        """When a frame (coded or not) is shown, in seconds counted from the file's first."""
        if frame.pts is None:
            return otherwise
        start = self._container.start_time or 0
        return float(frame.pts * (frame.time_base or self._stream.time_base)) - start / float(av.time_base)

    def _following(self, packet: Any) -> Iterator[Any]:
        yield packet
        try:
            for number, later in enumerate(self._container.demux(self._stream)):
                if number > _MOST_PACKETS:
                    return
                yield later
        except _DAMAGED:
            return


@contextmanager
def key_frames(
    shared: Shared, arguments: dict[str, Any], *, fast: bool = False, threads: int = 0
) -> Iterator[KeyFrames]:
    """`fast` leaves out the loop filter, which nobody sees in a tile. Raises Refused."""
    with opened(View(shared), arguments, arguments["demuxer"]) as container:
        stream = container.streams.get(arguments["index"])[0]
        options = {"max_pixels": str(arguments["max_pixels"]), "threads": str(threads)}
        stream.codec_context.options = options | ({"skip_loop_filter": "all"} if fast else {})
        stream.codec_context.skip_frame = "NONKEY"
        yield KeyFrames(container, stream)
