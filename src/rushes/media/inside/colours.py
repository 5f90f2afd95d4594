"""Names for the colour numbers of ITU-T H.273, as FFmpeg writes them."""

from __future__ import annotations

from typing import Any

_PRIMARIES = {
    1: "bt709",
    4: "bt470m",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "film",
    9: "bt2020",
    10: "smpte428",
    11: "smpte431",
    12: "smpte432",
    22: "ebu3213",
}
_TRANSFERS = {
    1: "bt709", 4: "bt470m", 5: "bt470bg", 6: "smpte170m", 7: "smpte240m", 8: "linear", 11: "iec61966-2-4",
    13: "iec61966-2-1", 14: "bt2020-10", 15: "bt2020-12", 16: "smpte2084", 17: "smpte428", 18: "arib-std-b67",
}  # fmt: skip
_MATRICES = {
    0: "gbr",
    1: "bt709",
    4: "fcc",
    5: "bt470bg",
    6: "smpte170m",
    7: "smpte240m",
    8: "ycgco",
    9: "bt2020nc",
    10: "bt2020c",
    14: "ictcp",
}
_RANGES = {1: "tv", 2: "pc"}
_HDR = {"smpte2084": "pq", "arib-std-b67": "hlg"}


def describe(context: Any, frame: Any) -> dict[str, Any]:
    """primaries, transfer, matrix, range (None where untagged) and the kind of HDR: "pq", "hlg" or None."""
    transfer = _TRANSFERS.get(context.color_trc)
    return {
        "primaries": _PRIMARIES.get(context.color_primaries),
        "transfer": transfer,
        "matrix": _MATRICES.get(context.colorspace),
        "range": _RANGES.get(context.color_range) or _RANGES.get(frame.color_range),
        "hdr": _HDR.get(transfer or ""),
    }
