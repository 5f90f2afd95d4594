"""What a store enforces, found out with real requests in the incoming place; cleaned up after.

Documentation is not enough: stores answer 200 and ignore what they do not know (a Ceph RGW takes a part with a wrong
checksum). Some thirty small requests, about half a second on a local store.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import parsedate_to_datetime
from typing import Final
from uuid import uuid4

import httpx
from awscrt import checksums

from rushes.checksum import crc64nvme, encode
from rushes.errors import Problem, Unavailable
from rushes.storage.s3 import S3, DonePart
from rushes.storage.signer import Signer
from rushes.storage.store import Storage

SECONDS: Final = 300  # how long the probe's URLs live
BODY: Final = b"rushes probes what this storage enforces"
FLIPPED: Final = bytes([BODY[0] ^ 1]) + BODY[1:]
CHECKSUMS: Final = {
    "crc64nvme": encode(crc64nvme(BODY)),
    "crc32c": base64.b64encode(checksums.crc32c(BODY).to_bytes(4, "big")).decode(),
    "md5": base64.b64encode(hashlib.md5(BODY, usedforsecurity=False).digest()).decode(),
}


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a store was seen to enforce; `clock_skew` is its clock minus ours in seconds, None when it tells none."""

    enforces_crc64nvme: bool
    enforces_crc32c: bool
    enforces_md5: bool
    enforces_length: bool
    enforces_signature: bool
    enforces_full_object: bool
    clock_skew: float | None
    exposes_etag: bool

    @property
    def part_algorithms(self) -> tuple[str, ...]:
        """What parts can be held to, the cheapest first."""
        seen = {"crc64nvme": self.enforces_crc64nvme, "crc32c": self.enforces_crc32c, "md5": self.enforces_md5}
        return tuple(algorithm for algorithm, enforced in seen.items() if enforced)


async def probe(storage: Storage, *, at: datetime, origin: str = "https://rushes.example") -> Capabilities:
    """Try storage out through the address that clients are given. `at` is now, `origin` an uploading page's.

    Raises:
        Unavailable: storage cannot be reached, or fails.
        Misconfigured: it refuses the bucket or the access key.
    """
    signer = await storage.signer()
    async with httpx.AsyncClient(timeout=30, trust_env=not storage.public.is_loopback) as http:
        bench = _Bench(
            storage.s3, signer, http, at, storage.incoming.bucket, f"{storage.incoming.prefix}probe-{uuid4()}"
        )
        enforced = {algorithm: await bench.enforces_checksum(algorithm) for algorithm in CHECKSUMS}
        skew, exposes = await bench.reads_as_a_browser(origin)
        return Capabilities(
            enforces_crc64nvme=enforced["crc64nvme"],
            enforces_crc32c=enforced["crc32c"],
            enforces_md5=enforced["md5"],
            enforces_length=await bench.enforces_length(),
            enforces_signature=await bench.enforces_signature(),
            enforces_full_object=await bench.enforces_full_object(),
            clock_skew=skew,
            exposes_etag=exposes,
        )


@dataclass(frozen=True, slots=True)
class _Bench:
    """One key to experiment on."""

    s3: S3
    signer: Signer
    http: httpx.AsyncClient
    at: datetime
    bucket: str
    key: str

    async def enforces_checksum(self, algorithm: str) -> bool:
        """Whether a part with one flipped bit is refused and the right one taken."""
        try:
            async with self._upload(algorithm) as upload:
                url, headers = self._part(upload, algorithm)
                refused = await self._refused(url, FLIPPED, headers)
                return refused and not await self._refused(url, BODY, headers)
        except Unavailable:
            raise
        except Problem:
            return False  # some stores refuse to open an upload with an algorithm they do not know

    async def enforces_length(self) -> bool:
        """Whether a body longer than the signed Content-Length is refused, without a checksum's help."""
        async with self._upload(None) as upload:
            query = {"partNumber": "1", "uploadId": upload}
            headers = {"content-length": str(len(BODY))}
            url = self.signer.presign(
                "PUT", self.bucket, self.key, at=self.at, seconds=SECONDS, query=query, headers=headers
            )
            return await self._refused(url, BODY + b"!", {}) and not await self._refused(url, BODY, {})

    async def enforces_signature(self) -> bool:
        """Whether a URL altered to another part, and a request without the bound checksum, are refused."""
        async with self._upload("crc64nvme") as upload:
            url, headers = self._part(upload, "crc64nvme")
            tampered = url.replace("partNumber=1&", "partNumber=2&")
            return await self._refused(tampered, BODY, headers) and await self._refused(url, BODY, {})

    async def enforces_full_object(self) -> bool:
        """Whether Complete refuses a CRC64NVME that the parts do not add up to, and takes the right one."""
        async with self._upload("crc64nvme") as upload:
            etag = await self.s3.upload_part(self.bucket, self.key, upload, 1, BODY, checksum=CHECKSUMS["crc64nvme"])
            try:
                wrong = encode(crc64nvme(FLIPPED))
                await self.s3.complete_multipart(self.bucket, self.key, upload, [DonePart(1, etag)], checksum=wrong)
            except Unavailable:
                raise
            except Problem:
                right = CHECKSUMS["crc64nvme"]
                await self.s3.complete_multipart(self.bucket, self.key, upload, [DonePart(1, etag)], checksum=right)
                return True
            return False

    async def reads_as_a_browser(self, origin: str) -> tuple[float | None, bool]:
        """(storage's clock minus ours in seconds, whether a page may PUT a part and read its ETag)."""
        async with self._upload("crc64nvme") as upload:
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
        skew = (parsedate_to_datetime(date) - self.at).total_seconds() if date else None
        return skew, preflight.is_success and allowed <= {origin, "*"} and bool(exposed & {"etag", "*"})

    def _part(self, upload: str, algorithm: str) -> tuple[str, dict[str, str]]:
        parts = self.signer.parts(self.bucket, self.key, upload, algorithm=algorithm, at=self.at, seconds=SECONDS)
        return parts.sign(1, len(BODY), CHECKSUMS[algorithm])

    @asynccontextmanager
    async def _upload(self, algorithm: str | None) -> AsyncIterator[str]:
        upload = await self.s3.create_multipart(self.bucket, self.key, checksum_algorithm=algorithm)
        try:
            yield upload
        finally:
            await self.s3.abort_multipart(self.bucket, self.key, upload)
            await self.s3.delete_objects(self.bucket, [self.key])

    async def _refused(self, url: str, body: bytes, headers: dict[str, str]) -> bool:
        answer = await self._request("PUT", url, content=body, headers=headers)
        return answer.is_client_error

    async def _request(
        self, method: str, url: str, *, headers: dict[str, str], content: bytes | None = None
    ) -> httpx.Response:
        try:
            answer = await self.http.request(method, url, content=content, headers=headers)
        except httpx.HTTPError as error:
            message = "Storage could not be reached at the address that clients are given."
            raise Unavailable("storage_unreachable", message, cause=str(error)) from error
        if answer.is_server_error:
            raise Unavailable("storage_failed", "Storage failed while it was probed.", status=answer.status_code)
        return answer
