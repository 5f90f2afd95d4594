"""The source as a file-like object, for PyAV and PIL, over the socketpair to the worker's `PairFeed`."""

from __future__ import annotations

import os
import socket
from collections import OrderedDict

from rushes.media.pair import REPLY, REQUEST

_BLOCK = 256 * 1024
_MAX_RUN = 16  # blocks in one request: 4 MiB
_KEPT = 64  # blocks: 16 MiB


class Positioned:
    """A file-like object of `size` bytes: all of it but the reading."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._position = 0

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self.size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def tell(self) -> int:
        return self._position

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True


class Reader(Positioned):
    """Reads, seeks and tells. Blocks are cached, and requests grow while reading is sequential: a header costs
    little, a whole file few round trips.
    """

    def __init__(self, handle: int, size: int) -> None:
        super().__init__(size)
        self._socket = socket.socket(fileno=handle)
        self._blocks: OrderedDict[int, bytes] = OrderedDict()
        self._next = -1  # the block after the last one fetched
        self._run = 1
        self.overlay: tuple[int, bytes] | None = None  # a place, and what is read there instead

    def read(self, length: int = -1) -> bytes:
        length = max(0, min(length if length >= 0 else self.size, self.size - self._position))
        start, pieces = self._position, []
        while length > 0:
            number, offset = divmod(self._position, _BLOCK)
            piece = self._block(number)[offset : offset + length]
            pieces.append(piece)
            self._position += len(piece)
            length -= len(piece)
        data = b"".join(pieces)
        return data if self.overlay is None else laid_over(data, start, *self.overlay)

    def _block(self, number: int) -> bytes:
        if number not in self._blocks:
            self._fetch(number)
        self._blocks.move_to_end(number)
        return self._blocks[number]

    def _fetch(self, number: int) -> None:
        self._run = min(self._run * 2, _MAX_RUN) if number == self._next else 1
        data = self._ask(number * _BLOCK, min(self._run * _BLOCK, self.size - number * _BLOCK))
        for offset in range(0, len(data), _BLOCK):
            self._blocks[number + offset // _BLOCK] = data[offset : offset + _BLOCK]
        self._next = number + self._run
        while len(self._blocks) > _KEPT:
            self._blocks.popitem(last=False)

    def _ask(self, start: int, length: int) -> bytes:
        self._socket.sendall(REQUEST.pack(start, length))
        answered = REPLY.unpack(self._receive(REPLY.size))[0]
        if answered != length:
            raise OSError("the source cannot be read")
        return self._receive(length)

    def _receive(self, length: int) -> bytes:
        data = bytearray(length)
        view = memoryview(data)
        while view:
            count = self._socket.recv_into(view)
            if not count:
                raise OSError("the worker closed the source")
            view = view[count:]
        return bytes(data)


def laid_over(data: bytes, start: int, place: int, other: bytes) -> bytes:
    """`data`, which was read from `start`, with the bytes of `other` where they reach into it."""
    first, last = max(start, place), min(start + len(data), place + len(other))
    if first >= last:
        return data
    return data[: first - start] + other[first - place : last - place] + data[last - start :]
