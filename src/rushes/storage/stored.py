"""What storage tells of parts, uploads and objects, as values; and how its answers become them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from rushes.storage.metadata import decode_metadata

CHECKSUM_FIELDS: Final[Mapping[str, str]] = {
    "crc64nvme": "ChecksumCRC64NVME",
    "crc32c": "ChecksumCRC32C",
    "crc32": "ChecksumCRC32",
    "sha256": "ChecksumSHA256",
}


@dataclass(frozen=True, slots=True)
class StoredPart:
    """A part that storage holds. Many stores list no checksum."""

    number: int
    size: int
    etag: str
    checksum: str | None


@dataclass(frozen=True, slots=True)
class DonePart:
    """A part as Complete names it; its checksum is needed when the upload was opened for a composite one (SHA-256)."""

    number: int
    etag: str
    checksum: str | None = None


@dataclass(frozen=True, slots=True)
class StoredObject:
    """An object as storage describes it; `checksum_type` is FULL_OBJECT, COMPOSITE or, on most stores, absent."""

    size: int
    etag: str
    content_type: str | None
    modified: datetime
    metadata: dict[str, str]
    checksum: str | None
    checksum_algorithm: str | None
    checksum_type: str | None


@dataclass(frozen=True, slots=True)
class ListedObject:
    key: str
    size: int
    etag: str
    modified: datetime


@dataclass(frozen=True, slots=True)
class OpenUpload:
    """A multipart upload that was neither completed nor aborted."""

    key: str
    storage_upload_id: str
    initiated: datetime


def bare_etag(etag: str) -> str:
    """An ETag without its quotes: clients report it both ways."""
    return etag.strip('"')


def checksum_of(answer: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """(checksum, its algorithm) of an answer that may carry one of several, or none."""
    for algorithm, field in CHECKSUM_FIELDS.items():
        if value := answer.get(field):
            return str(value), algorithm
    return None, None


def stored_object(found: Mapping[str, Any]) -> StoredObject:
    checksum, algorithm = checksum_of(found)
    return StoredObject(
        size=found["ContentLength"],
        etag=bare_etag(found["ETag"]),
        content_type=found.get("ContentType"),
        modified=found["LastModified"].astimezone(UTC),
        metadata=decode_metadata(found.get("Metadata", {})),
        checksum=checksum,
        checksum_algorithm=algorithm,
        checksum_type=found.get("ChecksumType"),
    )


def listed_object(item: Mapping[str, Any]) -> ListedObject:
    return ListedObject(item["Key"], item["Size"], bare_etag(item["ETag"]), item["LastModified"].astimezone(UTC))


def open_upload(item: Mapping[str, Any]) -> OpenUpload:
    return OpenUpload(item["Key"], item["UploadId"], item["Initiated"].astimezone(UTC))
