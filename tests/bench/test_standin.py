"""The stand-in store takes what is right and refuses what is wrong; botocore signs and parses, as the oracle."""

from __future__ import annotations

import base64
import hashlib
import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from awscrt import checksums
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from bench import crc64
from bench.httpd import Wire, target_of
from bench.standin import ACCESS_KEY, SECRET_KEY
from rushes.config import Settings
from rushes.storage import allow_origins, ensure_bucket, open_storage, probe
from tests.bench.conftest import client_of

MIB = 1024**2
PART = random.Random(7).randbytes(5 * MIB)
LAST = b"and the rest"


def crc(data: bytes) -> str:
    return base64.b64encode(checksums.crc64nvme(data).to_bytes(8, "big")).decode()


def begun(s3: Any, key: str) -> str:
    made = s3.create_multipart_upload(
        Bucket="films", Key=key, ChecksumAlgorithm="CRC64NVME", ChecksumType="FULL_OBJECT", Metadata={"reel": "7"}
    )
    return str(made["UploadId"])


def put(s3: Any, key: str, upload: str, number: int, body: bytes, **fields: Any) -> dict[str, Any]:
    answer = s3.upload_part(Bucket="films", Key=key, UploadId=upload, PartNumber=number, Body=body, **fields)
    return {"PartNumber": number, "ETag": answer["ETag"]}


def complete(s3: Any, key: str, upload: str, parts: list[dict[str, Any]], **fields: Any) -> Any:
    return s3.complete_multipart_upload(
        Bucket="films", Key=key, UploadId=upload, MultipartUpload={"Parts": parts}, **fields
    )


def refused(call: Callable[[], object], code: str) -> None:
    with pytest.raises(ClientError) as raised:
        call()
    assert raised.value.response["Error"]["Code"] == code


@given(st.binary(max_size=200), st.binary(max_size=200), st.binary(min_size=1, max_size=9), st.integers(0, 3_000))
def test_the_crc_is_the_one_that_awscrt_computes(a: bytes, b: bytes, block: bytes, size: int) -> None:
    assert crc64.crc64(a) == checksums.crc64nvme(a)
    assert crc64.combine(crc64.crc64(a), crc64.crc64(b), len(b)) == checksums.crc64nvme(a + b)
    assert crc64.repeated(block, size) == checksums.crc64nvme((block * (size + 1))[:size])


def test_the_crc_is_the_published_one() -> None:
    assert crc64.crc64(b"123456789") == 0xAE8B14860A799888


def test_an_upload_as_botocore_does_it(s3: Any) -> None:
    upload = begun(s3, "a b/ü+.mov")
    parts = [put(s3, "a b/ü+.mov", upload, n, body) for n, body in ((1, PART), (2, LAST))]
    listed = s3.list_parts(Bucket="films", Key="a b/ü+.mov", UploadId=upload)["Parts"]
    assert [(part["PartNumber"], part["Size"], part["ETag"]) for part in listed] == [
        (1, len(PART), parts[0]["ETag"]),
        (2, len(LAST), parts[1]["ETag"]),
    ]
    whole = crc(PART + LAST)
    fields = {"ChecksumCRC64NVME": whole, "ChecksumType": "FULL_OBJECT", "MpuObjectSize": len(PART + LAST)}
    for _ in range(2):  # a repeated Complete answers the same
        assert complete(s3, "a b/ü+.mov", upload, parts, **fields)["ChecksumCRC64NVME"] == whole
    head = s3.head_object(Bucket="films", Key="a b/ü+.mov", ChecksumMode="ENABLED")
    assert (head["ContentLength"], head["ChecksumCRC64NVME"], head["Metadata"]) == (
        len(PART + LAST),
        whole,
        {"reel": "7"},
    )
    etags = b"".join(bytes.fromhex(part["ETag"].strip('"')) for part in parts)
    assert head["ETag"] == f'"{hashlib.md5(etags, usedforsecurity=False).hexdigest()}-2"'
    refused(lambda: s3.get_object(Bucket="films", Key="a b/ü+.mov"), "NotImplemented")
    s3.delete_objects(Bucket="films", Delete={"Objects": [{"Key": "a b/ü+.mov"}]})
    refused(lambda: s3.head_object(Bucket="films", Key="a b/ü+.mov"), "404")


def test_complete_refuses_what_does_not_add_up(s3: Any) -> None:
    upload = begun(s3, "odd")
    one, two, four = (put(s3, "odd", upload, n, body) for n, body in ((1, PART), (2, PART), (4, LAST)))
    refused(lambda: complete(s3, "odd", upload, [two, one]), "InvalidPartOrder")
    refused(lambda: complete(s3, "odd", upload, [one, two, four]), "InvalidPartOrder")
    refused(lambda: complete(s3, "odd", upload, [one | {"ETag": four["ETag"]}, two]), "InvalidPart")
    refused(lambda: complete(s3, "odd", upload, [one, two], ChecksumCRC64NVME=crc(PART)), "BadDigest")
    refused(lambda: complete(s3, "odd", upload, [one, two], MpuObjectSize=len(PART)), "InvalidRequest")
    short = put(s3, "odd", upload, 1, LAST)
    refused(lambda: complete(s3, "odd", upload, [one, two]), "InvalidPart")  # part 1 was replaced
    refused(lambda: complete(s3, "odd", upload, [short, two]), "EntityTooSmall")
    s3.abort_multipart_upload(Bucket="films", Key="odd", UploadId=upload)
    refused(lambda: complete(s3, "odd", upload, [one, two]), "NoSuchUpload")


