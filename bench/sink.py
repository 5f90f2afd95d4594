"""A sink for bytes behind TLS: takes uploads of every kind that the client's bench compares, keeps nothing, checks nothing.

    python -m bench.sink DIRECTORY [--processes 4]      (prints {"url": …, "ca": …, "pids": […]}; certificate made there)

As little as clients need to believe in it: S3 (PutObject, multipart, whatever was signed how), tus 1.0 (create, PATCH, HEAD),
and the upload messages of rushes' own API, whose grants lead to the same sink. All it remembers, in DIRECTORY, is how long
S3's multipart objects are; of all else the upload's id says how large its file is, so any of its processes answers anything.
A thread serves a connection. Reading is by 1 MiB at once and decrypting from memory, which costs less than OpenSSL's own
reading of a socket.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import secrets
import signal
import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, quote
from uuid import UUID, uuid4

from rushes.plan import PartPlan, plan_parts
from rushes.wire import BeginUpload, GrantRequest

BLOCK = 1 << 20  # bytes read from a socket at once
RECORD = 16_384 + 256
MAX_HEAD = 65_536

# What a request is answered: status, headers, body.
Answer = tuple[int, Mapping[str, str], bytes]


class Line:
    """One connection: bytes out of TLS, without copies where they are thrown away."""

    def __init__(self, peer: socket.socket, context: ssl.SSLContext) -> None:
        self._peer = peer
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        self._raw = memoryview(bytearray(BLOCK))
        self._plain = memoryview(bytearray(RECORD))
        self._left = b""  # plain bytes read too far
        self._until_done(self._tls.do_handshake)

    def head(self) -> bytes | None:
        """The next request up to its empty line; None at the end."""
        while (end := self._left.find(b"\r\n\r\n")) < 0:
            data = self._some()
            if not data or len(self._left) > MAX_HEAD:
                return None
            self._left += data
        head, self._left = self._left[:end], self._left[end + 4 :]
        return head

    def line(self) -> bytes:
        while (end := self._left.find(b"\r\n")) < 0:
            data = self._some()
            if not data:
                raise ConnectionResetError
            self._left += data
        line, self._left = self._left[:end], self._left[end + 2 :]
        return line

    def body(self, length: int) -> bytes:
        while len(self._left) < length:
            data = self._some()
            if not data:
                raise ConnectionResetError
            self._left += data
        body, self._left = self._left[:length], self._left[length:]
        return body

    def discard(self, length: int) -> None:
        took = min(length, len(self._left))
        self._left, length = self._left[took:], length - took
        while length > 0:
            count = self._read()
            if count == 0:
                raise ConnectionResetError
            if count > length:
                self._left = bytes(self._plain[length:count])
            length -= count

    def write(self, data: bytes) -> None:
        self._tls.write(data)
        self._flush()

    def _some(self) -> bytes:
        return bytes(self._plain[: self._read()])

    def _read(self) -> int:
        """Bytes read into `_plain`; 0 at the end."""
        while True:
            try:
                return int(self._tls.read(RECORD, self._plain))  # type: ignore[arg-type]
            except ssl.SSLWantReadError:
                if not self._fill():
                    return 0
            except ssl.SSLZeroReturnError:
                return 0

    def _fill(self) -> bool:
        count = self._peer.recv_into(self._raw)
        if count:
            self._incoming.write(self._raw[:count])
        return count > 0

    def _flush(self) -> None:
        if self._outgoing.pending:
            self._peer.sendall(self._outgoing.read())

    def _until_done(self, step: Callable[[], object]) -> None:
        while True:
            try:
                step()
            except ssl.SSLWantReadError:
                self._flush()
                if not self._fill():
                    raise ConnectionResetError from None
            else:
                self._flush()
                return


@dataclass(frozen=True, slots=True)
class Place:
    """Where the sink is, and where it remembers lengths."""

    base: str
    directory: Path

    def part_came(self, upload: str, length: int) -> None:
        with (self.directory / f"upload-{quote(upload, safe='')}").open("a") as file:
            file.write(f"{length}\n")

    def completed(self, upload: str, key: str) -> None:
        came = self.directory / f"upload-{quote(upload, safe='')}"
        self._object(key).write_text(str(sum(map(int, came.read_text().split()))))

    def length(self, key: str) -> str | None:
        return self._object(key).read_text() if self._object(key).exists() else None

    def _object(self, key: str) -> Path:
        return self.directory / f"object-{quote(key, safe='')}"


def serve(line: Line, place: Place) -> None:
    """Answer one connection's requests until it ends."""
    while (raw := line.head()) is not None:
        first, *rest = raw.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (text.partition(":") for text in rest)}
        if headers.get("expect", "").lower() == "100-continue":
            line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length, body = int(headers.get("content-length", "0")), b""
        if "chunked" in headers.get("transfer-encoding", ""):
            length = _chunks(line)
        elif method in {"PUT", "PATCH"}:
            line.discard(length)
        else:
            body = line.body(length)
        status, said, data = answer(place, method, target, headers, body, length)
        line.write(_rendered(status, said, data, bodiless=method == "HEAD"))
        if headers.get("connection", "").lower() == "close":
            return


