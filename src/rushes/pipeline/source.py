"""An original in storage as media reads it: by ranges, and only as long as it is the object that was verified."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from rushes.storage import S3


@dataclass(frozen=True, slots=True)
class StoredSource:
    """Implements `rushes.media.Source`. Reads fail when the object's ETag is no longer `etag`."""

    s3: S3
    bucket: str
    key: str
    size: int
    etag: str | None

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        async for chunk in self.s3.get_range(self.bucket, self.key, start=start, length=length, if_match=self.etag):
            yield chunk
