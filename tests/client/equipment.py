"""Test equipment: one small HTTP server that speaks the upload messages of v1 and plays the object store.

It is strict where the real ones are: a PUT must carry the token of its grant and exactly the granted headers, length
and bytes (CRC64NVME), or it is refused with S3's status and code; complete adds the ledger up. `Fault`s make it
misbehave.
"""

from __future__ import annotations

import json
import re
import secrets
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

from rushes.checksum import combine, crc64nvme, decode, encode
from rushes.errors import Problem
from rushes.plan import PartPlan, plan_parts
from rushes.wire import BeginUpload, CompleteUpload, GrantRequest

TOKEN = "good-token"


@dataclass(slots=True)
class Fault:
    """One misbehaviour, used up by the first request it fits."""

    at: str  # begin, ask, put, complete or status
    status: int = 0  # answer with this…
    code: str = ""
    headers: dict[str, str] = field(default_factory=dict)
    way: str = "answer"  # or: reset, stall, no-etag, flip (store a flipped byte), forget (confirm and lose)
    number: int | None = None  # only for this part
    seconds: float = 0.0  # of a stall


@dataclass(slots=True)
class Stored:
    data_crc: int
    length: int
    etag: str
    checksum: str
    lost: bool = False


@dataclass(slots=True)
class Upload:
    id: UUID
    asset_id: UUID
    title_id: UUID
    plan: PartPlan
    filename: str
    token: str
    state: str = "initiated"
    granted: dict[int, str] = field(default_factory=dict)
    stored: dict[int, Stored] = field(default_factory=dict)
    held: dict[int, Stored] = field(default_factory=dict)
    crc: int | None = None
    looks_left: int = 0
    problem: dict[str, Any] | None = None
    begin: BeginUpload | None = None
    declared: list[str] = field(default_factory=list)  # of the whole file, at the end


