"""What `rushes doctor` says of what it saw: facts in, findings out. Pure; `doctor` goes and looks."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from typing import Any, Final, Literal

from rushes.config import OTHER_VARIABLES, Settings
from rushes.errors import Problem
from rushes.storage import Capabilities, Place

Level = Literal["ok", "warning", "problem"]

SKEW_WARNING: Final = 30.0  # seconds
SKEW_PROBLEM: Final = 300.0  # S3 refuses requests that are 15 minutes off, and grants live for as little
LEAST_FREE: Final = 1_000_000_000  # bytes: below, `begin` soon refuses files
PUT_HEADERS: Final = (
    "content-type",
    "content-md5",
    "x-amz-checksum-crc64nvme",
    "x-amz-checksum-crc32c",
    "x-amz-checksum-sha256",
)
ALGORITHM_NAMES: Final = {"crc64nvme": "CRC64NVME", "crc32c": "CRC32C", "md5": "Content-MD5", "sha256": "SHA-256"}


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: how bad, of what, what was seen, and what to do about it (empty: nothing)."""

    level: Level
    topic: str
    text: str
    advice: str = ""

    def to_json(self) -> dict[str, str]:
        return asdict(self)


def of_problem(topic: str, problem: Problem, advice: str = "") -> Finding:
    return Finding("problem", topic, problem.message, advice)


def unknown_variables(names: Iterable[str]) -> list[tuple[str, str]]:
    """Variables that look like ours and are none, each with advice: mostly typing errors, which would silently change
    nothing.
    """
    known = [*(f"RUSHES_{name.upper()}" for name in Settings.model_fields), *OTHER_VARIABLES]
    found = []
    for name in sorted(names):
        if name.startswith("RUSHES_") and not name.startswith("RUSHES_TEST_") and name not in known:
            close = difflib.get_close_matches(name, known, 1)
            found.append(
                (name, f"Did you mean {close[0]}?" if close else "Unset it, or look the name up in the documentation.")
            )
    return found


def of_environment(names: Iterable[str]) -> list[Finding]:
    findings = [
        Finding("warning", "settings", f"{name} is not a setting of rushes.", advice)
        for name, advice in unknown_variables(names)
    ]
    return findings or [Finding("ok", "settings", "Every RUSHES_ variable in this environment is a known setting.")]


def of_capabilities(found: Capabilities, age: timedelta) -> list[Finding]:
    return [
        _part_checksum(found, age),
        _length(found),
        _signature(found),
        _whole_object(found),
        _staged(found),
        _clock(found.clock_skew),
    ]


def _part_checksum(found: Capabilities, age: timedelta) -> Finding:
    names = [ALGORITHM_NAMES[algorithm] for algorithm in found.part_algorithms]
    if not names:
        return Finding(
            "problem",
            "checksums",
            "Storage takes parts whatever checksum they were signed with: corrupt ones would not be noticed on the way, "
            "so uploads are refused.",
            "Use a store that enforces CRC64NVME, CRC32C, SHA-256 or Content-MD5 of parts. `--probe` looks again.",
        )
    seen = "just now" if age < timedelta(minutes=1) else f"{_ago(age)} ago"
    text = f"Storage refuses parts with a wrong {_listed(names)} (seen {seen}). Parts are sent with {names[0]}."
    return Finding("ok", "checksums", text)


def _length(found: Capabilities) -> Finding:
    if found.enforces_length:
        return Finding("ok", "length", "Storage refuses a part of another length than was signed.")
    return Finding(
        "warning",
        "length",
        "Storage takes parts of another length than was signed. A client could store more than it announced; the file "
        "would be refused when it is finalized.",
        "Have whatever stands before storage pass Content-Length on as it came.",
    )


def _signature(found: Capabilities) -> Finding:
    if found.enforces_signature:
        return Finding("ok", "signature", "Storage refuses URLs that were altered.")
    return Finding(
        "problem",
        "signature",
        "Storage takes altered URLs: whoever has one can write anywhere.",
        "Switch authentication on in the store, and let no proxy sign requests in the clients' place.",
    )


