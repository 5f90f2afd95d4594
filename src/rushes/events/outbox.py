"""The outbox: one row an event."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rushes.db import Conn
from rushes.db import events as rows
from rushes.events.moves import JOB
from rushes.model import Asset, Job, JobState, Json, Upload


async def append(conn: Conn, type_: str, about: Upload | Asset, now: datetime, /, **data: Any) -> None:
    """Append an event about an upload or an asset to the caller's transaction. `data` holds JSON values."""
    await append_each(conn, type_, about, now, [data])


async def append_each(conn: Conn, type_: str, about: Upload | Asset, now: datetime, data: Sequence[Json]) -> None:
    """Append one event for each of `data`, in order."""
    if not data:
        return
    upload_id, asset_id = (about.id, about.asset_id) if isinstance(about, Upload) else (about.upload_id, about.id)
    await rows.insert_each(
        conn,
        tenant=about.tenant,
        creator=about.creator,
        type_=type_,
        title_id=about.title_id,
        upload_id=upload_id,
        asset_id=asset_id,
        data=data,
        now=now,
    )


async def append_job(conn: Conn, job: Job, new: JobState, now: datetime, /, **data: Any) -> None:
    """Append the event of a job's move to `new` to the caller's transaction."""
    parent = None if job.parent_id is None else str(job.parent_id)
    facts = {"job_id": str(job.id), "parent_id": parent, "job": job.type} | data
    await rows.insert_of_job(conn, JOB[new], job, facts, now)
