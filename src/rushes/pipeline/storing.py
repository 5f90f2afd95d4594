"""Putting away what a stage has made: objects under the run's epoch first, then their rows, if the run still owns its job."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rushes import checksum
from rushes.db import jobs, renditions, segments
from rushes.ingest.context import Context
from rushes.ingest.playlist import packed
from rushes.media.outputs import Output
from rushes.model import Asset, Json, Rendition, Segments, new_id
from rushes.pipeline.agenda import LATE
from rushes.pipeline.runs import Ownership
from rushes.storage import put_file, rendition_key

CHUNK = 8 * 1024 * 1024


async def store(ctx: Context, own: Ownership, asset: Asset, made: Sequence[Output], facts: Json | None = None) -> None:
    """Put the files under this run's epoch, then record them, and `facts` for later stages, if this run still owns the job.

    What a published asset gets in addition takes the place of its older self.
    """
    place = ctx.storage.renditions
    assert own.job.parent_id is not None, "stages are children of a run"
    rows: list[tuple[Rendition, Segments | None, bytes | None]] = []
    for output in made:
        key = rendition_key(place, asset.tenant, asset.creator, asset.id, epoch=own.epoch, name=output.name)
        crc = checksum.encode(await asyncio.to_thread(crc_of, output.path))
        await put_file(
            ctx.storage.s3,
            place.bucket,
            key,
            output.path,
            size=output.size,
            checksum=crc,
            content_type=output.content_type,
        )
        row = Rendition(
            id=new_id(),
            asset_id=asset.id,
            job_id=own.job.parent_id,
            name=output.name,
            type=output.type,
            content_type=output.content_type,
            bucket=place.bucket,
            key=key,
            size=output.size,
            width=output.width,
            height=output.height,
            duration=output.duration,
            checksum=crc,
            stage=own.job.type,
            recipe=output.recipe,
            extra=dict(output.extra),
            created_at=ctx.now(),
        )
        listed = None if output.segments is None else await asyncio.to_thread(packed, output.segments)
        rows.append((row, output.segments, listed))
    async with own.fenced() as conn:
        if own.job.type in LATE:
            await renditions.delete_of_stages(conn, own.job.parent_id, sorted(LATE))
        for row, laid, listed in rows:
            found = await renditions.put(conn, row)
            if laid is not None:
                await segments.put(conn, found, laid, listed)
        recipes = {row.name: row.recipe for row, *_ in rows}
        await jobs.set_result(conn, own.job.id, {"renditions": recipes} | (facts or {}))


def crc_of(path: Path) -> int:
    """Its CRC64NVME."""
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            crc = checksum.crc64nvme(chunk, crc)
    return crc
