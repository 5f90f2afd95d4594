"""Which problems each call answers with: by operation and HTTP status, the stable codes. Tests hold every answer to it.

They go into the OpenAPI document. Beside them any call may answer 500 `internal`, and 404 `not_found` or 405
`method_not_allowed` where no operation is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from rushes.api import headers

Codes = Mapping[int, str]  # status → codes, separated by spaces

WITH_TOKEN: Final[Codes] = {
    401: "token_missing token_invalid token_expired token_claims",
    422: "request_invalid",
    503: "database_unavailable issuer_unavailable",
}
JSON_BODY: Final[Codes] = {400: "bad_request", 413: "body_too_large"}
SCOPED: Final[Codes] = {403: "token_scope"}
STORAGE: Final[Codes] = {
    500: "storage_access_denied storage_credentials_refused storage_credentials_missing storage_bucket_unknown "
    "storage_region_wrong storage_clock_skewed storage_unsupported storage_tls_failed storage_misconfigured "
    "storage_encryption_refused",
    503: "storage_unreachable storage_timeout storage_busy storage_full storage_failed storage_undecided",
}
UPLOAD: Final[Codes] = {404: "upload_not_found"}
TAKES_PARTS: Final[Codes] = {
    404: "upload_not_found",
    409: "upload_finalizing upload_ingested upload_rejected upload_failed upload_aborted upload_expired",
    422: "checksum_invalid part_length_invalid",
}
REPORTS: Final[Codes] = {409: "part_not_granted", 422: "part_number_invalid part_twice etag_invalid"}
COMPLETES: Final[Codes] = {
    409: "parts_missing size_mismatch checksum_mismatch upload_lost object_corrupt object_lost storage_refused internal",
    503: "part_assembling relay_corrupted",
}
BODY: Final[Codes] = {
    400: "body_short length_wrong range_invalid",
    408: "sender_too_slow",
    409: "part_superseded",
    411: "length_missing",
    413: "body_too_large",
    422: "part_number_invalid slice_too_small",
    503: "relay_busy relay_corrupted part_assembling stopping",
}
TITLE: Final[Codes] = {404: "title_not_found"}
ASSET: Final[Codes] = {404: "asset_not_found"}
JOB: Final[Codes] = {404: "job_not_found"}
METADATA: Final[Codes] = {422: "metadata_invalid"}
STREAM: Final[Codes] = {422: "cursor_invalid", 503: "streams_full stopping"}

PLAY: Final[Codes] = {
    401: "play_token_expired play_token_invalid",
    404: "asset_not_found playlist_not_found",
    422: "request_invalid",
    503: "database_unavailable",
}

PLAYED: Final = frozenset({"read_master_playlist", "read_media_playlist", "read_thumbnail_track"})  # by links
OPEN: Final = frozenset({"check_alive", "check_ready"}) | PLAYED  # to everybody
BY_OPERATION: Final[Mapping[str, tuple[Codes, ...]]] = {
    "begin_upload": (
        JSON_BODY,
        SCOPED,
        TITLE,
        METADATA,
        STORAGE,
        {
            413: "file_too_large quota_exceeded month_exceeded too_many_uploads tenant_quota_exceeded tenant_month_exceeded "
            "tenant_too_many_uploads storage_full",
            422: "size_invalid size_twice part_size_invalid content_type_invalid type_not_allowed title_twice checksum_invalid "
            "checksum_twice layout_unsupported idempotency_key_invalid idempotency_key_long idempotency_key_reused "
            "region_unknown",
            500: "store_unchecked",
            503: "place_shared",
        },
    ),
    "list_uploads": (),
    "read_upload": (UPLOAD, STORAGE),
    "abort_upload": (
        UPLOAD,
        {409: "upload_finalizing upload_ingested upload_rejected upload_failed upload_aborted upload_expired"},
    ),
    "grant_parts": (JSON_BODY, TAKES_PARTS, REPORTS, STORAGE, {500: "public_url_missing"}),
    "complete_upload": (
        JSON_BODY,
        TAKES_PARTS,
        REPORTS,
        COMPLETES,
        STORAGE,
        {409: "manifest_mismatch checksum_contradicts checksum_late size_missing", 422: "checksum_twice"},
    ),
    "read_upload_status": (UPLOAD,),
    "follow_upload_events": (UPLOAD, STREAM),
    "put_part": (TAKES_PARTS, BODY, STORAGE, {422: "checksum_mismatch"}),
    "read_part": (UPLOAD, {422: "part_number_invalid"}),
    "put_content": (TAKES_PARTS, BODY, COMPLETES, STORAGE),
    "create_title": (JSON_BODY, SCOPED, METADATA),
    "list_titles": (METADATA,),
    "read_title": (TITLE,),
    "change_title": (JSON_BODY, TITLE, METADATA),
    "delete_title": (TITLE, {409: "title_in_use"}),
    "list_assets": (),
    "read_asset": (ASSET,),
    "change_asset": (JSON_BODY, SCOPED, ASSET, TITLE),
    "delete_asset": (SCOPED, ASSET, {409: "upload_open"}),
    "read_asset_status": (ASSET,),
    "process_asset": (
        JSON_BODY,
        SCOPED,
        ASSET,
        {404: "rendition_not_found", 409: "asset_not_ingested asset_not_published asset_processing"},
    ),
    "play_asset": (JSON_BODY, ASSET, {409: "asset_not_playable", 500: "public_url_missing"}),
    "read_master_playlist": (PLAY,),
    "read_media_playlist": (PLAY, STORAGE),
    "read_thumbnail_track": (PLAY, {404: "storage_object_unknown"}, STORAGE),
    "follow_asset_events": (ASSET, STREAM),
    "list_jobs": (),
    "read_job": (JOB,),
    "change_job": (JSON_BODY, SCOPED, JOB, {409: "job_succeeded job_failed job_cancelled"}),
    "retry_job": (SCOPED, JOB, {409: "asset_not_ingested asset_processing job_queued job_running job_succeeded"}),
    "cancel_job": (SCOPED, JOB, {409: "job_running job_succeeded job_failed job_cancelled"}),
    "follow_events": (STREAM,),
    "read_usage": (SCOPED,),
    "list_usage": (SCOPED,),
    "read_me": (),
    "check_alive": (),
    "check_ready": (),
}


def of_operation(name: str) -> dict[int, list[str]]:
    """The codes that the operation can answer with, by status. Those without a token have none."""
    found: dict[int, dict[str, None]] = {}
    groups = BY_OPERATION[name]
    for codes in (WITH_TOKEN, *groups) if name not in OPEN else groups:
        for status, words in codes.items():
            found.setdefault(status, {}).update(dict.fromkeys(words.split()))
    return {status: list(words) for status, words in sorted(found.items())}


def describe(document: dict[str, Any]) -> None:
    """Add them to the OpenAPI document."""
    for operation in _operations(document):
        for status, codes in of_operation(operation["operationId"]).items():
            operation["responses"][str(status)] = _answer(status, codes)


def _answer(status: int, codes: list[str]) -> dict[str, Any]:
    answer: dict[str, Any] = {
        "description": f"A problem (RFC 9457): {', '.join(f'`{code}`' for code in codes)}.",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
    return answer | ({"headers": headers.OF_PROBLEMS[status]} if status in headers.OF_PROBLEMS else {})


def _operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for methods in document["paths"].values():
        yield from methods.values()
