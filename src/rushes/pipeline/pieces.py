"""Pieces of renditions on their way from the workers that encode spans to the one that joins them.

They lie in the incoming place under the asset and the epoch of the stage that made them, and are recorded as that stage's
result. They go when the run is published, and by the sweep when it came to nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

from rushes import checksum
from rushes.db import assets, jobs
from rushes.errors import Rejected, Unavailable
from rushes.ingest.abort import delete_listed
from rushes.ingest.context import Context
from rushes.model import Asset, Job, Json
from rushes.pipeline.runs import Ownership
from rushes.pipeline.storing import crc_of
from rushes.storage import piece_key, pieces_prefix, put_file


@dataclass(frozen=True, slots=True)
class Kept:
    """A piece in storage."""

    file: str  # the rendition's name
    key: str
    size: int  # bytes
    checksum: str


async def keep(ctx: Context, own: Ownership, asset: Asset, made: Sequence[tuple[str, Path]], facts: Json) -> None:
    """Put pieces, each of a rendition, under this run's epoch, then record them, if this run still owns the job."""
    place = ctx.storage.incoming
    kept: list[Kept] = []
    for file, path in made:
        key = piece_key(place, asset.tenant, asset.creator, asset.id, epoch=own.epoch, name=f"{own.job.number}-{file}")
        size = (await asyncio.to_thread(path.stat)).st_size
        crc = checksum.encode(await asyncio.to_thread(crc_of, path))
        await put_file(ctx.storage.s3, place.bucket, key, path, size=size, checksum=crc)
        kept.append(Kept(file, key, size, crc))
    async with own.fenced() as conn:
        await jobs.set_result(conn, own.job.id, facts | {"pieces": [asdict(piece) for piece in kept]})


def kept_by(stages: Sequence[Job]) -> list[list[Kept]]:
    """What each stage has kept, in the order of their numbers."""
    ordered = sorted(stages, key=lambda stage: stage.number)
    return [[Kept(**piece) for piece in stage.result.get("pieces", [])] for stage in ordered]


async def fetch(ctx: Context, bucket: str, key: str, path: Path, *, size: int, crc: str) -> None:
    """An object as a file. Raises `Unavailable` when it did not come whole, `Rejected` when it is not what was stored."""
    found = 0
    with path.open("wb") as file:
        async with aclosing(ctx.storage.s3.get_range(bucket, key)) as chunks:
            async for chunk in chunks:
                found = await asyncio.to_thread(_append, file, chunk, found)
    came = (await asyncio.to_thread(path.stat)).st_size
    if came < size:
        raise Unavailable("storage_failed", "Storage gave less of a piece than it holds.")
    if came != size or checksum.encode(found) != crc:
        raise Rejected("piece_corrupt", "A piece in storage is not what was put there; process the asset again.")


def _append(file: BinaryIO, chunk: bytes, crc: int) -> int:
    file.write(chunk)
    return checksum.crc64nvme(chunk, crc)


async def remove(ctx: Context, asset_id: UUID, epoch: int) -> None:
    """Remove an asset's pieces of runs up to `epoch`. May run twice."""
    async with ctx.db.transaction() as conn:
        asset = await assets.load(conn, asset_id)
    if asset is None:
        return
    place = ctx.storage.incoming
    prefix = pieces_prefix(place, asset.tenant, asset.creator, asset.id)
    own = range(epoch + 1)
    listed = ctx.storage.s3.list_objects(place.bucket, prefix)
    gone = (item async for item in listed if int(item.key.removeprefix(prefix).partition("/")[0]) in own)
    await delete_listed(ctx, place.bucket, gone)
