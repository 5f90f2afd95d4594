"""What a bucket does by itself: which pages may use it (CORS), and what it deletes when (lifecycle).

Both are read as storage tells them and written so that rules of others stay: ours are told by their exact id, which holds
the place, since installations may share a bucket by prefix.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from rushes.errors import NotFound
from rushes.storage.faults import translated
from rushes.storage.keys import Place
from rushes.storage.s3 import S3

LONGEST_ID: Final = 255  # characters, as S3 takes them

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
            "ID": rule_id("abort", [place]),
            "Status": "Enabled",
            "Filter": {"Prefix": place.prefix},
            "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days},
        }
        for place in places
    ]
    others = without(await lifecycle_rules(s3, bucket), {str(rule["ID"]) for rule in ours})
    request: dict[str, Any] = {"LifecycleConfiguration": {"Rules": [*others, *ours]}}
    with translated("put_bucket_lifecycle"):
        await s3.client.put_bucket_lifecycle_configuration(Bucket=bucket, **request)


def rule_id(what: str, places: Sequence[Place]) -> str:
    """The id of our rule for these places of one bucket: "rushes-abort-media/incoming"."""
    prefixes = [place.prefix.rstrip("/") for place in places]
    id_ = "-".join(filter(None, ["rushes", what, "+".join(sorted(prefixes))]))
    return id_ if len(id_) <= LONGEST_ID else f"rushes-{what}-{sha256(id_.encode()).hexdigest()}"


def without(rules: Sequence[Rule], ids: Collection[str]) -> list[Rule]:
    """The rules but those of these ids."""
    return [rule for rule in rules if rule.get("ID") not in ids]
