"""The client for any S3: multipart uploads and objects, typed, with every error translated at the door.

One `S3` holds one connection pool to the internal endpoint and lives as long as its process:

    async with S3(endpoint, credentials) as s3:
        storage_upload_id = await s3.create_multipart(bucket, key)

It opens no connection until it is used. A call is tried up to four times where storage asks for it or the connection
broke, so an error from `complete_multipart` means "unknown": look at the object, then decide. Sizes are bytes, part
numbers start at 1, checksums are base64, ETags come without their quotes and may be given with or without.

Stores differ; what is relied on is the portable core: contiguous parts from 1, completed in ascending order, with a
ledger of our own, since not every store lists checksums. Errors are those of `rushes.storage.faults`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from datetime import datetime
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Final, Self, TypeVar

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session

from rushes.errors import Invalid, Misconfigured, NotFound, Unavailable
from rushes.storage.endpoint import Credentials, Endpoint
from rushes.storage.faults import translated
from rushes.storage.metadata import encode_metadata
from rushes.storage.signer import Signer, checksum_header
from rushes.storage.stored import (
    CHECKSUM_FIELDS,
    DonePart,
    ListedObject,
    OpenUpload,
    StoredObject,
    StoredPart,
    bare_etag,
    checksum_of,
    listed_object,
    open_upload,
    stored_object,
)
from rushes.storage.stream import Streams

if TYPE_CHECKING:
    from types_aiobotocore_s3.client import S3Client

T = TypeVar("T")

CONNECT_TIMEOUT: Final = 5.0  # seconds
READ_TIMEOUT: Final = 60.0  # seconds without a byte: a store may think that long over a huge Complete
ATTEMPTS: Final = 4
CHUNK: Final = 1024**2  # bytes
DELETE_BATCH: Final = 1000  # keys, the most DeleteObjects takes
STREAM_SECONDS: Final = 300  # how long a streamed request may wait for its connection; it lasts as long as it lasts

FULL_OBJECT: Final = ("crc64nvme", "crc32c")  # what parts' checksums combine into; S3 takes CRCs only


class S3:
    """See the head of this file. Safe to use from many tasks of one event loop."""

    def __init__(
        self,
        endpoint: Endpoint,
        credentials: Credentials | None = None,
        *,
        connections: int = 64,
        attempts: int = ATTEMPTS,
        connect_timeout: float = CONNECT_TIMEOUT,
        read_timeout: float = READ_TIMEOUT,
    ) -> None:
        """Without `credentials` botocore's chain is asked: environment, files, the machine's role."""
        self.endpoint = endpoint
        self._credentials = credentials
        self._session = get_session()
        self._config = AioConfig(
            region_name=endpoint.region,
            signature_version="s3v4",
            connect_timeout=connect_timeout,
            read_timeout=read_timeout,
            max_pool_connections=connections,
            retries={"mode": "standard", "total_max_attempts": attempts},
            # Bodies carry checksums of their own; hashing gigabytes again for the signature would block the event loop.
            s3={"addressing_style": endpoint.addressing, "payload_signing_enabled": False},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            proxies={} if endpoint.is_loopback else None,
        )
        self._stack = AsyncExitStack()
        self._client: S3Client | None = None
        self._streams = Streams(
            endpoint,
            connections,
            authorities=self._session.get_config_variable("ca_bundle"),
            connect_timeout=connect_timeout,
            stall=read_timeout,
        )
        self._signer: Signer | None = None

    async def __aenter__(self) -> Self:
        keys = self._credentials
        with translated("open"):
            await self._stack.enter_async_context(self._streams)
            self._client = await self._stack.enter_async_context(
                self._session.create_client(
                    "s3",
                    endpoint_url=f"{self.endpoint.origin}{self.endpoint.path}",
                    aws_access_key_id=keys.access_key if keys else None,
                    aws_secret_access_key=keys.secret_key if keys else None,
                    aws_session_token=keys.session_token if keys else None,
                    config=self._config,
                )
            )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._client = None
        await self._stack.aclose()

    @property
    def client(self) -> S3Client:
        """The botocore client, for the other modules of this folder. Raises RuntimeError outside of `async with`."""
        if self._client is None:
            raise RuntimeError("S3 is used outside of its `async with`")
        return self._client

    async def credentials(self) -> Credentials:
        """The credentials to sign with now; those of a role are renewed when they run out.

        Raises:
            Misconfigured: there are none, or they cannot be fetched.
        """
        if self._credentials is not None:
            return self._credentials
        with translated("credentials"):
            found = await self._session.get_credentials()
            if found is None:
                message = "There is no access key for storage: set storage_access_key and storage_secret_key."
                raise Misconfigured("storage_credentials_missing", message)
            frozen = await found.get_frozen_credentials()
        # botocore keeps the expiry of renewable credentials to itself; without it a grant could outlive its key.
        expires_at = getattr(found, "_expiry_time", None)
        return Credentials(frozen.access_key, frozen.secret_key, frozen.token, expires_at)

    async def signer(self) -> Signer:
        """A signer for the internal endpoint with the credentials of now. Raises as `credentials` does."""
        credentials = await self.credentials()
        if self._signer is None or self._signer.credentials != credentials:
            self._signer = Signer(self.endpoint, credentials)
        return self._signer

    async def create_multipart(
        self,
        bucket: str,
        key: str,
        *,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum_algorithm: str | None = "crc64nvme",
    ) -> str:
        """Open a multipart upload and return its storage upload id.

        CRCs are declared as full-object checksums, SHA-256 as a composite; None (and MD5, which storage knows no
        object checksum of) declares nothing.
        """
        request: dict[str, Any] = {"Bucket": bucket, "Key": key, "Metadata": encode_metadata(metadata or {})}
        if content_type:
            request["ContentType"] = content_type
        if checksum_algorithm in CHECKSUM_FIELDS:
            request["ChecksumAlgorithm"] = str(checksum_algorithm).upper()
            request["ChecksumType"] = "COMPOSITE" if checksum_algorithm == "sha256" else "FULL_OBJECT"
        with translated("create_multipart"):
            return (await self.client.create_multipart_upload(**request))["UploadId"]

    async def upload_part(
        self,
        bucket: str,
        key: str,
        storage_upload_id: str,
        number: int,
        body: bytes,
        *,
        checksum: str | None,
        algorithm: str = "crc64nvme",
    ) -> str:
        """Send one part from memory, with the checksum it must have; return its ETag."""
        request = _with_checksum(checksum, algorithm)
        with translated("upload_part"):
            answer = await self.client.upload_part(
                Bucket=bucket, Key=key, UploadId=storage_upload_id, PartNumber=number, Body=body, **request
            )
            return bare_etag(answer["ETag"])

    async def stream_part(
        self,
        bucket: str,
        key: str,
        storage_upload_id: str,
        number: int,
        body: AsyncIterator[bytes],
        *,
        length: int,
        at: datetime,
        checksum: str | None = None,
        algorithm: str = "crc64nvme",
    ) -> str:
        """Send one part of exactly `length` bytes as they come, in constant memory; return its ETag. `at` is now.

        Tried once: the bytes are gone. Nothing is stored unless `body` ends in good order after `length` bytes, so what
        is wrong with them can be raised at its very end. What `body` raises leaves as it is.

        Raises:
            Invalid: stream_length_wrong, when `body` is shorter or longer.
            Rejected: storage_checksum_mismatch.
            NotFound: storage_upload_unknown.
            Unavailable: storage broke off, or took no bytes for a minute.
        """
        query = {"partNumber": str(number), "uploadId": storage_upload_id}
        bound = {"content-length": str(length)} | _checksum_headers(checksum, algorithm)
        url = (await self.signer()).presign(
            "PUT", bucket, key, at=at, seconds=STREAM_SECONDS, query=query, headers=bound
        )
        return bare_etag(await self._streams.put(url, bound, body, length, "stream_part"))

    async def stream_object(
        self,
        bucket: str,
        key: str,
        body: AsyncIterator[bytes],
        *,
        length: int,
        at: datetime,
        checksum: str | None = None,
        algorithm: str = "crc64nvme",
    ) -> str:
        """Write an object of exactly `length` bytes as they come; as `stream_part` in everything."""
        bound = {"content-length": str(length)} | _checksum_headers(checksum, algorithm)
        url = (await self.signer()).presign("PUT", bucket, key, at=at, seconds=STREAM_SECONDS, headers=bound)
        return bare_etag(await self._streams.put(url, bound, body, length, "stream_object"))

    async def upload_part_copy(
        self,
        bucket: str,
        key: str,
        storage_upload_id: str,
        number: int,
        source_bucket: str,
        source_key: str,
        *,
        if_match: str | None = None,
        start: int = 0,
        length: int | None = None,
        algorithm: str = "crc64nvme",
    ) -> tuple[str, str | None]:
        """Make a part of an object, or of `length` of its bytes from `start`: (ETag, its checksum if storage tells it).

        `if_match` is the ETag the source must have; stores that the probe saw ignore it copy whatever is there.

        Raises:
            Conflict: storage_precondition_failed, when the source is another object by now.
            NotFound: storage_object_unknown, storage_upload_unknown.
            Misconfigured: storage_unsupported.
        """
        request: dict[str, Any] = {"CopySource": {"Bucket": source_bucket, "Key": source_key}}
        if if_match:
            request["CopySourceIfMatch"] = f'"{bare_etag(if_match)}"'
        if length is not None:
            request["CopySourceRange"] = f"bytes={start}-{start + length - 1}"
        with translated("upload_part_copy"):
            answer = await self.client.upload_part_copy(
                Bucket=bucket, Key=key, UploadId=storage_upload_id, PartNumber=number, **request
            )
            copied = answer.get("CopyPartResult")
            if not copied:  # a store that does not know of copies took it for an empty part
                raise Misconfigured("storage_unsupported", "This storage does not make parts of objects.")
            checksum = copied.get(CHECKSUM_FIELDS.get(algorithm, ""))
            return bare_etag(copied["ETag"]), str(checksum) if checksum else None

    async def list_parts(self, bucket: str, key: str, storage_upload_id: str) -> list[StoredPart]:
        """All parts that storage holds of an upload, in ascending order.

        Raises:
            NotFound: storage_upload_unknown, when it was completed or aborted, or never was.
        """
        parts: list[StoredPart] = []
        marker = 0
        while True:
            with translated("list_parts"):
                page = await self.client.list_parts(
                    Bucket=bucket, Key=key, UploadId=storage_upload_id, PartNumberMarker=marker
                )
                listed = page.get("Parts", [])
                parts += [
                    StoredPart(p["PartNumber"], p["Size"], bare_etag(p["ETag"]), checksum_of(p)[0]) for p in listed
                ]
            if not page.get("IsTruncated"):
                return sorted(parts, key=lambda part: part.number)
            # SeaweedFS sorts parts as text, so its pages break at part 10000: an error beats a list with holes.
            following = int(page.get("NextPartNumberMarker") or 0)
            if following <= marker:
                raise Unavailable("storage_failed", "Storage lists the parts of this upload in circles.", marker=marker)
            marker = following

    async def complete_multipart(
        self,
        bucket: str,
        key: str,
        storage_upload_id: str,
        parts: Sequence[DonePart],
        *,
        checksum: str | None = None,
        checksum_algorithm: str = "crc64nvme",
        size: int | None = None,
    ) -> str:
        """Make the object of its parts and return its ETag; again with the same parts, most stores answer the same.

        `checksum` is the CRC of the whole object (crc64nvme or crc32c) and `size` its length: a store that knows how
        refuses when they are not what the parts add up to. The checksums of `parts` are of that algorithm too.

        Raises:
            NotFound: storage_upload_unknown: completed long ago, aborted, or never opened.
            Rejected: storage_checksum_mismatch, storage_part_unknown, storage_part_too_small.
            Unavailable: it may have happened, or not.
        """
        field = CHECKSUM_FIELDS.get(checksum_algorithm)
        listed: list[dict[str, Any]] = []
        for part in sorted(parts, key=lambda part: part.number):
            named: dict[str, Any] = {"PartNumber": part.number, "ETag": f'"{bare_etag(part.etag)}"'}
            listed.append(named | ({field: part.checksum} if field and part.checksum else {}))
        request: dict[str, Any] = {"MultipartUpload": {"Parts": listed}}
        if checksum is not None:
            if checksum_algorithm not in FULL_OBJECT:
                message = f"Storage knows no {checksum_algorithm[:40]!r} of a whole object made of parts."
                raise Invalid("checksum_algorithm_unknown", message)
            request |= {CHECKSUM_FIELDS[checksum_algorithm]: checksum, "ChecksumType": "FULL_OBJECT"}
        if size is not None:
            request["MpuObjectSize"] = size
        with translated("complete_multipart"):
            answer = await self.client.complete_multipart_upload(
                Bucket=bucket, Key=key, UploadId=storage_upload_id, **request
            )
            etag = bare_etag(answer["ETag"])
        if not etag:  # Ceph RGW 16 leaves it empty the first time
            found = await self.head(bucket, key)
            if found is None:
                raise Unavailable("storage_failed", "Storage does not show the object that it has just completed.")
            etag = found.etag
        return etag

    async def abort_multipart(self, bucket: str, key: str, storage_upload_id: str) -> None:
        """Give up an upload and free its parts; an upload that is not there any more is as good as aborted.

        A part under way while this runs may still land: a sweep has to look again.
        """
        try:
            with translated("abort_multipart"):
                await self.client.abort_multipart_upload(Bucket=bucket, Key=key, UploadId=storage_upload_id)
        except NotFound:
            return

    def list_multipart_uploads(self, bucket: str, prefix: str = "") -> AsyncGenerator[OpenUpload, None]:
        """Every open upload under a prefix, in no particular order (SeaweedFS keeps none)."""
        pages = self.client.get_paginator("list_multipart_uploads").paginate(Bucket=bucket, Prefix=prefix)
        return _listed("list_multipart_uploads", pages, "Uploads", open_upload)

    async def head(self, bucket: str, key: str) -> StoredObject | None:
        """What storage says of an object, or None when there is none (nor, as HEAD cannot tell, a bucket)."""
        try:
            with translated("head"):
                found = await self.client.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
                return stored_object(found)
        except NotFound:
            return None

    async def get_range(
        self, bucket: str, key: str, *, start: int = 0, length: int | None = None, if_match: str | None = None
    ) -> AsyncGenerator[bytes, None]:
        """The bytes from `start` on, `length` of them or up to the end, in chunks of at most 1 MiB.

        Whoever stops early closes the iterator (`contextlib.aclosing`), which closes the connection.

        Raises:
            NotFound: storage_object_unknown.
            Conflict: storage_precondition_failed, when the object is not the one with the ETag `if_match`.
            Invalid: storage_range_invalid, when `start` lies at or behind the end.
            Unavailable: also in the middle, when the connection breaks.
        """
        request: dict[str, Any] = {"IfMatch": f'"{bare_etag(if_match)}"'} if if_match else {}
        if start or length is not None:
            last = "" if length is None else start + length - 1
            request["Range"] = f"bytes={start}-{last}"
        if length == 0:
            return
        with translated("get_range"):
            answer = await self.client.get_object(Bucket=bucket, Key=key, **request)
            async with answer["Body"] as body:
                if "Range" in request and not answer.get("ContentRange"):
                    raise Unavailable("storage_failed", "Storage ignores byte ranges.")
                async for chunk in body.iter_chunks(CHUNK):
                    yield chunk

    async def put_object(
        self,
        bucket: str,
        key: str,
        body: bytes | BinaryIO,
        *,
        size: int,
        content_type: str | None = None,
        metadata: Mapping[str, str] | None = None,
        checksum: str | None = None,
        algorithm: str = "crc64nvme",
    ) -> str:
        """Write an object of `size` bytes in one request, with the checksum it must have; return its ETag."""
        request = {"Metadata": encode_metadata(metadata or {})} | _with_checksum(checksum, algorithm)
        if content_type:
            request["ContentType"] = content_type
        with translated("put_object"):
            answer = await self.client.put_object(Bucket=bucket, Key=key, Body=body, ContentLength=size, **request)
            return bare_etag(answer["ETag"])

    async def delete_objects(self, bucket: str, keys: Sequence[str]) -> None:
        """Delete objects; those that are not there count as deleted.

        Raises:
            Unavailable: storage_delete_failed, when some could not be deleted (the others are).
        """
        for start in range(0, len(keys), DELETE_BATCH):
            names = [{"Key": key} for key in keys[start : start + DELETE_BATCH]]
            request: dict[str, Any] = {"Delete": {"Objects": names, "Quiet": True}}
            with translated("delete_objects"):
                answer = await self.client.delete_objects(Bucket=bucket, **request)
            failed = [error for error in answer.get("Errors", []) if error.get("Code") not in {"NoSuchKey", "404"}]
            if failed:
                cause = failed[0].get("Message") or failed[0].get("Code") or ""
                raise Unavailable(
                    "storage_delete_failed", "Storage did not delete everything.", count=len(failed), cause=cause
                )

    def list_objects(self, bucket: str, prefix: str = "") -> AsyncGenerator[ListedObject, None]:
        """Every object whose key begins with `prefix`, in the order of keys."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
        return _listed("list_objects", pages, "Contents", listed_object)


async def _listed(
    operation: str, pages: AsyncIterable[Mapping[str, Any]], field: str, read: Callable[[Mapping[str, Any]], T]
) -> AsyncGenerator[T, None]:
    """What all pages carry under `field`, each item as `read` makes it. Raises the errors of `operation`."""
    with translated(operation):
        async for page in pages:
            for item in page.get(field, []):
                yield read(item)


def _with_checksum(checksum: str | None, algorithm: str) -> dict[str, Any]:
    """botocore's parameter for a body's checksum. Raises `Invalid` for an algorithm we do not know."""
    if checksum is None:
        return {}
    checksum_header(algorithm)
    return {CHECKSUM_FIELDS.get(algorithm, "ContentMD5"): checksum}


def _checksum_headers(checksum: str | None, algorithm: str) -> dict[str, str]:
    return {} if checksum is None else {checksum_header(algorithm): checksum}