def _whole_object(found: Capabilities) -> Finding:
    if found.full_object:
        names = _listed([ALGORITHM_NAMES[algorithm] for algorithm in found.full_object])
        return Finding("ok", "whole file", f"Storage compares the {names} of the whole file with what it assembled.")
    instead = (
        "its ETag, where parts carry MD5, else a worker that reads it" if found.etag_of_md5 else "a worker reads it"
    )
    return Finding("ok", "whole file", f"Storage does not check the assembled file: {instead}, before it is ingested.")


def _staged(found: Capabilities) -> Finding:
    if found.copies and found.copies_if_match:
        return Finding("ok", "staged", "Storage makes parts of objects, and only of the object that is meant.")
    lack = "does not make parts of objects" if not found.copies else "copies objects that were changed meanwhile"
    return Finding(
        "ok", "staged", f"Storage {lack}: uploads in the staged layout are refused, others are not concerned."
    )


def _clock(skew: float | None) -> Finding:
    if skew is None:
        return Finding("warning", "clock", "Storage does not tell the time, so the clocks cannot be compared.")
    off = f"Storage's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} this machine's"
    advice = "Set both clocks by NTP."
    if abs(skew) > SKEW_PROBLEM:
        return Finding("problem", "clock", f"{off}: grants are refused, or live too long.", advice)
    if abs(skew) > SKEW_WARNING:
        return Finding("warning", "clock", f"{off}: grants live that much shorter or longer.", advice)
    return Finding("ok", "clock", "Storage's clock and this machine's agree.")


def of_pages(*, exposes_etag: bool, origins: Sequence[str]) -> Finding:
    """What a browser would find, as the probe saw it."""
    if exposes_etag:
        return Finding("ok", "browsers", f"Pages from {_listed(list(origins))} can send parts and read their ETag.")
    return Finding(
        "warning",
        "browsers",
        "A page could not send a part and read its ETag: browsers cannot upload straight to storage. "
        "Other clients are not concerned.",
        "`rushes doctor --fix` sets the bucket's CORS; a store that has none needs it in its own configuration, or in a "
        "proxy before it.",
    )


def of_cors(bucket: str, rules: Sequence[Mapping[str, Any]], origins: Sequence[str]) -> Finding:
    gaps = cors_gaps(rules, origins)
    if not gaps:
        return Finding("ok", "cors", f"Bucket {bucket} lets pages from {_listed(list(origins))} read it and PUT parts.")
    return Finding(
        "warning",
        "cors",
        f"Bucket {bucket} does not let pages do all they need: {'; '.join(gaps)}.",
        "`rushes doctor --fix` adds the rule (RUSHES_CORS_ORIGINS names the pages).",
    )


def cors_gaps(rules: Sequence[Mapping[str, Any]], origins: Sequence[str]) -> list[str]:
    """What pages from these origins cannot do by these rules, in words."""
    gaps = []
    for origin in origins:
        mine = [rule for rule in rules if any(_matches(text, origin) for text in rule.get("AllowedOrigins", []))]
        if not mine:
            gaps.append(f"no rule is for {origin}")
            continue
        gaps += [
            f"{method} from {origin} is not allowed"
            for method in ("GET", "HEAD", "PUT")
            if not any(method in rule.get("AllowedMethods", []) for rule in mine)
        ]
        puts = [rule for rule in mine if "PUT" in rule.get("AllowedMethods", [])]
        if puts and not any(_takes(rule, PUT_HEADERS) for rule in puts):
            gaps.append(f"{origin} may not send content-type and x-amz-checksum-* headers")
        if puts and not any("etag" in {name.lower() for name in rule.get("ExposeHeaders", [])} for rule in puts):
            gaps.append(f"{origin} may not read ETag")
    return gaps


def _takes(rule: Mapping[str, Any], headers: Iterable[str]) -> bool:
    allowed = [name.lower() for name in rule.get("AllowedHeaders", [])]
    return all(any(_matches(text, header) for text in allowed) for header in headers)


