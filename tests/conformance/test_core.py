"""The portable core: what every store must do, because rushes relies on it."""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from rushes import checksum
from rushes.errors import NotFound, Problem, Unavailable
from rushes.model import ChecksumAlgorithm
from rushes.plan import MIN_PART
from rushes.storage import Capabilities, DonePart, PartSigner, Storage, bare_etag
from tests.storage import plain
from tests.storage.test_objects import ODD_KEYS

RANDOM = random.Random(20261121)
BIG = RANDOM.randbytes(MIN_PART)


@dataclass
class Upload:
    """An open multipart upload and a signer for its parts, by the best checksum that the store enforces."""

    storage: Storage
    key: str
    id: str
    algorithm: str
    signer: PartSigner

    @property
    def bucket(self) -> str:
        return self.storage.originals.bucket

    def sum(self, body: bytes) -> str:
        return checksum.compute(ChecksumAlgorithm(self.algorithm), body)

    def send(self, number: int, body: bytes) -> DonePart:
        url, headers = self.signer.sign(number, len(body), self.sum(body))
        answer = plain.put(url, body, headers)
        assert answer.status == 200, answer
        return DonePart(number, bare_etag(answer.headers["etag"]))

    async def complete(self, parts: list[DonePart], **more: Any) -> str:
        return await self.storage.s3.complete_multipart(self.bucket, self.key, self.id, parts, **more)

    async def read(self) -> bytes:
        return b"".join([chunk async for chunk in self.storage.s3.get_range(self.bucket, self.key)])

    async def listed(self) -> list[tuple[int, int, str]]:
        parts = await self.storage.s3.list_parts(self.bucket, self.key, self.id)
        return [(part.number, part.size, part.etag) for part in parts]


async def opened(storage: Storage, algorithm: str, at: datetime | None = None, seconds: float = 60) -> Upload:
    bucket, key = storage.originals.bucket, f"{storage.originals.prefix}conform/{uuid4()}"
    declared = None if algorithm == "md5" else algorithm
    id_ = await storage.s3.create_multipart(
        bucket, key, content_type="video/mp4", metadata={"name": "Tôkyô 東京.mov"}, checksum_algorithm=declared
    )
    signer = (await storage.signer()).parts(
        bucket, key, id_, algorithm=algorithm, at=at or datetime.now(UTC), seconds=seconds
    )
    return Upload(storage, key, id_, algorithm, signer)


@pytest.fixture
async def upload(storage: Storage, capabilities: Capabilities) -> AsyncIterator[Upload]:
    made = await opened(storage, capabilities.part_algorithms[0])
    yield made
    await storage.s3.abort_multipart(made.bucket, made.key, made.id)


async def test_parts_become_the_file(storage: Storage, upload: Upload) -> None:
    bodies = [BIG, BIG[::-1], b"the rest"]
    done = [upload.send(number, bodies[number - 1]) for number in (2, 3, 1)]  # as they come
    done.sort(key=lambda part: part.number)
    assert await upload.listed() == [
        (part.number, len(body), part.etag) for part, body in zip(done, bodies, strict=True)
    ]
    etag = await upload.complete(done)
    found = await storage.s3.head(upload.bucket, upload.key)
    assert found is not None
    assert (found.size, found.etag, found.content_type) == (sum(map(len, bodies)), etag, "video/mp4")
    assert found.metadata["name"] == "Tôkyô 東京.mov"
    assert await upload.read() == b"".join(bodies)


async def test_a_corrupt_part_is_refused_and_not_held(upload: Upload) -> None:
    body = RANDOM.randbytes(100_000)
    url, headers = upload.signer.sign(1, len(body), upload.sum(body))
    for place in (0, 50_000, 99_999):
        flipped = body[:place] + bytes([body[place] ^ 1]) + body[place + 1 :]
        assert 400 <= plain.put(url, flipped, headers).status < 500
    assert await upload.listed() == []
    assert plain.put(url, body, headers).status == 200


async def test_what_is_not_as_it_was_signed_is_refused(storage: Storage, upload: Upload) -> None:
    body = RANDOM.randbytes(1000)
    url, headers = upload.signer.sign(1, len(body), upload.sum(body))
    assert plain.put(url, body + b"!", headers).status == 403
    assert plain.put(url, body[:-1], headers).status == 403
    assert plain.put(url, body).status == 403  # without the checksum
    assert plain.put(url.replace("partNumber=1&", "partNumber=2&"), body, headers).status == 403
    assert plain.put(url.replace(upload.key, f"{upload.key}x"), body, headers).status == 403
    assert plain.put(url[:-1] + ("0" if url[-1] != "0" else "1"), body, headers).status == 403
    assert plain.request("POST", url, body, headers).status >= 400
    expired = await opened(storage, upload.algorithm, datetime.now(UTC) - timedelta(minutes=10), seconds=60)
    url, headers = expired.signer.sign(1, len(body), expired.sum(body))
    assert plain.put(url, body, headers).status == 403
    await storage.s3.abort_multipart(expired.bucket, expired.key, expired.id)
    assert await upload.listed() == []


