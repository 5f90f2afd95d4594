"""What the doctor says of what was seen: every sentence that is no "ok" has a case."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from rushes.ingest import diagnosis
from rushes.ingest.diagnosis import Finding
from rushes.storage import Capabilities, Place

ALL = Capabilities(
    enforces_crc64nvme=True,
    enforces_crc32c=True,
    enforces_md5=True,
    enforces_sha256=True,
    enforces_length=True,
    enforces_signature=True,
    full_object=("crc64nvme", "crc32c"),
    etag_of_md5=True,
    copies=True,
    copies_if_match=True,
    clock_skew=0.4,
    exposes_etag=True,
)
PLACE = Place("media", "originals/")
RULE: dict[str, Any] = {
    "AllowedOrigins": ["https://*.example.com"],
    "AllowedMethods": ["GET", "HEAD", "PUT"],
    "AllowedHeaders": ["*"],
    "ExposeHeaders": ["etag"],
}
PAGE = ["https://app.example.com"]


def told(found: Capabilities) -> dict[str, Finding]:
    return {finding.topic: finding for finding in diagnosis.of_capabilities(found, timedelta(hours=3))}


def test_a_store_that_does_everything_is_all_right() -> None:
    findings = told(ALL)
    assert {finding.level for finding in findings.values()} == {"ok"}
    assert "Parts are sent with CRC64NVME." in findings["checksums"].text
    assert "3 hours ago" in findings["checksums"].text


@pytest.mark.parametrize(
    ("lacking", "topic", "level", "words"),
    [
        ({"enforces_crc64nvme": False}, "checksums", "ok", "Parts are sent with CRC32C."),
        ({"enforces_crc64nvme": False, "enforces_crc32c": False}, "checksums", "ok", "sent with Content-MD5."),
        ({"enforces_length": False}, "length", "warning", "another length"),
        ({"enforces_signature": False}, "signature", "problem", "altered"),
        ({"full_object": ()}, "whole file", "ok", "a worker that reads it"),
        ({"full_object": (), "etag_of_md5": False}, "whole file", "ok", "a worker reads it"),
        ({"copies": False}, "staged", "ok", "does not make parts of objects"),
        ({"copies_if_match": False}, "staged", "ok", "changed meanwhile"),
        ({"clock_skew": None}, "clock", "warning", "does not tell the time"),
        ({"clock_skew": 29.9}, "clock", "ok", "agree"),
        ({"clock_skew": 31.0}, "clock", "warning", "31 s ahead"),
        ({"clock_skew": -301.0}, "clock", "problem", "301 s behind"),
    ],
)
def test_what_a_store_lacks_is_said(lacking: dict[str, Any], topic: str, level: str, words: str) -> None:
    finding = told(replace(ALL, **lacking))[topic]
    assert finding.level == level
    assert words in finding.text
    assert (finding.level == "ok") or finding.advice or topic == "clock"


def test_a_store_that_enforces_no_checksum_takes_no_uploads() -> None:
    nothing = {f"enforces_{name}": False for name in ("crc64nvme", "crc32c", "md5", "sha256")}
    finding = told(replace(ALL, **nothing))["checksums"]  # type: ignore[arg-type]
    assert finding.level == "problem"
    assert "uploads are refused" in finding.text


@pytest.mark.parametrize(
    ("change", "gap"),
    [
        ({}, None),
        ({"AllowedOrigins": ["*"]}, None),
        ({"AllowedOrigins": ["https://example.com"]}, "no rule is for https://app.example.com"),
        ({"AllowedMethods": ["GET", "HEAD"]}, "PUT from https://app.example.com is not allowed"),
        ({"AllowedHeaders": ["content-type", "content-md5", "X-Amz-Checksum-*"]}, None),
        ({"AllowedHeaders": ["content-type"]}, "may not send content-type and x-amz-checksum-* headers"),
        ({"ExposeHeaders": []}, "may not read ETag"),
    ],
)
def test_what_pages_cannot_do_by_a_buckets_cors(change: dict[str, Any], gap: str | None) -> None:
    gaps = diagnosis.cors_gaps([RULE | change], PAGE)
    assert (gap in "; ".join(gaps)) if gap else gaps == []
    finding = diagnosis.of_cors("media", [RULE | change], PAGE)
    assert finding.level == ("warning" if gap else "ok")


def test_rules_of_a_bucket_work_together_and_none_is_a_gap() -> None:
    reading = RULE | {"AllowedMethods": ["GET", "HEAD"], "ExposeHeaders": []}
    sending = RULE | {"AllowedMethods": ["PUT"]}
    assert diagnosis.cors_gaps([reading, sending], PAGE) == []
    assert diagnosis.cors_gaps([], PAGE) == ["no rule is for https://app.example.com"]


def abort(days: int, **more: Any) -> dict[str, Any]:
    return {"ID": "x", "Status": "Enabled", "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": days}} | more


@pytest.mark.parametrize(
    ("rule", "level", "words"),
    [
        (abort(91), "ok", "destroy no upload"),
        (abort(90), "ok", "destroy no upload"),
        (abort(89), "problem", "destroys uploads 89 days after they began"),
        (abort(1, Prefix="originals/acme/"), "problem", "'x' of media/originals"),
        (abort(1, Filter={"And": {"Prefix": "orig"}}), "problem", "Raise it to 91 days"),
        (abort(1, Filter={"Prefix": "renditions/"}), "ok", "No lifecycle rule"),
        (abort(1, Status="Disabled"), "ok", "No lifecycle rule"),
        ({"Status": "Enabled", "Expiration": {"Days": 30}}, "warning", "'(unnamed)'"),
    ],
)
def test_lifecycle_rules_that_destroy_uploads_are_a_problem(rule: dict[str, Any], level: str, words: str) -> None:
    (finding,) = diagnosis.of_lifecycle(PLACE, [rule], 90, scratch=False)
    assert finding.level == level
    assert words in f"{finding.text} {finding.advice}"


def test_staged_parts_may_be_deleted_when_no_upload_can_want_them() -> None:
    for days, level in ((89, "problem"), (90, "ok")):
        rule = {"Status": "Enabled", "Expiration": {"Days": days}}
        assert diagnosis.of_lifecycle(PLACE, [rule], 90, scratch=True)[0].level == level


@pytest.mark.parametrize(("age", "days"), [(90, 91), (0.5, 2), (89.2, 91)])
def test_the_rule_waits_a_day_longer_than_uploads_live(age: float, days: int) -> None:
    assert diagnosis.lifecycle_days(age) == days


def test_typing_errors_in_variables_are_seen() -> None:
    names = ["PATH", "RUSHES_API_PORT", "RUSHES_DATABASE_ULR", "RUSHES_TEST_ROUNDS", "RUSHES_XYZ"]
    wrong, strange = diagnosis.of_environment(names)
    assert "RUSHES_DATABASE_ULR" in wrong.text
    assert wrong.advice == "Did you mean RUSHES_DATABASE_URL?"
    assert (strange.level, strange.text) == ("warning", "RUSHES_XYZ is not a setting of rushes.")
    assert [finding.level for finding in diagnosis.of_environment(["RUSHES_API_PORT", "RUSHES_TOKEN"])] == ["ok"]


@pytest.mark.parametrize(("free", "level"), [(999_999_999, "problem"), (2 * 10**9, "warning"), (60 * 10**9, "ok")])
def test_a_disk_that_fills_up(free: int, level: str) -> None:
    assert diagnosis.of_disk(free, 10**12 if level != "warning" else 10**11, "/data").level == level


def test_a_machine_without_namespaces() -> None:
    seen = {"runs_as": "nobody", "ffmpeg": False, "denied": "namespaces: not permitted"}
    finding = diagnosis.of_sandbox(seen)
    assert finding.level == "warning"
    assert "not permitted" in finding.text
