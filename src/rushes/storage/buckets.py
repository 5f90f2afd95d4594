"""Buckets: made when missing, and opened to browsers by a CORS rule of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rushes.errors import Conflict, NotFound
from rushes.storage.faults import translated
from rushes.storage.keys import Place
from rushes.storage.policies import cors_rules, rule_id, without
from rushes.storage.s3 import S3

CORS_SECONDS: Final = 3600  # how long a browser may remember a preflight
# What a script must be able to read of an answer: the receipt of a part, and where a range lies.
EXPOSED: Final = (
    "ETag",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-sha256",
    "Content-Range",
    "Content-Length",
    "Accept-Ranges",
)


async def ensure_bucket(s3: S3, bucket: str) -> bool:
    """Make the bucket unless it is there; True when it was made now. Safe to run many times at once.

    Raises:
        Misconfigured: the name belongs to somebody else, or the key may not make buckets.
    """
    try:
        with translated("head_bucket"):
            await s3.client.head_bucket(Bucket=bucket)
    except NotFound:
        return await _create(s3, bucket)
    return False


async def allow_origins(
    s3: S3, places: Sequence[Place], origins: Sequence[str], *, max_age: int = CORS_SECONDS
) -> None:
    """Let pages from these origins ("https://app.example.com", "*") read the bucket and PUT parts by presigned URLs.

    `places` are ours in the one bucket. Replaces our own rule for them; those of others stay behind it. `max_age` is in seconds.

    Raises:
        Misconfigured: storage_unsupported, from stores that keep CORS in their own configuration.
    """
    bucket = places[0].bucket
    rule = {
        "ID": rule_id("cors", places),
        "AllowedMethods": ["GET", "HEAD", "PUT"],
        "AllowedOrigins": list(origins),
        "AllowedHeaders": ["*"],
        "ExposeHeaders": list(EXPOSED),
        "MaxAgeSeconds": max_age,
    }
    others = without(await cors_rules(s3, bucket), {str(rule["ID"])})
    request: dict[str, Any] = {"CORSConfiguration": {"CORSRules": [rule, *others]}}
    with translated("put_bucket_cors"):
        await s3.client.put_bucket_cors(Bucket=bucket, **request)


async def _create(s3: S3, bucket: str) -> bool:
    request: dict[str, Any] = {}
    # AWS alone wants the region named, and its oldest region must not be; other stores may refuse a constraint.
    if ".amazonaws.com" in s3.endpoint.netloc and s3.endpoint.region != "us-east-1":
        request["CreateBucketConfiguration"] = {"LocationConstraint": s3.endpoint.region}
    try:
        with translated("create_bucket"):
            await s3.client.create_bucket(Bucket=bucket, **request)
    except Conflict:
        return False  # somebody with the same key was faster
    return True
