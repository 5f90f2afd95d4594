"""What a store enforces, found out with real requests in the incoming place; cleaned up after.

Documentation is not enough: stores answer 200 and ignore what they do not know (a Ceph RGW takes a part with a wrong
checksum). Some sixty small requests, about half a second on a local store.
"""

from __future__ import annotations

import base64
import hashlib
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final
from uuid import uuid4

import httpx
from awscrt import checksums

from rushes.checksum import crc64nvme, encode
from rushes.errors import Invalid, Misconfigured, Problem, Unavailable
from rushes.storage.faults import refused
from rushes.storage.s3 import FULL_OBJECT, S3
from rushes.storage.signer import Signer
from rushes.storage.store import Storage
from rushes.storage.stored import DonePart

SECONDS: Final = 300  # how long the probe's URLs live
BODY: Final = b"rushes probes what this storage enforces"
FLIPPED: Final = bytes([BODY[0] ^ 1]) + BODY[1:]
UNSUPPORTED: Final = 501  # how some stores answer what they do not know; another 5xx says nothing about it
NO_ETAG: Final = "0" * 32
ALGORITHMS: Final = ("crc64nvme", "crc32c", "md5", "sha256")  # the cheapest first


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store was seen to do.

    `full_object` names the CRCs whose wrong value for a whole object Complete refuses. `clock_skew` is the store's clock
    minus ours in seconds, None when it tells none.
    """

    enforces_crc64nvme: bool
    enforces_crc32c: bool
    enforces_md5: bool
    enforces_sha256: bool
    enforces_length: bool
    enforces_signature: bool
    full_object: tuple[str, ...]
    etag_of_md5: bool  # the ETag of an object made of parts is md5(their MD5s)-count
    copies: bool  # UploadPartCopy makes parts of objects
    copies_if_match: bool  # and refuses when the source is not the object meant
    clock_skew: float | None
    exposes_etag: bool

    @property
    def part_algorithms(self) -> tuple[str, ...]:
        """What parts can be held to, the cheapest first."""
        seen = {
            "crc64nvme": self.enforces_crc64nvme,
            "crc32c": self.enforces_crc32c,
            "md5": self.enforces_md5,
            "sha256": self.enforces_sha256,
        }
        return tuple(algorithm for algorithm, enforced in seen.items() if enforced)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"full_object": list(self.full_object)}

    @classmethod
    def from_json(cls, kept: Mapping[str, Any]) -> Capabilities | None:
        """What `to_json` wrote; None when another release wrote it, which looked at other things."""
        if kept.keys() != {each.name for each in fields(cls)}:
            return None
        return cls(**{**kept, "full_object": tuple(kept["full_object"])})


async def probe(storage: Storage, *, at: datetime, origin: str = "https://rushes.example") -> Capabilities:
    """Try storage out through the address that clients are given. `at` is now, `origin` an uploading page's.

    Raises:
        Unavailable: storage cannot be reached, or fails.
        Misconfigured, Invalid: it refuses the bucket, the access key, or all that is sent to the clients' address.
    """
    signer = await storage.signer()
    async with httpx.AsyncClient(timeout=30, trust_env=not storage.public.is_loopback) as http:
        name = f"probe-{uuid4()}"
        place, target = storage.incoming, storage.originals
        bench = _Bench(storage.s3, signer, http, at, place.bucket, f"{place.prefix}{name}")
        await bench.takes_a_part()
        enforced = {algorithm: await bench.enforces_checksum(algorithm) for algorithm in ALGORITHMS}
        skew, exposes = await bench.reads_as_a_browser(origin)
        copies, if_match = await bench.copies(target.bucket, f"{target.prefix}{name}")
        return Capabilities(
            enforces_crc64nvme=enforced["crc64nvme"],
            enforces_crc32c=enforced["crc32c"],
            enforces_md5=enforced["md5"],
            enforces_sha256=enforced["sha256"],
            enforces_length=await bench.enforces_length(),
            enforces_signature=await bench.enforces_signature(),
            full_object=tuple([name for name in FULL_OBJECT if await bench.enforces_full_object(name)]),
            etag_of_md5=await bench.makes_etags_of_md5(),
            copies=copies,
            copies_if_match=if_match,
            clock_skew=skew,
            exposes_etag=exposes,
        )


def _digest(algorithm: str, body: bytes) -> str:
    """A part's checksum as it travels: base64."""
    match algorithm:
        case "crc64nvme":
            return encode(crc64nvme(body))
        case "crc32c":
            raw = checksums.crc32c(body).to_bytes(4, "big")
        case _:
            raw = hashlib.new(algorithm, body, usedforsecurity=False).digest()
    return base64.b64encode(raw).decode()


