"""libcurl behind the interface of `http`: the cheapest HTTP engine measured for uploads, and patient with bad networks.

A part of any length costs one libcurl buffer (512 KiB) and one block of the body's own.
"""

from __future__ import annotations

import os
import socket
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pycurl

from rushes.client.curl_errors import reply_too_large, translated
from rushes.client.curl_many import CurlMany
from rushes.client.http import (
    LOOPBACK,
    MAX_REPLY,
    SILENT,
    Body,
    Cancel,
    Many,
    Reply,
    Request,
    Sink,
    Stopped,
    Streamed,
    host,
    keep_little_unsent,
    place,
)
from rushes.errors import Unavailable

UPLOAD_BUFFER = 512 << 10  # more costs no less, and every line has one
DOWNLOAD_BUFFER = 512 << 10  # for bodies that go into a sink
TELL_EVERY = 0.1  # seconds between two words of how much is sent
STREAM_LOOK = 0.25  # seconds; the longest that a stream takes to notice that it shall stop


class CurlTransport:
    """libcurl easy handles, each used by one thread at a time, kept with their connections for the next request."""

    def __init__(
        self,
        *,
        user_agent: str = "rushes",
        connect_seconds: float = 10.0,
        stall_seconds: float = 25.0,
        reply_seconds: float = 120.0,
    ) -> None:
        self._user_agent = user_agent
        self._connect_seconds = connect_seconds
        self._stall_seconds = stall_seconds
        self._reply_seconds = reply_seconds
        self._ca_file = os.environ.get("SSL_CERT_FILE")
        # By server, so that each handle has one connection, and only those that carry parts a large buffer; the newest last.
        self._idle: defaultdict[str, list[Any]] = defaultdict(list)
        self._lanes: list[CurlMany] = []
        self._lock = threading.Lock()

    def send(self, request: Request, cancel: Cancel | None = None) -> Reply:
        where = place(request.url)
        curl = self._take(where, request.fresh)
        try:
            flight = _Flight(request, cancel, self._stall_seconds, self._reply_seconds)
            self.prepare(curl, request)
            flight.attach(curl)
            reply = flight.run(curl)
        except BaseException as error:
            curl.close()  # its connection is in an unknown state
            if isinstance(error, Unavailable) and error.code in SILENT:
                self._close_idle()
            raise
        with self._lock:
            self._idle[where].append(curl)
        return reply

    @contextmanager
    def stream(self, request: Request, cancel: Cancel | None = None, *, quiet_seconds: float) -> Iterator[Streamed]:
        curl, multi = pycurl.Curl(), pycurl.CurlMulti()
        try:
            flight = _Flight(request, cancel, quiet_seconds, quiet_seconds)
            self.prepare(curl, request)
            flight.attach(curl)
            multi.add_handle(curl)
            yield flight.stream(curl, multi)
        finally:
            multi.remove_handle(curl)
            multi.close()
            curl.close()

    def close(self) -> None:
        self._close_idle()
        with self._lock:
            lanes, self._lanes = self._lanes, []
        for many in lanes:
            many.close()

    def _close_idle(self) -> None:
        with self._lock:
            handles, self._idle = [*chain.from_iterable(self._idle.values())], defaultdict(list)
        for curl in handles:
            curl.close()

    def _take(self, where: str, fresh: bool) -> Any:
        with self._lock:
            idle = self._idle[where].pop() if self._idle[where] else None
        if idle is not None and not fresh:
            return idle
        if idle is not None:
            idle.close()  # a new handle takes its place, so that their number stays that of the threads
        return pycurl.Curl()

    def many(self) -> Many:
        made = CurlMany(self.prepare, self._stall_seconds, self._reply_seconds)
        with self._lock:
            self._lanes.append(made)
        return made

    def prepare(self, curl: Any, request: Request) -> None:
        """All that a request says but for its body, on a handle that may have carried others."""
        curl.reset()  # options only: connections and the DNS cache stay
        curl.setopt(pycurl.URL, request.url)
        curl.setopt(pycurl.PROTOCOLS, pycurl.PROTO_HTTP | pycurl.PROTO_HTTPS)
        curl.setopt(pycurl.FOLLOWLOCATION, 0)
        curl.setopt(
            pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_1_1
        )  # S3 has no other, and it is cheapest for uploads
        curl.setopt(pycurl.NOSIGNAL, 1)
        curl.setopt(pycurl.USERAGENT, self._user_agent)
        curl.setopt(pycurl.CONNECTTIMEOUT_MS, int(self._connect_seconds * 1000))
        curl.setopt(pycurl.TCP_KEEPALIVE, 1)
        curl.setopt(pycurl.SOCKOPTFUNCTION, _on_socket)
        if host(request.url) in LOOPBACK:
            curl.setopt(pycurl.PROXY, "")  # a proxy of the environment cannot reach this machine's own servers
        if self._ca_file:
            curl.setopt(pycurl.CAINFO, self._ca_file)
        # An empty Expect keeps libcurl from waiting a second for a 100-continue that many stores never send; an empty
        # Content-Type, from calling bytes a form.
        headers = [f"{name}: {value}" for name, value in request.headers.items()]
        curl.setopt(pycurl.HTTPHEADER, ["Expect:", *(["Content-Type:"] if _is_untyped(request) else []), *headers])
        if request.seconds is not None:
            curl.setopt(pycurl.TIMEOUT_MS, int(request.seconds * 1000))
        if request.method != "GET":
            curl.setopt(pycurl.CUSTOMREQUEST, request.method)


