"""What the tags of a container tell of where a file comes from: camera, reel, time, place. Text is cleaned and bounded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

MOST = 100  # tags of a file
LONGEST = 1000  # characters of one
_ISO_6709 = re.compile(r"([+-]\d{1,3}(?:\.\d+)?)([+-]\d{1,3}(?:\.\d+)?)([+-]\d+(?:\.\d+)?)?")
_STAMP = re.compile(
    r"(\d{4})[-:](\d\d)[-:](\d\d)(?:[T ](\d\d:\d\d(?::\d\d)?)(?:\.\d{1,9})?\s*(Z|UTC|[+-]\d\d:?\d\d)?)?"
)
_CLOCK = re.compile(r"\d\d:\d\d:\d\d")
_TIMECODE = re.compile(r"\d\d:\d\d:\d\d[:;.]\d\d\d?")

# In the order of trust. Keys are compared in lower case: Matroska writes them in capitals.
_CREATED = ("com.apple.quicktime.creationdate", "creation_time", "modification_date", "date_recorded", "date", "year")
_PLACE = ("com.apple.quicktime.location.iso6709", "location", "location-eng", "\u00a9xyz")
_CAMERA = {
    "make": ("com.apple.quicktime.make", "make", "com.android.manufacturer"),
    "model": ("com.apple.quicktime.model", "model", "com.android.model"),
    "lens": ("com.apple.quicktime.camera.lens_model", "lens_model", "lens"),
    "serial": ("com.apple.proapps.serialno", "serial_number"),
    "reel": ("com.apple.proapps.reel", "com.apple.proapps.reelname", "reel_name", "reel", "tape_name"),
    "software": (
        "com.apple.quicktime.software", "software", "product_name", "encoder", "encoded_by", "writing_application",
    ),
}  # fmt: skip


def text(value: Any, limit: int = LONGEST) -> str:
    """One line or a few of printable text, at most `limit` characters."""
    whole = str(value)[: 4 * limit]
    kept = "".join(char for char in whole if char.isprintable() or char in "\n\t")
    return kept.strip()[:limit]


def language(value: str | None) -> str | None:
    """ISO 639 as the container has it; None for "undetermined"."""
    return None if value in {None, "und", "unk"} else text(value, 20) or None


def cleaned(metadata: Mapping[str, str]) -> dict[str, str]:
    pairs = ((text(key, 100), text(value)) for key, value in list(metadata.items())[:MOST])
    return {key: value for key, value in pairs if key and value}


def found(*tables: Mapping[str, str]) -> dict[str, Any]:
    """`created`, `camera` and `place` of a file, from its own tags first and those of its streams after."""
    merged: dict[str, str] = {}
    for table in tables:
        for key, value in cleaned(table).items():
            merged.setdefault(key.lower(), value)
    camera = {name: _first(merged, keys) for name, keys in _CAMERA.items()}
    if _CLOCK.fullmatch(merged.get("creation_time", "")):  # a Broadcast Wave has day and time apart
        merged["creation_time"] = f"{merged.get('date', '')}T{merged['creation_time']}"
    stamps = (stamp(merged[key]) for key in _CREATED if key in merged)
    return {
        "created": next((one for one in stamps if one), None),
        "camera": camera if any(camera.values()) else None,
        "place": place(_first(merged, _PLACE) or ""),
    }


def _first(merged: Mapping[str, str], keys: tuple[str, ...]) -> str | None:
    return next((merged[key] for key in keys if key in merged), None)


def stamp(value: str, zone: str = "") -> str | None:
    """A moment as ISO 8601, with its zone where one is told; a day alone, or a year, stays one. None for zero times."""
    if re.fullmatch(r"[12]\d{3}", value):
        return value
    match = _STAMP.match(value)
    if match is None:
        return None
    year, month, day, clock, told = match.groups()
    moment = f"{year}-{month}-{day}" + (f"T{clock if clock.count(':') == 2 else clock + ':00'}" if clock else "")
    try:
        real = datetime.fromisoformat(moment)
    except ValueError:
        return None
    if real.year < 1905:  # QuickTime's and Matroska's clocks at zero
        return None
    told = (told or zone) if clock else ""
    return moment + ("Z" if told in {"Z", "UTC"} else told if ":" in told or not told else f"{told[:3]}:{told[3:]}")


def place(value: str) -> dict[str, float | None] | None:
    """A point as ISO 6709 writes it, "+48.8577+002.2950+035/"."""
    match = _ISO_6709.match(value)
    if match is None:
        return None
    latitude, longitude = float(match[1]), float(match[2])
    if abs(latitude) > 90 or abs(longitude) > 180:
        return None
    return {"latitude": latitude, "longitude": longitude, "altitude": float(match[3]) if match[3] else None}


def clock(seconds: float) -> str | None:
    """Seconds since midnight as "10:00:00.000"; None for more than a day."""
    whole, thousandths = divmod(round(seconds * 1000), 1000)
    day = f"{whole // 3600:02d}:{whole // 60 % 60:02d}:{whole % 60:02d}.{thousandths:03d}"
    return day if whole < 86400 else None


def timecode(*candidates: str | None) -> str | None:
    """The first that is one."""
    return next((one for one in candidates if one and _TIMECODE.fullmatch(one)), None)
