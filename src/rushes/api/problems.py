"""Errors as RFC 9457 problem+json, and the one table from error to HTTP status."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rushes import wire
from rushes.api import refusals
from rushes.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Misconfigured,
    NotFound,
    OverQuota,
    Problem,
    Rejected,
    Unauthenticated,
    Unavailable,
)

log = logging.getLogger(__name__)

STATUS: dict[type[Problem], int] = {
    Invalid: 422,
    Unauthenticated: 401,
    Forbidden: 403,
    NotFound: 404,
    Conflict: 409,
    OverQuota: 413,
    Rejected: 422,
    Unavailable: 503,
    Misconfigured: 500,
}
# Where HTTP has a word of its own for what is wrong with a body.
STATUS_OF_CODE = {
    "body_short": 400,
    "body_too_large": 413,
    "length_missing": 411,
    "length_wrong": 400,
    "range_invalid": 400,
    "sender_too_slow": 408,
}
HEADERS = {401: {"WWW-Authenticate": "Bearer"}, 408: {"Connection": "close"}, 503: {"Retry-After": "2"}}
RESPONSES: dict[int | str, dict[str, Any]] = {
    "default": {
        "description": "A problem (RFC 9457)",
        "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
    }
}


class Refused(HTTPException):
    """A problem found where only an HTTP exception passes: while the framework reads a body."""

    def __init__(self, status: int, problem: Problem) -> None:
        super().__init__(status, problem.message)
        self.problem = problem


def install(app: FastAPI) -> None:
    """Make every error of a complete app a problem, and say so in its document."""
    document = app.openapi()
    refusals.describe(document)
    schemas = document["components"]["schemas"]
    schemas["Problem"] = wire.Problem.model_json_schema()
    schemas["Event"] = wire.Event.model_json_schema()  # in a stream, where the framework does not look for it
    app.add_exception_handler(Problem, _on_problem)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(HTTPException, _on_http)


class Surprises:
    """ASGI middleware: an error that nobody planned for is a problem as well, and other middleware can add to its answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def noticed(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self.app(scope, receive, noticed)
        except Exception as error:
            if started or scope["type"] != "http":
                raise
            log.error("unexpected error", exc_info=error)
            problem = Unavailable("internal", "Something went wrong on our side; try again.")
            await response_for(problem, status=500)(scope, receive, send)


def response_for(problem: Problem, status: int | None = None) -> JSONResponse:
    status = status or STATUS_OF_CODE.get(problem.code) or STATUS.get(type(problem), 500)
    body = wire.Problem(
        title=HTTPStatus(status).phrase,
        status=status,
        detail=problem.message,
        code=problem.code,
        permanent=problem.permanent,
        extra={} if isinstance(problem, Unavailable | Misconfigured) else problem.details,
    )
    return JSONResponse(
        body.model_dump(mode="json"), status, headers=HEADERS.get(status), media_type="application/problem+json"
    )


async def _on_problem(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, Problem), "registered for it"
    if isinstance(error, Unavailable | Misconfigured):
        log.warning("%s: %s", error.code, error.message, exc_info=error.__cause__)
    return response_for(error)


async def _on_invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError), "registered for it"
    faults = [
        {"field": ".".join(str(step) for step in fault["loc"]), "reason": fault["msg"]} for fault in error.errors()
    ]
    first = faults[0]
    return response_for(Invalid("request_invalid", f"{first['field']}: {first['reason']}.", faults=faults[:20]))


async def _on_http(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException), "registered for it"
    if isinstance(error, Refused):
        return response_for(error.problem, status=error.status_code)
    code = HTTPStatus(error.status_code).name.lower()
    answer = response_for(Invalid(code, f"{error.detail.rstrip('.')}."), status=error.status_code)
    answer.headers.update(error.headers or {})  # Allow, which RFC 9110 section 15.5.6 demands of a 405
    return answer