def _chunks(line: Line) -> int:
    total = 0
    while count := int(line.line().partition(b";")[0], 16):
        line.discard(count + 2)
        total += count
    while line.line():
        pass  # trailers
    return total


def _rendered(status: int, headers: Mapping[str, str], data: bytes, *, bodiless: bool) -> bytes:
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}", *(f"{name}: {value}" for name, value in headers.items())]
    if status != 204 and not (bodiless and "Content-Length" in headers):
        lines.append(f"Content-Length: {len(data)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + (b"" if bodiless else data)


def answer(place: Place, method: str, target: str, headers: Mapping[str, str], body: bytes, length: int) -> Answer:
    path, _, query = target.partition("?")
    if path == "/healthz":
        return _json({"status": "ok", "version": "0"})
    if path.startswith("/v1/"):
        return _rushes(place.base, method, path.split("/")[2:], body)
    if path.startswith("/tus"):
        return _tus(place.base, method, path, headers, length)
    return _s3(place, method, path, parse_qs(query, keep_blank_values=True), length)


# --- S3 ---------------------------------------------------------------------------------------------------------------


def _s3(place: Place, method: str, path: str, query: Mapping[str, list[str]], length: int) -> Answer:
    bucket, _, key = path.lstrip("/").partition("/")
    etag = {"ETag": f'"sink-{secrets.token_hex(8)}"', "x-amz-request-id": "sink"}
    upload = query.get("uploadId", [""])[0]
    if method == "PUT":
        if upload:
            place.part_came(upload, length)
        return 200, etag, b""
    if method == "POST" and "uploads" in query:
        named = f"<Bucket>{bucket}</Bucket><Key>{key}</Key><UploadId>{uuid4().hex}</UploadId>"
        return 200, XML, f"<InitiateMultipartUploadResult>{named}</InitiateMultipartUploadResult>".encode()
    if method == "POST" and upload:
        place.completed(upload, path)
        named = f"<Bucket>{bucket}</Bucket><Key>{key}</Key><ETag>{etag['ETag']}</ETag>"
        return 200, XML, f"<CompleteMultipartUploadResult>{named}</CompleteMultipartUploadResult>".encode()
    if method == "DELETE":
        return 204, {}, b""
    if method == "HEAD" and key:
        known = place.length(path)
        return (404, {}, b"") if known is None else (200, etag | {"Content-Length": known, **MODIFIED}, b"")
    if method == "GET" and not key:
        return 200, XML, f"<ListBucketResult><Name>{bucket}</Name><KeyCount>0</KeyCount></ListBucketResult>".encode()
    return (200, {}, b"") if method == "HEAD" else (404, XML, b"<Error><Code>NoSuchKey</Code></Error>")


MODIFIED = {"Last-Modified": "Sat, 21 Nov 2026 12:00:00 GMT"}
XML = {"Content-Type": "application/xml"}


# --- tus 1.0 ----------------------------------------------------------------------------------------------------------


def _tus(base: str, method: str, path: str, headers: Mapping[str, str], length: int) -> Answer:
    said = {"Tus-Resumable": "1.0.0"}
    if method == "POST":
        return 201, said | {"Location": f"{base}/tus/{headers['upload-length']}-{uuid4().hex}"}, b""
    if method == "PATCH":
        return 204, said | {"Upload-Offset": str(int(headers["upload-offset"]) + length)}, b""
    if method == "HEAD":
        return 200, said | {"Upload-Offset": "0", "Upload-Length": path.rpartition("/")[2].partition("-")[0]}, b""
    return 204, said | {"Tus-Version": "1.0.0", "Tus-Extension": "creation"}, b""


# --- rushes -----------------------------------------------------------------------------------------------------------


def _rushes(base: str, method: str, path: list[str], body: bytes) -> Answer:
    if path == ["uploads"]:
        return _json(_begun(BeginUpload.model_validate_json(body)), 201)
    if path[0] == "uploads" and len(path) > 1:
        plan = _plan_of(UUID(path[1]))
        if method == "POST" and path[2:] == ["parts"]:
            return _json(_granted(base, plan, GrantRequest.model_validate_json(body)))
        if method == "POST" and path[2:] == ["complete"]:
            return _json(_status(path[1], plan))
        return _json(_status(path[1], plan) if path[2:] == ["status"] else {}, 200)
    return _json({}, 404)


def _json(told: Mapping[str, Any], status: int = 200) -> Answer:
    date = datetime.now(UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
    return status, {"Content-Type": "application/json", "Date": date}, json.dumps(told).encode()


def _begun(wanted: BeginUpload) -> dict[str, Any]:
    assert wanted.size is not None, "our client knows its file"
    plan = plan_parts(wanted.size, wanted.part_size)
    upload = UUID(int=plan.size << 80 | plan.part_size << 40 | secrets.randbits(40))
    return {
        "upload_id": str(upload), "asset_id": str(uuid4()), "title_id": str(uuid4()), "state": "initiated",
        "size": plan.size, "max_size": plan.size, "layout": "multipart", "part_size": plan.part_size,
        "part_count": plan.part_count, "checksum_algorithm": "crc64nvme", "expires_at": _in(days=14), "token": "sink",
    }  # fmt: skip


def _plan_of(upload: UUID) -> PartPlan:
    size, part_size = upload.int >> 80, upload.int >> 40 & (1 << 40) - 1
    return PartPlan(size, part_size, -(-size // part_size))


def _granted(base: str, plan: PartPlan, request: GrantRequest) -> dict[str, Any]:
    until = _in(minutes=20)
    grants = [
        {
            "number": part.number, "url": f"{base}/sink/part?partNumber={part.number}", "method": "PUT",
            "headers": {"x-amz-checksum-crc64nvme": part.checksum}, "length": plan.length(part.number),
            "expires_at": until,
        }
        for part in request.want
    ]  # fmt: skip
    return {"grants": grants, "held": {"parts": 0, "bytes": 0}, "expires_at": _in(days=14)}


def _status(upload: str, plan: PartPlan) -> dict[str, Any]:
    return {
        "upload_id": upload, "asset_id": str(uuid4()), "status": "ingested", "upload_state": "ingested",
        "processing_state": "pending", "held": {"parts": plan.part_count, "bytes": plan.size}, "size": plan.size,
        "current_job": None, "problem": None,
    }  # fmt: skip


def _in(**ahead: float) -> str:
    return (datetime.now(UTC) + timedelta(**ahead)).isoformat()


# --- the processes ----------------------------------------------------------------------------------------------------


def certificate(directory: Path) -> tuple[Path, Path]:
    """(certificate, key) of this machine's loopback, good for a day; the certificate is its own authority."""
    chain, key = directory / "sink.pem", directory / "sink.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "1",
         "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
         "-keyout", str(key), "-out", str(chain)],
        check=True, capture_output=True,
    )  # fmt: skip
    return chain, key


def accept(listener: socket.socket, context: ssl.SSLContext, place: Place) -> None:
    while True:
        peer, _ = listener.accept()
        threading.Thread(target=one, args=(peer, context, place), daemon=True).start()


def one(peer: socket.socket, context: ssl.SSLContext, place: Place) -> None:
    peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    with peer, contextlib.suppress(OSError):  # whoever went away in the middle is what some of these benches are about
        serve(Line(peer, context), place)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--processes", type=int, default=4)
    parser.add_argument("--base", help="where grants lead, when not straight here")
    args = parser.parse_args()
    chain, key = certificate(args.directory)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)
    listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
    url = f"https://127.0.0.1:{listener.getsockname()[1]}"
    children = []
    for _ in range(args.processes):
        child = os.fork()
        if child == 0:
            accept(listener, context, Place(args.base or url, args.directory))
        children.append(child)
    signal.signal(signal.SIGTERM, lambda *_: [os.kill(child, signal.SIGKILL) for child in children])
    print(json.dumps({"url": url, "ca": str(chain), "pids": children}), flush=True)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()
