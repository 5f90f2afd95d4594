"""Multipart uploads on a real store: what it refuses, what it lists, what completing gives."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from awscrt import checksums

from rushes.checksum import combine, crc64nvme, encode
from rushes.errors import Conflict, Invalid, NotFound, Rejected
from rushes.model import new_id
from rushes.storage import DonePart, PartSigner, Storage, bare_etag, original_key

from . import plain

MIB = 1024**2
RANDOM = random.Random(20260304)
ALGORITHMS = {
    "crc64nvme": lambda body: encode(crc64nvme(body)),
    "crc32c": lambda body: base64.b64encode(checksums.crc32c(body).to_bytes(4, "big")).decode(),
    "sha256": lambda body: base64.b64encode(hashlib.sha256(body).digest()).decode(),
    "md5": lambda body: base64.b64encode(hashlib.md5(body, usedforsecurity=False).digest()).decode(),
}


class Upload:
    """An open multipart upload of the tests', with a signer for its parts."""

    def __init__(self, storage: Storage, key: str, storage_upload_id: str, signer: PartSigner) -> None:
        self.storage = storage
        self.bucket = storage.originals.bucket
        self.key = key
        self.id = storage_upload_id
        self.signer = signer

    def send(self, number: int, body: bytes) -> DonePart:
        checksum = encode(crc64nvme(body))
        url, headers = self.signer.sign(number, len(body), checksum)
        answer = plain.put(url, body, headers)
        assert answer.status == 200, answer
        return DonePart(number, answer.headers["etag"], checksum)

    async def listed(self) -> list[int]:
        return [part.number for part in await self.storage.s3.list_parts(self.bucket, self.key, self.id)]

    async def complete(self, parts: list[DonePart], checksum: str | None, size: int | None = None) -> str:
        return await self.storage.s3.complete_multipart(
            self.bucket, self.key, self.id, parts, checksum=checksum, size=size
        )


async def an_upload(storage: Storage, algorithm: str = "crc64nvme", at: datetime | None = None) -> Upload:
    bucket, key = storage.originals.bucket, original_key(storage.originals, "acme", "u-1", new_id())
    declared = None if algorithm == "md5" else algorithm
    upload = await storage.s3.create_multipart(bucket, key, content_type="video/mp4", checksum_algorithm=declared)
    signer = await storage.signer()
    now = at or datetime.now(UTC)
    return Upload(storage, key, upload, signer.parts(bucket, key, upload, algorithm=algorithm, at=now, seconds=60))


@pytest.fixture
async def upload(storage: Storage) -> AsyncIterator[Upload]:
    opened = await an_upload(storage)
    yield opened
    await storage.s3.abort_multipart(opened.bucket, opened.key, opened.id)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_one_flipped_bit_is_refused_by_storage(storage: Storage, algorithm: str) -> None:
    upload = await an_upload(storage, algorithm)
    body = RANDOM.randbytes(100_000)
    flipped = body[:70_000] + bytes([body[70_000] ^ 4]) + body[70_001:]
    url, headers = upload.signer.sign(1, len(body), ALGORITHMS[algorithm](body))
    refused = plain.put(url, flipped, headers)
    assert refused.status == 400
    assert b"BadDigest" in refused.body
    assert await upload.listed() == []
    assert plain.put(url, body, headers).status == 200
    assert await upload.listed() == [1]
    await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)


async def test_another_length_is_refused(upload: Upload) -> None:
    body = RANDOM.randbytes(50_000)
    url, headers = upload.signer.sign(1, len(body), encode(crc64nvme(body)))
    for wrong in (body[:-1], body + b"!", b""):
        assert plain.put(url, wrong, headers).status == 403
    # The same checksum, a length that was signed, and bytes that do not have it: refused for the checksum.
    url, headers = upload.signer.sign(1, len(body) - 1, encode(crc64nvme(body)))
    assert plain.put(url, body[:-1], headers).status == 400
    assert await upload.listed() == []


async def test_a_request_without_its_checksum_or_with_another_is_refused(upload: Upload) -> None:
    body, other = b"a" * 1000, b"b" * 1000
    url, headers = upload.signer.sign(1, 1000, encode(crc64nvme(body)))
    assert plain.put(url, body).status == 403
    assert plain.put(url, other, {name: encode(crc64nvme(other)) for name in headers}).status == 403
    assert await upload.listed() == []


