"""Presigned UploadPart URLs a second on one core, ours beside botocore's, in one run.

    python bench/signer.py

Each number is the median of several rounds, so that one noisy second does not decide. botocore signs the same parts
with the same headers, through its client as programs use it and through its bare signer; its URLs are compared with
ours before anything is timed.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from datetime import UTC, datetime

os.environ["BOTO_DISABLE_CRT"] = "true"  # with awscrt botocore orders parameters differently

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

from rushes.storage import Credentials, Endpoint, Signer

ENDPOINT, REGION = "https://s3.example.com", "us-east-1"
BUCKET, KEY, UPLOAD = "rushes-originals", "acme/u-17/0190f3a4-7c1e-7abc-8def-0123456789ab/original", "c4f1e6" * 8
CHECKSUM, LENGTH, SECONDS = "rosUhgp5mIg=", 16 * 1024**2, 1200
BATCH, ROUNDS = 1000, 25
WANTED = [(number, LENGTH, CHECKSUM) for number in range(1, BATCH + 1)]
AT = datetime.now(UTC).replace(microsecond=0)

signer = Signer(Endpoint.parse(ENDPOINT, region=REGION, addressing="path"), Credentials("AKIDEXAMPLE", "secret"))
client = botocore.session.Session().create_client(
    "s3",
    region_name=REGION,
    endpoint_url=ENDPOINT,
    aws_access_key_id="AKIDEXAMPLE",
    aws_secret_access_key="secret",
    config=Config(
        signature_version="s3v4", s3={"addressing_style": "path"}, request_checksum_calculation="when_required"
    ),
)


def ours_in_batches(count: int) -> list[str]:
    """A signer is made anew for every batch, as every grant request does."""
    urls: list[str] = []
    while len(urls) < count:
        parts = signer.parts(BUCKET, KEY, UPLOAD, algorithm="crc64nvme", at=AT, seconds=SECONDS)
        urls += [url for url, _ in parts.sign_all(WANTED[: count - len(urls)])]
    return urls


def ours_one_by_one(count: int) -> list[str]:
    bound = {"content-length": str(LENGTH), "x-amz-checksum-crc64nvme": CHECKSUM}
    return [
        signer.presign(
            "PUT",
            BUCKET,
            KEY,
            at=AT,
            seconds=SECONDS,
            query={"partNumber": str(number), "uploadId": UPLOAD},
            headers=bound,
        )
        for number in range(1, count + 1)
    ]


def botocore_client(count: int) -> list[str]:
    common = {"Bucket": BUCKET, "Key": KEY, "ContentLength": LENGTH, "ChecksumCRC64NVME": CHECKSUM}
    return [
        client.generate_presigned_url(
            "upload_part", Params=common | {"PartNumber": number, "UploadId": UPLOAD}, ExpiresIn=SECONDS
        )
        for number in range(1, count + 1)
    ]


def botocore_signer(count: int) -> list[str]:
    credentials = ReadOnlyCredentials("AKIDEXAMPLE", "secret", None)
    auth = botocore.auth.S3SigV4QueryAuth(credentials, "s3", REGION, expires=SECONDS)
    urls = []
    for number in range(1, count + 1):
        request = AWSRequest(
            method="PUT",
            url=f"{ENDPOINT}/{BUCKET}/{KEY}?partNumber={number}&uploadId={UPLOAD}",
            headers={"content-length": str(LENGTH), "x-amz-checksum-crc64nvme": CHECKSUM},
        )
        auth.add_auth(request)
        urls.append(request.url)
    return urls


def measure() -> list[tuple[str, float]]:
    """(name, URLs a CPU-second), medians. The rounds take turns, so that a busy machine slows all of them alike."""
    contenders: list[tuple[str, Callable[[int], list[str]], int]] = [
        (f"ours, batches of {BATCH:,}", ours_in_batches, 10_000),
        ("ours, one by one", ours_one_by_one, 2_000),
        ("botocore's signer", botocore_signer, 1_000),
        ("botocore, its client", botocore_client, 400),
    ]
    rates: dict[str, list[float]] = {name: [] for name, _, _ in contenders}
    for _ in range(ROUNDS):
        for name, sign, count in contenders:
            start = time.process_time()
            sign(count)
            rates[name].append(count / (time.process_time() - start))
    return [(name, statistics.median(rates[name])) for name, _, _ in contenders]


def main() -> None:
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: AT.replace(tzinfo=None)
    if not ours_in_batches(20) == ours_one_by_one(20) == botocore_client(20) == botocore_signer(20):
        raise SystemExit("the URLs differ: nothing to compare")
    measured = measure()
    reference = measured[-1][1]
    for name, rate in measured:
        print(f"{name:<24}{rate:>12,.0f} URLs/s{rate / reference:>8.1f} x")


if __name__ == "__main__":
    main()
