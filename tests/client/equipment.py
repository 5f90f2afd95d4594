"""Test equipment: one small HTTP server that speaks the upload messages of v1 and plays the object store.

It is strict where the real ones are: a PUT must carry the token of its grant and exactly the granted headers, length
and bytes (CRC64NVME), or it is refused with S3's status and code; complete adds the ledger up. `Fault`s make it
misbehave.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from rushes.checksum import combine, crc64nvme, decode, encode
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
