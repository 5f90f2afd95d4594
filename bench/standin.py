"""A stand-in for an object store, in a process of its own: it checks everything and keeps no bytes.

    python -m bench.standin --port 9000        (access key `standin`, secret `standin-secret`)

Where 5 TB do not fit, this is what uploads go to. Of every call it checks the signature (`bench.sigv4`: header or query, all
`x-amz-` headers signed, not expired) and the payload's hash; of every part the Content-Length and the checksum that came in
headers against the body; at Complete that the parts are contiguous from 1 and ascending, their ETags, their least size, the
object's size and its CRC64NVME, combined from the parts' by arithmetic of its own (`bench.crc64`). What it does not do: keep
bytes. A multipart object can be looked at (HEAD) but not read: GET answers 501. Small objects put in one go can be read.

A body that is *described* (`bench.httpd`) never crosses the wire: its CRC64NVME is computed from its description, by the same
arithmetic, and held against the header all the same. So what is simulated of a 5 TB upload is the transport alone.

`GET /-/uploads` tells what came, as JSON; `DELETE /-/uploads` forgets it.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import hashlib
import json
import re
import signal
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import formatdate
from functools import lru_cache
from urllib.parse import unquote
from uuid import uuid4
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from awscrt import checksums

from bench import crc64
from bench.httpd import Answer, Body, Connection
from bench.sigv4 import UNSIGNED, Refused, Request, Verifier, parse_query

ACCESS_KEY, SECRET_KEY = "standin", "standin-secret"
MIN_PART, MAX_PART, MAX_PARTS = 5 * 1024**2, 5 * 1024**3, 10_000
MAX_OBJECT = MAX_PART * MAX_PARTS
KEPT = 1024**2  # bytes; what is put in one go and is no larger can be read again
PAGE = 1000  # parts, keys or uploads in one answer
EXPOSED = "ETag, x-amz-checksum-crc64nvme"
UNBOUND = ("content-length", "x-amz-checksum-crc64nvme")


@dataclass(frozen=True, slots=True)
class Part:
    size: int
    etag: str
    crc: int
    bound: bool  # length and checksum were signed headers


@dataclass(slots=True)
class Upload:
    id: str
    bucket: str
    key: str
    metadata: dict[str, str]
    full_object: bool
    initiated: datetime
    parts: dict[int, Part] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Object:
    size: int
    etag: str
    crc: int
    metadata: dict[str, str]
    modified: float
    data: bytes | None
    upload_id: str | None = None
    unbound: int = 0  # parts whose length or checksum no signature held
    parts: int = 0


class Store:
    """Buckets, uploads and objects; every call through `handle`."""

    def __init__(self) -> None:
        self.verifier = Verifier(ACCESS_KEY, SECRET_KEY)
        self.buckets: dict[str, dict[str, bytes]] = {}  # name → its configurations by subresource
        self.uploads: dict[str, Upload] = {}
        self.objects: dict[tuple[str, str], Object] = {}
        self.refusals: dict[str, int] = {}

    def handle(self, method: str, target: str, headers: dict[str, str], body: Body) -> Answer:
        path, _, query = target.partition("?")
        request = Request(method, path, parse_query(query), headers)
        bucket, _, key = unquote(path).removeprefix("/").partition("/")
        if bucket == "-":
            return self._tell(method)
        cors = self._cors(bucket, headers)
        if method == "OPTIONS":
            return Answer(200 if cors else 403, cors)
        try:
            answer = self._dispatch(request, bucket, key, body)
        except Refused as refused:
            self.refusals[refused.code] = self.refusals.get(refused.code, 0) + 1
            text = f"<Error><Code>{refused.code}</Code><Message>{escape(refused.message)}</Message></Error>"
            answer = _xml(text, status=refused.status)
        return Answer(answer.status, {**answer.headers, **cors}, answer.data, answer.length) if cors else answer

    def _dispatch(self, request: Request, bucket: str, key: str, body: Body) -> Answer:
        signed, payload = self.verifier.check(request, datetime.now(UTC))
        if payload != UNSIGNED and payload != hashlib.sha256(body.data).hexdigest():
            raise Refused(400, "XAmzContentSHA256Mismatch", "The payload is not the one that was signed.")
        md5 = request.headers.get("content-md5")
        if md5 is not None and body.block is None and md5 != _base64(hashlib.md5(body.data).digest()):
            raise Refused(400, "BadDigest", "The Content-MD5 is not the one of what came.")
        if not bucket:
            raise Refused(501, "NotImplemented", "Buckets are not listed here.")
        if not key:
            return self._on_bucket(request, bucket, body)
        if bucket not in self.buckets:
            raise Refused(404, "NoSuchBucket", "There is no such bucket.")
        if "x-amz-copy-source" in request.headers:
            raise Refused(501, "NotImplemented", "Nothing is copied here: no bytes are kept.")
        if request.argument("uploadId") is not None or request.argument("uploads") is not None:
            return self._on_upload(request, signed, bucket, key, body)
        return self._on_object(request, bucket, key, body)

    # --- buckets ------------------------------------------------------------------------------------------------------

    def _on_bucket(self, request: Request, bucket: str, body: Body) -> Answer:
        method, names = request.method, {name for name, _ in request.query}
        if method == "PUT" and not names & {"cors", "lifecycle"}:
            if bucket in self.buckets:
                raise Refused(409, "BucketAlreadyOwnedByYou", "You have it already.")
            self.buckets[bucket] = {}
            return Answer(200)
        if bucket not in self.buckets:
            raise Refused(404, "NoSuchBucket", "There is no such bucket.")
        for name in ("cors", "lifecycle"):
            if name in names:
                return self._configure(method, bucket, name, body)
        if method == "HEAD":
            return Answer(200)
        if method == "POST" and "delete" in names:
            keys = [element.text or "" for element in ET.fromstring(body.data).iter() if _tag(element) == "Key"]
            for key in keys:
                self.objects.pop((bucket, key), None)
            return _xml(
                f"<DeleteResult>{''.join(f'<Deleted><Key>{escape(k)}</Key></Deleted>' for k in keys)}</DeleteResult>"
            )
        if method == "GET" and "uploads" in names:
            return self._list_uploads(request, bucket)
        if method == "GET":
            return self._list_objects(request, bucket)
        raise Refused(501, "NotImplemented", f"{method} of a bucket is not spoken here.")

    def _configure(self, method: str, bucket: str, name: str, body: Body) -> Answer:
        kept = self.buckets[bucket]
        if method == "PUT":
            kept[name] = body.data
            return Answer(200)
        if method == "DELETE":
            kept.pop(name, None)
            return Answer(204)
        if name not in kept:
            code = "NoSuchCORSConfiguration" if name == "cors" else "NoSuchLifecycleConfiguration"
            raise Refused(404, code, "It is not configured.")
        return Answer(200, {"Content-Type": "application/xml"}, kept[name])

    def _cors(self, bucket: str, headers: dict[str, str]) -> dict[str, str]:
        origin, rules = headers.get("origin"), self.buckets.get(bucket, {}).get("cors")
        if origin is None or rules is None:
            return {}
        allowed = {element.text for element in ET.fromstring(rules).iter() if _tag(element) == "AllowedOrigin"}
        if not allowed & {origin, "*"}:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, HEAD, PUT",
            "Access-Control-Allow-Headers": headers.get("access-control-request-headers", "*"),
            "Access-Control-Expose-Headers": EXPOSED,
        }

    def _list_objects(self, request: Request, bucket: str) -> Answer:
        prefix, after = request.argument("prefix") or "", request.argument("continuation-token") or ""
        found = sorted(key for where, key in self.objects if where == bucket and key.startswith(prefix) and key > after)
        rows = [
            f"<Contents><Key>{escape(key)}</Key><Size>{one.size}</Size><ETag>&quot;{one.etag}&quot;</ETag>"
            f"<LastModified>{_iso(datetime.fromtimestamp(one.modified, UTC))}</LastModified></Contents>"
            for key in found[:PAGE]
            for one in [self.objects[bucket, key]]
        ]
        more = len(found) > PAGE
        token = f"<NextContinuationToken>{escape(found[PAGE - 1])}</NextContinuationToken>" if more else ""
        return _xml(
            f"<ListBucketResult><IsTruncated>{_bool(more)}</IsTruncated>{token}{''.join(rows)}</ListBucketResult>"
        )

    def _list_uploads(self, request: Request, bucket: str) -> Answer:
        prefix = request.argument("prefix") or ""
        after = (request.argument("key-marker") or "", request.argument("upload-id-marker") or "")
        found = sorted(
            (upload.key, upload.id)
            for upload in self.uploads.values()
            if upload.bucket == bucket and upload.key.startswith(prefix) and (upload.key, upload.id) > after
        )
        rows = [
            f"<Upload><Key>{escape(key)}</Key><UploadId>{upload_id}</UploadId>"
            f"<Initiated>{_iso(self.uploads[upload_id].initiated)}</Initiated></Upload>"
            for key, upload_id in found[:PAGE]
        ]
        more = len(found) > PAGE
        if more:
            key, upload_id = found[PAGE - 1]
            rows.append(
                f"<NextKeyMarker>{escape(key)}</NextKeyMarker><NextUploadIdMarker>{upload_id}</NextUploadIdMarker>"
            )
        body = f"<IsTruncated>{_bool(more)}</IsTruncated>{''.join(rows)}"
        return _xml(f"<ListMultipartUploadsResult>{body}</ListMultipartUploadsResult>")

    # --- multipart uploads --------------------------------------------------------------------------------------------

    def _on_upload(self, request: Request, signed: frozenset[str], bucket: str, key: str, body: Body) -> Answer:
        if request.method == "POST" and request.argument("uploads") is not None:
            return self._create(request, bucket, key)
        upload_id = request.argument("uploadId") or ""
        upload = self.uploads.get(upload_id)
        if upload is None or (upload.bucket, upload.key) != (bucket, key):
            made = self.objects.get((bucket, key))
            if request.method == "POST" and made is not None and made.upload_id == upload_id:
                return _completed(bucket, key, made)  # repeated
            raise Refused(404, "NoSuchUpload", "The upload is not there: completed, aborted, or never was.")
        if request.method == "PUT":
            return self._put_part(request, signed, upload, body)
        if request.method == "GET":
            return _listed_parts(request, upload)
        if request.method == "POST":
            return self._complete(request, upload, body)
        if request.method == "DELETE":
            del self.uploads[upload_id]
            return Answer(204)
        raise Refused(405, "MethodNotAllowed", "That is not done with an upload.")

    def _create(self, request: Request, bucket: str, key: str) -> Answer:
        upload = Upload(
            id=uuid4().hex,
            bucket=bucket,
            key=key,
            metadata=_metadata(request),
            full_object=request.headers.get("x-amz-checksum-type") == "FULL_OBJECT",
            initiated=datetime.now(UTC),
        )
        self.uploads[upload.id] = upload
        names = f"<Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><UploadId>{upload.id}</UploadId>"
        return _xml(f"<InitiateMultipartUploadResult>{names}</InitiateMultipartUploadResult>")

    def _put_part(self, request: Request, signed: frozenset[str], upload: Upload, body: Body) -> Answer:
        number = request.argument("partNumber") or ""
        if not (number.isdigit() and 0 < int(number) <= MAX_PARTS):
            raise Refused(400, "InvalidArgument", "Part numbers go from 1 to 10,000.")
        if body.size > MAX_PART:
            raise Refused(400, "EntityTooLarge", "A part has at most 5 GiB.")
        crc = _checked(request, body)
        bound = signed >= set(UNBOUND)
        upload.parts[int(number)] = part = Part(body.size, _etag(body), crc, bound)
        return Answer(200, {"ETag": f'"{part.etag}"', "x-amz-checksum-crc64nvme": _base64(crc.to_bytes(8, "big"))})

    def _complete(self, request: Request, upload: Upload, body: Body) -> Answer:
        named = [
            (int(_text(element, "PartNumber")), _text(element, "ETag").strip('"'))
            for element in ET.fromstring(body.data)
            if _tag(element) == "Part"
        ]
        numbers = [number for number, _ in named]
        if not named or numbers != list(range(1, len(named) + 1)):
            raise Refused(400, "InvalidPartOrder", "The parts are not contiguous from 1 in ascending order.")
        for number, etag in named:
            part = upload.parts.get(number)
            if part is None or part.etag != etag:
                raise Refused(400, "InvalidPart", f"Part {number} is not held with that ETag.")
            if part.size < MIN_PART and number < len(named):
                raise Refused(400, "EntityTooSmall", f"Part {number} is too small.")
        made = _assembled(upload, len(named))
        size = request.headers.get("x-amz-mp-object-size")
        if made.size > MAX_OBJECT or (size is not None and int(size) != made.size):
            raise Refused(400, "InvalidRequest", f"The object has {made.size} bytes.")
        claimed = request.headers.get("x-amz-checksum-crc64nvme")
        if claimed is not None and claimed != _base64(made.crc.to_bytes(8, "big")):
            raise Refused(400, "BadDigest", "The CRC64NVME is not the one of the whole object.")
        self.objects[upload.bucket, upload.key] = made
        del self.uploads[upload.id]
        return _completed(upload.bucket, upload.key, made)

    # --- objects ------------------------------------------------------------------------------------------------------

    def _on_object(self, request: Request, bucket: str, key: str, body: Body) -> Answer:
        if request.method == "PUT":
            crc = _checked(request, body)
            data = body.data if body.block is None and body.size <= KEPT else None
            now = datetime.now(UTC).timestamp()
            made = Object(body.size, _etag(body), crc, _metadata(request), now, data)
            self.objects[bucket, key] = made
            return Answer(200, {"ETag": f'"{made.etag}"'})
        if request.method == "DELETE":
            self.objects.pop((bucket, key), None)
            return Answer(204)
        found = self.objects.get((bucket, key))
        if found is None:
            raise Refused(404, "NoSuchKey", "There is no such object.")
        headers = {"ETag": f'"{found.etag}"', "Last-Modified": formatdate(found.modified, usegmt=True)} | found.metadata
        if "x-amz-checksum-mode" in request.headers:
            checksum = _base64(found.crc.to_bytes(8, "big"))
            headers |= {"x-amz-checksum-crc64nvme": checksum, "x-amz-checksum-type": "FULL_OBJECT"}
        if request.method == "HEAD":
            return Answer(200, headers, length=found.size)
        if request.method == "GET" and found.data is not None and "range" not in request.headers:
            return Answer(200, headers, found.data)
        raise Refused(501, "NotImplemented", "No bytes are kept here.")

    def _tell(self, method: str) -> Answer:
        if method == "DELETE":
            self.uploads.clear()
            self.objects.clear()
            self.refusals.clear()
            return Answer(204)
        objects = [
            {
                "key": key,
                "size": one.size,
                "parts": one.parts,
                "unbound": one.unbound,
                "crc64nvme": _base64(one.crc.to_bytes(8, "big")),
            }
            for (_, key), one in self.objects.items()
            if one.upload_id is not None
        ]
        told = {"open": len(self.uploads), "objects": objects, "refusals": self.refusals}
        return Answer(200, {"Content-Type": "application/json"}, json.dumps(told).encode())


def _checked(request: Request, body: Body) -> int:
    """The body's CRC64NVME. Raises `Refused` when a checksum header says another thing than the body."""
    if body.block is not None:
        crc = _described(body.block, body.size)
        unknown = request.headers.keys() & {"content-md5", *(f"x-amz-checksum-{name}" for name in OTHERS)}
        if unknown:
            raise Refused(501, "NotImplemented", "Of a described body only the CRC64NVME can be told.")
    else:
        crc = int(checksums.crc64nvme(body.data))
        for name, compute in OTHERS.items():
            claimed = request.headers.get(f"x-amz-checksum-{name}")
            if claimed is not None and claimed != _base64(compute(body.data)):
                raise Refused(400, "BadDigest", f"The {name} is not the one of what came.")
    claimed = request.headers.get("x-amz-checksum-crc64nvme")
    if claimed is not None and claimed != _base64(crc.to_bytes(8, "big")):
        raise Refused(400, "BadDigest", "The CRC64NVME is not the one of what came.")
    return crc


