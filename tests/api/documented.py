"""Every answer that a test gets is one that the OpenAPI document tells of: its status, its headers, its problem's code."""

from __future__ import annotations

import re
from contextlib import nullcontext

import httpx

from rushes.api import create_app, refusals

DOCUMENT = create_app(lambda _app: nullcontext()).openapi()
TOLD = ("ETag", "Location", "Range", "Retry-After", "WWW-Authenticate")  # headers that mean something to a client
ANYWHERE = {"internal", "not_found", "method_not_allowed"}
PATHS = [  # those that are said to the letter before those with a name in them, as OpenAPI has it
    (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path)), operations)
    for path, operations in sorted(DOCUMENT["paths"].items(), key=lambda item: item[0].count("{"))
]


async def check(answer: httpx.Response) -> None:
    """For the hook of an HTTP client. What asks with HEAD is told of as GET."""
    method = answer.request.method.lower().replace("head", "get")
    found = [ops[method] for path, ops in PATHS if path.fullmatch(answer.request.url.path) and method in ops]
    if not found:
        return
    operation = found[0]
    name, status = operation["operationId"], answer.status_code
    if answer.headers.get("content-type") == "application/problem+json" and answer.request.method != "HEAD":
        await answer.aread()
        code = answer.json()["code"]
        if code in ANYWHERE:
            return
        assert code in refusals.of_operation(name).get(status, ()), (
            f"{name} answers {status} {code}: add it to refusals.py"
        )
    told = operation["responses"].get(str(status))
    assert told is not None, f"{name} answers {status}"
    for header in TOLD:
        assert header not in answer.headers or header in told.get("headers", {}), f"{name} {status} carries {header}"
