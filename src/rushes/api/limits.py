"""A bound on what a request body may weigh: the API takes JSON. Two addresses take media, and count for themselves."""

from __future__ import annotations

import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rushes.api.problems import Refused, response_for
from rushes.errors import Invalid

MAX_BODY = 4 * 1024 * 1024  # bytes; 10,000 reported parts take a third of it
RELAYS = re.compile(r"/v1/uploads/[^/]+/(parts/[^/]+|content)")


class BodyLimit:
    """ASGI middleware: bodies over MAX_BODY are refused, by their Content-Length or as they arrive; but for relays."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["method"] == "PUT" and RELAYS.fullmatch(scope["path"])):
            await self.app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"0")
        if not length.isdigit() or int(length) > MAX_BODY:
            await response_for(_too_large(), status=413)(scope, receive, send)
            return
        taken = 0

        async def limited() -> Message:
            nonlocal taken
            message = await receive()
            taken += len(message.get("body", b""))
            if taken > MAX_BODY:
                raise Refused(413, _too_large())
            return message

        await self.app(scope, limited, send)


def _too_large() -> Invalid:
    return Invalid("body_too_large", f"A request may carry at most {MAX_BODY} bytes; media goes where its grant says.")
