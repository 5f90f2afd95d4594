"""HTTP for the client: one small interface. Behind it are libcurl (`curl.py`), and the standard library (`plain.py`) where
that cannot be loaded.

A `Transport` sends one request and returns the whole reply. It never retries and follows no redirect: what to do next
is decided by its callers, `calls` for the API and `session` for parts. Bodies are pulled in blocks, so that what a part
costs does not depend on its length.

There is no limit on a request's total time, because a big part on a slow line is not an error. What ends a request is
silence: no byte in either direction for `stall_seconds`, or for `reply_seconds` once the whole body is sent.
"""

from __future__ import annotations

import re
import socket
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Protocol, runtime_checkable
from urllib.parse import urlsplit

from rushes.errors import Problem

MAX_REPLY = 32 << 20  # bytes; the largest page of a listing is a few MB
UNSENT = 1 << 20  # bytes of a connection that the kernel takes ahead of what it sends; less costs more CPU
SILENT = frozenset({"network_stalled", "network_timeout"})  # other connections of the time may be as dead as this one
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})


_AFTER_SERVER = re.compile("[/?#]")


class Stopped(Problem):
    """The caller asked to stop. Nothing is lost: what was confirmed stays, the rest can be sent later."""

    permanent = False


class Cancel(Protocol):
    """A `threading.Event`, or anything that tells in this way that a request is not wanted any more."""

    def is_set(self) -> bool: ...


class Body(Protocol):
    """Bytes that can be read from the start more than once: they are, when a kept connection turns out dead."""

    @property
    def length(self) -> int: ...

    def seek(self, offset: int) -> None: ...

    def read(self, most: int) -> bytes | memoryview:
        """At most `most` bytes, valid until the next call; empty only at the end."""


class Sink(Protocol):
    """Takes the body of a good reply as it comes. What it raises ends the request and is raised by `send`."""

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        """The reply is a 2xx; names of headers are in lower case."""

    def write(self, chunk: bytes) -> None: ...


@dataclass(frozen=True, slots=True)
class Request:
    method: str
    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | Body | None = None
    fresh: bool = False  # on a new connection, with the address looked up anew
    seconds: float | None = None  # the most the whole request may take
    on_sent: Callable[[int], None] | None = None  # bytes of the body sent so far in this request
    sink: Sink | None = None  # takes a good reply's body, of any length, in place of `Reply.body`


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: Mapping[str, str]  # names in lower case
    body: bytes


@dataclass(frozen=True, slots=True)
class Streamed:
    """A reply whose body is still under way."""

    status: int
    headers: Mapping[str, str]  # names in lower case
    chunks: Iterator[bytes]


class Transport(Protocol):
    """Safe to use from many threads at once."""

    def send(self, request: Request, cancel: Cancel | None = None) -> Reply:
        """Raises `Unavailable` (network_*), `Misconfigured` (address, TLS), or `Stopped` soon after `cancel` is set."""

    def stream(
        self, request: Request, cancel: Cancel | None = None, *, quiet_seconds: float
    ) -> AbstractContextManager[Streamed]:
        """The reply as it comes, on a connection of its own. Raises as `send` does; silence for `quiet_seconds` is
        `Unavailable` (network_stalled)."""

    def close(self) -> None: ...


class Many(Protocol):
    """Requests with short bodies, any number of them under way at once in one thread: it costs less than a thread each.
    Used by one thread at a time, but for `wake`."""

    def start(self, key: object, request: Request) -> None:
        """Send it, its body from memory; `turn` will name `key`. `Request.sink` and `seconds` are not for this."""

    def drop(self, key: object) -> None:
        """It is not wanted any more, and will not be named."""

    def turn(self, seconds: float) -> list[tuple[object, Reply | Problem]]:
        """Carry on; what has ended since, well or with the errors of `Transport.send`. Returns after `seconds` at the
        latest, earlier when something has ended, or after `wake`."""

    def wake(self) -> None:
        """Have `turn` return soon. From any thread."""

    def close(self) -> None: ...


@runtime_checkable
class Manifold(Protocol):
    """What a transport is as well that sends many requests in one thread."""

    def many(self) -> Many: ...


def keep_little_unsent(sock: socket.socket) -> None:
    """Have the kernel take no more than it can send soon: what left a program is then on its way, not in a buffer of
    megabytes. So progress is honest, silence is noticed, and little is lost when the program dies."""
    option = getattr(socket, "TCP_NOTSENT_LOWAT", None)  # Linux, macOS
    if option is not None:
        sock.setsockopt(socket.IPPROTO_TCP, option, UNSENT)


def place(url: str) -> str:
    """The server part of an address; the rest may carry a signature."""
    scheme, _, rest = url.partition("://")
    return f"{scheme}://{_AFTER_SERVER.split(rest, 1)[0].rpartition('@')[2]}"


def host(url: str) -> str | None:
    return _host(place(url))


@lru_cache(64)  # signed addresses are all different, their servers are not
def _host(server: str) -> str | None:
    try:
        return urlsplit(server).hostname
    except ValueError:
        return None  # whoever sends the request will say what is wrong with it
