"""Presigned UploadPart URLs a second on one core, ours beside botocore's and @uppy/companion's, in one run.

    python bench/signer.py

Each number is the median of several rounds, and each ratio that of the rounds' own ratios, so that one noisy second, or a
machine that slows down, does not decide. What was loaded is frozen out of garbage collection first, as in an API process
that serves. botocore signs the same parts
with the same headers, through its client as programs use it and through its bare signer; its URLs are compared with
ours before anything is timed. Companion signs as its batch route does, by the AWS SDK and without its HTTP server; its
URLs bind neither length nor checksum, so it has less to sign. Without node and npm its row is left out.
"""

from __future__ import annotations

import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

os.environ["BOTO_DISABLE_CRT"] = "true"  # with awscrt botocore orders parameters differently
sys.path.insert(0, str(Path(__file__).parents[1]))  # when run by its path

import botocore.auth
import botocore.session
from botocore.awsrequest import AWSRequest
from botocore.config import Config
from botocore.credentials import ReadOnlyCredentials

from bench import node
from rushes.storage import Credentials, Endpoint, Signer

ENDPOINT, REGION = "https://s3.example.com", "us-east-1"
BUCKET, KEY, UPLOAD = "rushes-originals", "acme/u-17/0190f3a4-7c1e-7abc-8def-0123456789ab/original", "c4f1e6" * 8
CHECKSUM, LENGTH, SECONDS = "rosUhgp5mIg=", 16 * 1024**2, 1200
BATCH, ROUNDS = 1000, 25
OURS, REFERENCE = f"ours, batches of {BATCH:,}", "botocore, its client"
MAX_PARTS = 9_999  # of one upload
WARM = 5  # rounds of 1,000 until node has compiled what it runs
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
    """A signer is made anew for every batch, and the batch is given away, as by every grant request."""
    urls: list[str] = []
    for done in range(0, count, BATCH):
        parts = signer.parts(BUCKET, KEY, UPLOAD, algorithm="crc64nvme", at=AT, seconds=SECONDS)
        urls = parts.urls(WANTED[: count - done])
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


@contextmanager
def companion() -> Iterator[Callable[[int], float]]:
    """A function that has Companion's SDK sign so many URLs in a process of its own, and returns the CPU-seconds it took."""
    argv = [*node.companion("signer.mjs"), ENDPOINT, REGION, BUCKET, KEY, UPLOAD, str(SECONDS)]
    env = os.environ | {"NODE_NO_WARNINGS": "1"}
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env) as process:
        assert process.stdin is not None
        assert process.stdout is not None, "pipes"
        asked, answers = process.stdin, process.stdout

        def sign(count: int) -> float:
            asked.write(f"{count}\n")
            asked.flush()
            told = json.loads(answers.readline())
            assert f"partNumber={count}&" in told["url"], told["url"]
            return float(told["seconds"])

        for _ in range(WARM):
            sign(1_000)
        yield sign
        asked.close()


def timed(sign: Callable[[int], list[str]]) -> Callable[[int], float]:
    def seconds(count: int) -> float:
        start = time.process_time()
        sign(count)
        return time.process_time() - start

    return seconds


def measure(others: dict[str, tuple[Callable[[int], float], int]]) -> dict[str, tuple[float, float]]:
    """(URLs a CPU-second, times botocore's client) by name, medians. The rounds take turns."""
    contenders: dict[str, tuple[Callable[[int], float], int]] = {
        OURS: (timed(ours_in_batches), 10_000),
        "ours, one by one": (timed(ours_one_by_one), 2_000),
        "botocore's signer": (timed(botocore_signer), 1_000),
        REFERENCE: (timed(botocore_client), 400),
    } | others
    rounds = [{name: count / sign(count) for name, (sign, count) in contenders.items()} for _ in range(ROUNDS)]
    return {
        name: (
            statistics.median(rates[name] for rates in rounds),
            statistics.median(rates[name] / rates[REFERENCE] for rates in rounds),
        )
        for name in contenders
    }


def main() -> None:
    botocore.auth.get_current_datetime = lambda remove_tzinfo=True: AT.replace(tzinfo=None)
    if not ours_in_batches(20) == ours_one_by_one(20) == botocore_client(20) == botocore_signer(20):
        raise SystemExit("the URLs differ: nothing to compare")
    gc.collect()
    gc.freeze()
    if node.available():
        with companion() as sign:
            measured = measure({"Companion, AWS SDK": (sign, 1_000)})
    else:
        print(node.ABSENT)
        measured = measure({})
    for name, (rate, times) in measured.items():
        print(f"{name:<24}{rate:>12,.0f} URLs/s{times:>8.1f} x")
    whole = statistics.median(timed(ours_in_batches)(MAX_PARTS) for _ in range(ROUNDS))
    print(f"{MAX_PARTS:,} grants in batches of {BATCH:,}: {whole * 1000:.1f} ms of CPU")


if __name__ == "__main__":
    main()
