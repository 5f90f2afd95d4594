"""The probe tells a store that enforces from one that nods at everything."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from rushes.config import Settings
from rushes.errors import Misconfigured, Unavailable
from rushes.storage import Capabilities, Storage, allow_origins, open_storage, probe

from . import scripted

PAGE = "https://app.example"


async def test_seaweedfs_enforces_everything_and_the_probe_leaves_nothing(storage: Storage) -> None:
    await allow_origins(storage.s3, [storage.incoming], [PAGE])
    now = datetime.now(UTC)
    found = await probe(storage, at=now, origin=PAGE)
    assert found == Capabilities(
        enforces_crc64nvme=True,
        enforces_crc32c=True,
        enforces_md5=True,
        enforces_length=True,
        enforces_signature=True,
        enforces_sha256=True,
        full_object=("crc64nvme", "crc32c"),
        etag_of_md5=True,
        copies=True,
        copies_if_match=True,
        clock_skew=found.clock_skew,
        exposes_etag=True,
    )
    assert found.part_algorithms == ("crc64nvme", "crc32c", "md5", "sha256")
    assert found.clock_skew is not None
    assert abs(found.clock_skew) < 10
    prefix = f"{storage.incoming.prefix}probe-"
    assert [each async for each in storage.s3.list_objects(storage.incoming.bucket, prefix)] == []
    assert [each async for each in storage.s3.list_multipart_uploads(storage.incoming.bucket, prefix)] == []


async def test_a_page_that_is_not_allowed_and_a_clock_that_is_off_show(storage: Storage) -> None:
    await allow_origins(storage.s3, [storage.incoming], [PAGE])
    found = await probe(storage, at=datetime.now(UTC) - timedelta(seconds=100), origin="https://other.example")
    assert not found.exposes_etag
    assert found.clock_skew is not None
    assert 90 < found.clock_skew < 130


async def test_a_store_that_nods_at_everything_is_seen_through(settings: Settings) -> None:
    def nod(method: str, path: str) -> bytes:
        if method == "POST" and path.endswith("?uploads"):
            body = "<InitiateMultipartUploadResult><UploadId>u</UploadId></InitiateMultipartUploadResult>"
        elif method == "POST" and "uploadId" in path:
            body = "<CompleteMultipartUploadResult><ETag>e</ETag></CompleteMultipartUploadResult>"
        else:
            body = "" if method != "POST" else "<DeleteResult/>"
        return scripted.answer("200 OK", body, ETag='"e"', Last_Modified="Mon, 02 Mar 2026 10:00:00 GMT")

    async with (
        scripted.serving(nod) as (endpoint, _),
        open_storage(settings.model_copy(update={"storage_endpoint": endpoint})) as storage,
    ):
        found = await probe(storage, at=datetime.now(UTC))
    assert found == Capabilities(
        enforces_crc64nvme=False,
        enforces_crc32c=False,
        enforces_md5=False,
        enforces_length=False,
        enforces_signature=False,
        enforces_sha256=False,
        full_object=(),
        etag_of_md5=False,
        copies=False,
        copies_if_match=False,
        clock_skew=None,
        exposes_etag=False,
    )
    assert found.part_algorithms == ()


async def test_a_store_that_cannot_be_probed_is_not_judged(settings: Settings) -> None:
    async with scripted.serving(lambda *_: scripted.error("503 Slow Down", "SlowDown")) as (endpoint, _):
        public_is_down = settings.model_copy(update={"storage_public_endpoint": endpoint})
        async with open_storage(public_is_down) as storage:
            with pytest.raises(Unavailable):
                await probe(storage, at=datetime.now(UTC))
    nowhere = settings.model_copy(update={"bucket_incoming": "test-no-such-bucket"})
    async with open_storage(nowhere) as storage:
        with pytest.raises(Misconfigured) as raised:
            await probe(storage, at=datetime.now(UTC))
    assert raised.value.code == "storage_bucket_unknown"


def test_what_another_release_kept_is_probed_anew() -> None:
    found = Capabilities(
        enforces_crc64nvme=False,
        enforces_crc32c=True,
        enforces_md5=True,
        enforces_sha256=False,
        enforces_length=True,
        enforces_signature=True,
        full_object=("crc32c",),
        etag_of_md5=True,
        copies=True,
        copies_if_match=False,
        clock_skew=None,
        exposes_etag=True,
    )
    kept = json.loads(json.dumps(found.to_json()))
    assert Capabilities.from_json(kept) == found
    assert Capabilities.from_json(kept | {"more": 1}) is None
    del kept["copies"]
    assert Capabilities.from_json(kept) is None