@lru_cache(maxsize=100_000)  # benches send the same descriptions many times
def _described(block: bytes, size: int) -> int:
    return crc64.repeated(block, size)


OTHERS: Mapping[str, Callable[[bytes], bytes]] = {
    "crc32c": lambda data: checksums.crc32c(data).to_bytes(4, "big"),
    "crc32": lambda data: checksums.crc32(data).to_bytes(4, "big"),
    "sha256": lambda data: hashlib.sha256(data).digest(),
}


def _assembled(upload: Upload, count: int) -> Object:
    """The object of the first `count` parts."""
    crc, size, unbound, moves = crc64.crc64(b""), 0, 0, {}
    digest = hashlib.md5()
    for number in range(1, count + 1):
        part = upload.parts[number]
        if part.size not in moves:
            moves[part.size] = crc64.shift(part.size)
        crc = crc64.multiply(moves[part.size], crc) ^ part.crc
        size += part.size
        unbound += not part.bound
        digest.update(bytes.fromhex(part.etag))
    etag = f"{digest.hexdigest()}-{count}"
    now = datetime.now(UTC).timestamp()
    return Object(size, etag, crc, upload.metadata, now, None, upload.id, unbound, count)


def _etag(body: Body) -> str:
    """The MD5, as most stores have it; of a described body the description's."""
    return hashlib.md5(body.data if body.block is None else f"{body.size} {body.block.hex()}".encode()).hexdigest()


