"""Every way in which storage fails becomes one of our errors, with a code that programs may match."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from botocore.exceptions import ParamValidationError

from rushes.errors import Conflict, Misconfigured, Problem, Rejected, Unavailable
from rushes.storage import S3, Credentials, DonePart, Endpoint, Storage

from . import scripted
from .scripted import Script


@asynccontextmanager
async def client(endpoint: str, *, attempts: int = 1, read_timeout: float = 5) -> AsyncIterator[S3]:
    at = Endpoint.parse(endpoint, region="us-east-1", addressing="path")
    async with S3(at, Credentials("AKID", "SECRET"), attempts=attempts, read_timeout=read_timeout) as s3:
        yield s3


async def completing(script: Script, *, attempts: int = 1, read_timeout: float = 5) -> tuple[Problem | str, list[str]]:
    """(what a Complete ended with, the requests it took)."""
    async with (
        scripted.serving(script) as (endpoint, seen),
        client(endpoint, attempts=attempts, read_timeout=read_timeout) as s3,
    ):
        try:
            return await s3.complete_multipart("bucket", "key", "upload", [DonePart(1, "e")]), seen
        except Problem as problem:
            return problem, seen


async def test_a_receipt_that_storage_leaves_empty_is_looked_up() -> None:
    """As Ceph RGW 16 answers the first Complete."""

    def script(method: str, path: str) -> bytes:
        if method == "POST":
            return scripted.answer(
                "200 OK", "<CompleteMultipartUploadResult><ETag></ETag></CompleteMultipartUploadResult>"
            )
        return scripted.answer("200 OK", ETag='"abc-1"', Last_Modified="Mon, 02 Mar 2026 10:00:00 GMT")

    etag, seen = await completing(script)
    assert etag == "abc-1"
    assert [request.partition(" ")[0] for request in seen] == ["POST", "HEAD"]


@pytest.mark.parametrize(
    ("status", "code", "kind", "ours"),
    [
        ("404 Not Found", "NoSuchUpload", "NotFound", "storage_upload_unknown"),
        ("404 Not Found", "NoSuchBucket", "Misconfigured", "storage_bucket_unknown"),
        ("404 Not Found", "Whatever", "NotFound", "storage_object_unknown"),
        ("400 Bad Request", "BadDigest", "Rejected", "storage_checksum_mismatch"),
        ("400 Bad Request", "InvalidPart", "Rejected", "storage_part_unknown"),
        ("400 Bad Request", "EntityTooSmall", "Rejected", "storage_part_too_small"),
        ("400 Bad Request", "Whatever", "Invalid", "storage_request_refused"),
        ("400 Bad Request", "KMS.DisabledException", "Misconfigured", "storage_encryption_refused"),
        ("400 Bad Request", "XMinioAdminBucketQuotaExceeded", "Unavailable", "storage_full"),
        ("400 Bad Request", "ExpiredToken", "Misconfigured", "storage_credentials_refused"),
        ("403 Forbidden", "AccessDenied", "Misconfigured", "storage_access_denied"),
        ("403 Forbidden", "SignatureDoesNotMatch", "Misconfigured", "storage_credentials_refused"),
        ("403 Forbidden", "RequestTimeTooSkewed", "Misconfigured", "storage_clock_skewed"),
        ("409 Conflict", "OperationAborted", "Conflict", "storage_conflict"),
        ("412 Precondition Failed", "PreconditionFailed", "Conflict", "storage_precondition_failed"),
        ("500 Internal Server Error", "InternalError", "Unavailable", "storage_failed"),
        ("502 Bad Gateway", "Whatever", "Unavailable", "storage_failed"),
        ("503 Service Unavailable", "SlowDown", "Unavailable", "storage_busy"),
        ("507 Insufficient Storage", "Whatever", "Unavailable", "storage_full"),
        ("501 Not Implemented", "NotImplemented", "Misconfigured", "storage_unsupported"),
    ],
)
async def test_what_storage_answers_is_translated(status: str, code: str, kind: str, ours: str) -> None:
    problem, _ = await completing(lambda *_: scripted.error(status, code))
    assert isinstance(problem, Problem)
    assert (type(problem).__name__, problem.code) == (kind, ours)
    assert problem.details["storage_code"] == code
    assert problem.details["cause"] == "said by the script"


async def test_an_error_inside_of_a_200_is_an_error() -> None:
    problem, _ = await completing(lambda *_: scripted.error("200 OK", "InternalError"))
    assert isinstance(problem, Unavailable)
    problem, _ = await completing(lambda *_: scripted.error("200 OK", "BadDigest"))
    assert isinstance(problem, Rejected)


async def test_an_empty_or_garbled_200_is_no_success() -> None:
    for body in ("", " \n \n", "<Complete", "<html>proxy</html>"):
        problem, _ = await completing(lambda *_, body=body: scripted.answer("200 OK", body))
        assert isinstance(problem, Unavailable), body


async def test_a_store_that_is_busy_is_asked_again() -> None:
    done = "<CompleteMultipartUploadResult><ETag>&quot;abc&quot;</ETag></CompleteMultipartUploadResult>"
    answers = [scripted.error("503 Slow Down", "SlowDown"), scripted.error("200 OK", "InternalError")]
    script = iter([*answers, scripted.answer("200 OK", done)])
    etag, seen = await completing(lambda *_: next(script), attempts=4)
    assert etag == "abc"
    assert len(seen) == 3


async def test_a_store_that_does_not_answer_times_out() -> None:
    problem, _ = await completing(lambda *_: None, read_timeout=0.2)
    assert isinstance(problem, Unavailable)
    assert problem.code == "storage_timeout"
    assert not problem.permanent


async def test_a_connection_that_breaks_is_unavailable() -> None:
    problem, _ = await completing(lambda *_: b"")
    assert isinstance(problem, Unavailable)
    assert problem.code == "storage_unreachable"


async def test_a_body_that_breaks_off_is_unavailable() -> None:
    cut = scripted.answer("200 OK", "some", length=1000, ETag='"e"', Last_Modified="Sat, 21 Nov 2026 12:00:00 GMT")
    async with scripted.serving(lambda *_: cut) as (endpoint, _), client(endpoint) as s3:
        with pytest.raises(Unavailable):
            [chunk async for chunk in s3.get_range("bucket", "key")]


async def test_a_store_that_ignores_ranges_is_not_believed() -> None:
    whole = scripted.answer("200 OK", "x" * 1000, ETag='"e"', Last_Modified="Sat, 21 Nov 2026 12:00:00 GMT")
    async with scripted.serving(lambda *_: whole) as (endpoint, _), client(endpoint) as s3:
        with pytest.raises(Unavailable):
            [chunk async for chunk in s3.get_range("bucket", "key", start=5, length=10)]


async def test_parts_listed_in_circles_are_not_believed() -> None:
    page = (
        "<ListPartsResult><IsTruncated>true</IsTruncated><NextPartNumberMarker>1</NextPartNumberMarker>"
        "<Part><PartNumber>1</PartNumber><Size>1</Size><ETag>e</ETag></Part></ListPartsResult>"
    )
    async with scripted.serving(lambda *_: scripted.answer("200 OK", page)) as (endpoint, seen), client(endpoint) as s3:
        with pytest.raises(Unavailable):
            await s3.list_parts("bucket", "key", "upload")
    assert len(seen) == 2


async def test_objects_that_could_not_be_deleted_are_an_error() -> None:
    said = "<DeleteResult><Error><Key>a</Key><Code>AccessDenied</Code><Message>no</Message></Error></DeleteResult>"
    async with scripted.serving(lambda *_: scripted.answer("200 OK", said)) as (endpoint, _), client(endpoint) as s3:
        with pytest.raises(Unavailable) as raised:
            await s3.delete_objects("bucket", ["a"])
    assert raised.value.details == {"count": 1, "cause": "no"}


async def test_nobody_there_is_unavailable() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        async with client(f"http://127.0.0.1:{taken.getsockname()[1]}") as s3:
            with pytest.raises(Unavailable) as raised:
                await s3.head("bucket", "key")
    assert raised.value.code == "storage_unreachable"


async def test_tls_where_there_is_none_is_a_matter_of_configuration(storage: Storage) -> None:
    async with client(storage.s3.endpoint.origin.replace("http:", "https:")) as s3:
        with pytest.raises(Problem) as raised:
            await s3.head("bucket", "key")
    assert raised.value.code == "storage_tls_failed"


async def test_a_real_store_refuses_a_wrong_key_and_a_wrong_bucket(storage: Storage) -> None:
    async with client(storage.s3.endpoint.origin) as stranger:
        with pytest.raises(Misconfigured) as raised:
            await stranger.list_parts("test-originals", "key", "0" * 32)
    assert raised.value.code == "storage_credentials_refused"
    with pytest.raises(Misconfigured) as raised:
        await storage.s3.create_multipart("test-no-such-bucket", "key")
    assert raised.value.code == "storage_bucket_unknown"


async def test_what_cannot_be_sent_is_a_mistake_of_ours_and_no_refusal() -> None:
    async with scripted.serving(lambda *_: scripted.error("400 Bad Request", "X")) as (endpoint, seen):
        async with client(endpoint) as s3:
            with pytest.raises(ParamValidationError):
                await s3.complete_multipart("bucket", "", "upload", [DonePart(1, "e")])
        assert seen == []


def test_conflicts_are_permanent_and_outages_are_not() -> None:
    assert Conflict("a", "b").permanent
    assert not Unavailable("a", "b").permanent