async def test_a_part_sent_again_is_the_one_that_counts(upload: Upload) -> None:
    upload.send(1, b"a" * 1000)
    await upload.complete([upload.send(1, b"b" * 1000)])
    assert await upload.read() == b"b" * 1000


async def test_completing_again_harms_nothing(storage: Storage, upload: Upload) -> None:
    """Storage may say the same again, or that it does not know; the object tells the truth either way."""
    done = [upload.send(1, b"c" * 1000)]
    first = await upload.complete(done)
    with contextlib.suppress(NotFound):
        assert await upload.complete(done) == first
    found = await storage.s3.head(upload.bucket, upload.key)
    assert found is not None
    assert found.etag == first


async def test_completing_what_is_not_there_makes_nothing(storage: Storage, upload: Upload) -> None:
    gone = await opened(storage, upload.algorithm)
    done = [gone.send(1, b"d" * 1000)]
    for _ in range(2):  # twice is the same as once
        await storage.s3.abort_multipart(gone.bucket, gone.key, gone.id)
    with pytest.raises((NotFound, Unavailable)):
        await gone.complete(done)
    assert await storage.s3.head(gone.bucket, gone.key) is None
    with pytest.raises(Problem):
        await upload.complete([DonePart(1, "0" * 32)])
    assert await storage.s3.head(upload.bucket, upload.key) is None


async def test_open_uploads_are_found(storage: Storage, upload: Upload) -> None:
    found = [
        each async for each in storage.s3.list_multipart_uploads(upload.bucket, f"{storage.originals.prefix}conform/")
    ]
    assert (upload.key, upload.id) in {(each.key, each.storage_upload_id) for each in found}
    await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)
    found = [each async for each in storage.s3.list_multipart_uploads(upload.bucket, upload.key)]
    assert found == []


async def test_streamed_parts_and_objects_are_stored(storage: Storage, upload: Upload) -> None:
    async def pieces(body: bytes) -> AsyncIterator[bytes]:
        for start in range(0, len(body), 300_000):
            yield body[start : start + 300_000]

    s3, now = storage.s3, datetime.now(UTC)
    etag = await s3.stream_part(
        upload.bucket,
        upload.key,
        upload.id,
        1,
        pieces(BIG),
        length=len(BIG),
        at=now,
        checksum=upload.sum(BIG),
        algorithm=upload.algorithm,
    )
    with pytest.raises(Problem) as raised:
        await s3.stream_part(
            upload.bucket,
            upload.key,
            upload.id,
            2,
            pieces(BIG[:-1] + b"x"),
            length=len(BIG),
            at=now,
            checksum=upload.sum(BIG),
            algorithm=upload.algorithm,
        )
    assert raised.value.code == "storage_checksum_mismatch"
    await upload.complete([DonePart(1, etag)])
    assert await upload.read() == BIG
    key = f"{storage.incoming.prefix}conform/{uuid4()}"
    await s3.stream_object(storage.incoming.bucket, key, pieces(b"slice"), length=5, at=now)
    assert [chunk async for chunk in s3.get_range(storage.incoming.bucket, key)] == [b"slice"]
    await s3.delete_objects(storage.incoming.bucket, [key])


async def test_objects_are_written_read_listed_and_deleted(storage: Storage) -> None:
    s3, bucket, prefix = storage.s3, storage.incoming.bucket, f"{storage.incoming.prefix}conform/{uuid4()}/"
    body = RANDOM.randbytes(50_000)
    keys = sorted(f"{prefix}{number}-{name}" for number, name in enumerate(ODD_KEYS))
    etags = {key: await s3.put_object(bucket, key, body, size=len(body)) for key in keys}
    listed = [each async for each in s3.list_objects(bucket, prefix)]
    assert {(each.key, each.size, each.etag) for each in listed} == {(key, len(body), etags[key]) for key in keys}
    for key in keys:
        assert b"".join([chunk async for chunk in s3.get_range(bucket, key, start=7, length=99)]) == body[7:106]
    signer = await storage.signer()
    link = signer.presign("GET", bucket, keys[0], at=datetime.now(UTC), seconds=60)
    read = plain.get(link, {"Range": "bytes=10-19"})
    assert (read.status, read.body) == (206, body[10:20])
    assert plain.get(link.replace("X-Amz-Expires=60", "X-Amz-Expires=61")).status == 403
    await s3.delete_objects(bucket, [*keys, f"{prefix}never-was"])
    assert [each async for each in s3.list_objects(bucket, prefix)] == []
    assert await s3.head(bucket, keys[0]) is None
