"""/v1/jobs"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Query, status

from rushes import wire
from rushes.api import views
from rushes.api.auth import Ctx, Who
from rushes.api.paging import Cursor, Limit, paged
from rushes.ingest import process, reprocess
from rushes.model import JobFilter, JobState
from rushes.wire_jobs import JobPatch

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("")
async def list_jobs(
    ctx: Ctx,
    who: Who,
    state: Annotated[JobState | None, Query(alias="status")] = None,
    type_: Annotated[str | None, Query(alias="type", max_length=100)] = None,
    asset_id: UUID | None = None,
    parent_id: UUID | None = None,
    dead_letter: bool | None = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> wire.Page[wire.JobView]:
    """Jobs, the newest first. A `process` job is the parent of the stages that it runs.

    Dead letters are the stages that were tried as often as they may: each with its log, until its asset is processed anew.
    """
    wanted = JobFilter(state, type_, asset_id, parent_id, dead_letter)
    rows = await process.page(ctx, who, wanted, cursor, limit)
    return paged([views.job(row) for row in rows], [row.id for row in rows], limit)


@router.get("/{job_id}")
async def read_job(ctx: Ctx, who: Who, job_id: UUID) -> wire.JobView:
    """State, progress, log and error of one job."""
    return views.job(await process.find_job(ctx, who, job_id))


@router.patch("/{job_id}")
async def change_job(ctx: Ctx, who: Who, job_id: UUID, patch: JobPatch) -> wire.JobView:
    """Have the run that the job belongs to processed earlier or later than others: what of it waits yet."""
    return views.job(await process.prioritize(ctx, who, job_id, patch.priority))


@router.post("/{job_id}/retry", status_code=status.HTTP_202_ACCEPTED)
async def retry_job(ctx: Ctx, who: Who, job_id: UUID) -> wire.JobView:
    """Run the asset of a failed or cancelled job again, as a new run that keeps what the old one had made."""
    return views.job(await reprocess.retry_job(ctx, who, job_id))


@router.post("/{job_id}/cancel")
async def cancel_job(ctx: Ctx, who: Who, job_id: UUID) -> wire.JobView:
    """Stop the run that the job belongs to."""
    return views.job(await process.cancel_job(ctx, who, job_id))
