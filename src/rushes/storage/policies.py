"""What a bucket does by itself: which pages may use it (CORS), and what it deletes when (lifecycle).

Both are read as storage tells them and written so that rules of others stay: ours are told by their id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from rushes.errors import NotFound
from rushes.storage.faults import translated
from rushes.storage.keys import Place
from rushes.storage.s3 import S3

OURS: Final = "rushes"  # what the ids of our rules begin with

Rule = Mapping[str, Any]  # as botocore reads it


async def cors_rules(s3: S3, bucket: str) -> list[Rule]:
    """The bucket's CORS rules, none when it has none. Raises `Misconfigured` from stores that do not tell."""
    try:
        with translated("get_bucket_cors"):
            return list((await s3.client.get_bucket_cors(Bucket=bucket)).get("CORSRules", []))
    except NotFound:
        return []


async def lifecycle_rules(s3: S3, bucket: str) -> list[Rule]:
    """The bucket's lifecycle rules, none when it has none. Raises `Misconfigured` from stores that do not tell."""
    try:
        with translated("get_bucket_lifecycle"):
            answer = await s3.client.get_bucket_lifecycle_configuration(Bucket=bucket)
            return list(answer.get("Rules", []))
    except NotFound:
        return []


async def abort_after(s3: S3, places: Sequence[Place], days: int) -> None:
    """Let storage itself give up multipart uploads in these places of one bucket `days` after they were opened.

    Raises:
        Misconfigured: storage_unsupported, storage_access_denied.
    """
    bucket = places[0].bucket
    ours = [
        {
            "ID": f"{OURS}-abort{'' if not place.prefix else '-' + place.prefix.strip('/').replace('/', '-')}",
            "Status": "Enabled",
            "Filter": {"Prefix": place.prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
        }
        for place in places
    ]
    others = [rule for rule in await lifecycle_rules(s3, bucket) if not is_ours(rule)]
    request: dict[str, Any] = {"LifecycleConfiguration": {"Rules": [*others, *ours]}}
    with translated("put_bucket_lifecycle"):
        await s3.client.put_bucket_lifecycle_configuration(Bucket=bucket, **request)


def is_ours(rule: Rule) -> bool:
    return str(rule.get("ID", "")).partition("-")[0] == OURS
