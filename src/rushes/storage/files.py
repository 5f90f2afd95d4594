"""Files into objects: one request for small ones, a multipart upload of 16 MiB parts for the rest.

Reading runs in threads, at most four parts are in memory (64 MiB), and every byte is held to the CRC64NVME that the
caller knows: part by part on the way, and over the whole at the end. An upload that fails leaves nothing behind.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rushes.checksum import combine, crc64nvme, encode
from rushes.errors import Conflict, Unavailable
from rushes.plan import MAX_PARTS
from rushes.storage.s3 import S3
from rushes.storage.stored import DonePart

SINGLE_PUT_LIMIT: Final = 64 * 1024**2  # bytes
PART_SIZE: Final = 16 * 1024**2  # bytes, as long as the file fits into the parts there may be
PARALLEL: Final = 4


async def put_file(
    s3: S3,
    bucket: str,
    key: str,
    path: Path,
    *,
    size: int,
    checksum: str,
    content_type: str | None = None,
    metadata: Mapping[str, str] | None = None,
) -> str:
    """Store the file under the key and return the object's ETag. `size` is in bytes, `checksum` its CRC64NVME.

    Raises:
        Conflict: file_changed, when the file does not have that size or checksum (any more).
        Rejected: storage_checksum_mismatch, when it was corrupted on the way.
        OSError: the file cannot be read.
    """
    if (await asyncio.to_thread(path.stat)).st_size != size:
        raise _changed(path)
    if size <= SINGLE_PUT_LIMIT:
        body = await asyncio.to_thread(_read, path, 0, size)
        if encode(await asyncio.to_thread(crc64nvme, body)) != checksum:
            raise _changed(path)
        return await s3.put_object(
            bucket, key, body, size=size, content_type=content_type, metadata=metadata, checksum=checksum
        )
    upload = await s3.create_multipart(bucket, key, content_type=content_type, metadata=metadata)
    async with _aborted_on_failure(s3, bucket, key, upload):
        parts, sent = await _Sending(s3, bucket, key, upload, path, size).all_parts()
        if encode(sent) != checksum:
            raise _changed(path)
        return await s3.complete_multipart(bucket, key, upload, parts, checksum=checksum, size=size)


@asynccontextmanager
async def _aborted_on_failure(s3: S3, bucket: str, key: str, upload: str) -> AsyncIterator[None]:
    try:
        yield
    except BaseException:
        with suppress(Unavailable):  # the sweep aborts what cannot be aborted now
            await asyncio.shield(s3.abort_multipart(bucket, key, upload))
        raise


@dataclass(frozen=True, slots=True)
class _Sending:
    """A file on its way into a multipart upload."""

    s3: S3
    bucket: str
    key: str
    upload: str
    path: Path
    size: int

    async def all_parts(self) -> tuple[list[DonePart], int]:
        """Send every part; return them with the CRC64NVME of the bytes that were sent."""
        part_size = max(PART_SIZE, -(-self.size // MAX_PARTS))
        room = asyncio.Semaphore(PARALLEL)

        async def one(number: int) -> tuple[DonePart, int, int]:
            async with room:
                start = (number - 1) * part_size
                return await self._part(number, start, min(part_size, self.size - start))

        try:
            async with asyncio.TaskGroup() as group:
                numbers = range(1, -(-self.size // part_size) + 1)
                tasks = [group.create_task(one(number)) for number in numbers]
        except ExceptionGroup as failures:
            raise failures.exceptions[0] from None  # the first says why; the group stopped the others
        sent = [task.result() for task in tasks]
        return [part for part, _, _ in sent], combine((crc, length) for _, crc, length in sent)

    async def _part(self, number: int, start: int, length: int) -> tuple[DonePart, int, int]:
        body = await asyncio.to_thread(_read, self.path, start, length)
        crc = await asyncio.to_thread(crc64nvme, body)
        etag = await self.s3.upload_part(self.bucket, self.key, self.upload, number, body, checksum=encode(crc))
        return DonePart(number, etag, encode(crc)), crc, length


def _read(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        body = file.read(length)
    if len(body) != length:
        raise _changed(path)
    return body


def _changed(path: Path) -> Conflict:
    return Conflict("file_changed", f"{path.name} is not the file that was measured: it changed meanwhile.")
