"""What workers do with an asset, done by a test: its job taken, a run published."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rushes.db import assets as asset_rows
from rushes.db import jobs as job_rows
from rushes.db import renditions
from rushes.model import AssetState, JobState, Rendition, Verification, new_id
from rushes.storage import DonePart
from tests.ingest.equipment import Desk, Person


async def the_job(person: Person, upload: dict[str, Any]) -> dict[str, Any]:
    """The newest job of an upload's asset."""
    return dict((await person.read(f"jobs?asset_id={upload['asset_id']}"))["items"][0])


async def run(desk: Desk, job_id: str) -> None:
    """A worker takes the job."""
    async with desk.ctx.db.transaction() as conn:
        assert await job_rows.claim(conn, UUID(job_id), 1, desk.ctx.now()) is not None


async def publish(desk: Desk, upload: dict[str, Any], name: str = "poster") -> str:
    """What a worker does at the end of a good run, with one rendition in storage. Returns the job's id."""
    storage, now = desk.ctx.storage, desk.ctx.now()
    asset_id = UUID(upload["asset_id"])
    async with desk.ctx.db.transaction() as conn:
        asset = await asset_rows.load(conn, asset_id, lock=True)
        assert asset is not None
        assert asset.job_id is not None
        job = await job_rows.claim(conn, asset.job_id, 1, now)
        assert job is not None
        key = asset.key.replace("original", f"1/{name}-{job.id}.jpg")
        rendition = Rendition(
            id=new_id(),
            asset_id=asset_id,
            job_id=job.id,
            name=name,
            type="poster",
            content_type="image/jpeg",
            bucket=storage.renditions.bucket,
            key=storage.renditions.prefix + key,
            size=4,
            width=16,
            height=9,
            duration=None,
            checksum="",
            stage="poster",
            recipe=1,
            extra={},
            created_at=now,
        )
        await renditions.put(conn, rendition)
        await job_rows.finish(conn, job, JobState.SUCCEEDED, now, "done")
        facts = {"sha256": "0" * 64, "verification": Verification.END_TO_END, "published_at": now}
        await asset_rows.move(conn, asset, AssetState.PUBLISHED, now, published_job_id=job.id, **facts)
    multipart = await storage.s3.create_multipart(rendition.bucket, rendition.key)
    etag = await storage.s3.upload_part(rendition.bucket, rendition.key, multipart, 1, b"jpeg", checksum=None)
    await storage.s3.complete_multipart(rendition.bucket, rendition.key, multipart, [DonePart(1, etag)])
    return str(job.id)


# --- reading ----------------------------------------------------------------------------------------------------------
