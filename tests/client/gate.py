"""A gate before a server, as offices and hotels have one: an HTTP proxy in reverse that lets no large body through.

It streams what it lets through, unchanged both ways, and counts what it refused.
"""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

HOP = frozenset({"connection", "keep-alive", "transfer-encoding"})


class Gate:
    def __init__(self, upstream: str) -> None:
        self.upstream = urlsplit(upstream)
        self.most: int | None = None  # bytes of a body
        self.page: int | None = None  # answer everything with this status and a page of its own
        self.refused = 0
        self.passed: list[int] = []  # lengths of bodies of PUTs
        self.url = ""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    gate: Gate

    def log_message(self, *_: Any) -> None:
        """Quiet: tests look at the gate's figures."""

    def do_GET(self) -> None:
        self._pass()

    def do_POST(self) -> None:
        self._pass()

    def do_PUT(self) -> None:
        self._pass()

    def do_DELETE(self) -> None:
        self._pass()

    def _pass(self) -> None:
        length = int(self.headers.get("content-length", 0))
        if self.gate.page is not None or (self.gate.most is not None and length > self.gate.most):
            self.gate.refused += 1
            self._refuse(self.gate.page or 413)
            return
        if self.command == "PUT":
            self.gate.passed.append(length)
        connection = http.client.HTTPConnection(self.gate.upstream.hostname or "", self.gate.upstream.port, timeout=60)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in HOP}
            connection.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in headers.items():
                connection.putheader(name, value)
            connection.endheaders()
            while length and (chunk := self.rfile.read(min(length, 65_536))):
                connection.send(chunk)
                length -= len(chunk)
            reply = connection.getresponse()
            data = reply.read()
            self.send_response_only(reply.status)
            for name, value in reply.getheaders():
                if name.lower() not in HOP | {"content-length"}:
                    self.send_header(name, value)
            self.send_header("Content-Length", reply.getheader("content-length", str(len(data))))
            self.end_headers()
            self.wfile.write(data)
        finally:
            connection.close()

    def _refuse(self, status: int) -> None:
        page = b"<html><body>So much is not allowed here.</body></html>"
        self.send_response_only(status)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(page)))
        self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(page)
        self.close_connection = True


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Clients that hang up are part of the tests."""


@contextmanager
def gate(upstream: str) -> Iterator[Gate]:
    made = Gate(upstream)
    with _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"gate": made})) as server:
        made.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield made
        finally:
            server.shutdown()
            thread.join()