class Site:
    """The server's state, and what the tests look at."""

    def __init__(self) -> None:
        self.uploads: dict[UUID, Upload] = {}
        self.keys: dict[str, UUID] = {}
        self.faults: list[Fault] = []
        self.grants: dict[str, tuple[UUID, int, int, str, float]] = {}
        self.requests: list[tuple[str, str]] = []
        self.bearers: set[str] = set()
        self.connections: dict[int, set[int]] = {}  # part number → ports that sent it
        self.grant_seconds = 600.0
        self.clock_offset = timedelta()
        self.loses: int | None = None  # a part that storage turns out not to have, while the upload is finalizing
        self.looks = 0  # how often a completed upload is still finalizing when looked at
        self.pace = 0.0  # seconds to sleep before a PUT is answered
        self.peak = 0  # most PUTs at once
        self.now_putting = 0
        self.bytes_received = 0
        self.before_put: Callable[[int], bool | None] | None = None  # False: the part is not taken, the line breaks
        self.asset_statuses: list[dict[str, Any]] = []
        self.assets: dict[UUID, dict[str, Any]] = {}
        self.titles: dict[UUID, dict[str, Any]] = {}
        self.lock = threading.Lock()
        self.url = ""

    def only(self) -> Upload:
        assert len(self.uploads) == 1
        return next(iter(self.uploads.values()))

    def take_fault(self, at: str, number: int | None = None) -> Fault | None:
        with self.lock:
            for fault in self.faults:
                if fault.at == at and (fault.number is None or fault.number == number):
                    self.faults.remove(fault)
                    return fault
        return None

    def now(self) -> datetime:
        return datetime.now(UTC) + self.clock_offset

    # --- the API --------------------------------------------------------------------------------------------------

    def begin(self, body: bytes, key: str) -> dict[str, Any]:
        wanted = BeginUpload.model_validate_json(body)
        assert wanted.size is not None, "the client knows its file"
        with self.lock:
            if key not in self.keys:
                upload = Upload(
                    uuid4(),
                    uuid4(),
                    wanted.title_id or uuid4(),
                    plan_parts(wanted.size, wanted.part_size),
                    wanted.filename,
                    secrets.token_hex(8),
                    begin=wanted,
                )
                self.uploads[upload.id] = upload
                self.keys[key] = upload.id
            upload = self.uploads[self.keys[key]]
        return {
            "upload_id": str(upload.id),
            "asset_id": str(upload.asset_id),
            "title_id": str(upload.title_id),
            "state": upload.state,
            "size": upload.plan.size,
            "max_size": upload.plan.size,
            "layout": "multipart",
            "part_size": upload.plan.part_size,
            "part_count": upload.plan.part_count,
            "checksum_algorithm": "crc64nvme",
            "expires_at": self._expiry(),
            "token": upload.token,
        }

    def new_title(self, told: dict[str, Any]) -> dict[str, Any]:
        now = self.now().isoformat()
        made: dict[str, Any] = {
            "id": str(uuid4()),
            "creator": "me",
            "created_at": now,
            "updated_at": now,
            "description": "",
        }
        made |= dict.fromkeys(("genre", "release_date", "project_id")) | {"tags": [], "metadata": {}} | told
        self.titles[UUID(made["id"])] = made
        return made

    def _expiry(self) -> str:
        return (self.now() + timedelta(days=14)).isoformat()

    def ask(self, upload: Upload, body: bytes) -> dict[str, Any]:
        request = GrantRequest.model_validate_json(body)
        with self.lock:
            if upload.state not in {"initiated", "uploading"}:
                raise Refusal(409, f"upload_{upload.state}", f"This upload is {upload.state}; it takes no more parts.")
            upload.state = "uploading"
            self._record(upload, request.done)
            grants = [self._grant(upload, part.number, part.checksum) for part in request.want]
        return {"grants": grants, "held": self._held(upload), "expires_at": self._expiry()}

    def _record(self, upload: Upload, done: Any) -> None:
        for part in done:
            stored = upload.stored.get(part.number)
            if stored is None or stored.etag != part.etag or stored.checksum != part.checksum:
                raise Refusal(409, "part_not_granted", f"Part {part.number} was not stored so.")
            upload.held[part.number] = stored

    def _grant(self, upload: Upload, number: int, checksum: str) -> dict[str, Any]:
        upload.granted[number] = checksum
        signature = secrets.token_hex(8)
        length = upload.plan.length(number)
        self.grants[signature] = (upload.id, number, length, checksum, time.time() + self.grant_seconds)
        return {
            "number": number,
            "url": f"{self.url}/store?sig={signature}",
            "method": "PUT",
            "headers": {"x-amz-checksum-crc64nvme": checksum},
            "length": length,
            "expires_at": (self.now() + timedelta(seconds=self.grant_seconds)).isoformat(),
        }

    @staticmethod
    def _held(upload: Upload) -> dict[str, int]:
        return {"parts": len(upload.held), "bytes": sum(stored.length for stored in upload.held.values())}

    def complete(self, upload: Upload, body: bytes) -> tuple[int, dict[str, Any]]:
        request = CompleteUpload.model_validate_json(body)
        with self.lock:
            self._record(upload, request.done)
            upload.held = {number: stored for number, stored in upload.held.items() if not stored.lost}
            missing = [number for number in range(1, upload.plan.part_count + 1) if number not in upload.held]
            if missing:
                raise Refusal(409, "parts_missing", f"{len(missing)} parts are missing.", missing=missing)
            crc = combine((upload.held[n].data_crc, upload.held[n].length) for n in sorted(upload.held))
            upload.declared = [checksum for checksum in request.checksum if ":" in checksum]
            if any(decode(checksum) != crc for checksum in request.checksum if ":" not in checksum):
                raise Refusal(400, "checksum_mismatch", "The parts do not add up to the file.")
            upload.crc, upload.problem = crc, None
            upload.looks_left = self.looks
            upload.state = "finalizing" if self.looks else "ingested"
        return (202 if self.looks else 200), self.status(upload)

    def abort(self, upload: Upload) -> tuple[int, None]:
        upload.state = "aborted"
        return 204, None

    def status(self, upload: Upload) -> dict[str, Any]:
        if upload.state == "finalizing":
            upload.looks_left -= 1
            if upload.looks_left < 0 and self.loses is not None:
                number, self.loses = self.loses, None
                del upload.held[number], upload.stored[number]
                details = {"missing": [number], "missing_count": 1}
                upload.state = "uploading"
                upload.problem = {"code": "parts_missing", "message": "1 part is missing.", "details": details}
            elif upload.looks_left < 0:
                upload.state = "ingested"
        return {
            "upload_id": str(upload.id),
            "asset_id": str(upload.asset_id),
            "status": upload.state,
            "upload_state": upload.state,
            "processing_state": "pending",
            "held": self._held(upload),
            "size": upload.plan.size,
            "current_job": None,
            "problem": upload.problem,
        }

    def asset_status(self, upload: Upload) -> dict[str, Any]:
        """What the test scripted, one entry a look, the last one for ever."""
        entry = self.asset_statuses[0] if self.asset_statuses else {}
        if len(self.asset_statuses) > 1:
            self.asset_statuses.pop(0)
        return {**self.status(upload), **entry}

    def view(self, upload: Upload, *, reconcile: bool = False) -> dict[str, Any]:
        now = self.now().isoformat()
        if reconcile:  # storage is asked: what was stored counts, though its report was lost
            with self.lock:
                upload.held |= {number: stored for number, stored in upload.stored.items() if not stored.lost}
        parts = [
            {"number": n, "size": s.length, "checksum": s.checksum, "etag": s.etag, "way": "direct", "held_at": now}
            for n, s in upload.held.items()
        ]
        seen = self.asset_statuses[-1] if upload.state == "ingested" and self.asset_statuses else {}
        return {
            "id": str(upload.id), "asset_id": str(upload.asset_id), "title_id": str(upload.title_id), "creator": "me",
            "state": upload.state, "status": seen.get("status", upload.state),
            "filename": upload.filename, "size": upload.plan.size,
            "max_size": upload.plan.size, "layout": "multipart",
            "content_type": "video/mp4", "part_size": upload.plan.part_size, "part_count": upload.plan.part_count,
            "checksum_algorithm": "crc64nvme", "source": None, "upload_origin": "test", "relative_path": None,
            "priority": 0, "held": self._held(upload), "problem": None, "created_at": now, "updated_at": now,
            "expires_at": self._expiry(), "parts": parts,
        }  # fmt: skip

    # --- the store ------------------------------------------------------------------------------------------------

    def put(self, signature: str, length: int, headers: Any, data: bytearray, fault: Fault | None) -> str:
        if signature not in self.grants:
            raise Refusal(403, "SignatureDoesNotMatch", "The signature is wrong.")
        upload_id, number, granted_length, checksum, expires = self.grants[signature]
        if time.time() > expires:
            raise Refusal(403, "AccessDenied", "Request has expired")
        if length != granted_length or headers.get("x-amz-checksum-crc64nvme") != checksum:
            raise Refusal(403, "SignatureDoesNotMatch", "Length and checksum are signed.")
        if fault is not None and fault.way == "flip":
            data[len(data) // 2] ^= 1
        crc = crc64nvme(memoryview(data))
        if encode(crc) != checksum:
            raise Refusal(400, "BadDigest", "The checksum did not match.")
        etag = f'"{secrets.token_hex(8)}"'
        lost = fault is not None and fault.way == "forget"
        self.uploads[upload_id].stored[number] = Stored(crc, length, etag, checksum, lost)
        return etag


class Refusal(Exception):
    def __init__(self, status: int, code: str, message: str, **extra: Any) -> None:
        super().__init__(code)
        self.status, self.code, self.message, self.extra = status, code, message, extra


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


def asset_json(upload: Upload, state: str) -> dict[str, Any]:
    """An asset as the API shows it."""
    now = datetime.now(UTC).isoformat()
    rendition = {
        "id": str(uuid4()), "name": "proxy-720p.mp4", "type": "proxy", "content_type": "video/mp4", "size": 5_560_000,
        "width": 1280, "height": 720, "duration": 12.0, "extra": {},
        "url": "http://store/proxy?X-Amz-Signature=" + 200 * "f",
    }  # fmt: skip
    video = {"codec": "h264", "profile": "High", "width": 1920, "height": 1080, "fps": 25.0, "bit_rate": 8_800_000}
    audio = [{"codec": "aac", "layout": "stereo", "sample_rate": 48_000, "bit_rate": 128_000}]
    return {
        "id": str(upload.asset_id), "title_id": str(upload.title_id), "upload_id": str(upload.id), "creator": "me",
        "state": state, "status": state, "kind": "video", "filename": upload.filename,
        "content_type": "video/mp4",
        "size": upload.plan.size, "checksum": {"algorithm": "crc64nvme", "value": "rosUhgp5mIg="}, "sha256": "ab" * 32,
        "verification": "end_to_end", "renditions": [rendition], "original_url": "http://store/original",
        "problem": None,
        "media": {"kind": "video", "container": "QuickTime / MOV", "duration": 12.0, "video": video, "audio": audio},
        "created_at": now, "updated_at": now, "published_at": now,
    }  # fmt: skip
