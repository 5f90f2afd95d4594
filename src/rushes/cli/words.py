"""Numbers as people read and write them."""

from __future__ import annotations

import re

from rushes.errors import Invalid

UNITS: dict[str, int] = {"": 1, "b": 1} | {
    f"{prefix}{suffix}": base**power
    for power, prefix in enumerate("kmgtp", 1)
    for suffix, base in (("", 1000), ("b", 1000), ("i", 1024), ("ib", 1024))
}


def size(count: float) -> str:
    """Bytes, in decimal units: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("the loop ends at TB")


def parse_size(text: str) -> int:
    """Bytes, of `750`, `5GB`, `1.5 TB` or `64MiB`. Raises `Invalid`."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([a-z]*)", text.strip().lower())
    if found is None or found[2] not in UNITS:
        raise Invalid("size_unreadable", f"{text!r} is no size: write bytes, or such as 500MB, 1.5TB, 64MiB.")
    return round(float(found[1]) * UNITS[found[2]]) if "." in found[1] else int(found[1]) * UNITS[found[2]]


def bit_rate(bits: float) -> str:
    """Bits per second: 8.8 Mb/s."""
    for unit in ("b/s", "kb/s", "Mb/s", "Gb/s"):
        if abs(bits) < 999.5 or unit == "Gb/s":
            return f"{bits:.3g} {unit}"
        bits /= 1000
    raise AssertionError("the loop ends at Gb/s")


def duration(seconds: float) -> str:
    """0:07, 12:30, 1:02:03; days past a hundred hours."""
    whole = round(seconds)
    if whole >= 360_000:
        return f"{whole / 86_400:.0f} days"
    hours, minutes = whole // 3600, whole // 60 % 60
    return f"{hours}:{minutes:02}:{whole % 60:02}" if hours else f"{minutes}:{whole % 60:02}"


def count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def parse_pairs(texts: list[str] | None) -> dict[str, str]:
    """KEY=VALUE, each key once. Raises `Invalid`."""
    found: dict[str, str] = {}
    for text in texts or ():
        key, equals, value = text.partition("=")
        if not equals or not key or key in found:
            raise Invalid("metadata_invalid", f"--metadata takes KEY=VALUE, each key once, not {text!r}.")
        found[key] = value
    return found
