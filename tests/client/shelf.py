"""Test equipment: a small server with one asset to download: its API, and a store that serves ranges of one file.

A link is good until `expire` is called or it has served `link_gets` requests. `faults` are used up one a GET, in order.
"""

from __future__ import annotations

import json
import re
import socket
import struct
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

from rushes.checksum import crc64nvme, encode


class Shelf:
    def __init__(self, data: bytes, filename: str = "scene 12.mov") -> None:
        self.id = uuid4()
        self.data = data
        self.filename = filename
        self.checksum: str | None = encode(crc64nvme(data))
        self.sha256: str | None = None
        self.renditions: dict[str, bytes] = {}
        self.faults: list[str] = []  # cut, reset, 503, 404, flip, whole, etag, other
        self.link = 1
        self.link_gets = 10**9
        self.gets: list[tuple[int, int]] = []  # ranges asked for and answered
        self.sent = 0  # bytes
        self.asked = 0  # how often the API told of the asset
        self.pace = 0.0  # seconds before each 64 kB
        self.gone = False
        self.lock = threading.Lock()
        self.url = ""

    def take(self) -> str:
        with self.lock:
            return self.faults.pop(0) if self.faults else ""

    def link_is_good(self, link: int) -> bool:
        with self.lock:
            self.link_gets -= 1
            if self.link_gets < 0:
                self.link += 1
                self.link_gets = 10
            return link == self.link

    def status(self) -> dict[str, Any]:
        held = {"parts": 1, "bytes": len(self.data)}
        ids, states = ("upload_id", "asset_id"), ("status", "processing_state")
        told = dict.fromkeys(ids, str(self.id)) | dict.fromkeys(states, "published") | {"upload_state": "ingested"}
        return told | {"held": held, "size": len(self.data), "current_job": None, "problem": None}

    def asset(self) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat()
        self.asked += 1
        renditions: list[dict[str, Any]] = [
            {
                "id": str(UUID(int=n)), "name": name, "type": "proxy", "content_type": "video/mp4", "size": len(data),
                "width": None, "height": None, "duration": None, "extra": {}, "checksum": encode(crc64nvme(data)),
                "url": f"{self.url}/store/{name}?link={self.link}",
            }
            for n, (name, data) in enumerate(self.renditions.items(), 1)
        ]  # fmt: skip
        return {
            "id": str(self.id), "title_id": str(self.id), "upload_id": str(self.id), "creator": "me",
            "state": "published", "status": "published", "kind": "video", "filename": self.filename,
            "content_type": "video/mp4", "size": len(self.data),
            "checksum": {"algorithm": "crc64nvme", "value": self.checksum}, "sha256": self.sha256, "verification": None,
            "media": None, "renditions": renditions, "original_url": f"{self.url}/store/original?link={self.link}",
            "problem": None, "created_at": now, "updated_at": now, "published_at": now,
        }  # fmt: skip


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    shelf: Shelf

    def log_message(self, *_: Any) -> None:
        """Quiet: the tests look at the `Shelf`."""

    def do_GET(self) -> None:
        path, _, query = self.path.partition("?")
        if path == "/healthz":
            self._answer(200, json.dumps({"status": "ok"}).encode())
        elif path.endswith("/status"):
            self._answer(200, json.dumps(self.shelf.status()).encode())
        elif path.startswith("/v1/assets/"):
            if self.shelf.gone:
                told = {"title": "", "status": 404, "detail": "There is no such asset.", "code": "asset_not_found"}
                self._answer(404, json.dumps(told | {"permanent": True}).encode())
            else:
                self._answer(200, json.dumps(self.shelf.asset()).encode())
        else:
            self._store(path.rpartition("/")[2], int(query.removeprefix("link=")))

    def _store(self, name: str, link: int) -> None:
        data = self.shelf.renditions.get(name, self.shelf.data)
        wanted = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers["range"])
        assert wanted is not None
        start, end = int(wanted[1]), int(wanted[2]) + 1
        fault = self.shelf.take()
        if not self.shelf.link_is_good(link) or self.shelf.gone:
            self._answer(403, b"<Error><Code>AccessDenied</Code><Message>Request has expired</Message></Error>")
            return
        if fault in {"503", "404"}:
            self._answer(int(fault), b"<Error><Code>SlowDown</Code></Error>", {"Retry-After": "0"})
            return
        body = data if fault == "whole" else data[start:end]
        if fault == "flip":
            body = bytes([body[0] ^ 1]) + body[1:]
        etag = '"two"' if fault == "etag" else '"one"'
        headers = {"ETag": etag, "Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        if fault == "other":
            headers["Content-Range"] = f"bytes {start}-{end - 1}/{len(data) + 1}"
        self.send_response_only(200 if fault == "whole" else 206)
        for header, value in (headers | {"Content-Length": str(len(body))}).items():
            self.send_header(header, value)
        self.end_headers()
        self._body(body[: len(body) // 2] if fault in {"cut", "reset"} else body)
        self.shelf.gets.append((start, end))
        if fault in {"cut", "reset"}:
            self.close_connection = True
            if fault == "reset":
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()

    def _body(self, body: bytes) -> None:
        for at in range(0, len(body), 1 << 16):
            if self.shelf.pace:
                time.sleep(self.shelf.pace)
            piece = body[at : at + (1 << 16)]
            self.wfile.write(piece)
            with self.shelf.lock:
                self.shelf.sent += len(piece)

    def _answer(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response_only(status)
        for name, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that hangs up is part of the tests."""


@contextmanager
def shelved(data: bytes, filename: str = "scene 12.mov") -> Iterator[Shelf]:
    shelf = Shelf(data, filename)
    handler = type("Handler", (_Handler,), {"shelf": shelf})
    with _Server(("127.0.0.1", 0), handler) as server:
        shelf.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield shelf
        finally:
            server.shutdown()
            thread.join()