def _completed(bucket: str, key: str, made: Object) -> Answer:
    crc = _base64(made.crc.to_bytes(8, "big"))
    return _xml(
        f"<CompleteMultipartUploadResult><Bucket>{bucket}</Bucket><Key>{escape(key)}</Key><ETag>&quot;{made.etag}&quot;</ETag>"
        f"<ChecksumCRC64NVME>{crc}</ChecksumCRC64NVME><ChecksumType>FULL_OBJECT</ChecksumType></CompleteMultipartUploadResult>"
    )


def _listed_parts(request: Request, upload: Upload) -> Answer:
    after = int(request.argument("part-number-marker") or 0)
    numbers = sorted(number for number in upload.parts if number > after)
    rows = [
        f"<Part><PartNumber>{number}</PartNumber><Size>{part.size}</Size><ETag>&quot;{part.etag}&quot;</ETag>"
        f"<LastModified>{_iso(upload.initiated)}</LastModified></Part>"
        for number in numbers[:PAGE]
        for part in [upload.parts[number]]
    ]
    more = len(numbers) > PAGE
    marker = f"<NextPartNumberMarker>{numbers[PAGE - 1]}</NextPartNumberMarker>" if more else ""
    return _xml(f"<ListPartsResult><IsTruncated>{_bool(more)}</IsTruncated>{marker}{''.join(rows)}</ListPartsResult>")


def _metadata(request: Request) -> dict[str, str]:
    kept = {name: value for name, value in request.headers.items() if name.startswith("x-amz-meta-")}
    return kept | {"Content-Type": request.headers.get("content-type", "binary/octet-stream")}


def _xml(text: str, status: int = 200) -> Answer:
    return Answer(
        status, {"Content-Type": "application/xml"}, b'<?xml version="1.0" encoding="UTF-8"?>' + text.encode()
    )


def _tag(element: ET.Element) -> str:
    return re.sub(r"^\{.*\}", "", element.tag)


def _text(element: ET.Element, name: str) -> str:
    return next((child.text or "" for child in element if _tag(child) == name), "")


def _iso(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%S.000Z}"


def _bool(value: bool) -> str:
    return str(value).lower()


def _base64(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


async def serve(port: int) -> None:
    store = Store()
    connections: set[Connection] = set()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    server = await loop.create_server(lambda: Connection(store.handle, connections), "127.0.0.1", port, backlog=2048)
    listening: socket.socket = server.sockets[0]
    print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
    await stop.wait()
    server.close()
    for connection in list(connections):
        connection.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    asyncio.run(serve(parser.parse_args().port))


if __name__ == "__main__":
    main()
