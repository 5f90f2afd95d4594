"""The standard library behind the interface of `http`, for machines on which libcurl cannot be loaded.

Replies are read by `http.client`; sockets have a short timeout, after which it is looked whether the request
is still wanted and how long nothing has moved. A part of any length costs one block of the body's own. Proxies are those
of the environment (and, on a Mac, of its settings).
"""

from __future__ import annotations

import base64
import http.client
import io
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import chain
from typing import Any
from urllib.parse import unquote, urlsplit
from urllib.request import getproxies, proxy_bypass

from rushes.client.http import (
    LOOPBACK,
    MAX_REPLY,
    SILENT,
    Cancel,
    Reply,
    Request,
    Stopped,
    Streamed,
    keep_little_unsent,
    place,
)
from rushes.errors import Misconfigured, Problem, Unavailable

TICK = 0.25  # seconds; the longest that a request takes to notice that it shall stop
LEAST_PIECE = 16 << 10  # bytes written at once; doubled while the line takes them quickly
MOST_PIECE = 256 << 10


class PlainTransport:
    """Connections of `http.client`, each used by one thread at a time and kept for the next request to the same server."""

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
        self._context: ssl.SSLContext | None = None
        self._idle: list[_Link] = []  # the newest last
        self._lock = threading.Lock()

    def send(self, request: Request, cancel: Cancel | None = None) -> Reply:
        where = _where(request.url)
        link = None if request.fresh else self._kept(where)
        if link is not None:
            try:
                return self._exchange(link, request, cancel)
            except _Dead:  # the other side closed it meanwhile: nothing of this request was answered
                if request.body is not None and not isinstance(request.body, bytes):
                    request.body.seek(0)
        try:
            return self._exchange(self._opened(request, where), request, cancel)
        except _Dead as error:
            raise _broken(request.url, error) from None

    @contextmanager
    def stream(self, request: Request, cancel: Cancel | None = None, *, quiet_seconds: float) -> Iterator[Streamed]:
        link = self._opened(request, _where(request.url))
        try:
            watch = _Watch(request, cancel, quiet_seconds, quiet_seconds)
            try:
                response = self._asked(link, request, watch)
                pieces = _pieces(response, request.url)
                first = next(pieces, b"")
            except _Dead as error:
                raise _broken(request.url, error) from None
            yield Streamed(response.status, _headers(response), chain([first], pieces))
        finally:
            link.close()

    def close(self) -> None:
        with self._lock:
            links, self._idle = self._idle, []
        for link in links:
            link.close()

    def _exchange(self, link: _Link, request: Request, cancel: Cancel | None) -> Reply:
        try:
            watch = _Watch(request, cancel, self._stall_seconds, self._reply_seconds)
            response = self._asked(link, request, watch)
            chunks, received = [], 0
            sink = request.sink if 200 <= response.status < 300 else None
            if sink is not None:
                sink.begin(response.status, _headers(response))
            for chunk in _pieces(response, request.url):
                if sink is not None:
                    sink.write(chunk)
                    continue
                received += len(chunk)
                if received > MAX_REPLY:
                    raise Unavailable(
                        "reply_too_large", f"{place(request.url)} answered with more than {MAX_REPLY} bytes."
                    )
                chunks.append(chunk)
        except BaseException as error:
            link.close()  # in an unknown state
            if isinstance(error, Unavailable) and error.code in SILENT:
                self.close()
            raise
        if response.will_close or not watch.sent_all:
            link.close()
        else:
            with self._lock:
                self._idle.append(link)
        return Reply(response.status, _headers(response), b"".join(chunks))

    def _asked(self, link: _Link, request: Request, watch: _Watch) -> http.client.HTTPResponse:
        """The reply's head, once the request is sent. Raises `_Dead` when the connection ended before."""
        headers = {"User-Agent": self._user_agent, "Accept": "*/*"} | dict(request.headers)
        try:
            try:
                link.say(request, headers)
                watch.moved()
                link.carry(request, watch)
            except (BrokenPipeError, ConnectionResetError, ssl.SSLEOFError):
                watch.sent_all = False  # the answer may lie there already: a refusal does not wait for the whole body
            response = http.client.HTTPResponse(_Wire(link.sock, watch), method=request.method)  # type: ignore[arg-type]
            response.begin()
        except (OSError, http.client.HTTPException) as error:
            raise _Dead(str(error)) from error
        return response

    def _kept(self, where: _Where) -> _Link | None:
        with self._lock:
            for index in range(len(self._idle) - 1, -1, -1):
                if self._idle[index].where == where:
                    return self._idle.pop(index)
        return None

    def _opened(self, request: Request, where: _Where) -> _Link:
        if request.fresh and (old := self._kept(where)) is not None:
            old.close()  # so that their number stays that of the threads
        seconds = self._connect_seconds if request.seconds is None else min(self._connect_seconds, request.seconds)
        try:
            return _Link(where, seconds, self._tls() if where[0] == "https" else None)
        except (OSError, http.client.HTTPException) as error:
            raise _unreached(error, request.url) from None

    def _tls(self) -> ssl.SSLContext:
        with self._lock:
            if self._context is None:
                bundle = os.environ.get("SSL_CERT_FILE")
                try:
                    self._context = ssl.create_default_context(cafile=bundle)
                except OSError as error:
                    message = "The certificate bundle that SSL_CERT_FILE names cannot be read."
                    raise Misconfigured("tls_bundle_unreadable", message) from error
            return self._context


