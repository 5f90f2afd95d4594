"""An original in storage as media reads it: by ranges, and only as long as it is the object that was verified."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import dataclass

from rushes.errors import Conflict, Rejected
from rushes.storage import S3


@dataclass(frozen=True, slots=True)
class StoredSource:
    """Implements `rushes.media.source.Source`. Reads fail when the object's ETag is no longer `etag`."""

    s3: S3
    bucket: str
    key: str
    size: int
    etag: str | None

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        chunks = self.s3.get_range(self.bucket, self.key, start=start, length=length, if_match=self.etag)
        try:
            async with aclosing(chunks):
                async for chunk in chunks:
                    yield chunk
        except Conflict as error:
            raise Rejected(
                "original_corrupt", "The original in storage is not the file that was uploaded; nothing was published."
            ) from error