def _matches(pattern: str, text: str) -> bool:
    """As S3 compares: at most one asterisk, for any text."""
    start, asterisk, end = pattern.partition("*")
    if not asterisk:
        return pattern == text
    return text.startswith(start) and text.endswith(end) and len(text) >= len(start) + len(end)


def of_lifecycle(place: Place, rules: Sequence[Mapping[str, Any]], max_days: float, *, scratch: bool) -> list[Finding]:
    """`scratch`: the place holds staged parts, which a rule may delete once no upload can live any more."""
    where = f"{place.bucket}/{place.prefix}".rstrip("/")
    aborts, findings = False, []
    for rule in rules:
        if rule.get("Status") != "Enabled" or not _covers(rule, place):
            continue
        name = f"Lifecycle rule {rule.get('ID') or '(unnamed)'!r} of {where}"
        days = (rule.get("AbortIncompleteMultipartUpload") or {}).get("DaysAfterInitiation")
        if days is not None and days < max_days:
            text = f"{name} destroys uploads {days} days after they began; they may live {max_days:g} days."
            advice = f"Raise it to {lifecycle_days(max_days)} days or more, or lower RUSHES_UPLOAD_MAX_DAYS."
            findings.append(Finding("problem", "lifecycle", text, advice))
        aborts = aborts or days is not None
        expires = (rule.get("Expiration") or {}).get("Days")
        if expires is not None and (not scratch or expires < max_days):
            text = f"{name} deletes objects after {expires} days, wanted or not."
            advice = "Delete the rule: rushes deletes what is not needed."
            findings.append(Finding("problem" if scratch else "warning", "lifecycle", text, advice))
    if findings:
        return findings
    if not aborts:
        text = f"No lifecycle rule of {where} gives up forgotten uploads. The sweep does."
        advice = "As a second net, `rushes doctor --fix` sets a rule that does so after the longest an upload may live."
        return [Finding("ok", "lifecycle", text, advice)]
    return [Finding("ok", "lifecycle", f"The lifecycle rules of {where} destroy no upload that may still live.")]


def lifecycle_days(max_days: float) -> int:
    """A whole day more than an upload may live: storage counts from its beginning, and rounds."""
    return -(-round(max_days * 86_400) // 86_400) + 1


def _covers(rule: Mapping[str, Any], place: Place) -> bool:
    found = rule.get("Filter") or {}
    prefix = str(rule.get("Prefix") or found.get("Prefix") or (found.get("And") or {}).get("Prefix") or "")
    return place.prefix.startswith(prefix) or prefix.startswith(place.prefix)


def of_sandbox(seen: Mapping[str, Any]) -> Finding:
    """`seen` is what the sandbox says of itself."""
    who = seen["runs_as"]
    if seen["ffmpeg"]:
        text = f"Media tools run in namespaces of their own, as {who}, without network."
        return Finding("ok", "sandbox", text)
    return Finding(
        "warning",
        "sandbox",
        f"Only PyAV can be confined here (as {who}, seccomp and Landlock); ffmpeg is not run. {seen['denied']}".rstrip(),
        "Allow unprivileged user namespaces where workers run.",
    )


def of_disk(free: int, total: int, where: str) -> Finding:
    text = f"{free / 1e9:.1f} GB of {total / 1e9:.1f} GB are free on the object store's disk ({where})."
    if free < LEAST_FREE:
        return Finding("problem", "disk", text, "Make room: uploads that do not fit are refused.")
    if free < total / 20:
        return Finding("warning", "disk", text, "Make room soon: uploads that do not fit are refused.")
    return Finding("ok", "disk", text)


def _listed(names: list[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} or {names[-1]}"


def _ago(age: timedelta) -> str:
    minutes = round(abs(age).total_seconds() / 60)
    if minutes < 120:
        return f"{minutes} minute{'s' * (minutes != 1)}"
    return f"{minutes // 60} hours" if minutes < 48 * 60 else f"{minutes // 1440} days"
