"""Objects on a real store: bytes in and out, odd keys, files of any size, browsers."""

from __future__ import annotations

import contextlib
import os
import random
import unicodedata
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from rushes.checksum import crc64nvme, encode
from rushes.config import Settings
from rushes.errors import Conflict, Invalid, Misconfigured, NotFound, Rejected
from rushes.storage import (
    S3,
    Place,
    Storage,
    abort_after,
    allow_origins,
    cors_rules,
    ensure_bucket,
    lifecycle_rules,
    open_storage,
    presign_get,
    put_file,
)
from rushes.storage.files import PART_SIZE, SINGLE_PUT_LIMIT
from rushes.storage.links import disposition
from rushes.storage.metadata import MAX_VALUE, decode_metadata, encode_metadata
from rushes.storage.policies import rule_id

from . import plain

RANDOM = random.Random(20260305)
ODD_KEYS = [
    "plain",
    "with space and  two",
    "plus+and%percent%2Fnot-a-slash",
    "tilde~under_score-dash.dot",
    "quotes'\"and&amp;<xml>",
    "query?and#fragment=1&x=2",
    "ünïcödé/日本語/🎬.mov",
    unicodedata.normalize("NFD", "é") + unicodedata.normalize("NFC", "é"),
    "a:b@c$d,e;f!g*h(i)",
    "...leading.dots",
]


@pytest.mark.parametrize("name", ODD_KEYS)
async def test_odd_keys_round_trip_through_presigned_urls(storage: Storage, name: str) -> None:
    signer, bucket = await storage.signer(), storage.incoming.bucket
    key, body = f"{storage.incoming.prefix}{uuid4()}/{name}", RANDOM.randbytes(1000)
    bound = {"content-length": "1000", "x-amz-checksum-crc64nvme": encode(crc64nvme(body))}
    url = signer.presign("PUT", bucket, key, at=datetime.now(UTC), seconds=60, headers=bound)
    sent = plain.put(url, body, {"x-amz-checksum-crc64nvme": bound["x-amz-checksum-crc64nvme"]})
    assert sent.status == 200, sent
    link = presign_get(
        signer, bucket, key, at=datetime.now(UTC), seconds=60, filename=name, inline=False, content_type="video/mp4"
    )
    read = plain.get(link)
    assert (read.status, read.body) == (200, body)
    assert read.headers["content-type"] == "video/mp4"
    assert read.headers["content-disposition"] == disposition(name, inline=False)
    assert [found.key async for found in storage.s3.list_objects(bucket, key)] == [key]
    found = await storage.s3.head(bucket, key)
    assert found is not None
    assert found.etag == sent.headers["etag"].strip('"')
    await storage.s3.delete_objects(bucket, [key])
    assert await storage.s3.head(bucket, key) is None


async def test_ranges_are_read_of_the_object_that_was_meant(storage: Storage) -> None:
    bucket, key, body = storage.incoming.bucket, a_key(storage), RANDOM.randbytes(3 * 1024**2 + 17)
    etag = await put(storage, key, body)

    async def read(**options: Any) -> bytes:
        return b"".join([chunk async for chunk in storage.s3.get_range(bucket, key, **options)])

    assert await read() == body
    assert await read(if_match=etag) == body
    assert await read(if_match=f'"{etag}"', start=5, length=10) == body[5:15]
    assert await read(start=1_000_000) == body[1_000_000:]
    assert await read(start=len(body) - 3, length=100) == body[-3:]
    assert await read(start=0, length=1) == body[:1]
    assert await read(start=7, length=0) == b""
    with pytest.raises(Conflict) as conflict:
        await read(if_match="0" * 32)
    assert conflict.value.code == "storage_precondition_failed"
    with pytest.raises(Invalid) as invalid:
        await read(start=len(body))
    assert invalid.value.code == "storage_range_invalid"
    with pytest.raises(NotFound) as unknown:
        await anext(storage.s3.get_range(bucket, key + "-not"))
    assert unknown.value.code == "storage_object_unknown"


