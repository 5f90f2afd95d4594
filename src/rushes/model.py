"""The nouns and their states. Rows travel as these frozen dataclasses; legal moves are data, checked by `check_move`.

    Upload   initiated → uploading ⇄ finalizing → ingested        ends: rejected, failed, aborted, expired
    Asset    pending → processing → published                     also: failed, quarantined, deleted
    Job      queued → running → succeeded                         also: failed, cancelled; both may be queued again

Sizes are bytes, part numbers start at 1, times are aware UTC, ids are UUIDv7.
"""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from rushes.errors import Conflict

Json = dict[str, Any]


def new_id() -> UUID:
    """A UUIDv7 (RFC 9562, section 5.7): sorts by time, to the millisecond."""
    stamp = time.time_ns() // 1_000_000
    tail = int.from_bytes(os.urandom(10), "big")
    return UUID(int=(stamp << 80) | (0x7 << 76) | ((tail >> 68) << 64) | (0b10 << 62) | (tail & ((1 << 62) - 1)))


class UploadState(StrEnum):
    INITIATED = "initiated"
    UPLOADING = "uploading"
    FINALIZING = "finalizing"
    INGESTED = "ingested"
    REJECTED = "rejected"
    FAILED = "failed"
    ABORTED = "aborted"
    EXPIRED = "expired"


class AssetState(StrEnum):
    PENDING = "pending"
    PROCESSING = "processing"
    PUBLISHED = "published"
    FAILED = "failed"
    QUARANTINED = "quarantined"
    DELETED = "deleted"


class OverallStatus(StrEnum):
    """The one word that pollers want: the upload's state, and once it is ingested its asset's."""

    INITIATED = "initiated"
    UPLOADING = "uploading"
    FINALIZING = "finalizing"
    REJECTED = "rejected"
    ABORTED = "aborted"
    EXPIRED = "expired"
    INGESTED = "ingested"  # and not processed yet
    PROCESSING = "processing"
    PUBLISHED = "published"
    FAILED = "failed"  # either of the two
    QUARANTINED = "quarantined"
    DELETED = "deleted"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Role(StrEnum):
    CREATOR = "creator"  # sees and changes what is theirs
    OPERATOR = "operator"  # sees and changes everything of the tenant
    SERVICE = "service"  # a program of the tenant's, with an operator's reach


class Kind(StrEnum):
    """What a media file is, by its bytes."""

    VIDEO = "video"
    AUDIO = "audio"
    IMAGE = "image"


class Verification(StrEnum):
    """What was proven about an original."""

    END_TO_END = "end_to_end"  # the client's checksums, enforced on the way and over the whole object
    STORAGE = "storage"  # what storage holds is what it received


class ChecksumAlgorithm(StrEnum):
    """What parts can carry. CRCs combine into the whole object's; begin picks one that the store was seen to enforce."""

    CRC64NVME = "crc64nvme"
    CRC32C = "crc32c"
    SHA256 = "sha256"
    MD5 = "md5"


class Layout(StrEnum):
    """How the parts of an upload lie in storage until it is finalized."""

    MULTIPART = "multipart"  # as parts of one S3 multipart upload; they cannot be read until the end
    STAGED = "staged"  # as objects of their own, copied into the multipart upload as they land


class Way(StrEnum):
    """How a part reached storage."""

    DIRECT = "direct"  # by a presigned URL
    RELAYED = "relayed"  # through the API
    FOUND = "found"  # nobody reported it; storage had it


class Proof(StrEnum):
    """Who computed a part's checksum."""

    CLIENT = "client"  # before it sent the bytes
    SERVER = "server"  # of the bytes that it received


UPLOAD_MOVES: Mapping[UploadState, frozenset[UploadState]] = {
    UploadState.INITIATED: frozenset(
        {UploadState.UPLOADING, UploadState.REJECTED, UploadState.ABORTED, UploadState.EXPIRED}
    ),
    UploadState.UPLOADING: frozenset(
        {UploadState.FINALIZING, UploadState.REJECTED, UploadState.ABORTED, UploadState.EXPIRED}
    ),
    UploadState.FINALIZING: frozenset({UploadState.UPLOADING, UploadState.INGESTED, UploadState.FAILED}),
    UploadState.INGESTED: frozenset(),
    UploadState.REJECTED: frozenset(),
    UploadState.FAILED: frozenset(),
    UploadState.ABORTED: frozenset(),
    UploadState.EXPIRED: frozenset(),
}

