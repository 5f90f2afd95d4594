"""HTTP without any S3 library: what a stranger's client sends when it is handed a presigned URL."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def request(method: str, url: str, body: bytes = b"", headers: Mapping[str, str] | None = None) -> Answer:
    """One request on one connection; Content-Length is the body's, whatever was signed."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc, timeout=30)
    try:
        connection.request(method, f"{parts.path}?{parts.query}", body=body or None, headers=dict(headers or {}))
        answer = connection.getresponse()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())
    finally:
        connection.close()


def put(url: str, body: bytes, headers: Mapping[str, str] | None = None) -> Answer:
    return request("PUT", url, body, headers)


def get(url: str, headers: Mapping[str, str] | None = None) -> Answer:
    return request("GET", url, headers=headers)
