"""The signer against botocore's, and its own limits."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as tries
from hypothesis import strategies as st

from rushes.errors import Invalid, Misconfigured, Unavailable
from rushes.storage import Credentials, Endpoint, Signer
from rushes.storage.endpoint import Addressing
from rushes.storage.signer import checksum_header

AT = datetime(2026, 3, 4, 5, 6, 7, 890_000, tzinfo=UTC)
CHECKSUMS = {
    "crc64nvme": "rosUhgp5mIg=",
    "crc32c": "4waSgw==",
    "sha256": "FeKw09EjVSL0dZvIBfoi5grEVTJ5OoaSsLdb3yxXpeo=",
    "md5": "JfnnlDI7RTiF9RgfGNKOew==",
}
CLIENT_NAMES = {
    "crc64nvme": "ChecksumCRC64NVME",
    "crc32c": "ChecksumCRC32C",
    "sha256": "ChecksumSHA256",
    "md5": "ContentMD5",
}


class Oracle:
    """botocore in a process of its own; see oracle.py."""

    def __init__(self) -> None:
        script = Path(__file__).with_name("oracle.py")
        self._process = subprocess.Popen(
            [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, encoding="utf-8"
        )

    def url(self, **case: Any) -> str:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().rstrip("\n")

    def close(self) -> None:
        with self._process:
            assert self._process.stdin is not None
            self._process.stdin.close()


@pytest.fixture(scope="module")
def oracle() -> Iterator[Oracle]:
    running = Oracle()
    yield running
    running.close()


text = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)
ascii_text = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=40)
keys = st.one_of(
    text.filter(bool),
    st.lists(
        st.sampled_from(["a", "b c", "+", "~", ".", "..", "", "é", "日本", "%41", "x=y&z", "?", "#", "*"]), min_size=1
    )
    .map("/".join)
    .filter(bool),
)
buckets = st.sampled_from(["bucket", "b-1", "dotted.bucket.name", "Upper_Case"])
credentials = st.builds(
    Credentials,
    access_key=st.text("ABCDEFGHIJKLMNOPQRSTUVWXYZ234567", min_size=3, max_size=128),
    secret_key=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1, max_size=100),
    session_token=st.none() | ascii_text.filter(bool),
)
hosts = st.sampled_from(
    ["s3.example.com", "s3.example.com:9000", "LOCALHOST:8333", "s3.eu-west-1.amazonaws.com", "store.example.com/s3/v1"]
)
endpoints = st.builds(
    lambda scheme, host, region, addressing: Endpoint.parse(f"{scheme}://{host}", region=region, addressing=addressing),
    st.sampled_from(["http", "https"]),
    hosts,
    st.sampled_from(["us-east-1", "eu-west-1", "auto"]),
    st.sampled_from(["path", "virtual"]),
)
moments = st.datetimes(datetime(2020, 1, 1), datetime(2090, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001
lifetimes = st.integers(1, 7 * 24 * 3600)
headers = st.dictionaries(
    st.sampled_from(
        ["Content-Length", "content-md5", "x-amz-checksum-crc64nvme", "X-Amz-Meta-Name", "range", "If-Match"]
    ),
    ascii_text,
)
queries = st.dictionaries(
    st.sampled_from(["partNumber", "uploadId", "versionId", "response-content-type", "x", "é y"]), text
)


def case_of(signer: Signer, at: datetime, seconds: int) -> dict[str, Any]:
    keys_, endpoint = signer.credentials, signer.endpoint
    return {
        "access_key": keys_.access_key,
        "secret_key": keys_.secret_key,
        "session_token": keys_.session_token,
        "region": endpoint.region,
        "addressing": endpoint.addressing,
        "endpoint": f"{endpoint.origin}{endpoint.path}",
        "at": at.isoformat(),
        "seconds": seconds,
    }


@tries(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    endpoint=endpoints,
    keys_=credentials,
    key=keys,
    bucket=buckets,
    query=queries,
    bound=headers,
    at=moments,
    seconds=lifetimes,
)
def test_any_request_is_signed_as_botocore_signs_it(
    oracle: Oracle,
    endpoint: Endpoint,
    keys_: Credentials,
    key: str,
    bucket: str,
    query: dict[str, str],
    bound: dict[str, str],
    at: datetime,
    seconds: int,
) -> None:
    signer = Signer(endpoint, keys_)
    ours = signer.presign("PUT", bucket, key, at=at, seconds=seconds, query=query, headers=bound)
    # botocore takes the query from the URL, so it gets ours without the authentication.
    own = ours.partition("X-Amz-Algorithm=")[0].rstrip("?&")
    theirs = oracle.url(**case_of(signer, at, seconds), method="PUT", url=own, headers=bound)
    assert ours == theirs


@tries(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    endpoint=endpoints,
    keys_=credentials,
    key=keys,
    bucket=buckets,
    upload=text.filter(bool),
    number=st.integers(1, 10_000),
    length=st.integers(0, 5 * 1024**3),
    algorithm=st.sampled_from(list(CHECKSUMS)),
    at=moments,
    seconds=lifetimes,
)
def test_parts_are_signed_as_a_whole_botocore_client_signs_them(
    oracle: Oracle,
    endpoint: Endpoint,
    keys_: Credentials,
    key: str,
    bucket: str,
    upload: str,
    number: int,
    length: int,
    algorithm: str,
    at: datetime,
    seconds: int,
) -> None:
    signer = Signer(endpoint, keys_)
    parts = signer.parts(bucket, key, upload, algorithm=algorithm, at=at, seconds=seconds)
    url, send = parts.sign(number, length, CHECKSUMS[algorithm])
    params = {"Bucket": bucket, "Key": key, "PartNumber": number, "UploadId": upload, "ContentLength": length}
    params[CLIENT_NAMES[algorithm]] = CHECKSUMS[algorithm]
    assert url == oracle.url(**case_of(signer, at, seconds), operation="upload_part", params=params)
    assert send == {checksum_header(algorithm): CHECKSUMS[algorithm]}


def test_reading_is_signed_as_a_whole_botocore_client_signs_it(oracle: Oracle) -> None:
    signer = a_signer()
    params = {
        "Bucket": "bucket",
        "Key": "a b/é+.mov",
        "ResponseContentDisposition": "inline; filename=\"a\"; filename*=UTF-8''%C3%A9",
        "ResponseContentType": "video/mp4",
    }
    query = {
        "response-content-disposition": params["ResponseContentDisposition"],
        "response-content-type": "video/mp4",
    }
    ours = signer.presign("GET", "bucket", "a b/é+.mov", at=AT, seconds=60, query=query)
    assert ours == oracle.url(**case_of(signer, AT, 60), operation="get_object", params=params)


def test_aws_itself_is_addressed_as_botocore_does(oracle: Oracle) -> None:
    for addressing in ("path", "virtual"):
        signer = a_signer(url=None, region="eu-west-1", addressing=addressing)
        case = case_of(signer, AT, 60) | {"endpoint": None}
        ours = signer.presign("GET", "bucket", "key", at=AT, seconds=60)
        assert ours == oracle.url(**case, operation="get_object", params={"Bucket": "bucket", "Key": "key"})


def test_aws_is_accelerated_as_botocore_does_it(oracle: Oracle) -> None:
    internal = Endpoint.parse(None, region="eu-west-1", addressing="path")
    signer = Signer(Endpoint.accelerated(internal, ["bucket-1"]), a_signer().credentials)
    ours = signer.presign("GET", "bucket-1", "a/key", at=AT, seconds=60)
    assert urlsplit(ours).netloc == "bucket-1.s3-accelerate.amazonaws.com"
    case = case_of(signer, AT, 60) | {"endpoint": None, "accelerate": True}
    assert ours == oracle.url(**case, operation="get_object", params={"Bucket": "bucket-1", "Key": "a/key"})


@pytest.mark.parametrize(
    ("endpoint", "bucket"),
    [("https://s3.example.com", "bucket"), (None, "bucket.with.dots"), (None, "Upper"), (None, "under_score")],
)
def test_only_aws_and_plain_buckets_are_accelerated(endpoint: str | None, bucket: str) -> None:
    internal = Endpoint.parse(endpoint, region="eu-west-1", addressing="path")
    with pytest.raises(Misconfigured) as raised:
        Endpoint.accelerated(internal, ["fine", bucket])
    assert raised.value.code == "storage_accelerate_invalid"


@pytest.mark.parametrize("algorithm", CHECKSUMS)
def test_the_fast_path_signs_what_the_general_one_signs(algorithm: str) -> None:
    signer = a_signer()
    parts = signer.parts("bucket", "t/c/a/original", "up/load=", algorithm=algorithm, at=AT, seconds=900)
    wanted = [(number, 5 * 1024**2 + number, CHECKSUMS[algorithm]) for number in (1, 2, 999, 10_000)]
    for url, (number, length, checksum) in zip(parts.urls(wanted), wanted, strict=True):
        query = {"partNumber": str(number), "uploadId": "up/load="}
        bound = {parts.header: checksum, "content-length": str(length)}
        assert url == signer.presign("PUT", "bucket", "t/c/a/original", at=AT, seconds=900, query=query, headers=bound)


@pytest.mark.parametrize("algorithm", CHECKSUMS)
@pytest.mark.parametrize("addressing", ["path", "virtual"])
def test_staged_parts_are_objects_signed_as_the_general_path_signs_them(algorithm: str, addressing: Addressing) -> None:
    signer, prefix = a_signer(addressing=addressing), "in coming/ü~/parts/"
    parts = signer.staged("bucket", prefix, algorithm=algorithm, at=AT, seconds=900)
    wanted = [(number, 5 * 1024**2 + number, CHECKSUMS[algorithm]) for number in (1, 2, 999, 10_000)]
    for url, (number, length, checksum) in zip(parts.urls(wanted), wanted, strict=True):
        bound = {parts.header: checksum, "content-length": str(length)}
        assert url == signer.presign("PUT", "bucket", f"{prefix}{number}", at=AT, seconds=900, headers=bound)
    with pytest.raises(Invalid):
        signer.staged("bucket", "", algorithm=algorithm, at=AT, seconds=900)


@pytest.mark.parametrize("algorithm", CHECKSUMS)
def test_length_host_and_checksum_are_signed_headers_and_nothing_is_hoisted(algorithm: str) -> None:
    parts = a_signer().parts("bucket", "key", "upload", algorithm=algorithm, at=AT, seconds=900)
    query = parse_qs(urlsplit(parts.sign(1, 7, CHECKSUMS[algorithm])[0]).query)
    assert query["X-Amz-SignedHeaders"] == [";".join(sorted(["content-length", "host", checksum_header(algorithm)]))]
    assert not {name for name in query if "checksum" in name.lower() or "content" in name.lower()}


def test_the_signing_key_follows_the_date_across_midnight() -> None:
    signer = a_signer()
    evening, morning = datetime(2026, 5, 1, 23, 59, 59, tzinfo=UTC), datetime(2026, 5, 2, tzinfo=UTC)
    for at in (evening, morning, evening, morning):
        kept = signer.presign("GET", "bucket", "key", at=at, seconds=60)
        assert kept == a_signer().presign("GET", "bucket", "key", at=at, seconds=60)


def test_times_of_other_zones_name_the_same_moment() -> None:
    there = AT.astimezone(datetime.strptime("+0900", "%z").tzinfo)
    signer = a_signer()
    assert signer.presign("GET", "b", "k", at=there, seconds=60) == signer.presign("GET", "b", "k", at=AT, seconds=60)


def test_no_url_outlives_its_credentials() -> None:
    ends = AT + timedelta(seconds=100)
    signer = a_signer(expires_at=ends)
    parts = signer.parts("bucket", "key", "upload", algorithm="md5", at=AT, seconds=900)
    assert AT < parts.expires_at <= ends
    assert parts.expires_at == signer.expires_at(AT, 900)
    assert "X-Amz-Expires=100&" in parts.sign(1, 1, CHECKSUMS["md5"])[0]
    assert signer.expires_at(AT, 30) == AT.replace(microsecond=0) + timedelta(seconds=30)
    with pytest.raises(Unavailable) as raised:
        signer.presign("GET", "bucket", "key", at=ends, seconds=900)
    assert raised.value.code == "storage_credentials_expired"


def test_lifetimes_stay_within_what_sigv4_allows() -> None:
    signer = a_signer()
    assert "X-Amz-Expires=604800&" in signer.presign("GET", "bucket", "key", at=AT, seconds=10**7)
    with pytest.raises(Invalid):
        signer.presign("GET", "bucket", "key", at=AT, seconds=0.9)


@pytest.mark.parametrize(
    ("algorithm", "checksum"),
    [
        ("crc64nvme", ""),
        ("crc64nvme", "rosUhgp5mIg"),
        ("crc64nvme", "rosUhgp5mIg=\n"),
        ("crc64nvme", "rosUhgp5mI\n="),
        ("crc64nvme", "rosUhgp5mIh="),  # bits that no encoder sets
        ("crc64nvme", "ros-hgp5_Ig="),  # the URL-safe alphabet
        ("crc64nvme", CHECKSUMS["md5"]),
        ("crc32c", CHECKSUMS["crc64nvme"]),
        ("sha256", CHECKSUMS["md5"]),
        ("md5", "rosUhgp5mIg=\nx-evil:1"),
    ],
)
def test_text_that_is_no_checksum_is_never_signed(algorithm: str, checksum: str) -> None:
    parts = a_signer().parts("bucket", "key", "upload", algorithm=algorithm, at=AT, seconds=900)
    with pytest.raises(Invalid) as raised:
        parts.urls([(1, 1, CHECKSUMS[algorithm]), (2, 1, checksum)])
    assert raised.value.code == "checksum_invalid"


@pytest.mark.parametrize(
    ("number", "length", "code"),
    [
        (0, 1, "part_number_invalid"),
        (10_001, 1, "part_number_invalid"),
        (1, -1, "part_length_invalid"),
        (1, 5 * 1024**3 + 1, "part_length_invalid"),
    ],
)
def test_parts_that_no_store_takes_are_refused(number: int, length: int, code: str) -> None:
    parts = a_signer().parts("bucket", "key", "upload", algorithm="crc64nvme", at=AT, seconds=900)
    with pytest.raises(Invalid) as raised:
        parts.sign(number, length, CHECKSUMS["crc64nvme"])
    assert raised.value.code == code


def test_an_unknown_algorithm_is_refused() -> None:
    with pytest.raises(Invalid) as raised:
        a_signer().parts("bucket", "key", "upload", algorithm="sha1", at=AT, seconds=900)
    assert raised.value.code == "checksum_algorithm_unknown"


@pytest.mark.parametrize(
    "bound", [{"Host": "evil"}, {"a b": "c"}, {"a": "b\r\nc: d"}, {"a": "é"}, {"A": "1", "a": "2"}, {"": "x"}]
)
def test_headers_that_cannot_be_sent_are_refused(bound: dict[str, str]) -> None:
    with pytest.raises(Invalid) as raised:
        a_signer().presign("PUT", "bucket", "key", at=AT, seconds=60, headers=bound)
    assert raised.value.code == "header_invalid"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "s3.example.com",
        "ftp://s3.example.com",
        "http://",
        "http://u:p@h",
        "http://h?a=b",
        "http://h#f",
        "http://h:99999",
    ],
)
def test_an_endpoint_that_is_no_address_is_refused(url: str) -> None:
    with pytest.raises(Misconfigured):
        Endpoint.parse(url, region="us-east-1", addressing="path")


@pytest.mark.parametrize(
    ("url", "addressing", "bucket", "host", "start"),
    [
        ("http://s3.example.com:80", "path", "b-1", "s3.example.com", "http://s3.example.com:80/b-1/key"),
        ("https://s3.example.com:443", "virtual", "b-1", "b-1.s3.example.com", "https://b-1.s3.example.com:443/key"),
        ("https://s3.example.com:80/", "path", "b-1", "s3.example.com:80", "https://s3.example.com:80/b-1/key"),
        ("https://s3.example.com", "virtual", "dot.ted", "s3.example.com", "https://s3.example.com/dot.ted/key"),
        ("http://s3.example.com", "virtual", "dot.ted", "dot.ted.s3.example.com", "http://dot.ted.s3.example.com/key"),
        ("http://127.0.0.1:8333", "virtual", "b-1", "127.0.0.1:8333", "http://127.0.0.1:8333/b-1/key"),
        ("http://[::1]:8333", "virtual", "b-1", "[::1]:8333", "http://[::1]:8333/b-1/key"),
        (
            None,
            "virtual",
            "b-1",
            "b-1.s3.cn-north-1.amazonaws.com.cn",
            "https://b-1.s3.cn-north-1.amazonaws.com.cn/key",
        ),
    ],
)
def test_hosts_and_paths(url: str | None, addressing: Addressing, bucket: str, host: str, start: str) -> None:
    region = "us-east-1" if url else "cn-north-1"
    found, base, path = Endpoint.parse(url, region=region, addressing=addressing).locate(bucket, "key")
    assert (found, base) == (host, start)
    assert base.endswith(path)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8333", True),
        ("http://[::1]:8333", True),
        ("http://localhost", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example.com", False),
    ],
)
def test_loopback_is_told_from_the_network(url: str, *, expected: bool) -> None:
    assert Endpoint.parse(url, region="us-east-1", addressing="path").is_loopback is expected


def test_secrets_do_not_show() -> None:
    shown = repr(Credentials("AKID", "hidden-key", "hidden-token"))
    assert "AKID" in shown
    assert "hidden" not in shown


def a_signer(
    *,
    url: str | None = "http://127.0.0.1:8333",
    region: str = "us-east-1",
    addressing: Addressing = "path",
    expires_at: datetime | None = None,
) -> Signer:
    return Signer(
        Endpoint.parse(url, region=region, addressing=addressing), Credentials("AKID", "SECRET", None, expires_at)
    )