async def test_a_tampered_url_is_refused(upload: Upload) -> None:
    body = b"a" * 1000
    url, headers = upload.signer.sign(1, 1000, encode(crc64nvme(body)))
    last = url[-1]
    tampered = [
        url.replace("partNumber=1&", "partNumber=2&"),
        url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000"),
        url.replace("/original?", "/other?"),
        url.replace(f"uploadId={upload.id[:4]}", "uploadId=0000"),
        url.replace("content-length%3B", ""),
        url[:-1] + ("0" if last != "0" else "1"),
    ]
    for each in tampered:
        assert each != url
        assert plain.put(each, body, headers).status == 403, each
    assert plain.request("GET", url, headers=headers).status == 403
    assert await upload.listed() == []
    assert plain.put(url, body, headers).status == 200


async def test_an_expired_url_is_refused(storage: Storage) -> None:
    upload = await an_upload(storage, at=datetime.now(UTC) - timedelta(seconds=61))
    url, headers = upload.signer.sign(1, 1000, encode(crc64nvme(b"a" * 1000)))
    assert plain.put(url, b"a" * 1000, headers).status == 403
    assert await upload.listed() == []
    await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)


async def test_the_object_has_the_crc_that_the_parts_combine_to(storage: Storage, upload: Upload) -> None:
    bodies = [RANDOM.randbytes(5 * MIB), RANDOM.randbytes(5 * MIB), RANDOM.randbytes(12_345)]
    whole = b"".join(bodies)
    parts = [upload.send(number, body) for number, body in reversed(list(enumerate(bodies, 1)))]
    combined = encode(combine((crc64nvme(body), len(body)) for body in bodies))
    assert combined == encode(crc64nvme(whole))
    with pytest.raises(Rejected) as raised:
        await upload.complete(parts, encode(crc64nvme(whole) ^ 1))
    assert raised.value.code == "storage_checksum_mismatch"
    assert await storage.s3.head(upload.bucket, upload.key) is None
    etag = await upload.complete(parts, combined, len(whole))
    found = await storage.s3.head(upload.bucket, upload.key)
    assert found is not None
    assert (found.size, found.etag, found.checksum, found.checksum_algorithm) == (
        len(whole),
        etag,
        combined,
        "crc64nvme",
    )
    assert (found.checksum_type, found.content_type) == ("FULL_OBJECT", "video/mp4")
    assert b"".join([chunk async for chunk in storage.s3.get_range(upload.bucket, upload.key)]) == whole


async def test_a_wrong_crc32c_of_the_whole_is_refused_too(storage: Storage) -> None:
    upload = await an_upload(storage, "crc32c")
    body = RANDOM.randbytes(1000)
    s3, right, wrong = storage.s3, ALGORITHMS["crc32c"](body), ALGORITHMS["crc32c"](body[1:])
    etag = await s3.upload_part(upload.bucket, upload.key, upload.id, 1, body, checksum=right, algorithm="crc32c")
    for checksum, refusal in ((wrong, Rejected), (right, None)):
        complete = s3.complete_multipart(
            upload.bucket, upload.key, upload.id, [DonePart(1, etag)], checksum=checksum, checksum_algorithm="crc32c"
        )
        if refusal is None:
            await complete
        else:
            with pytest.raises(refusal):
                await complete
    found = await s3.head(upload.bucket, upload.key)
    assert found is not None
    assert (found.checksum, found.checksum_algorithm, found.checksum_type) == (right, "crc32c", "FULL_OBJECT")
    with pytest.raises(Invalid):
        await s3.complete_multipart(upload.bucket, upload.key, upload.id, [], checksum="x", checksum_algorithm="sha256")


async def test_objects_become_parts_only_as_they_were_meant(storage: Storage, upload: Upload) -> None:
    s3, place = storage.s3, storage.incoming
    bodies = [RANDOM.randbytes(5 * MIB), RANDOM.randbytes(1000)]
    keys = [f"{place.prefix}{uuid4()}/{number}" for number in (1, 2)]
    sent = [
        await s3.put_object(place.bucket, key, body, size=len(body)) for key, body in zip(keys, bodies, strict=True)
    ]

    async def copy(number: int, **options: Any) -> tuple[str, str | None]:
        return await s3.upload_part_copy(
            upload.bucket, upload.key, upload.id, number, place.bucket, keys[number - 1], **options
        )

    with pytest.raises(Conflict) as conflict:
        await copy(1, if_match=sent[1])
    assert conflict.value.code == "storage_precondition_failed"
    copies = [await copy(number, if_match=f'"{sent[number - 1]}"') for number in (1, 2)]
    copies.append(await copy(1, if_match=sent[0], start=10, length=90))
    pieces = [*bodies, bodies[0][10:100]]
    assert [checksum for _, checksum in copies] == [encode(crc64nvme(piece)) for piece in pieces]
    copies[0] = await copy(1)  # the range went to part 1 as well: the last copy counts
    combined = encode(combine((crc64nvme(body), len(body)) for body in bodies))
    await upload.complete([DonePart(number, copies[number - 1][0]) for number in (1, 2)], combined)
    assert b"".join([chunk async for chunk in s3.get_range(upload.bucket, upload.key)]) == b"".join(bodies)
    await s3.delete_objects(place.bucket, keys)
    again = await an_upload(storage)
    with pytest.raises(NotFound) as unknown:
        await s3.upload_part_copy(again.bucket, again.key, again.id, 1, place.bucket, keys[0])
    assert unknown.value.code == "storage_object_unknown"
    await s3.abort_multipart(again.bucket, again.key, again.id)