@pytest.mark.parametrize("field", ["ChecksumCRC64NVME", "ChecksumCRC32C", "ContentMD5"])
def test_a_part_that_is_not_what_its_checksum_says(s3: Any, field: str) -> None:
    wrong = {
        "ChecksumCRC64NVME": crc(PART),
        "ChecksumCRC32C": base64.b64encode(checksums.crc32c(PART).to_bytes(4, "big")).decode(),
        "ContentMD5": base64.b64encode(hashlib.md5(PART, usedforsecurity=False).digest()).decode(),
    }[field]
    upload = begun(s3, field)
    refused(lambda: put(s3, field, upload, 1, LAST, **{field: wrong}), "BadDigest")
    assert "Parts" not in s3.list_parts(Bucket="films", Key=field, UploadId=upload)


def test_another_secret_and_an_unknown_bucket(s3: Any, endpoint: str) -> None:
    refused(lambda: begun(client_of(endpoint, "another secret"), "x"), "SignatureDoesNotMatch")
    refused(lambda: s3.create_multipart_upload(Bucket="nowhere", Key="x"), "NoSuchBucket")
    assert httpx.get(f"{endpoint}/films/x", trust_env=False).status_code == 403


def presigned(s3: Any, upload: str, **fields: Any) -> str:
    params = {"Bucket": "films", "Key": "signed", "UploadId": upload, "PartNumber": 1}
    return str(s3.generate_presigned_url("upload_part", Params=params | fields, ExpiresIn=60))


def test_a_presigned_url_holds_whoever_uses_it(s3: Any) -> None:
    upload = begun(s3, "signed")
    url = presigned(s3, upload, ChecksumCRC64NVME=crc(LAST), ContentLength=len(LAST))
    headers = {"x-amz-checksum-crc64nvme": crc(LAST)}
    with httpx.Client(trust_env=False) as http:

        def answer(to: str = url, body: bytes = LAST, **more: str) -> int:
            sent = headers | {name.replace("_", "-"): value for name, value in more.items()}
            return http.put(to, content=body, headers=sent).status_code

        assert answer() == 200
        assert answer(url.replace("partNumber=1", "partNumber=2")) == 403
        assert answer(url.replace("/signed", "/other")) == 403
        assert answer(url.replace("X-Amz-Expires=60", "X-Amz-Expires=600")) == 403
        assert answer(body=LAST[:-1] + b"!") == 400
        assert answer(body=LAST + b"!") == 403  # another length than the signed one
        assert answer(x_amz_checksum_crc64nvme=crc(PART)) == 403
        assert answer(x_amz_acl="public-read") == 403
        assert http.put(url, content=LAST).status_code == 403
        assert http.get(url).status_code == 403


def test_a_url_that_has_expired(endpoint: str, s3: Any) -> None:
    from rushes.storage import Credentials, Endpoint, Signer  # ours signs as of any moment

    signer = Signer(
        Endpoint.parse(endpoint, region="us-east-1", addressing="path"), Credentials(ACCESS_KEY, SECRET_KEY)
    )
    upload, now = begun(s3, "late"), datetime.now(UTC)
    for age, status in ((timedelta(0), 200), (timedelta(seconds=61), 403), (timedelta(minutes=-20), 403)):
        parts = signer.parts("films", "late", upload, algorithm="crc64nvme", at=now - age, seconds=60)
        url, headers = parts.sign(1, len(LAST), crc(LAST))
        assert httpx.put(url, content=LAST, headers=headers, trust_env=False).status_code == status


async def test_a_described_body_is_held_to_its_checksum(s3: Any, endpoint: str) -> None:
    upload, size, block = begun(s3, "signed"), 5 * 1024**3, b"\x01\x02\x03\x04\x05\x06\x07\x08"
    right = base64.b64encode(crc64.repeated(block, size).to_bytes(8, "big")).decode()
    target = target_of(presigned(s3, upload, ChecksumCRC64NVME=right, ContentLength=size))
    headers = {"x-amz-checksum-crc64nvme": right}
    wire = Wire(endpoint)
    assert (await wire.request("PUT", target, headers, described=(size, block))).status == 200
    assert (await wire.request("PUT", target, headers, described=(size, block[::-1]))).status == 400
    assert (await wire.request("PUT", target, headers, described=(size - 1, block))).status == 403
    assert (await wire.request("GET", "/-/uploads")).status == 200  # the line is still in step
    await wire.close()
    listed = s3.list_parts(Bucket="films", Key="signed", UploadId=upload)["Parts"]
    assert [part["Size"] for part in listed] == [size]


async def test_it_is_a_store_that_our_probe_finds_nothing_wrong_with(endpoint: str) -> None:
    settings = Settings.model_validate(
        {"storage_endpoint": endpoint, "storage_access_key": ACCESS_KEY, "storage_secret_key": SECRET_KEY}
    )
    async with open_storage(settings) as storage:
        for bucket in storage.buckets:
            await ensure_bucket(storage.s3, bucket)
            await allow_origins(storage.s3, storage.places_in(bucket), ["*"])
        found = await probe(storage, at=datetime.now(UTC))
        assert found.part_algorithms == ("crc64nvme", "crc32c", "md5", "sha256")
        assert (found.enforces_length, found.enforces_signature, found.etag_of_md5) == (True, True, True)
        assert "crc64nvme" in found.full_object
        assert found.exposes_etag
        assert [each async for each in storage.s3.list_multipart_uploads(storage.incoming.bucket)] == []
    wire = Wire(endpoint)
    told = await wire.request("GET", "/-/uploads")
    await wire.close()
    assert told.json()["refusals"]["SignatureDoesNotMatch"] > 0