ASSET_MOVES: Mapping[AssetState, frozenset[AssetState]] = {
    AssetState.PENDING: frozenset({AssetState.PROCESSING, AssetState.FAILED, AssetState.DELETED}),
    AssetState.PROCESSING: frozenset(
        {AssetState.PUBLISHED, AssetState.FAILED, AssetState.QUARANTINED, AssetState.DELETED}
    ),
    AssetState.PUBLISHED: frozenset({AssetState.PROCESSING, AssetState.QUARANTINED, AssetState.DELETED}),
    AssetState.FAILED: frozenset({AssetState.PROCESSING, AssetState.DELETED}),
    AssetState.QUARANTINED: frozenset({AssetState.PROCESSING, AssetState.DELETED}),
    AssetState.DELETED: frozenset(),
}

JOB_MOVES: Mapping[JobState, frozenset[JobState]] = {
    JobState.QUEUED: frozenset({JobState.RUNNING, JobState.CANCELLED}),
    JobState.RUNNING: frozenset({JobState.QUEUED, JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELLED}),
    JobState.SUCCEEDED: frozenset(),
    JobState.FAILED: frozenset({JobState.QUEUED}),
    JobState.CANCELLED: frozenset({JobState.QUEUED}),
}


def check_move(moves: Mapping[Any, frozenset[Any]], noun: str, old: StrEnum, new: StrEnum) -> None:
    """Raise `Conflict` ({noun}_{old}) unless `old → new` is a legal move."""
    if new not in moves[old]:
        raise Conflict(f"{noun}_{old}", f"This {noun} is {old}; it cannot become {new}.", state=str(old))


OPEN_UPLOADS = (UploadState.INITIATED, UploadState.UPLOADING, UploadState.FINALIZING)


@dataclass(frozen=True, slots=True)
class Principal:
    """Who is asking, as their signed token says."""

    tenant: str
    creator: str
    role: Role = Role.CREATOR
    plan: str = "user"
    title: UUID | None = None  # the token is for this title alone
    upload: UUID | None = None  # the token is for this upload alone

    @property
    def sees_tenant(self) -> bool:
        return self.role is not Role.CREATOR


DEFAULT_TYPES = ("video", "audio", "image")


@dataclass(frozen=True, slots=True)
class Tenant:
    """What an operator of the server has set for a tenant; one without a row has the defaults."""

    tenant: str
    plans: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)  # figures other than the plan's own
    stored_bytes: int | None = None  # of all creators together, as the next two; None: no limit
    month_bytes: int | None = None
    open_uploads: int | None = None
    types: Sequence[str] = DEFAULT_TYPES  # what files may be: families, exact types, or * for anything
    formats: Mapping[str, Sequence[str]] = field(default_factory=dict)  # containers and codecs, see ingest/formats.py
    updated_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Title:
    id: UUID
    tenant: str
    creator: str
    title: str
    description: str
    genre: str | None
    tags: list[str]
    release_date: date | None
    project_id: str | None
    metadata: Json
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True)
class Upload:
    id: UUID
    tenant: str
    creator: str
    asset_id: UUID
    title_id: UUID
    state: UploadState
    filename: str
    size: int  # while it is not known: the most it may be, which is what is reserved
    size_known: bool
    content_type: str
    layout: Layout
    part_size: int
    part_count: int
    checksum_algorithm: ChecksumAlgorithm
    bucket: str
    key: str
    storage_upload_id: str | None
    source: str | None  # what the client says the file came from: a camera, a card, a URL
    upload_origin: str  # the door it came through and the client's name
    priority: int
    relative_path: str | None
    declared: Json  # checksums of the whole file, as the client claims them: {algorithm: value}
    held_parts: int
    held_bytes: int
    attempt: int  # finalize attempts: each complete after a missing part starts the next one
    verified_bytes: int | None  # while a worker reads the whole object before it counts: how far it is
    problem: Json | None  # the last verdict: {code, message, …}
    created_at: datetime
    updated_at: datetime
    progress_at: datetime
    expires_at: datetime
    idle_seconds: int  # how long it lives without progress
    abandoned_at: datetime | None  # when it was counted as abandoned; progress clears it
    warned_at: datetime | None  # when its creator was told that it is about to expire; progress clears it


