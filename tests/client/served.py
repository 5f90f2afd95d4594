"""The test server's HTTP: what `equipment.Site` knows, at a port of this machine."""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID

from rushes.errors import Problem
from tests.client.equipment import TOKEN, Fault, Refusal, Site, Upload, asset_json


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    site: Site

    def log_message(self, *_: Any) -> None:
        """Quiet: the tests look at `Site.requests`."""

    def do_GET(self) -> None:
        self._route("GET")

    def do_PATCH(self) -> None:
        self._route("PATCH")

    def do_POST(self) -> None:
        self._route("POST")

    def do_DELETE(self) -> None:
        self._route("DELETE")

    def do_PUT(self) -> None:
        query = parse_qs(urlsplit(self.path).query)
        signature = query.get("sig", [""])[0]
        number = self.site.grants[signature][1] if signature in self.site.grants else 0
        fault = self.site.take_fault("put", number)
        with self.site.lock:
            self.site.connections.setdefault(number, set()).add(self.client_address[1])
        self._put(signature, number, fault)

    @contextmanager
    def _counted(self) -> Iterator[None]:
        with self.site.lock:
            self.site.now_putting += 1
            self.site.peak = max(self.site.peak, self.site.now_putting)
        try:
            yield
        finally:
            with self.site.lock:
                self.site.now_putting -= 1

    def _put(self, signature: str, number: int, fault: Fault | None) -> None:
        if fault is not None and fault.way in {"reset", "stall"}:
            self.rfile.read(1)
            time.sleep(fault.seconds)
            self._reset()
            return
        with self._counted():
            if self.site.before_put is not None and self.site.before_put(number) is False:
                self._reset()
                return
            data = self._read(length := int(self.headers["content-length"]))
            time.sleep(self.site.pace)
        if fault is not None and fault.way == "answer":
            self._xml(fault.status, fault.code, "made to fail", fault.headers)
            return
        try:
            etag = self.site.put(signature, length, self.headers, data, fault)
        except Refusal as refusal:
            self._xml(refusal.status, refusal.code, refusal.message, {})
            return
        self._answer(200, b"", {} if fault is not None and fault.way == "no-etag" else {"ETag": etag})

    def _read(self, length: int) -> bytearray:
        data = bytearray(length)
        view, at = memoryview(data), 0
        while at < length:
            count = self.rfile.readinto(view[at:])
            if not count:
                raise ConnectionResetError
            at += count
        self.site.bytes_received += length
        return data

    def _route(self, method: str) -> None:
        body = bytes(self.rfile.read(int(self.headers.get("content-length", 0))))
        path = urlsplit(self.path).path
        self.site.requests.append((method, self.path))
        try:
            at, act = self._find(method, path, body)
            fault = self.site.take_fault(at)
            if fault is not None and fault.way == "reset":
                act()  # done, but the reply is lost
                self._reset()
                return
            if fault is not None:
                raise Refusal(fault.status, fault.code, "made to fail", headers=fault.headers)
            status, reply = act()
        except Refusal as refusal:
            headers = refusal.extra.pop("headers", {})
            self._problem(refusal.status, refusal.code, refusal.message, refusal.extra, headers)
        except Problem as problem:
            self._problem(400, problem.code, problem.message, {}, {})
        else:
            self._answer(status, b"" if reply is None else json.dumps(reply).encode(), {})

    def _find(self, method: str, path: str, body: bytes) -> tuple[str, Callable[[], tuple[int, Any]]]:
        if path == "/healthz":
            return "health", lambda: (200, {"status": "ok", "checks": {}})
        bearer = self.headers.get("authorization", "").removeprefix("Bearer ")
        self.site.bearers.add(bearer)
        if (method, path) == ("POST", "/v1/uploads"):
            self._check(bearer, TOKEN)
            return "begin", lambda: (201, self.site.begin(body, self.headers["idempotency-key"]))
        if (method, path) == ("GET", "/v1/uploads"):
            self._check(bearer, TOKEN)
            views = [self.site.view(upload) for upload in self.site.uploads.values()]
            return "list", lambda: (200, {"items": views, "next": None})
        if found := re.fullmatch(r"/v1/assets/([0-9a-f-]{36})(/status)?", path):
            self._check(bearer, TOKEN)
            upload = next((u for u in self.site.uploads.values() if str(u.asset_id) == found[1]), None)
            if upload is None:
                raise Refusal(404, "asset_not_found", "There is no such asset.")
            if method == "PATCH":
                upload.filename = json.loads(body)["filename"]
                return "asset", lambda: (200, asset_json(upload, "published"))
            if found[2]:
                return "asset_status", lambda: (200, self.site.asset_status(upload))
            return "asset", lambda: (200, self.site.assets[upload.asset_id])
        if (method, path) == ("POST", "/v1/titles"):
            self._check(bearer, TOKEN)
            return "title", lambda: (201, self.site.new_title(json.loads(body)))
        if found := re.fullmatch(r"/v1/titles/([0-9a-f-]{36})", path):
            self._check(bearer, TOKEN)
            if UUID(found[1]) not in self.site.titles:
                raise Refusal(404, "title_not_found", "There is no such title.")
            return "title", lambda: (200, self.site.titles[UUID(found[1])])
        if path == "/v1/jobs":
            return "jobs", lambda: (200, {"items": [], "next": None})
        found = re.fullmatch(r"/v1/uploads/([0-9a-f-]{36})(/\w+)?", path)
        upload = self.site.uploads.get(UUID(found[1])) if found else None
        if found is None or upload is None:
            raise Refusal(404, "upload_not_found", "There is no such upload.")
        self._check(bearer, TOKEN, upload.token)
        return self._upload_verb(method, found[2] or "", upload, body)

    def _upload_verb(
        self, method: str, verb: str, upload: Upload, body: bytes
    ) -> tuple[str, Callable[[], tuple[int, Any]]]:
        match method, verb:
            case "POST", "/parts":
                return "ask", lambda: (200, self.site.ask(upload, body))
            case "POST", "/complete":
                return "complete", lambda: self.site.complete(upload, body)
            case "GET", "/status":
                return "status", lambda: (200, self.site.status(upload))
            case "GET", "":
                return "view", lambda: (200, self.site.view(upload, reconcile="reconcile=true" in self.path))
            case "DELETE", "":
                return "abort", lambda: self.site.abort(upload)
        raise Refusal(404, "not_found", "There is no such address.")

    @staticmethod
    def _check(bearer: str, *good: str) -> None:
        if bearer == "expired-token":
            raise Refusal(401, "token_expired", "The token has expired; get a new one.")
        if bearer not in good:
            raise Refusal(401, "token_invalid", "The token is not valid here.")

    def _reset(self) -> None:
        """Cut the connection as a crashed peer does: with RST."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()

    def _xml(self, status: int, code: str, message: str, headers: dict[str, str]) -> None:
        body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
        self._answer(status, body.encode(), headers)

    def _problem(self, status: int, code: str, message: str, extra: dict[str, Any], headers: dict[str, str]) -> None:
        problem = {
            "title": code, "status": status, "detail": message, "code": code,
            "permanent": status not in {429, 500, 502, 503, 504}, "extra": extra,
        }  # fmt: skip
        self._answer(status, json.dumps(problem).encode(), {"Content-Type": "application/problem+json", **headers})

    def _answer(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response_only(status)
        self.send_header("Date", self._date())
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _date(self) -> str:
        return self.site.now().strftime("%a, %d %b %Y %H:%M:%S GMT")


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def serving(port: int = 0) -> Iterator[Site]:
    site = Site()
    handler = type("Handler", (_Handler,), {"site": site})
    with _Server(("127.0.0.1", port), handler) as server:
        site.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield site
        finally:
            server.shutdown()
            thread.join()
