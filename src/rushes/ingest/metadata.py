"""What a title's free metadata may hold: JSON that PostgreSQL keeps and every reply can carry."""

from __future__ import annotations

import math
from typing import Any

from rushes.errors import Invalid

MAX_DEPTH = 32  # objects and lists within each other; a reply nested deeper than 255 could not be written


def check_metadata(metadata: dict[str, Any]) -> None:
    """Raise `Invalid` (metadata_invalid) for what `jsonb` refuses, NaN, NUL and lone surrogates, or too deep a nest."""
    level: list[Any] = [metadata]
    for _ in range(MAX_DEPTH):
        level = [inner for value in level for inner in _inside(value)]
        if not level:
            return
    raise Invalid("metadata_invalid", f"Metadata may be nested {MAX_DEPTH} levels deep.", limit=MAX_DEPTH)


def _inside(value: Any) -> list[Any]:
    """The values that `value` holds, once it is checked itself."""
    if isinstance(value, dict):
        return [*value.keys(), *value.values()]
    if isinstance(value, list):
        return value
    if isinstance(value, str) and ("\x00" in value or value != value.encode("utf-8", "replace").decode()):
        raise Invalid("metadata_invalid", "Metadata may not contain NUL characters or half of a surrogate pair.")
    if isinstance(value, float) and not math.isfinite(value):
        raise Invalid("metadata_invalid", "Numbers in metadata must be finite.")
    return []
