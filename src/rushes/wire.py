"""The HTTP messages of v1, shared by the API and the client. Pure: shapes and their limits, no behaviour.

Sizes are bytes, durations seconds, times ISO 8601 with a zone. Checksums are base64 of the big-endian value, as S3 writes
them. Requests refuse fields they do not know, so that a typo is never silently ignored.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Generic, TypeVar
from uuid import UUID

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from rushes.model import (
    AssetState,
    ChecksumAlgorithm,
    JobState,
    Kind,
    Layout,
    OverallStatus,
    Role,
    UploadState,
    Verification,
    Way,
)

MAX_GRANTS = 1_000  # parts granted or reported in one request

T = TypeVar("T")

# What jobs, renditions and events there are grows with each release, so their types are open texts; states are closed sets.
JOB_TYPES = (
    "process, identify, digest, poster, copy, stills, sound, images, encode, join, extra, extra_join; more will come."
)


def _printable(text: str) -> str:
    if not text.isprintable() and any(
        ord(char) < 32 or ord(char) == 127 or 0xD800 <= ord(char) <= 0xDFFF for char in text
    ):
        raise ValueError("must not contain control characters or half of a surrogate pair")
    return text


Line = Annotated[str, AfterValidator(_printable)]
Text = Annotated[str, Field(max_length=20_000, pattern=r"^[^\x00]*$")]
Tag = Annotated[Line, Field(min_length=1, max_length=100)]
Metadata = dict[str, Any]


def _listed(value: object) -> object:
    return [] if value is None else [value] if isinstance(value, str) else value


WholeChecksums = Annotated[
    list[Annotated[str, Field(max_length=200)]],
    BeforeValidator(_listed),
    Field(
        max_length=8,
        description="Of the whole file, as `algorithm:value` in hex or base64, one or several: sha256, md5, crc64nvme, "
        "crc32c, xxh64, xxh128. A bare value is a CRC64NVME in base64. The file is published only if all of them are right.",
    ),
]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


def _example(body: dict[str, Any]) -> ConfigDict:
    """What the API page shows, and sends when somebody tries a call there."""
    return ConfigDict(json_schema_extra={"examples": [body]})


class Reply(BaseModel):
    model_config = ConfigDict(extra="ignore")


class Problem(Reply):
    """RFC 9457 problem details. `code` is stable; `detail` says what happened and what to do."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    code: str
    permanent: bool = Field(description="False when the same request may succeed later.")
    extra: dict[str, Any] = Field(default_factory=dict, description="Facts that belong to the code.")


class Failure(Reply):
    """Why something ended as it did."""

    code: str
    message: str
    details: dict[str, Any] = Field(default_factory=dict)


class Page(Reply, Generic[T]):
    items: list[T]
    next: str | None = Field(None, description="Pass it as `cursor` to read on; null at the end.")


# --- titles -----------------------------------------------------------------------------------------------------------


class NewTitle(Request):
    model_config = _example({"title": "Scene 12", "tags": ["night"], "metadata": {"camera": "A"}})

    title: Line = Field(min_length=1, max_length=500)
    description: Text = ""
    genre: Line | None = Field(None, max_length=100)
    tags: list[Tag] = Field(default_factory=list, max_length=100)
    release_date: date | None = None
    project_id: Line | None = Field(None, max_length=200)
    metadata: Metadata = Field(default_factory=dict)


class TitlePatch(Request):
    """Only the fields present change; `metadata` is replaced as a whole."""

    model_config = _example({"description": "Second unit"})

    title: Line = Field("", min_length=1, max_length=500)
    description: Text = ""
    genre: Line | None = Field(None, max_length=100)
    tags: list[Tag] = Field(default_factory=list, max_length=100)
    release_date: date | None = None
    project_id: Line | None = Field(None, max_length=200)
    metadata: Metadata = Field(default_factory=dict)


class TitleView(Reply):
    id: UUID
    creator: str
    title: str
    description: str
    genre: str | None
    tags: list[str]
    release_date: date | None
    project_id: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime


# --- uploads ----------------------------------------------------------------------------------------------------------


class BeginUpload(Request):
    model_config = _example(
        {"filename": "clip.mp4", "size": 22020096, "content_type": "video/mp4", "title": {"title": "Scene 12"}}
    )

    filename: Line = Field(min_length=1, max_length=1_000, description="Kept for people; never used as a key.")
    size: int | None = Field(None, ge=1, le=2**63 - 1, description="Leave it out when it is not known yet.")
    max_size: int | None = Field(
        None, ge=1, le=2**63 - 1, description="Without `size`: the most it can become; so much is reserved."
    )
    content_type: Line = Field("application/octet-stream", max_length=255, pattern=r"^[\w.+-]+/[\w.+-]+(\s*;.*)?$")
    title_id: UUID | None = Field(
        None, description="An existing title; or give `title`; with neither, one is made of the file's name."
    )
    title: NewTitle | None = None
    project_id: Line | None = Field(None, max_length=200, description="The project of a title made here.")
    checksum_algorithm: ChecksumAlgorithm | None = Field(None, description="A wish; the answer says which it is.")
    part_size: int | None = Field(None, ge=1, description="A wish; the answer says which one holds.")
    layout: Layout = Field(
        Layout.MULTIPART, description="`staged` parts are objects of their own, copied together as they land."
    )
    checksum: WholeChecksums = Field(default_factory=list)
    priority: int = Field(0, ge=-100, le=100, description="Higher is processed earlier.")
    source: Line | None = Field(None, max_length=500, description="Where it came from: a camera, a card, an address.")
    relative_path: Line | None = Field(None, max_length=4_000, description="The file's place in an uploaded folder.")
    region: Line | None = Field(None, max_length=100, description="Where it is to lie, on a server that has a choice.")