async def test_a_reader_may_stop_early(storage: Storage) -> None:
    key, body = a_key(storage), RANDOM.randbytes(8 * 1024**2)
    await put(storage, key, body)
    async with contextlib.aclosing(storage.s3.get_range(storage.incoming.bucket, key)) as chunks:
        first = await anext(chunks)
    assert body.startswith(first)
    assert len(first) <= 1024**2


async def test_a_wrong_checksum_of_an_object_is_refused(storage: Storage) -> None:
    key = a_key(storage)
    with pytest.raises(Rejected) as raised:
        await storage.s3.put_object(storage.incoming.bucket, key, b"ab", size=2, checksum=encode(crc64nvme(b"ac")))
    assert raised.value.code == "storage_checksum_mismatch"
    assert await storage.s3.head(storage.incoming.bucket, key) is None


async def test_deleting_takes_thousands_and_does_not_mind_what_is_gone(storage: Storage) -> None:
    prefix = f"{a_key(storage)}/"
    for number in range(3):
        await put(storage, f"{prefix}{number}", b"x")
    await storage.s3.delete_objects(storage.incoming.bucket, [f"{prefix}{number}" for number in range(1500)])
    assert [found async for found in storage.s3.list_objects(storage.incoming.bucket, prefix)] == []
    await storage.s3.delete_objects(storage.incoming.bucket, [])


async def test_objects_are_listed_by_prefix_with_size_and_etag(storage: Storage) -> None:
    prefix = f"{a_key(storage)}/"
    etags = {f"{prefix}{number}": await put(storage, f"{prefix}{number}", b"x" * number) for number in (1, 2, 3)}
    found = [each async for each in storage.s3.list_objects(storage.incoming.bucket, prefix)]
    assert [(each.key, each.size, each.etag) for each in found] == [
        (key, number, etags[key]) for number, key in enumerate(etags, 1)
    ]
    assert all(abs((datetime.now(UTC) - each.modified).total_seconds()) < 60 for each in found)


@pytest.mark.parametrize("size", [0, 1, PART_SIZE, SINGLE_PUT_LIMIT + 12_345])
async def test_files_of_any_size_are_stored_with_their_checksum(storage: Storage, tmp_path: Path, size: int) -> None:
    path, key = tmp_path / "rendition.mp4", a_key(storage)
    body = RANDOM.randbytes(size)
    path.write_bytes(body)
    checksum = encode(crc64nvme(body))
    etag = await put_file(
        storage.s3, storage.incoming.bucket, key, path, size=size, checksum=checksum, content_type="video/mp4"
    )
    found = await storage.s3.head(storage.incoming.bucket, key)
    assert found is not None
    assert (found.size, found.etag, found.content_type) == (size, etag, "video/mp4")
    assert found.checksum == checksum
    assert b"".join([chunk async for chunk in storage.s3.get_range(storage.incoming.bucket, key)]) == body


@pytest.mark.parametrize("size", [1000, SINGLE_PUT_LIMIT + 1])
async def test_a_file_that_is_not_what_was_measured_is_not_stored(storage: Storage, tmp_path: Path, size: int) -> None:
    path, key, bucket = tmp_path / "rendition.mp4", a_key(storage), storage.incoming.bucket
    with path.open("wb") as file:
        file.truncate(size)
    wrong = encode(crc64nvme(b"another file"))
    for stated_size, checksum in ((size, wrong), (size + 1, wrong)):
        with pytest.raises(Conflict) as raised:
            await put_file(storage.s3, bucket, key, path, size=stated_size, checksum=checksum)
        assert raised.value.code == "file_changed"
    with pytest.raises(FileNotFoundError):
        await put_file(storage.s3, bucket, key, tmp_path / "none", size=1, checksum=wrong)
    assert await storage.s3.head(bucket, key) is None
    assert [upload async for upload in storage.s3.list_multipart_uploads(bucket, key)] == []