async def test_completing_again_gives_the_same_object(storage: Storage, upload: Upload) -> None:
    body = RANDOM.randbytes(1000)
    parts = [upload.send(1, body)]
    first = await upload.complete(parts, encode(crc64nvme(body)))
    assert await upload.complete(parts, encode(crc64nvme(body))) == first
    found = await storage.s3.head(upload.bucket, upload.key)
    assert found is not None
    assert found.etag == first


async def test_completing_what_was_never_opened_is_told_apart(storage: Storage) -> None:
    with pytest.raises(NotFound) as raised:
        await storage.s3.complete_multipart(storage.originals.bucket, "nothing", "0" * 32, [DonePart(1, "0" * 32)])
    assert raised.value.code == "storage_upload_unknown"
    with pytest.raises(NotFound) as raised:
        await storage.s3.list_parts(storage.originals.bucket, "nothing", "0" * 32)
    assert raised.value.code == "storage_upload_unknown"


async def test_parts_that_storage_does_not_hold_are_refused(upload: Upload) -> None:
    part = upload.send(1, b"a" * 1000)
    for named in ([DonePart(2, part.etag)], [DonePart(1, "0" * 32)]):
        with pytest.raises(Rejected) as raised:
            await upload.complete(named, None)
        assert raised.value.code == "storage_part_unknown"


async def test_small_parts_before_the_last_are_refused(upload: Upload) -> None:
    parts = [upload.send(number, b"a" * 1000) for number in (1, 2)]
    with pytest.raises(Rejected) as raised:
        await upload.complete(parts, None)
    assert raised.value.code == "storage_part_too_small"


async def test_a_replaced_part_is_the_one_that_counts(storage: Storage, upload: Upload) -> None:
    upload.send(1, b"a" * 1000)
    part = upload.send(1, b"b" * 1000)
    await upload.complete([part], encode(crc64nvme(b"b" * 1000)))
    assert [chunk async for chunk in storage.s3.get_range(upload.bucket, upload.key)] == [b"b" * 1000]


async def test_aborting_twice_is_the_same_as_once(storage: Storage) -> None:
    upload = await an_upload(storage)
    upload.send(1, b"a" * 1000)
    for _ in range(3):
        await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)
    with pytest.raises(NotFound):
        await upload.listed()
    url, headers = upload.signer.sign(2, 1, encode(crc64nvme(b"x")))
    assert plain.put(url, b"x", headers).status == 404
    await storage.s3.abort_multipart(upload.bucket, upload.key, "f" * 32)


async def test_more_parts_than_a_page_holds_are_listed_in_order(upload: Upload) -> None:
    count = 1203
    with ThreadPoolExecutor(8) as pool:
        sent = list(pool.map(lambda number: upload.send(number, b"%05d" % number), range(1, count + 1)))
    listed = await upload.storage.s3.list_parts(upload.bucket, upload.key, upload.id)
    assert [part.number for part in listed] == list(range(1, count + 1))
    assert {part.size for part in listed} == {5}
    assert [part.etag for part in listed] == [bare_etag(part.etag) for part in sent]


async def test_open_uploads_are_listed_by_prefix(storage: Storage) -> None:
    prefix, bucket = f"{storage.incoming.prefix}{uuid4()}/", storage.incoming.bucket
    opened = {
        (key, await storage.s3.create_multipart(bucket, key))
        for key in [*(f"{prefix}{number}" for number in range(12)), f"{prefix}0"]
    }
    assert len(opened) == 13
    before = datetime.now(UTC)
    found = [upload async for upload in storage.s3.list_multipart_uploads(bucket, prefix)]
    assert {(upload.key, upload.storage_upload_id) for upload in found} == opened
    assert all(abs(upload.initiated - before) < timedelta(seconds=30) for upload in found)
    for key, upload_id in opened:
        await storage.s3.abort_multipart(bucket, key, upload_id)
    assert [upload async for upload in storage.s3.list_multipart_uploads(bucket, prefix)] == []
