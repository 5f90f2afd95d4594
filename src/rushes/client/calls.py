"""One JSON call of the API: token, retries, and problem+json turned into the error tree.

A call that may be repeated (GET, PUT, PATCH, DELETE, and those POSTs that the API promises to be idempotent) is tried
again after network errors, 429 and 5xx, with full-jitter backoff on top of what `Retry-After` asks; all others are sent
once. Answers are checked against the messages in `rushes.wire`.
"""

from __future__ import annotations

import random
import re
import threading
import time
from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar
from urllib.parse import urlencode, urlsplit

from pydantic import BaseModel, TypeAdapter, ValidationError

from rushes import errors, wire
from rushes.client.http import Body, Reply, Request, Stopped, Transport
from rushes.client.verdict import retry_after
from rushes.errors import Misconfigured, Problem, Unavailable

T = TypeVar("T")

_ADAPTERS: dict[Any, TypeAdapter[Any]] = {}

BY_STATUS: Mapping[int, type[Problem]] = {
    400: errors.Invalid,
    401: errors.Unauthenticated,
    402: errors.OverQuota,
    403: errors.Forbidden,
    404: errors.NotFound,
    405: errors.Invalid,
    409: errors.Conflict,
    410: errors.NotFound,
    412: errors.Conflict,
    413: errors.OverQuota,
    415: errors.Invalid,
    422: errors.Invalid,
    429: errors.Unavailable,
    501: errors.Misconfigured,
}
MOST_OF_A_PROBLEM = 1_000  # pieces of a body that tells why there is no stream
TRANSIENT = frozenset({429, 502, 503, 504})


@dataclass(frozen=True, slots=True)
class Patience:
    tries: int = 5
    backoff: float = 0.4  # seconds; doubles with every try, full jitter
    backoff_most: float = 10.0


ONCE = Patience(tries=1)


@dataclass(slots=True)
class Contact:
    """Whether anybody has answered at an address yet; shared by all that call there."""

    made: bool = False