async def test_metadata_carries_any_text(storage: Storage) -> None:
    written = {"name": " Tôkyô 東京 100% \r\nx-evil: 1\0.mov ", "empty": "", "plain": "A-1_b.mov"}
    key = a_key(storage)
    await storage.s3.put_object(storage.incoming.bucket, key, b"x", size=1, metadata=written)
    found = await storage.s3.head(storage.incoming.bucket, key)
    assert found is not None
    assert {name: found.metadata.get(name, "") for name in written} == written


def test_metadata_is_plain_ascii_and_bounded() -> None:
    encoded = encode_metadata({"name": "é" * 5000, "plain": "a" * 5000, "odd": "\ud800 \n"})
    assert all(value.isascii() and value.isprintable() and " " not in value for value in encoded.values())
    assert all(len(value) <= MAX_VALUE for value in encoded.values())
    assert set(decode_metadata(encoded)["name"]) == {"é"}
    with pytest.raises(Invalid):
        encode_metadata({"Not: ours": "x"})


@pytest.mark.parametrize(
    ("name", "inline", "value"),
    [
        (None, True, "inline"),
        (None, False, "attachment"),
        ("a b.mov", True, "inline; filename=\"a b.mov\"; filename*=UTF-8''a%20b.mov"),
        (
            'é"\\%\r\n/.mov',
            False,
            "attachment; filename=\"_______.mov\"; filename*=UTF-8''%C3%A9%22%5C%25%0D%0A%2F.mov",
        ),
    ],
)
def test_a_file_name_cannot_break_out_of_its_header(name: str | None, *, inline: bool, value: str) -> None:
    assert disposition(name, inline=inline) == value


async def test_buckets_are_made_once(storage: Storage) -> None:
    assert await ensure_bucket(storage.s3, "test-made") is True
    assert await ensure_bucket(storage.s3, "test-made") is False