def _is_untyped(request: Request) -> bool:
    return isinstance(request.body, bytes) and not any(name.lower() == "content-type" for name in request.headers)


def _on_socket(number: int, _purpose: int) -> int:
    with socket.socket(fileno=os.dup(number)) as sock:  # the option is the connection's, whoever sets it
        keep_little_unsent(sock)
    return int(pycurl.SOCKOPT_OK)


class _Flight:
    """One request under way: what libcurl's callbacks share."""

    def __init__(self, request: Request, cancel: Cancel | None, stall_seconds: float, reply_seconds: float) -> None:
        self._request = request
        self._cancel = cancel
        self._stall_seconds = stall_seconds
        self._reply_seconds = reply_seconds
        self._status = 0
        self._headers: dict[str, str] = {}
        self._sinking = False
        self._chunks: list[bytes] = []
        self._received = 0
        self._moved = (0, 0)
        self._moved_at = time.monotonic()
        self._told = 0  # bytes sent, as `on_sent` heard last
        self._told_at = 0.0
        self._error: BaseException | None = None  # raised inside a callback, raised again outside

    def attach(self, curl: Any) -> None:
        curl.setopt(pycurl.NOPROGRESS, 0)
        curl.setopt(pycurl.XFERINFOFUNCTION, self._on_progress)
        curl.setopt(pycurl.HEADERFUNCTION, self._on_header)
        curl.setopt(pycurl.WRITEFUNCTION, self._on_body)
        if self._request.sink is not None:
            curl.setopt(pycurl.BUFFERSIZE, DOWNLOAD_BUFFER)
        body = self._request.body
        if isinstance(body, bytes):
            curl.setopt(pycurl.POSTFIELDS, body)
        elif body is not None:
            curl.setopt(pycurl.UPLOAD, 1)
            curl.setopt(pycurl.INFILESIZE_LARGE, body.length)
            curl.setopt(pycurl.UPLOAD_BUFFERSIZE, UPLOAD_BUFFER)
            curl.setopt(pycurl.READFUNCTION, self._on_read)
            curl.setopt(pycurl.SEEKFUNCTION, self._on_seek)

    @property
    def _stream(self) -> Body:
        body = self._request.body
        assert body is not None
        assert not isinstance(body, bytes)
        return body

    def run(self, curl: Any) -> Reply:
        try:
            curl.perform()
        except pycurl.error as error:
            self._tell(time.monotonic())
            if self._error is not None:
                raise self._error from None
            raise translated(error, self._request.url) from None
        return Reply(int(curl.getinfo(pycurl.RESPONSE_CODE)), self._headers, b"".join(self._chunks))

    def stream(self, curl: Any, multi: Any) -> Streamed:
        """The reply once its body begins, or it is over without one."""
        pieces = self._pieces(curl, multi)
        first = next(pieces, b"")
        return Streamed(int(curl.getinfo(pycurl.RESPONSE_CODE)), self._headers, chain([first], pieces))

    def _pieces(self, curl: Any, multi: Any) -> Iterator[bytes]:
        """The body as it arrives. libcurl's callbacks run inside; so does the check for silence and for `cancel`."""
        active = 1
        while active:
            _, active = multi.perform()
            if self._error is not None:
                raise self._error
            if self._chunks:
                chunk, self._chunks, self._received = b"".join(self._chunks), [], 0
                yield chunk
            elif active:
                multi.select(STREAM_LOOK)
                self._check(self._moved[0], self._moved[1])
        _, _, failed = multi.info_read()
        for _, number, text in failed:
            raise translated(pycurl.error(number, text), self._request.url)

    def _on_progress(self, _down_total: int, down: int, _up_total: int, up: int) -> int:
        try:
            return self._check(down, up)
        except BaseException as error:  # noqa: BLE001 - libcurl must not see it; `run` raises it again
            self._error = error
            return 1

    def _check(self, down: int, up: int) -> int:
        if self._cancel is not None and self._cancel.is_set():
            raise Stopped("stopped", "Stopped.")
        now = time.monotonic()
        body = self._request.body
        sent_all = body is None or isinstance(body, bytes) or up >= body.length
        if (down, up) != self._moved:
            self._moved, self._moved_at = (down, up), now
            if sent_all or now - self._told_at >= TELL_EVERY:
                self._tell(now)
            return 0
        thinking = sent_all and not down  # the other side may take its time before it begins to answer
        if now - self._moved_at > (self._reply_seconds if thinking else self._stall_seconds):
            raise Unavailable(
                "network_stalled",
                f"{place(self._request.url)} let {now - self._moved_at:.0f} seconds pass without a byte.",
            )
        return 0

    def _tell(self, now: float) -> None:
        up = self._moved[1]
        if self._request.on_sent is not None and up != self._told:
            self._told, self._told_at = up, now
            self._request.on_sent(up)

    def _on_header(self, line: bytes) -> None:
        self._moved_at = time.monotonic()  # libcurl counts bodies only
        text = line.decode("latin-1")
        if text.startswith("HTTP/"):  # an interim reply came before: only the last one counts
            self._headers.clear()
            code = text.split(maxsplit=2)[1:2]
            self._status = int(code[0]) if code and code[0].isascii() and code[0].isdigit() else 0
            return
        name, colon, value = text.partition(":")
        if colon:
            self._headers[name.strip().lower()] = value.strip()

    def _on_body(self, chunk: bytes) -> int:
        if self._request.sink is not None and 200 <= self._status < 300:
            return self._sink(self._request.sink, chunk)
        self._received += len(chunk)
        if self._received > MAX_REPLY:
            self._error = reply_too_large(self._request.url)
            return 0
        self._chunks.append(chunk)
        return len(chunk)

    def _sink(self, sink: Sink, chunk: bytes) -> int:
        try:
            if not self._sinking:
                self._sinking = True
                sink.begin(self._status, self._headers)
            sink.write(chunk)
        except BaseException as error:  # noqa: BLE001 - libcurl must not see it; `run` raises it again
            self._error = error
            return 0
        return len(chunk)

    def _on_read(self, most: int) -> bytes | memoryview | int:
        try:
            block = self._stream.read(most)
            self._moved_at = time.monotonic()  # all before is sent; reading may have waited for a slow disk or a rate
            return block
        except BaseException as error:  # noqa: BLE001 - libcurl must not see it; `run` raises it again
            self._error = error
            return int(pycurl.READFUNC_ABORT)

    def _on_seek(self, offset: int, _origin: int) -> int:
        self._stream.seek(offset)
        return int(pycurl.SEEKFUNC_OK)