_Where = tuple[str, str, int]  # scheme, host, port


class _Dead(Exception):
    """The connection ended before an answer came."""


class _Link:
    """A connection, on the way through a proxy where the environment names one."""

    def __init__(self, where: _Where, seconds: float, context: ssl.SSLContext | None) -> None:
        self.where = where
        scheme, host, port = where
        proxy = None if host in LOOPBACK or proxy_bypass(host) else getproxies().get(scheme)
        self._direct = proxy is None or scheme == "https"  # another proxy wants to be told the whole address
        self._proxy_headers: dict[str, str] = {}
        if proxy is None:
            connection = _connection(host, port, seconds, context)
        else:
            through = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            if through.username is not None:
                known = f"{unquote(through.username)}:{unquote(through.password or '')}".encode()
                self._proxy_headers = {"Proxy-Authorization": f"Basic {base64.b64encode(known).decode()}"}
            connection = _connection(through.hostname or "", through.port or 8080, seconds, context)
            if scheme == "https":
                connection.set_tunnel(host, port, self._proxy_headers)
        self._connection = connection
        connection.connect()
        self.sock: socket.socket = connection.sock
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        keep_little_unsent(self.sock)

    def say(self, request: Request, headers: dict[str, str]) -> None:
        """Send the head, and a body of bytes."""
        parts = urlsplit(request.url)
        target = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
        if not self._direct:
            target = f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{target}"
            headers = headers | self._proxy_headers
        lines = [f"{request.method} {target} HTTP/1.1", f"Host: {parts.netloc.rpartition('@')[2]}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        body = request.body if isinstance(request.body, bytes) else b""
        if request.body is not None:
            length = len(request.body) if isinstance(request.body, bytes) else request.body.length
            lines.append(f"Content-Length: {length}")
        if any("\r" in line or "\n" in line for line in lines):
            raise Misconfigured("header_invalid", f"A header for {place(request.url)} holds more than one line.")
        self.sock.settimeout(10.0)
        self.sock.sendall("\r\n".join([*lines, "", ""]).encode("latin-1", "replace") + body)
        self.sock.settimeout(TICK)

    def carry(self, request: Request, watch: _Watch) -> None:
        """Send a body that is read in blocks, until it is sent or an answer comes before."""
        body = request.body
        if body is None or isinstance(body, bytes):
            return
        watch.sent_all, sent, piece = False, 0, LEAST_PIECE
        while sent < body.length:
            block = memoryview(body.read(MOST_PIECE * 4))
            watch.moved()  # reading may have waited for a slow disk or a rate
            while block:
                if self._answered():
                    return
                started = time.monotonic()
                count = self._write(block[:piece], watch)
                quick = time.monotonic() - started < TICK / 4
                piece = min(2 * piece, MOST_PIECE) if quick else LEAST_PIECE
                block, sent = block[count:], sent + count
                watch.moved(sent)
        watch.sent_all = True

    def _write(self, piece: memoryview, watch: _Watch) -> int:
        while True:
            try:
                return self.sock.send(piece)
            except TimeoutError:  # the same piece again: TLS has begun to write it
                watch.check()

    def _answered(self) -> bool:
        """Whether an answer is there already. What TLS has of its own to say looks the same, so there it is not asked."""
        if isinstance(self.sock, ssl.SSLSocket):
            return False
        return bool(select.select([self.sock], [], [], 0)[0])

    def close(self) -> None:
        with suppress(OSError):
            self._connection.close()


class _Watch:
    """How long nothing has moved, and whether the request is still wanted."""

    def __init__(self, request: Request, cancel: Cancel | None, stall_seconds: float, reply_seconds: float) -> None:
        self.sent_all = True
        self.answered = False
        self._request = request
        self._cancel = cancel
        self._stall_seconds = stall_seconds
        self._reply_seconds = reply_seconds
        self._began = self._moved_at = self._told_at = time.monotonic()

    def moved(self, sent: int | None = None) -> None:
        self._moved_at = time.monotonic()
        body, told = self._request.body, self._request.on_sent
        if sent is None or told is None or body is None or isinstance(body, bytes):
            self._look()
        elif sent == body.length or self._moved_at - self._told_at >= TICK / 2:
            self._told_at = self._moved_at
            told(sent)
            self._look()

    def check(self) -> None:
        """Raises `Stopped`, or `Unavailable` for silence and for a request that took too long."""
        self._look()
        now = time.monotonic()
        quiet = now - self._moved_at
        thinking = self.sent_all and not self.answered  # the other side may take its time before it begins to answer
        if quiet > (self._reply_seconds if thinking else self._stall_seconds):
            raise Unavailable(
                "network_stalled", f"{place(self._request.url)} let {quiet:.0f} seconds pass without a byte."
            )

    def _look(self) -> None:
        if self._cancel is not None and self._cancel.is_set():
            raise Stopped("stopped", "Stopped.")
        if self._request.seconds is not None and time.monotonic() - self._began > self._request.seconds:
            raise Unavailable("network_timeout", f"{place(self._request.url)} did not answer in time.")


class _Wire(io.RawIOBase):
    """A socket to read from, under a watch."""

    def __init__(self, sock: socket.socket, watch: _Watch) -> None:
        self._sock = sock
        self._watch = watch

    def makefile(self, _mode: str) -> io.BufferedReader:
        return io.BufferedReader(self, 65_536)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while True:
            try:
                count = self._sock.recv_into(buffer)
            except TimeoutError:
                self._watch.check()
            else:
                self._watch.answered = True
                self._watch.moved()
                return count


def _pieces(response: http.client.HTTPResponse, url: str) -> Iterator[bytes]:
    try:
        while chunk := response.read1(65_536):
            yield chunk
        if response.length:
            raise _broken(url, "the reply ended early")
    except (OSError, http.client.HTTPException) as error:
        raise _broken(url, error) from None


def _headers(response: http.client.HTTPResponse) -> dict[str, str]:
    return {name.lower(): value for name, value in response.getheaders()}


def _connection(host: str, port: int, seconds: float, context: ssl.SSLContext | None) -> http.client.HTTPConnection:
    if context is None:
        return http.client.HTTPConnection(host, port, timeout=seconds)
    return http.client.HTTPSConnection(host, port, timeout=seconds, context=context)


def _where(url: str) -> _Where:
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
        parts = urlsplit("")
    if parts.scheme not in {"http", "https"} or not host:
        raise Misconfigured("url_invalid", f"{place(url)} is not a usable http or https address.")
    return parts.scheme, host, port or (443 if parts.scheme == "https" else 80)


def _broken(url: str, why: object) -> Unavailable:
    return Unavailable("network_broken", f"The connection to {place(url)} broke.", reason=str(why))


def _unreached(error: Exception, url: str) -> Problem:
    where = place(url)
    if isinstance(error, ssl.SSLCertVerificationError):
        message = f"The certificate of {where} is not trusted. Point SSL_CERT_FILE at a bundle with its authority."
        return Misconfigured("tls_untrusted", message, reason=str(error))
    if isinstance(error, ssl.SSLError):
        return Unavailable("network_tls", f"The TLS connection to {where} could not be made.", reason=str(error))
    if isinstance(error, socket.gaierror):
        return Unavailable("network_dns", f"The name in {where} cannot be resolved.", reason=str(error))
    if isinstance(error, TimeoutError):
        return Unavailable("network_timeout", f"{where} did not answer in time.", reason=str(error))
    return Unavailable("network_refused", f"No server answers at {where}.", reason=str(error))