@dataclass(frozen=True, slots=True)
class Part:
    """One row of the ledger. `checksum` is the one that is open: the only one this part may be stored with."""

    number: int
    size: int
    checksum: str  # base64 of the big-endian value
    proof: Proof
    grants: int  # distinct checksums ever granted
    etag: str | None
    held_at: datetime | None
    way: Way | None
    copied_etag: str | None  # staged layout: what the copy in the multipart upload answered

    @property
    def assembled_etag(self) -> str | None:
        """By which the multipart upload knows the part: the copy's where it was copied, else its own."""
        return self.copied_etag or self.etag


@dataclass(frozen=True, slots=True)
class Slice:
    """Some bytes of a part that came through the API, kept as an object of their own until the part is whole."""

    number: int  # the part's
    checksum: str  # of the whole part, as its sender claims it; empty when nothing was claimed
    total: int  # bytes of the whole part
    start: int  # in the part
    length: int
    crc: str  # CRC64NVME of these bytes, as they came
    bucket: str
    key: str


@dataclass(frozen=True, slots=True)
class Asset:
    id: UUID
    tenant: str
    creator: str
    title_id: UUID
    upload_id: UUID
    state: AssetState
    kind: Kind | None  # once identified; None too for a file that is no media and is kept all the same
    filename: str
    content_type: str
    size: int
    bucket: str
    key: str
    etag: str | None
    checksum_algorithm: ChecksumAlgorithm
    checksum: str | None  # of the whole original, base64
    sha256: str | None  # of the whole original, hex, computed by a worker
    verification: Verification | None
    epoch: int  # how often a run has claimed this asset; names the place of what the run makes
    job_id: UUID | None  # the run that may write
    published_job_id: UUID | None  # the run whose renditions are published
    priority: int
    media: Json | None
    problem: Json | None
    created_at: datetime
    updated_at: datetime
    published_at: datetime | None


@dataclass(frozen=True, slots=True)
class Rendition:
    id: UUID
    asset_id: UUID
    job_id: UUID
    name: str
    type: str
    content_type: str
    bucket: str
    key: str
    size: int
    width: int | None
    height: int | None
    duration: float | None
    checksum: str
    stage: str  # the type of stage that made it
    recipe: int  # the version of what made it
    extra: Json
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Segments:
    """How a CMAF file is laid out: its head, then its segments, each of which begins with a key frame."""

    init: int  # bytes
    lengths: Sequence[int]  # bytes of each segment, in the file's order
    seconds: Sequence[float]  # that each lasts


@dataclass(frozen=True, slots=True)
class Job:
    id: UUID
    tenant: str
    creator: str
    asset_id: UUID
    parent_id: UUID | None
    type: str
    number: int  # which of several of its type, from 0
    arguments: Json  # what of it is to be made; {}: all
    result: Json  # what became of it, for the jobs that go on from there
    weight: float  # of a stage in its run's progress; of a run, what its stages weigh together
    state: JobState
    priority: int
    progress: float  # 0 … 1
    left_seconds: float | None  # how long it will take yet, as far as can be told
    message: str
    log: list[Json]  # [{at, text}], the newest last
    retries: int  # attempts after the first, for whatever reason
    deaths: int  # of workers that ran it
    dead_letter: bool  # it was tried as often as it may, and waits for a person
    epoch: int
    problem: Json | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


@dataclass(frozen=True, slots=True)
class JobFilter:
    """Which jobs a list shows; None: whichever."""

    state: JobState | None = None
    type: str | None = None
    asset_id: UUID | None = None
    parent_id: UUID | None = None
    dead_letter: bool | None = None


@dataclass(frozen=True, slots=True)
class Event:
    """What happened, appended in the transaction of the move it tells of. Events are in order by (xid, id)."""

    xid: int  # the transaction that wrote it
    id: int
    tenant: str
    creator: str
    type: str
    title_id: UUID | None
    upload_id: UUID | None
    asset_id: UUID | None
    data: Json
    created_at: datetime


def overall_status(upload: UploadState, asset: AssetState) -> OverallStatus:
    if upload is not UploadState.INGESTED:
        return OverallStatus(upload)
    return OverallStatus.INGESTED if asset is AssetState.PENDING else OverallStatus(asset)
