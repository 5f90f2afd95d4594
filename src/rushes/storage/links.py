"""Links to read an object by: presigned GETs that say under which name and type the bytes arrive."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Final
from urllib.parse import quote

from rushes.storage.signer import Signer

_UNQUOTABLE: Final = re.compile(r'[^\x20-\x7e]|["\\%/]')


def presign_get(
    signer: Signer,
    bucket: str,
    key: str,
    *,
    at: datetime,
    seconds: float,
    filename: str | None = None,
    inline: bool = True,
    content_type: str | None = None,
) -> str:
    """A URL that reads one object, byte ranges included, from `at` for `seconds`.

    `filename` is what a person saves it as; `inline` lets a browser show it instead. `content_type` overrides the
    object's own.
    """
    query = {}
    if filename is not None or not inline:
        query["response-content-disposition"] = disposition(filename, inline=inline)
    if content_type is not None:
        query["response-content-type"] = content_type
    return signer.presign("GET", bucket, key, at=at, seconds=seconds, query=query)


def disposition(filename: str | None, *, inline: bool) -> str:
    """A Content-Disposition value for any file name (RFC 6266; RFC 8187's `filename*` beside plain ASCII)."""
    kind = "inline" if inline else "attachment"
    if not filename:
        return kind
    plain = _UNQUOTABLE.sub("_", filename)
    encoded = quote(filename.encode("utf-8", "replace"), safe="!#$&+-.^_`|~")
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
