"""Which events tell of which move: every legal move of an upload, an asset or a job is told of in its own transaction.

`None` is where things come from. A move that can have several reasons has one event for each of them. A test walks the
moves and looks into the table of events after each one.
"""

from __future__ import annotations

from collections.abc import Mapping

from rushes.model import AssetState as A
from rushes.model import JobState as J
from rushes.model import UploadState as U

UPLOAD: Mapping[tuple[U | None, U], frozenset[str]] = {
    (None, U.INITIATED): frozenset({"upload_started"}),
    (U.INITIATED, U.UPLOADING): frozenset({"upload_opened"}),
    (U.UPLOADING, U.FINALIZING): frozenset({"upload_finalizing"}),
    (U.FINALIZING, U.UPLOADING): frozenset({"finalize_failed"}),
    (U.FINALIZING, U.INGESTED): frozenset({"upload_completed"}),
    (U.FINALIZING, U.FAILED): frozenset({"finalize_failed"}),
    (U.INITIATED, U.REJECTED): frozenset({"upload_rejected"}),
    (U.UPLOADING, U.REJECTED): frozenset({"upload_rejected"}),
    (U.INITIATED, U.ABORTED): frozenset({"upload_aborted"}),
    (U.UPLOADING, U.ABORTED): frozenset({"upload_aborted"}),
    (U.INITIATED, U.EXPIRED): frozenset({"upload_expired"}),
    (U.UPLOADING, U.EXPIRED): frozenset({"upload_expired"}),
}

ASSET: Mapping[tuple[A | None, A], frozenset[str]] = {
    (None, A.PENDING): frozenset({"upload_started"}),
    (A.PENDING, A.PROCESSING): frozenset({"processing_queued"}),
    (A.PENDING, A.FAILED): frozenset({"finalize_failed"}),
    (A.PENDING, A.DELETED): frozenset({"upload_aborted", "upload_expired", "upload_rejected", "asset_deleted"}),
    (A.PROCESSING, A.PUBLISHED): frozenset({"asset_published", "processing_failed", "processing_cancelled"}),
    (A.PROCESSING, A.FAILED): frozenset({"processing_failed", "processing_cancelled"}),
    (A.PROCESSING, A.QUARANTINED): frozenset({"asset_quarantined"}),
    (A.PROCESSING, A.DELETED): frozenset({"asset_deleted"}),
    (A.PUBLISHED, A.PROCESSING): frozenset({"processing_queued"}),
    (A.PUBLISHED, A.QUARANTINED): frozenset({"asset_quarantined"}),
    (A.PUBLISHED, A.DELETED): frozenset({"asset_deleted"}),
    (A.FAILED, A.PROCESSING): frozenset({"processing_queued"}),
    (A.FAILED, A.DELETED): frozenset({"asset_deleted"}),
    (A.QUARANTINED, A.PROCESSING): frozenset({"processing_queued"}),
    (A.QUARANTINED, A.DELETED): frozenset({"asset_deleted"}),
}

JOB: Mapping[J, str] = {
    J.QUEUED: "job_queued",
    J.RUNNING: "job_started",
    J.SUCCEEDED: "job_succeeded",
    J.FAILED: "job_failed",
    J.CANCELLED: "job_cancelled",
}
