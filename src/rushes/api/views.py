"""Rows as wire messages."""

from __future__ import annotations

from datetime import datetime

from rushes import wire
from rushes.ingest.assets import AssetBundle, Status
from rushes.ingest.links import Links
from rushes.ingest.uploads import UploadBundle
from rushes.model import Job, Json, Part, Rendition, Title, UploadState, overall_status


def failure(problem: Json | None) -> wire.Failure | None:
    if problem is None:
        return None
    details = {name: value for name, value in problem.items() if name not in {"code", "message"}}
    return wire.Failure(code=problem["code"], message=problem["message"], details=details)


def title(row: Title) -> wire.TitleView:
    return wire.TitleView(
        id=row.id,
        creator=row.creator,
        title=row.title,
        description=row.description,
        genre=row.genre,
        tags=row.tags,
        release_date=row.release_date,
        project_id=row.project_id,
        metadata=row.metadata,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )


def upload(bundle: UploadBundle, held: list[Part] | None = None) -> wire.UploadView:
    row = bundle.upload
    return wire.UploadView(
        id=row.id,
        asset_id=row.asset_id,
        title_id=row.title_id,
        title=bundle.title,
        creator=row.creator,
        state=row.state,
        status=overall_status(row.state, bundle.asset),
        filename=row.filename,
        size=row.size if row.size_known else None,
        max_size=row.size,
        content_type=row.content_type,
        layout=row.layout,
        part_size=row.part_size,
        part_count=row.part_count,
        checksum_algorithm=row.checksum_algorithm,
        source=row.source,
        upload_origin=row.upload_origin,
        relative_path=row.relative_path,
        priority=row.priority,
        held=wire.Held(parts=row.held_parts, bytes=row.held_bytes),
        problem=failure(row.problem),
        created_at=row.created_at,
        updated_at=row.updated_at,
        expires_at=row.expires_at,
        abandoned_at=row.abandoned_at,
        parts=None
        if held is None
        else [
            wire.HeldPart(
                number=part.number,
                size=part.size,
                checksum=part.checksum,
                etag=part.etag,
                way=part.way,
                held_at=part.held_at,
            )
            for part in held
            if part.etag is not None and part.way is not None and part.held_at is not None
        ],
    )


def status(row: Status) -> wire.StatusView:
    job = row.job
    return wire.StatusView(
        upload_id=row.upload.id,
        asset_id=row.asset.id,
        status=overall_status(row.upload.state, row.asset.state),
        upload_state=row.upload.state,
        processing_state=row.asset.state,
        size=row.upload.size if row.upload.size_known else None,
        verified=row.upload.verified_bytes,
        held=wire.Held(parts=row.upload.held_parts, bytes=row.upload.held_bytes),
        current_job=None
        if job is None
        else wire.CurrentJob(
            id=job.id,
            type=job.type,
            status=job.state,
            progress=job.progress,
            message=job.message,
            left_seconds=job.left_seconds,
        ),
        problem=failure(row.asset.problem or row.upload.problem),
    )


def asset(bundle: AssetBundle, links: Links) -> wire.AssetView:
    row, whole = bundle.asset, bundle.upload.state is UploadState.INGESTED
    return wire.AssetView(
        id=row.id,
        title_id=row.title_id,
        title=bundle.title,
        upload_id=row.upload_id,
        creator=row.creator,
        state=row.state,
        status=overall_status(bundle.upload.state, row.state),
        kind=row.kind,
        filename=row.filename,
        content_type=row.content_type,
        size=row.size if bundle.upload.size_known else None,
        checksum=wire.Checksum(algorithm=row.checksum_algorithm, value=row.checksum),
        sha256=row.sha256,
        verification=row.verification,
        media=row.media,
        renditions=[_rendition(rendition, links) for rendition in bundle.renditions],
        original_url=links.original(row) if whole else None,
        problem=failure(row.problem),
        created_at=row.created_at,
        updated_at=row.updated_at,
        published_at=row.published_at,
    )


def _rendition(row: Rendition, links: Links) -> wire.RenditionView:
    return wire.RenditionView(
        id=row.id,
        name=row.name,
        type=row.type,
        content_type=row.content_type,
        size=row.size,
        width=row.width,
        height=row.height,
        duration=row.duration,
        extra=row.extra,
        checksum=row.checksum,
        url=links.rendition(row),
    )


def job(row: Job) -> wire.JobView:
    return wire.JobView(
        id=row.id,
        asset_id=row.asset_id,
        parent_id=row.parent_id,
        type=row.type,
        status=row.state,
        priority=row.priority,
        number=row.number,
        progress=row.progress,
        left_seconds=row.left_seconds,
        message=row.message,
        log=[wire.LogLine(at=datetime.fromisoformat(line["at"]), text=line["text"]) for line in row.log],
        retries=row.retries,
        dead_letter=row.dead_letter,
        error=failure(row.problem),
        created_at=row.created_at,
        started_at=row.started_at,
        finished_at=row.finished_at,
    )
