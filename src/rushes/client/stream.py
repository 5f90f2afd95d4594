"""Following events: one event stream (server-sent events), kept up over restarts, other pods and broken lines.

`follow` opens the stream, yields its events in the caller's thread, and opens it again after the last id whenever it ends:
nothing is lost and nothing comes twice. It waits as long as the server asks before it comes back, longer with every
failure, and gives up after `patience` seconds in which nobody answered.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

from pydantic import ValidationError

from rushes.client.calls import Caller
from rushes.client.http import Stopped
from rushes.errors import Misconfigured, Unavailable
from rushes.wire import Event

MAX_LINE = 8 << 20  # bytes; the largest event there is has a few kB
QUIET_SECONDS = 60.0  # a live stream gives a sign of life every 15 seconds
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 30.0


@dataclass(slots=True)
class Message:
    """A block of a stream: its data, and the id after it."""

    data: str
    id: str | None


@dataclass(slots=True)
class Parser:
    """Lines become messages (WHATWG HTML, section 9.2.6). A block with an id alone is told as a message without data."""

    retry: float | None = None  # seconds
    _rest: bytes = b""
    _data: list[str] = field(default_factory=list)
    _id: str | None = None

    def feed(self, chunk: bytes) -> Iterator[Message]:
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        if len(self._rest) > MAX_LINE:
            raise Misconfigured("reply_invalid", "The server sent a line without end where events were expected.")
        for line in lines:
            text = line.decode("utf-8", "replace").removesuffix("\r")
            if text:
                self._field(text)
            elif self._data or self._id is not None:
                yield Message("\n".join(self._data), self._id)
                self._data, self._id = [], None

    def _field(self, line: str) -> None:
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "data":
            self._data.append(value)
        elif name == "id":
            self._id = value
        elif name == "retry" and value.isascii() and value.isdigit():
            self.retry = min(max(SHORTEST_PAUSE, float(value) / 1000), LONGEST_PAUSE)


def follow(
    caller: Caller, path: str, after: str | None, *, live: bool, patience: float, cancel: threading.Event
) -> Iterator[Event]:
    """Events of the stream at `path` after `after`; without `live`, until everything there is has been told.

    Raises what opening the stream raises (`NotFound`, `Unauthenticated`, `Invalid`, …), `Unavailable` when nobody answered
    for `patience` seconds, and `Stopped`.
    """
    retry, pause, failing_since = 1.0, 0.5, None
    while True:
        parser = Parser()
        try:
            for chunk in caller.stream(path, headers=_after(after), quiet_seconds=QUIET_SECONDS):
                pause, failing_since = 0.5, None
                for message in parser.feed(chunk):
                    after = message.id or after
                    if message.data:
                        yield _event(message.data)
                    elif not live:
                        return
            retry = parser.retry or retry
        except Unavailable as error:
            now = time.monotonic()
            failing_since = failing_since or now
            if now - failing_since > patience:
                raise
            retry = max(parser.retry or 0.0, float(error.details.get("retry_after", 0.0)), pause)
            pause = min(pause * 2, LONGEST_PAUSE)
        if cancel.wait(retry * random.uniform(0.5, 1.0)):  # noqa: S311 - spreads load, guards nothing
            raise Stopped("stopped", "Stopped following events.")


def _after(after: str | None) -> dict[str, str]:
    return {} if after is None else {"Last-Event-ID": after}


def _event(data: str) -> Event:
    try:
        return Event.model_validate_json(data)
    except ValidationError as error:
        raise Misconfigured(
            "reply_invalid", "The server sent an event that this version of rushes does not understand."
        ) from error