class Caller:
    """Calls under one base address and one token. Safe to use from many threads."""

    def __init__(
        self,
        transport: Transport,
        url: str,
        token: str,
        *,
        patience: Patience | None = None,
        cancel: threading.Event | None = None,
        seconds: float | None = None,
        contact: Contact | None = None,
    ) -> None:
        check_address(url)
        _check_token(token)
        self.url = url.rstrip("/") + "/"
        self._transport = transport
        self._token = token
        self._patience = patience or Patience()
        self._cancel = cancel
        self._seconds = seconds  # the most one request may take
        self.contact = contact or Contact()

    def bearing(self, token: str) -> Caller:
        """The same server, with another token."""
        _check_token(token)
        other = copy(self)
        other._token = token
        return other

    def but(
        self, *, patience: Patience | None = None, cancel: threading.Event | None = None, seconds: float | None = None
    ) -> Caller:
        """The same server and token, with other manners where given."""
        other = copy(self)
        other._patience = patience or self._patience
        other._cancel = cancel or self._cancel
        other._seconds = seconds or self._seconds
        return other

    def request(self, method: str, path: str, headers: Mapping[str, str], body: Body) -> Request:
        """A request whose body is no message; to be sent by whoever knows what its answer means."""
        return Request(method, self.url + path, {"Authorization": f"Bearer {self._token}", **headers}, body)

    def call(
        self,
        method: str,
        path: str,
        shape: type[T] | None = None,
        *,
        body: BaseModel | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool | None = None,
    ) -> T:
        """One call; its answer as `shape` (None for an empty one). `again` says whether a POST may be repeated."""
        reply = self.exchange(method, path, body=body, query=query, headers=headers, again=again)
        return parsed(reply, shape)

    def exchange(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        again: bool | None = None,
    ) -> Reply:
        """Like `call`, but the reply as it came. Raises the error tree by status."""
        request = self.message(method, path, body=body, query=query, headers=headers)
        return self.insist(request, again=method != "POST" if again is None else again)

    def insist(self, request: Request, *, again: bool = True) -> Reply:
        """Its good reply, asked for as often as patience has it where it may be repeated. Raises the error tree by status."""
        tries = self._patience.tries if again else 1
        for number in range(1, tries + 1):
            try:
                return self.good(self.send(request))
            except Problem as problem:
                if number == tries or problem.permanent or isinstance(problem, Stopped):
                    raise
                self._sleep(float(problem.details.get("retry_after", 0.0)) + self._jitter(number))
        raise AssertionError("tries is at least 1")

    def stream(self, path: str, *, headers: Mapping[str, str], quiet_seconds: float) -> Iterator[bytes]:
        """The body of a GET as it comes, asked for once. Raises the error tree by status."""
        request = self.message("GET", path, headers={"Accept": "text/event-stream", **headers})
        with self._transport.stream(request, self._cancel, quiet_seconds=quiet_seconds) as reply:
            if not 200 <= reply.status < 300:
                body = b"".join(islice(reply.chunks, MOST_OF_A_PROBLEM))
                raise problem_of(Reply(reply.status, reply.headers, body), request.url)
            yield from reply.chunks

    def send(self, request: Request) -> Reply:
        """Once, and whatever is answered."""
        return self._transport.send(request, self._cancel)

    def good(self, reply: Reply) -> Reply:
        """The reply, if it is a 2xx. Raises the error tree by status otherwise."""
        self.contact.made = True
        if not 200 <= reply.status < 300:
            raise problem_of(reply, self.url)
        return reply

    def message(
        self,
        method: str,
        path: str,
        *,
        body: BaseModel | None = None,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Request:
        """The request of a call, to be sent by somebody else; what is answered is for `good`."""
        url = self.url + path
        given = {name: value for name, value in (query or {}).items() if value is not None}
        if given:
            url = f"{url}?{urlencode(given)}"
        sent = {"Authorization": f"Bearer {self._token}", "Accept": "application/json", **(headers or {})}
        if body is None:
            return Request(method, url, sent, seconds=self._seconds)
        data = body.model_dump_json(exclude_unset=True).encode()
        return Request(method, url, {**sent, "Content-Type": "application/json"}, data, seconds=self._seconds)

    def _jitter(self, tries: int) -> float:
        most = min(self._patience.backoff_most, self._patience.backoff * 2.0**tries)
        return most * random.random()  # noqa: S311 - spreads load, guards nothing

    def _sleep(self, seconds: float) -> None:
        if self._cancel is None:
            time.sleep(seconds)
        elif self._cancel.wait(seconds):
            raise Stopped("stopped", "Stopped.")


def _check_token(token: str) -> None:
    if not token.isascii() or not token.isprintable() or " " in token:
        raise errors.Unauthenticated(
            "token_malformed", "The token holds characters that no token has. Copy it again, whole."
        )


def check_address(url: str) -> None:
    """Raises `Misconfigured` (url_invalid) for what cannot be a server's address."""
    try:
        good = re.fullmatch(r"https?://[^\s/?#@]+(/[^\s?#]*)?", url) and url.isascii() and urlsplit(url).port != 0
    except ValueError:
        good = False
    if not good:
        said = re.sub(r"//[^/]*@", "//…@", ascii(url))  # a password is not for screens and logs
        raise Misconfigured("url_invalid", f"The server's address must look like https://host:port, not {said}.")


def parsed(reply: Reply, shape: type[T] | None) -> T:
    """The body as a wire message. Raises `Unavailable` (reply_invalid) when it is not one."""
    if shape is None:
        return None  # type: ignore[return-value]  # the caller asked for nothing
    try:
        return _adapter(shape).validate_json(reply.body)
    except ValidationError as error:
        raise Misconfigured(
            "reply_invalid",
            "The server answered something that this version of rushes does not understand. "
            "Is the address right, and are client and server of the same version?",
            errors=error.error_count(),
        ) from error


def _adapter(shape: type[T]) -> TypeAdapter[T]:
    """Made once: making one costs more than most replies do."""
    if shape not in _ADAPTERS:
        _ADAPTERS[shape] = TypeAdapter(shape)
    return _ADAPTERS[shape]


def problem_of(reply: Reply, url: str) -> Problem:
    """The error that a reply stands for: problem+json by its own code, anything else by its status."""
    try:
        told = wire.Problem.model_validate_json(reply.body)
    except ValidationError:
        return _bare(reply, url)
    kind = _kind(reply.status, permanent=told.permanent)
    return kind(told.code, told.detail, **_details(told.extra, reply))


def _kind(status: int, *, permanent: bool) -> type[Problem]:
    if status >= 500 and status != 501:
        return errors.Misconfigured if permanent else errors.Unavailable
    return BY_STATUS.get(status, errors.Rejected)


def _details(extra: Mapping[str, Any], reply: Reply) -> dict[str, Any]:
    details = {name: value for name, value in extra.items() if name not in {"code", "message", "self"}}
    return {**details, "retry_after": retry_after(reply)} if retry_after(reply) else details


def _bare(reply: Reply, url: str) -> Problem:
    place = f"{urlsplit(url).scheme}://{urlsplit(url).netloc}"
    if 300 <= reply.status < 400:
        to = reply.headers.get("location", "another address")
        return Misconfigured("server_redirects", f"{place} redirects to {to}: use that server's address.")
    if reply.status in TRANSIENT or reply.status >= 500:
        message = f"The server at {place} cannot answer now (HTTP {reply.status})."
        return Unavailable("server_unavailable", message, **_details({}, reply))
    kind = BY_STATUS.get(reply.status, errors.Rejected)
    if kind is errors.NotFound:
        return Misconfigured(
            "not_rushes", f"There is no rushes API at {place} (HTTP {reply.status}). Is the address right?"
        )
    return kind("server_refused", f"The server at {place} refused the request (HTTP {reply.status}).")