@dataclass(frozen=True, slots=True)
class _Bench:
    """One key to experiment on."""

    s3: S3
    signer: Signer
    http: httpx.AsyncClient
    at: datetime
    bucket: str
    key: str
    started: float = field(default_factory=time.monotonic)

    async def takes_a_part(self) -> None:
        """Raise what storage answers to a part as plain as can be: whoever refuses that would seem to enforce all."""
        async with self.upload(None) as upload:
            answer = await self._request("PUT", self._plain(upload), content=BODY, headers={})
            if not answer.is_success:
                problem = refused("probe", answer.status_code, answer.content)
                if isinstance(problem, Invalid):  # the request is as plain as can be: the store is what is wrong
                    raise Misconfigured(problem.code, problem.message, **problem.details)
                raise problem

    async def enforces_checksum(self, algorithm: str) -> bool:
        """Whether a part with one flipped bit is refused and the right one taken."""
        try:
            async with self.upload(algorithm) as upload:
                url, headers = self._part(upload, algorithm)
                refused = await self._refused(url, FLIPPED, headers)
                return refused and not await self._refused(url, BODY, headers)
        except Unavailable:
            raise
        except Problem:
            return False  # some stores refuse to open an upload with an algorithm they do not know

    async def enforces_length(self) -> bool:
        """Whether a body longer than the signed Content-Length is refused, without a checksum's help."""
        async with self.upload(None) as upload:
            url = self._plain(upload)
            return await self._refused(url, BODY + b"!", {}) and not await self._refused(url, BODY, {})

    async def enforces_signature(self) -> bool:
        """Whether a URL altered to another part, and a request without the bound checksum, are refused."""
        async with self.upload("crc64nvme") as upload:
            url, headers = self._part(upload, "crc64nvme")
            tampered = url.replace("partNumber=1&", "partNumber=2&")
            return await self._refused(tampered, BODY, headers) and await self._refused(url, BODY, {})

    async def enforces_full_object(self, algorithm: str) -> bool:
        """Whether Complete refuses a CRC that the parts do not add up to, and takes the right one."""
        right, wrong = _digest(algorithm, BODY), _digest(algorithm, FLIPPED)
        try:
            async with self.upload(algorithm) as upload:
                part = await self._sent(upload, right, algorithm)
                if await self.completes(upload, part, wrong, algorithm):
                    return False
                return await self.completes(upload, part, right, algorithm)
        except Unavailable:
            raise
        except Problem:
            return False

    async def makes_etags_of_md5(self) -> bool:
        """Whether an object's ETag says what its parts were: md5(their MD5s)-count."""
        async with self.upload(None) as upload:
            await self.completes(upload, await self._sent(upload, _digest("md5", BODY), "md5"), None, None)
            found = await self.s3.head(self.bucket, self.key)
        part = hashlib.md5(BODY, usedforsecurity=False).digest()
        return found is not None and found.etag == f"{hashlib.md5(part, usedforsecurity=False).hexdigest()}-1"

    async def copies(self, bucket: str, key: str) -> tuple[bool, bool]:
        """(whether an object can become a part of one in `bucket`, whether only the object that was meant)."""
        target = replace(self, bucket=bucket, key=key)
        etag = await self.s3.put_object(self.bucket, self.key, BODY, size=len(BODY))
        try:
            async with target.upload(None) as upload:
                held = await target.copied(upload, self, NO_ETAG) is None
                part = await target.copied(upload, self, etag)
                if part is None or not await target.completes(upload, part, None, None):
                    return False, False
                found = await self.s3.head(bucket, key)
                copied = found is not None and found.size == len(BODY)
                return copied, copied and held
        finally:
            await self.s3.delete_objects(self.bucket, [self.key])

    async def copied(self, upload: str, source: _Bench, etag: str) -> DonePart | None:
        """Part 1, copied from the source's key if that has the ETag; None when storage refuses."""
        try:
            copied, _ = await self.s3.upload_part_copy(
                self.bucket, self.key, upload, 1, source.bucket, source.key, if_match=etag
            )
        except Unavailable:
            raise
        except Problem:
            return None
        return DonePart(1, copied)

    async def _sent(self, upload: str, checksum: str, algorithm: str) -> DonePart:
        etag = await self.s3.upload_part(self.bucket, self.key, upload, 1, BODY, checksum=checksum, algorithm=algorithm)
        return DonePart(1, etag)

    async def completes(self, upload: str, part: DonePart, checksum: str | None, algorithm: str | None) -> bool:
        try:
            await self.s3.complete_multipart(
                self.bucket,
                self.key,
                upload,
                [part],
                checksum=checksum,
                checksum_algorithm=algorithm or ALGORITHMS[0],
            )
        except Unavailable:
            raise
        except Problem:
            return False
        return True

    async def reads_as_a_browser(self, origin: str) -> tuple[float | None, bool]:
        """(storage's clock minus ours in seconds, whether a page may PUT a part and read its ETag)."""
        async with self.upload("crc64nvme") as upload:
            url, headers = self._part(upload, "crc64nvme")
            asked = {
                "Origin": origin,
                "Access-Control-Request-Method": "PUT",
                "Access-Control-Request-Headers": ",".join(headers),
            }
            preflight = await self._request("OPTIONS", url, headers=asked)
            answer = await self._request("PUT", url, content=BODY, headers=headers | {"Origin": origin})
        allowed = {
            preflight.headers.get("access-control-allow-origin"),
            answer.headers.get("access-control-allow-origin"),
        }
        exposed = {name.strip().lower() for name in answer.headers.get("access-control-expose-headers", "").split(",")}
        date = answer.headers.get("date")
        skew = (parsedate_to_datetime(date) - self._now()).total_seconds() if date else None
        return skew, preflight.is_success and allowed <= {origin, "*"} and bool(exposed & {"etag", "*"})

    def _now(self) -> datetime:
        """By the probe's clock; probing a slow store takes seconds that are not the clocks' difference."""
        return self.at + timedelta(seconds=time.monotonic() - self.started)

    def _plain(self, upload: str) -> str:
        """A URL for part 1 with nothing bound but its length."""
        query, headers = {"partNumber": "1", "uploadId": upload}, {"content-length": str(len(BODY))}
        return self.signer.presign(
            "PUT", self.bucket, self.key, at=self.at, seconds=SECONDS, query=query, headers=headers
        )

    def _part(self, upload: str, algorithm: str) -> tuple[str, dict[str, str]]:
        parts = self.signer.parts(self.bucket, self.key, upload, algorithm=algorithm, at=self.at, seconds=SECONDS)
        return parts.sign(1, len(BODY), _digest(algorithm, BODY))

    @asynccontextmanager
    async def upload(self, algorithm: str | None) -> AsyncIterator[str]:
        upload = await self.s3.create_multipart(self.bucket, self.key, checksum_algorithm=algorithm)
        try:
            yield upload
        finally:
            await self.s3.abort_multipart(self.bucket, self.key, upload)
            await self.s3.delete_objects(self.bucket, [self.key])

    async def _refused(self, url: str, body: bytes, headers: dict[str, str]) -> bool:
        answer = await self._request("PUT", url, content=body, headers=headers)
        return not answer.is_success

    async def _request(
        self, method: str, url: str, *, headers: dict[str, str], content: bytes | None = None
    ) -> httpx.Response:
        try:
            answer = await self.http.request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            message = "Storage could not be reached at the address that clients are given."
            raise Unavailable("storage_unreachable", message, cause=str(error)) from error
        if answer.is_server_error and answer.status_code != UNSUPPORTED:
            raise Unavailable("storage_failed", "Storage failed while it was probed.", status=answer.status_code)
        return answer
