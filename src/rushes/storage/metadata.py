"""Object metadata: people's text made fit for an `x-amz-meta-*` header, and read back.

A header takes ASCII without control characters, and all of an object's metadata at most 2 kB. So a value is
percent-encoded UTF-8 (RFC 3986), cut at a whole character before it grows past its bound.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from urllib.parse import quote, unquote

from rushes.errors import Invalid

MAX_VALUE: Final = 480  # bytes as sent: four such values stay below the 2 kB that AWS takes for all of them
_NAME: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_KEPT: Final = "!#$&'()*+,-./:;<=>?@[]^_`{|}~"  # no space: headers lose it at their ends, signatures fold runs of it


def encode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """Values as headers carry them; a long one loses its end.

    Raises:
        Invalid: a name that is not lower-case ASCII (names are ours, so this is a mistake in the program).
    """
    for name in metadata:
        if not _NAME.fullmatch(name):
            raise Invalid("metadata_name_invalid", f"{name!r} cannot name object metadata.")
    return {name: _encode(value) for name, value in metadata.items()}


def decode_metadata(metadata: Mapping[str, str]) -> dict[str, str]:
    """The text behind `encode_metadata`; what others wrote comes back as well as it can."""
    return {name.lower(): unquote(value, errors="replace") for name, value in metadata.items()}


def _encode(text: str) -> str:
    encoded, room = [], MAX_VALUE
    for character in text.encode("utf-8", "replace").decode():
        piece = quote(character, safe=_KEPT)
        if len(piece) > room:
            break
        encoded.append(piece)
        room -= len(piece)
    return "".join(encoded)