class UploadBegun(Reply):
    upload_id: UUID
    asset_id: UUID
    title_id: UUID
    state: UploadState
    size: int | None = Field(description="null while it is not known.")
    max_size: int = Field(description="What is reserved.")
    layout: Layout
    part_size: int
    part_count: int = Field(description="Of a file of `max_size` while the size is not known.")
    checksum_algorithm: ChecksumAlgorithm
    expires_at: datetime = Field(description="Moves with every part.")
    token: str = Field(description="Good for this upload alone, as long as it lives.")


class WantedPart(Request):
    number: int = Field(ge=1, le=10_000)
    checksum: str = Field(max_length=100, description="Of the bytes about to be sent; storage refuses any others.")
    size: int | None = Field(
        None, ge=1, description="Only while the upload's size is not known, and only for a last part: its bytes."
    )


class DonePart(Request):
    number: int = Field(ge=1, le=10_000)
    etag: str = Field(min_length=1, max_length=200, description="As storage answered it, with or without quotes.")
    checksum: str = Field(max_length=100)


class GrantRequest(Request):
    model_config = _example({"want": [{"number": 1, "checksum": "NtoHRruXZNQ="}]})

    want: list[WantedPart] = Field(default_factory=list, max_length=MAX_GRANTS)
    done: list[DonePart] = Field(default_factory=list, max_length=MAX_GRANTS)


class Grant(Reply):
    """One presigned URL. Send exactly `length` bytes and exactly `headers`: all of them are part of the signature."""

    number: int
    url: str
    method: str
    headers: dict[str, str] = Field(description="Without Content-Length, which the body supplies.")
    length: int
    expires_at: datetime


class Held(Reply):
    parts: int
    bytes: int


class GrantReply(Reply):
    grants: list[Grant]
    held: Held
    expires_at: datetime


class RelayedPart(Reply):
    """A part that came through the API, and is held."""

    number: int
    etag: str
    checksum: str
    held: Held


class PartView(Reply):
    """One part, and which of its bytes are held while it is sent in slices."""

    number: int
    length: int
    etag: str | None = Field(description="null until the whole part is held.")
    checksum: str | None = Field(description="null until the whole part is held.")
    received: list[tuple[int, int]] = Field(description="[first, last] byte of every stretch held, both included.")


class ManifestPart(Request):
    number: int = Field(ge=1, le=10_000)
    size: int = Field(ge=1)
    checksum: str = Field(max_length=100)


class CompleteUpload(Request):
    model_config = _example(
        {"done": [{"number": 1, "etag": "9b2cf535f27731c974343645a3985328", "checksum": "NtoHRruXZNQ="}]}
    )

    done: list[DonePart] = Field(default_factory=list, max_length=10_000)
    checksum: WholeChecksums = Field(default_factory=list)
    size: int | None = Field(None, ge=1, description="The file's size, when begin did not say it.")
    manifest: list[ManifestPart] | None = Field(
        None,
        max_length=10_000,
        description="Every part as the client sent it; refused unless the ledger says the same.",
    )


class HeldPart(Reply):
    number: int
    size: int
    checksum: str
    etag: str
    way: Way
    held_at: datetime


class UploadView(Reply):
    id: UUID
    asset_id: UUID
    title_id: UUID
    title: str | None = Field(None, description="What the title is called; null when it is not yours to see.")
    creator: str
    state: UploadState
    status: OverallStatus = Field(
        description="The one word of both: the upload's state, once it is ingested its asset's."
    )
    filename: str
    size: int | None = Field(description="null while it is not known.")
    max_size: int = Field(description="What is reserved.")
    content_type: str
    layout: Layout
    part_size: int
    part_count: int
    checksum_algorithm: ChecksumAlgorithm
    source: str | None
    upload_origin: str
    relative_path: str | None
    priority: int
    held: Held
    problem: Failure | None
    created_at: datetime
    updated_at: datetime
    expires_at: datetime
    abandoned_at: datetime | None = Field(
        None, description="When it was counted as abandoned: for too long no part had come. The next part clears it."
    )
    parts: list[HeldPart] | None = Field(None, description="The parts held, when one upload is read.")


class CurrentJob(Reply):
    id: UUID
    type: str = Field(description=JOB_TYPES)
    status: JobState
    progress: float = Field(description="0 to 1.")
    message: str
    left_seconds: float | None = Field(None, description="How long it will take yet; null while it cannot be told.")


