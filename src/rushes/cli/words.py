"""Numbers as people read them."""

from __future__ import annotations


def size(count: float) -> str:
    """Bytes, in decimal units: 12.3 MB."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(count) < 999.5 or unit == "TB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.3g} {unit}"
        count /= 1000
    raise AssertionError("the loop ends at TB")


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
