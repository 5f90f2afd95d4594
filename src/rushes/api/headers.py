"""The headers that requests and answers carry, as the OpenAPI document tells of them."""

from __future__ import annotations

from typing import Any

from rushes.checksum import HEADERS

Header = dict[str, Any]


def _header(description: str, example: str, **more: Any) -> Header:
    return {"description": description, "schema": {"type": "string"} | more, "example": example}


RANGE = {"Range": _header("Which bytes are held; missing when none are.", "bytes=0-1048575")}
ETAG = {"ETag": _header("The part's, once the whole part is held.", '"9bb58f26192e4ba00f01e2e7b136bbd8"')}
LOCATION = {
    "Location": _header("Where to ask how it goes on.", "/v1/uploads/019f1d7a-7b9c-7cc0-a1f2-3f2a0c9d8e71/status")
}
OF_PROBLEMS: dict[int, dict[str, Header]] = {
    401: {"WWW-Authenticate": _header("Which kind of token is asked for.", "Bearer")},
    408: {"Connection": _header("The rest of the body is not read.", "close")},
    503: {"Retry-After": _header("Seconds after which to try again.", "2")},
}


def _parameter(name: str, description: str, *, required: bool = False, **schema: Any) -> dict[str, Any]:
    return {
        "name": name,
        "in": "header",
        "required": required,
        "description": description,
        "schema": {"type": "string"} | schema,
    }


_LENGTH = _parameter("Content-Length", "The body's bytes; a chunked body is refused.", required=True, type="integer")
_CHECKSUMS = [
    _parameter(
        name,
        f"Of an upload whose `checksum_algorithm` is `{algorithm}`: the whole part's, base64; also with each of its slices. "
        "Nothing of other bytes is kept.",
    )
    for algorithm, name in HEADERS.items()
]
MEDIA: dict[str, Any] = {
    "requestBody": {
        "required": True,
        "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
    }
}
OF_PARTS: dict[str, Any] = MEDIA | {
    "parameters": [
        _LENGTH,
        _parameter(
            "Content-Range",
            "`bytes first-last/length`: which bytes of the part these are. Without it the body is the whole part.",
            pattern=r"^bytes \d+-\d+/\d+$",
        ),
        *_CHECKSUMS,
    ]
}
OF_CONTENT: dict[str, Any] = MEDIA | {
    "parameters": [
        _LENGTH,
        _parameter(
            "Content-Range",
            "`bytes first-last/size`: which bytes of the file these are; `*` for a size that is not known yet; `bytes */size` "
            "with an empty body asks what is held, or says the size. Without it the body is the whole file.",
            pattern=r"^bytes (\d+-\d+|\*)/(\d+|\*)$",
        ),
    ]
}
