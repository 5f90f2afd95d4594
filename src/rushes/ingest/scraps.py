"""Objects that no row names any more."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress

from rushes.errors import Problem
from rushes.ingest.context import Context


async def forget(ctx: Context, objects: Iterable[tuple[str, str]]) -> None:
    """Delete (bucket, key)s whose rows are gone. What cannot be deleted now is deleted by the sweep."""
    by_bucket: dict[str, list[str]] = {}
    for bucket, key in objects:
        by_bucket.setdefault(bucket, []).append(key)
    for bucket, keys in by_bucket.items():
        with suppress(Problem):
            await ctx.storage.s3.delete_objects(bucket, keys)
