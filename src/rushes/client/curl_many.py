"""Many short requests in one thread: libcurl's multi interface, told by a selector which sockets are ready.

(curl.se/libcurl/c/libcurl-multi.html, curl_multi_socket_action.) A thread for each would cost 2.5 times as much, most of it in
waiting for the interpreter's lock: callbacks while others run are what costs. So there are few of them here: pieces of a
reply are appended to lists, and how far a request has come is looked at a few times a second. Bodies lie in memory whole.
"""

from __future__ import annotations

import selectors
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pycurl

from rushes.client.curl_errors import translated
from rushes.client.http import MAX_REPLY, SILENT, Reply, Request, place
from rushes.errors import Problem, Unavailable

LOOK = 0.25  # seconds between two looks at how far all have come
IDLE = 64  # connections that are kept


@dataclass(eq=False, slots=True)
class _Ride:
    key: object
    request: Request
    curl: Any
    moved_at: float
    head: list[bytes] = field(default_factory=list)
    body: list[bytes] = field(default_factory=list)
    moved: tuple[int, int, int] = (0, 0, 0)  # bytes of bodies received and sent; lines of the reply's head


class CurlMany:
    """A `Many`. `prepare` sets what a request says on a handle, but for its body."""

    def __init__(self, prepare: Callable[[Any, Request], None], stall_seconds: float, reply_seconds: float) -> None:
        self._prepare = prepare
        self._stall_seconds = stall_seconds
        self._reply_seconds = reply_seconds
        self._ear, self._bell = socket.socketpair()
        for end in (self._ear, self._bell):
            end.setblocking(False)
        self._rides: dict[Any, _Ride] = {}  # by handle
        self._keys: dict[object, _Ride] = {}
        self._idle: list[Any] = []
        self._ended: list[tuple[object, Reply | Problem]] = []
        self._looked_at = 0.0
        self._distrusted = False  # kept connections may be dead
        self._open()

    def _open(self) -> None:
        self._due: float | None = None  # when libcurl wants to be asked again
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._multi = pycurl.CurlMulti()
        self._multi.setopt(pycurl.M_SOCKETFUNCTION, self._on_socket)
        self._multi.setopt(pycurl.M_TIMERFUNCTION, self._on_timer)
        self._multi.setopt(pycurl.M_MAXCONNECTS, IDLE)

    def close(self) -> None:
        for ride in [*self._rides.values()]:
            self._let_go(ride)
        self._shut()
        self._ear.close()
        self._bell.close()

    def _shut(self) -> None:
        for curl in self._idle:
            curl.close()
        self._idle.clear()
        self._multi.close()
        self._selector.close()

    def wake(self) -> None:
        with suppress(OSError):  # full: it will wake; closed: nobody sleeps
            self._bell.send(b"\0")

    # --- one request ------------------------------------------------------------------------------------------------

    def start(self, key: object, request: Request) -> None:
        if self._distrusted and not self._rides:
            self._shut()
            self._open()
            self._distrusted = False
        curl = self._idle.pop() if self._idle else pycurl.Curl()
        ride = _Ride(key, request, curl, time.monotonic())
        self._prepare(curl, request)
        curl.setopt(pycurl.HEADERFUNCTION, ride.head.append)
        curl.setopt(pycurl.WRITEFUNCTION, ride.body.append)
        curl.setopt(pycurl.MAXFILESIZE_LARGE, MAX_REPLY)
        if request.body is not None:
            assert isinstance(request.body, bytes), "in memory"
            curl.setopt(pycurl.POSTFIELDS, request.body)
            curl.setopt(pycurl.CUSTOMREQUEST, request.method)
        if request.fresh or self._distrusted:
            curl.setopt(pycurl.FRESH_CONNECT, 1)
        self._multi.add_handle(curl)
        self._keys[key] = self._rides[curl] = ride  # not before: what was refused is not to be let go

    def drop(self, key: object) -> None:
        if (ride := self._keys.get(key)) is not None:
            self._let_go(ride)

    def _let_go(self, ride: _Ride) -> None:
        """Its connection closes, if the reply had not come whole."""
        del self._rides[ride.curl], self._keys[ride.key]
        self._multi.remove_handle(ride.curl)
        ride.curl.reset()  # or it would keep the body
        self._idle.append(ride.curl)

    # --- all of them --------------------------------------------------------------------------------------------------

    def turn(self, seconds: float) -> list[tuple[object, Reply | Problem]]:
        now = time.monotonic()
        until = now + seconds
        while True:
            due = until if self._due is None else min(until, self._due)
            ready = self._selector.select(max(0.0, due - now))
            woken = False
            for key, events in ready:
                if key.fileobj is self._ear:
                    woken = self._heard()
                else:
                    self._multi.socket_action(key.fd, _bits(events))
            now = time.monotonic()
            if self._due is not None and now >= self._due:
                self._due = None
                self._multi.socket_action(pycurl.SOCKET_TIMEOUT, 0)
            self._collect()
            if now - self._looked_at >= LOOK:
                self._look(now)
            if self._ended or woken or now >= until:
                ended, self._ended = self._ended, []
                return ended

    def _heard(self) -> bool:
        with suppress(BlockingIOError):
            self._ear.recv(4096)
        return True

    def _collect(self) -> None:
        left = 1
        while left:
            left, good, bad = self._multi.info_read()
            for curl in good:
                ride = self._rides[curl]
                self._end(
                    ride, Reply(int(curl.getinfo(pycurl.RESPONSE_CODE)), _headers(ride.head), b"".join(ride.body))
                )
            for curl, number, text in bad:
                ride = self._rides[curl]
                self._end(ride, translated(pycurl.error(number, text), ride.request.url))

    def _end(self, ride: _Ride, came: Reply | Problem) -> None:
        self._tell(ride)
        self._let_go(ride)
        if isinstance(came, Unavailable) and came.code in SILENT:
            self._distrusted = True  # other connections of the time may be as dead as this one
        self._ended.append((ride.key, came))

    def _look(self, now: float) -> None:
        self._looked_at = now
        for ride in [*self._rides.values()]:
            self._tell(ride)
            down, up = int(ride.curl.getinfo(pycurl.SIZE_DOWNLOAD_T)), int(ride.curl.getinfo(pycurl.SIZE_UPLOAD_T))
            if (down, up, len(ride.head)) != ride.moved:
                ride.moved, ride.moved_at = (down, up, len(ride.head)), now
                continue
            body = ride.request.body
            thinking = up >= (len(body) if isinstance(body, bytes) else 0) and not down
            if now - ride.moved_at > (self._reply_seconds if thinking else self._stall_seconds):
                silence = f"{place(ride.request.url)} let {now - ride.moved_at:.0f} seconds pass without a byte."
                self._end(ride, Unavailable("network_stalled", silence))

    def _tell(self, ride: _Ride) -> None:
        if ride.request.on_sent is not None and (sent := int(ride.curl.getinfo(pycurl.SIZE_UPLOAD_T))):
            ride.request.on_sent(sent)

    # --- what libcurl asks for ----------------------------------------------------------------------------------------

    def _on_socket(self, what: int, number: int, _multi: Any, _data: Any) -> None:
        events = _EVENTS.get(what, 0)
        known = number in self._selector.get_map()
        if not events:
            if known:
                self._selector.unregister(number)
        elif known:
            self._selector.modify(number, events)
        else:
            self._selector.register(number, events)

    def _on_timer(self, milliseconds: int) -> None:
        self._due = None if milliseconds < 0 else time.monotonic() + milliseconds / 1000


_EVENTS = {
    pycurl.POLL_IN: selectors.EVENT_READ,
    pycurl.POLL_OUT: selectors.EVENT_WRITE,
    pycurl.POLL_INOUT: selectors.EVENT_READ | selectors.EVENT_WRITE,
}


def _bits(events: int) -> int:
    bits = pycurl.CSELECT_IN if events & selectors.EVENT_READ else 0
    return bits | (pycurl.CSELECT_OUT if events & selectors.EVENT_WRITE else 0)


def _headers(lines: list[bytes]) -> dict[str, str]:
    """Of the last reply: interim ones may have come before. Names are in lower case."""
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if name.startswith("HTTP/"):
            headers.clear()
        elif colon:
            headers[name.strip().lower()] = value.strip()
    return headers