async def test_pages_of_allowed_origins_read_the_etag_and_others_do_not(storage: Storage) -> None:
    signer, bucket = await storage.signer(), "test-cors"
    await ensure_bucket(storage.s3, bucket)
    await allow_origins(storage.s3, [Place(bucket, "")], ["https://app.example"])
    await allow_origins(storage.s3, [Place(bucket, "")], ["https://app.example"], max_age=60)
    url = signer.presign("PUT", bucket, "key", at=datetime.now(UTC), seconds=60)
    asks = {
        "Access-Control-Request-Method": "PUT",
        "Access-Control-Request-Headers": "content-type,x-amz-checksum-crc64nvme",
    }
    preflight = plain.request("OPTIONS", url, headers=asks | {"Origin": "https://app.example"})
    assert preflight.status == 200
    assert preflight.headers["access-control-allow-origin"] == "https://app.example"
    assert preflight.headers["access-control-max-age"] == "60"
    assert "PUT" in preflight.headers["access-control-allow-methods"]
    answer = plain.put(url, b"x", {"Origin": "https://app.example"})
    exposed = answer.headers["access-control-expose-headers"].lower().replace(" ", "").split(",")
    assert {"etag", "x-amz-checksum-crc64nvme", "content-range"} <= set(exposed)
    refused = plain.request("OPTIONS", url, headers=asks | {"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in refused.headers
    for method in ("POST", "DELETE"):
        asks["Access-Control-Request-Method"] = method
        refused = plain.request("OPTIONS", url, headers=asks | {"Origin": "https://app.example"})
        assert method not in refused.headers.get("access-control-allow-methods", "")


async def test_rules_of_others_in_the_bucket_stay(storage: Storage) -> None:
    """Of another installation below another prefix, and of somebody whose ids happen to begin like ours."""
    bucket = "test-shared"
    await ensure_bucket(storage.s3, bucket)
    foreign = {"ID": "rushes-archive", "AllowedMethods": ["GET"], "AllowedOrigins": ["https://archive.example"]}
    request: dict[str, Any] = {"CORSConfiguration": {"CORSRules": [foreign]}}
    await storage.s3.client.put_bucket_cors(Bucket=bucket, **request)
    kept = {"ID": "rushes-archive", "Status": "Enabled", "Filter": {"Prefix": "old/"}, "Expiration": {"Days": 900}}
    request = {"LifecycleConfiguration": {"Rules": [kept]}}
    await storage.s3.client.put_bucket_lifecycle_configuration(Bucket=bucket, **request)
    for name in ("a/b", "a-b", "a/b"):
        places = [Place(bucket, f"{name}/in/"), Place(bucket, f"{name}/out/")]
        await allow_origins(storage.s3, places, [f"https://{name.replace('/', '.')}.example"])
        await abort_after(storage.s3, places, 91)
    ids = [rule["ID"] for rule in await cors_rules(storage.s3, bucket)]
    assert sorted(ids) == ["rushes-archive", "rushes-cors-a-b/in+a-b/out", "rushes-cors-a/b/in+a/b/out"]
    found = {rule["ID"]: rule["Filter"]["Prefix"] for rule in await lifecycle_rules(storage.s3, bucket)}
    ours = {f"rushes-abort-{name}/{end}": f"{name}/{end}/" for name in ("a/b", "a-b") for end in ("in", "out")}
    assert found == ours | {"rushes-archive": "old/"}
    long = [Place(bucket, "x" * 100 + "/" + "y" * 100 + "/" + end * 100 + "/") for end in "pq"]
    assert len(rule_id("abort", long[:1])) <= 255
    assert rule_id("abort", long[:1]) != rule_id("abort", long[1:])


async def test_what_clients_see_is_signed_for_the_public_endpoint(settings: Settings) -> None:
    public = settings.model_copy(update={"storage_public_endpoint": "https://media.example.com"})
    async with open_storage(public) as storage:
        signer = await storage.signer()
        assert signer.presign("GET", "b", "k", at=datetime.now(UTC), seconds=60).startswith(
            "https://media.example.com/b/k?"
        )
        assert storage.s3.endpoint.origin == settings.storage_endpoint
        assert await storage.signer() is signer
        assert (storage.incoming.bucket, storage.incoming.prefix) == ("test-work", "incoming/")
        assert storage.buckets == ["test-work", "test-originals"]


async def test_credentials_may_come_from_the_environment(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    assert settings.storage_access_key is not None
    assert settings.storage_secret_key is not None
    bare = settings.model_copy(update={"storage_access_key": None, "storage_secret_key": None})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", settings.storage_access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", settings.storage_secret_key.get_secret_value())
    async with open_storage(bare) as storage:
        assert await storage.s3.head("test-work", "nothing") is None
        assert (await storage.signer()).credentials.access_key == settings.storage_access_key


async def test_no_credentials_anywhere_is_said(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith("AWS_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", os.devnull)
    monkeypatch.setenv("AWS_CONFIG_FILE", os.devnull)
    bare = settings.model_copy(update={"storage_access_key": None, "storage_secret_key": None})
    async with open_storage(bare) as storage:
        for call in (storage.signer, lambda: storage.s3.head("test-work", "nothing")):
            with pytest.raises(Misconfigured) as raised:
                await call()
            assert raised.value.code == "storage_credentials_missing"
    with pytest.raises(Misconfigured):
        async with open_storage(settings.model_copy(update={"storage_secret_key": None})):
            pytest.fail("half an access key was taken")


def test_a_client_outside_of_its_block_says_so(storage: Storage) -> None:
    with pytest.raises(RuntimeError):
        _ = S3(storage.public).client


def a_key(storage: Storage) -> str:
    return f"{storage.incoming.prefix}{uuid4()}"


async def put(storage: Storage, key: str, body: bytes) -> str:
    return await storage.s3.put_object(
        storage.incoming.bucket, key, body, size=len(body), checksum=encode(crc64nvme(body))
    )
