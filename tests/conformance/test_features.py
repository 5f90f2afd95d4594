"""What stores have beyond the core. Each store's answers are declared here: one that changes is noticed."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest

from rushes.errors import Invalid, Misconfigured, Problem
from rushes.storage import Capabilities, DonePart, Storage, abort_after, allow_origins
from tests.conformance.test_core import BIG, opened
from tests.storage import plain
from tests.stores.served import Served

Note = Callable[[str, str], None]

# By store: what the probe must see, and what the tests below must.
DECLARED: dict[str, dict[str, Any]] = {
    "SeaweedFS": {
        "algorithms": ("crc64nvme", "crc32c", "md5", "sha256"),
        "full_object": ("crc64nvme", "crc32c"),
        "etag_of_md5": True,
        "copies": (True, True),
        "cors": True,
        "lifecycle": True,
        "if_none_match": True,
        "order": True,
        "small_parts": True,
    },
    "OpenStack Swift s3api": {
        "algorithms": ("crc64nvme", "crc32c", "md5", "sha256"),
        "full_object": (),
        "etag_of_md5": True,
        "copies": (True, True),
        "cors": False,
        "lifecycle": False,
        "if_none_match": True,
        "order": True,
        "small_parts": True,
    },
    "Ceph RGW": {
        "algorithms": ("md5",),
        "full_object": (),
        "etag_of_md5": True,
        "copies": (True, False),
        "cors": True,
        "lifecycle": True,
        "if_none_match": False,
        "order": False,
        "small_parts": True,
    },
}


def declared(served: Served, feature: str, found: Any) -> None:
    assert DECLARED[served.name][feature] == found, f"{served.name} changed: {feature} is {found}"


def yes(value: object) -> str:
    return "yes" if value else "no"


async def test_checksums_that_are_enforced(served: Served, capabilities: Capabilities, note: Note) -> None:
    names = {"crc64nvme": "CRC64NVME", "crc32c": "CRC32C", "md5": "Content-MD5", "sha256": "SHA-256"}
    enforced = capabilities.part_algorithms
    for algorithm, name in names.items():
        note(f"refuses a part with a wrong {name}", yes(algorithm in enforced))
    note("→ parts are sent with", f"**{names[enforced[0]]}**")
    whole = [names[algorithm] for algorithm in capabilities.full_object]
    note("refuses a wrong checksum of the whole object at Complete", " and ".join(whole) or "no")
    note("ETag of the object is md5(part MD5s)-count", yes(capabilities.etag_of_md5))
    note("→ the assembled file is proven by", _proof(capabilities))
    declared(served, "algorithms", enforced)
    declared(served, "full_object", capabilities.full_object)
    declared(served, "etag_of_md5", capabilities.etag_of_md5)
    assert capabilities.enforces_length
    assert capabilities.enforces_signature
    assert capabilities.clock_skew is not None
    assert abs(capabilities.clock_skew) < 5


def _proof(capabilities: Capabilities) -> str:
    if set(capabilities.part_algorithms[:1]) & set(capabilities.full_object):
        return "storage, which compares the combined CRC"
    if capabilities.etag_of_md5 and capabilities.part_algorithms[0] == "md5":
        return "its ETag, computed from the parts' MD5s"
    return "a worker that reads it and compares every part"


async def test_copies(served: Served, capabilities: Capabilities, note: Note) -> None:
    note("makes parts of objects (UploadPartCopy)", yes(capabilities.copies))
    note("… only of the object that is meant (If-Match)", yes(capabilities.copies_if_match))
    both = capabilities.copies and capabilities.copies_if_match
    note("→ staged layout", "taken" if both else "refused at begin")
    declared(served, "copies", (capabilities.copies, capabilities.copies_if_match))


async def test_pages(served: Served, storage: Storage, note: Note) -> None:
    """Bucket CORS: set, preflighted, and the ETag readable; else a proxy's or the store's own configuration has to."""
    bucket, page = storage.originals.bucket, "https://app.example"
    try:
        await allow_origins(storage.s3, [storage.originals], [page])
    except Misconfigured:
        note("bucket CORS (uploads by browsers)", "no: in the store's own configuration or a proxy's")
        declared(served, "cors", False)
        return
    url = (await storage.signer()).presign("PUT", bucket, "conform-cors", at=datetime.now(UTC), seconds=60)
    asked = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "content-type,content-md5"}
    preflight = plain.request("OPTIONS", url, headers=asked | {"Origin": page})
    answer = plain.put(url, b"x", {"Origin": page})
    works = preflight.status == 200 and "etag" in answer.headers.get("access-control-expose-headers", "").lower()
    note("bucket CORS (uploads by browsers)", yes(works))
    declared(served, "cors", works)
    await storage.s3.delete_objects(bucket, ["conform-cors"])


async def test_lifecycle(served: Served, storage: Storage, note: Note) -> None:
    try:
        await abort_after(storage.s3, [storage.originals], 91)
        works = True
    except (Misconfigured, Invalid):
        works = False
    note("lifecycle rule that aborts forgotten uploads", yes(works) if works else "no: the sweep alone does it")
    declared(served, "lifecycle", works)


async def test_completing_only_where_nothing_is(
    served: Served, storage: Storage, capabilities: Capabilities, note: Note
) -> None:
    upload = await opened(storage, capabilities.part_algorithms[0])
    await storage.s3.put_object(upload.bucket, upload.key, b"before", size=6)
    part = upload.send(1, b"e" * 1000)
    try:
        await storage.s3.client.complete_multipart_upload(
            Bucket=upload.bucket,
            Key=upload.key,
            UploadId=upload.id,
            IfNoneMatch="*",
            MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": part.etag}]},
        )
        kept = False
    except Exception:  # noqa: BLE001 - whatever it says, what counts is what is there
        kept = True
    found = await storage.s3.head(upload.bucket, upload.key)
    assert found is not None
    assert (found.size == 6) is kept
    note("If-None-Match at Complete", f"{yes(kept)} (rushes does not need it: keys are never used twice)")
    declared(served, "if_none_match", kept)
    await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)


async def test_parts_in_disorder(served: Served, storage: Storage, capabilities: Capabilities, note: Note) -> None:
    """rushes sends them in order; a store that takes any order would not notice a client that does not."""
    upload = await opened(storage, capabilities.part_algorithms[0])
    parts = [upload.send(1, BIG), upload.send(2, b"f")]
    named: Any = [{"PartNumber": part.number, "ETag": part.etag} for part in reversed(parts)]
    refused = not await _completes(storage, upload.bucket, upload.key, upload.id, named)
    note(
        "refuses parts out of order at Complete",
        f"{yes(refused)}" + ("" if refused else " (rushes names them in order)"),
    )
    declared(served, "order", refused)
    await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)


async def test_parts_that_are_too_small(
    served: Served, storage: Storage, capabilities: Capabilities, note: Note
) -> None:
    upload = await opened(storage, capabilities.part_algorithms[0])
    parts = [upload.send(number, b"g" * 1000) for number in (1, 2)]
    named: Any = [{"PartNumber": part.number, "ETag": part.etag} for part in parts]
    refused = not await _completes(storage, upload.bucket, upload.key, upload.id, named)
    note("refuses parts under 5 MiB before the last", f"{yes(refused)} (rushes plans none)")
    declared(served, "small_parts", refused)
    await storage.s3.abort_multipart(upload.bucket, upload.key, upload.id)


async def _completes(storage: Storage, bucket: str, key: str, id_: str, parts: Any) -> bool:
    try:
        await storage.s3.client.complete_multipart_upload(
            Bucket=bucket, Key=key, UploadId=id_, MultipartUpload={"Parts": parts}
        )
    except Exception:  # noqa: BLE001 - stores refuse in many ways
        return False
    return await storage.s3.head(bucket, key) is not None


async def test_a_wrong_whole_is_noticed_where_that_is_said(storage: Storage, capabilities: Capabilities) -> None:
    for algorithm in capabilities.full_object:
        upload = await opened(storage, algorithm)
        parts = [upload.send(1, BIG), upload.send(2, b"h" * 10)]
        whole, wrong = upload.sum(BIG + b"h" * 10), upload.sum(BIG + b"h" * 9 + b"i")
        with pytest.raises(Problem) as raised:
            await upload.complete(parts, checksum=wrong, checksum_algorithm=algorithm)
        assert raised.value.permanent
        await upload.complete(parts, checksum=whole, checksum_algorithm=algorithm)
        assert await upload.read() == BIG + b"h" * 10


async def test_a_changed_source_is_not_copied_where_that_is_said(storage: Storage, capabilities: Capabilities) -> None:
    if not capabilities.copies:
        return
    upload = await opened(storage, capabilities.part_algorithms[0])
    place, key = storage.incoming, f"{storage.incoming.prefix}conform/{uuid4()}"
    before = await storage.s3.put_object(place.bucket, key, BIG, size=len(BIG))
    after = await storage.s3.put_object(place.bucket, key, BIG[::-1], size=len(BIG))
    if capabilities.copies_if_match:
        with pytest.raises(Problem) as raised:
            await storage.s3.upload_part_copy(
                upload.bucket, upload.key, upload.id, 1, place.bucket, key, if_match=before
            )
        assert raised.value.code == "storage_precondition_failed"
    etag, _ = await storage.s3.upload_part_copy(
        upload.bucket, upload.key, upload.id, 1, place.bucket, key, if_match=after
    )
    await upload.complete([DonePart(1, etag)])
    assert await upload.read() == BIG[::-1]
    await storage.s3.delete_objects(place.bucket, [key])
