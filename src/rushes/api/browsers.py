"""CORS: which pages may call the API from a browser, and what they may read of its answers (Fetch, section 3.2).

Tokens travel in the Authorization header, which a page must set itself, so any page may be let in: it can do what its token
can. Cookies are let through for origins that are named, never for `*`: a proxy in front may want its own.
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import FastAPI
from starlette.middleware.cors import CORSMiddleware

ANY = "*"
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
READABLE = (
    "Content-Range",
    "Date",  # the server's clock, by which grants expire
    "ETag",
    "Location",
    "Range",
    "Retry-After",
    "Tus-Checksum-Algorithm",
    "Tus-Extension",
    "Tus-Max-Size",
    "Tus-Resumable",
    "Tus-Version",
    "Upload-Complete",
    "Upload-Concat",
    "Upload-Defer-Length",
    "Upload-Draft-Interop-Version",
    "Upload-Expires",
    "Upload-Length",
    "Upload-Limit",
    "Upload-Metadata",
    "Upload-Offset",
    "WWW-Authenticate",
)
PREFLIGHT_SECONDS = 7_200  # Chrome keeps no answer longer


def allow(app: FastAPI, origins: Sequence[str]) -> None:
    app.add_middleware(
        CORSMiddleware,
        allow_origins=list(origins),
        allow_credentials=bool(origins) and ANY not in origins,
        allow_methods=METHODS,
        allow_headers=[ANY],  # whatever is asked for: doors of other protocols bring headers of their own
        expose_headers=READABLE,
        max_age=PREFLIGHT_SECONDS,
    )
