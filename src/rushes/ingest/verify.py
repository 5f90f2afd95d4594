"""Verify: one reading of an assembled object, for what storage could not be made to prove.

A worker reads when the store does not hold Complete to the parts' combined CRC (nor shows an ETag made of their MD5s), or
when the client declared a checksum of the whole file that does not combine from its parts. The one reading checks every
part against the ledger, and computes the declared checksums and the SHA-256. Only then is the upload `ingested`.

Memory is two blocks of 8 MiB, whatever the object's size. A connection that breaks costs what was read of one block.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing

import xxhash

from rushes import checksum
from rushes.checksum import Running
from rushes.db import uploads
from rushes.errors import Unavailable
from rushes.ingest import declared
from rushes.ingest.context import Context
from rushes.model import ChecksumAlgorithm, Part, Upload

BLOCK = 8 * 1024 * 1024  # bytes hashed in one go, in a thread
NOTE_EVERY = 2.0  # seconds between two notes of how far a reading is

Report = Callable[[int], Awaitable[None]]  # learns how many bytes were read

_STARTS: Mapping[str, Callable[[], Running]] = {
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "crc64nvme": lambda: checksum.start(ChecksumAlgorithm.CRC64NVME),
    "crc32c": lambda: checksum.start(ChecksumAlgorithm.CRC32C),
    "xxh64": xxhash.xxh64,
    "xxh128": xxhash.xxh3_128,
}


class Reading:
    """What is known of an object's bytes so far: `done` of them. `update` may run in a thread, one at a time."""

    def __init__(self, algorithm: ChecksumAlgorithm, parts: Sequence[Part], whole: Iterable[str] = ()) -> None:
        """Checks the parts; of the whole it computes SHA-256, CRC64NVME, the parts' CRC, and what is named in `whole`."""
        self.done = 0
        self.wrong: list[int] = []  # numbers of parts whose bytes are not those of the ledger
        self._algorithm = algorithm
        self._parts = iter(parts)
        self._whole = {name: _STARTS[name]() for name in {"sha256", "crc64nvme", *_combining(algorithm), *whole}}
        self._next_part()

    def _next_part(self) -> None:
        self._part = next(self._parts, None)
        self._running = checksum.start(self._algorithm)
        self._left = 0 if self._part is None else self._part.size

    def update(self, block: bytes) -> None:
        for running in self._whole.values():
            running.update(block)
        rest = memoryview(block)
        while rest and self._part is not None:
            piece, rest = rest[: self._left], rest[self._left :]
            self._running.update(piece)
            self._left -= len(piece)
            if self._left == 0:
                if checksum.text_of(self._running) != self._part.checksum:
                    self.wrong.append(self._part.number)
                self._next_part()
        self.done += len(block)

    def value(self, algorithm: str) -> str:
        """The whole's checksum, in the form declared ones are kept in."""
        return declared.written(algorithm, self._whole[algorithm].digest())


def _combining(algorithm: ChecksumAlgorithm) -> tuple[str, ...]:
    return (algorithm,) if checksum.combines(algorithm) else ()


async def feed(chunks: AsyncIterator[bytes], reading: Reading, report: Report) -> None:
    """Hash what comes, block by block in a thread, while the next block is on its way. `report` learns how far it is.

    When `chunks` raises, `reading` stands where the last whole block ended: go on reading there.
    """
    buffer = bytearray()
    hashing: asyncio.Task[None] | None = None
    try:
        async for chunk in chunks:
            buffer += chunk
            if len(buffer) < BLOCK:
                continue
            if hashing is not None:
                await hashing
                await report(reading.done)
            hashing = asyncio.create_task(asyncio.to_thread(reading.update, bytes(buffer)))
            buffer.clear()
    finally:
        if hashing is not None:
            await hashing
    if buffer:
        await asyncio.to_thread(reading.update, bytes(buffer))
    await report(reading.done)


def must_be_read(
    upload: Upload, rows: Sequence[Part], etag: str, *, full_object: Sequence[str], md5_etags: bool
) -> bool:
    """Whether a worker has to read the object before it counts: what storage has proven by itself is not enough.

    `full_object` are the CRCs that the store holds Complete to; `md5_etags` says that its ETags are made of MD5s.
    """
    algorithm = upload.checksum_algorithm
    if any(name != algorithm or not checksum.combines(algorithm) for name in upload.declared):
        return True
    if algorithm in full_object:
        return False
    by_etag = md5_etags and algorithm is ChecksumAlgorithm.MD5
    return not (by_etag and etag == checksum.md5_etag(part.checksum for part in rows))


async def read_on(ctx: Context, upload: Upload, etag: str, reading: Reading) -> None:
    """Read the rest of the object, as long as it is the one with this ETag; may be called again after it raised.

    Raises `Conflict` or `NotFound` when it is another object, `Unavailable` when storage or database are away.
    """
    noted = asyncio.get_running_loop().time()

    async def note(done: int) -> None:
        nonlocal noted
        now = asyncio.get_running_loop().time()
        if now - noted < NOTE_EVERY and done < upload.size:
            return
        noted = now
        async with ctx.db.transaction() as conn:
            await uploads.note_verified(conn, upload.id, upload.attempt, done)

    left = upload.size - reading.done
    chunks = ctx.storage.s3.get_range(upload.bucket, upload.key, start=reading.done, length=left, if_match=etag)
    async with aclosing(chunks):
        await feed(chunks, reading, note)
    if reading.done < upload.size:
        raise Unavailable("storage_failed", "Storage ended the object before its last byte.", read=reading.done)