class StatusView(Reply):
    """Small, for polling."""

    upload_id: UUID
    asset_id: UUID
    status: OverallStatus
    upload_state: UploadState
    processing_state: AssetState
    held: Held
    size: int | None = Field(description="null while it is not known.")
    verified: int | None = Field(None, description="Bytes read so far, while a worker reads all before it counts.")
    current_job: CurrentJob | None
    problem: Failure | None


# --- assets -----------------------------------------------------------------------------------------------------------


class Checksum(Reply):
    algorithm: ChecksumAlgorithm
    value: str | None = Field(description="Of the whole original.")


class RenditionView(Reply):
    id: UUID
    name: str
    type: str = Field(
        description="proxy, poster, cover, image, sprite, sprite_vtt, waveform, waveform_data, waveform_image, spectrogram, "
        "preview, hls_audio; there will be others."
    )
    content_type: str
    size: int
    width: int | None
    height: int | None
    duration: float | None
    extra: dict[str, Any]
    checksum: str | None = Field(None, description="Of its bytes: CRC64NVME.")
    url: str = Field(description="Presigned; it expires.")


class AssetView(Reply):
    id: UUID
    title_id: UUID
    title: str | None = Field(None, description="What the title is called; null when it is not yours to see.")
    upload_id: UUID
    creator: str
    state: AssetState
    status: OverallStatus
    kind: Kind | None = Field(description="null until it is identified, and for a file that is no media.")
    filename: str
    content_type: str
    size: int | None = Field(description="null while it is not known.")
    checksum: Checksum
    sha256: str | None
    verification: Verification | None = Field(
        description="end_to_end: proven from the client's own bytes; storage: as received."
    )
    media: dict[str, Any] | None = Field(description="What the file really is.")
    renditions: list[RenditionView]
    original_url: str | None = Field(description="Presigned; it expires.")
    problem: Failure | None
    created_at: datetime
    updated_at: datetime
    published_at: datetime | None


class AssetPatch(Request):
    model_config = _example({"filename": "clip, graded.mp4"})

    filename: Line = Field("", min_length=1, max_length=1_000)
    title_id: UUID | None = None


# --- jobs -------------------------------------------------------------------------------------------------------------


class LogLine(Reply):
    at: datetime
    text: str


class JobView(Reply):
    id: UUID
    asset_id: UUID
    parent_id: UUID | None
    type: str = Field(description=JOB_TYPES)
    status: JobState
    priority: int
    number: int = Field(0, description="Which of several stages of its type, from 0.")
    progress: float = Field(description="0 to 1; a run's is its stages', weighted. It never goes backwards.")
    left_seconds: float | None = Field(None, description="How long it will take yet; null while it cannot be told.")
    message: str
    log: list[LogLine]
    retries: int
    dead_letter: bool = Field(False, description="It was tried as often as it may, and waits for a person.")
    error: Failure | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None


# --- events -----------------------------------------------------------------------------------------------------------


class Event(Reply):
    """What happened: the `data` of one message of an event stream."""

    id: str = Field(description="Where to go on from, as `Last-Event-ID` or `after`.")
    type: str = Field(description="upload_started, part_completed, upload_completed, asset_published, job_failed, …")
    at: datetime
    title_id: UUID | None
    upload_id: UUID | None
    asset_id: UUID | None
    creator: str = Field(description="Whose upload or asset it is about.")
    data: dict[str, Any] = Field(description="Facts that belong to the type.")


# --- usage ------------------------------------------------------------------------------------------------------------


class UsageSums(Reply):
    """Bytes. What is stored and what open uploads have reserved count together against the limit."""

    stored: int
    reserved: int
    open_uploads: int
    month_bytes: int = Field(description="Begun in this calendar month, UTC, and not given up or failed in it.")


class UsageLimits(Reply):
    """Bytes; null where there is no limit."""

    stored_bytes: int | None
    month_bytes: int | None
    file_bytes: int | None
    open_uploads: int | None


class UsageView(Reply):
    tenant: str
    creator: str
    plan: str
    month: str = Field(description="The month of `month_bytes`, such as 2026-11.")
    used: UsageSums
    limits: UsageLimits
    room: int | None = Field(description="Bytes of the largest file that can be begun now; null: nothing limits it.")
    idle_days: float = Field(description="How long an upload lives without progress.")
    types: list[str] = Field(description="What files may be: families, exact types, or * for anything.")
    tenant_used: UsageSums | None = Field(description="Of all creators together, for operators.")
    tenant_limits: UsageLimits | None


class CreatorUsage(Reply):
    creator: str
    used: UsageSums


class Me(Reply):
    """Whom a token speaks for."""

    tenant: str
    creator: str
    role: Role
    plan: str
    title_id: UUID | None = Field(description="The token is for this title alone.")
    upload_id: UUID | None = Field(description="The token is for this upload alone.")
    issuer: str = Field(description="Who signed it.")
    expires_at: datetime


class Health(Reply):
    status: str
    checks: dict[str, str] = Field(default_factory=dict)
