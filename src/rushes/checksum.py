"""Checksums of parts and of whole objects, as S3 uses them: computed, combined, and as base64 on the wire.

Parts carry CRC64NVME, CRC32C, SHA-256 or MD5. S3's full-object checksum of a multipart upload is CRC-only, because CRCs
of parts combine into the CRC of the whole without a second pass
(docs.aws.amazon.com/AmazonS3/latest/userguide/checking-object-integrity.html). CRCs find accidents, not tampering.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

from awscrt import checksums

from rushes.errors import Invalid
from rushes.model import ChecksumAlgorithm

Data = bytes | bytearray | memoryview

WIDTHS: Mapping[ChecksumAlgorithm, int] = {  # bytes
    ChecksumAlgorithm.CRC64NVME: 8,
    ChecksumAlgorithm.CRC32C: 4,
    ChecksumAlgorithm.SHA256: 32,
    ChecksumAlgorithm.MD5: 16,
}
NAMES: Mapping[ChecksumAlgorithm, str] = {
    ChecksumAlgorithm.CRC64NVME: "CRC64NVME",
    ChecksumAlgorithm.CRC32C: "CRC32C",
    ChecksumAlgorithm.SHA256: "SHA-256",
    ChecksumAlgorithm.MD5: "MD5",
}
# The header that carries a part's checksum, on its way to storage and through the API alike.
HEADERS: Mapping[ChecksumAlgorithm, str] = {
    ChecksumAlgorithm.CRC64NVME: "x-amz-checksum-crc64nvme",
    ChecksumAlgorithm.CRC32C: "x-amz-checksum-crc32c",
    ChecksumAlgorithm.SHA256: "x-amz-checksum-sha256",
    ChecksumAlgorithm.MD5: "content-md5",
}


class Running(Protocol):
    """A checksum while its bytes come in; the objects of `hashlib` and `xxhash` are such."""

    def update(self, data: Data, /) -> None: ...
    def digest(self) -> bytes: ...


class RunningCrc:
    """A CRC as `hashlib` would offer it. Releases the GIL for more than a few bytes."""

    def __init__(self, function: Callable[[Data, int], int], width: int) -> None:
        self._function = function
        self._width = width
        self._crc = 0

    def update(self, data: Data, /) -> None:
        self._crc = self._function(data, self._crc)

    def digest(self) -> bytes:
        return self._crc.to_bytes(self._width, "big")


def start(algorithm: ChecksumAlgorithm) -> Running:
    """An empty checksum of this kind."""
    match algorithm:
        case ChecksumAlgorithm.CRC64NVME:
            return RunningCrc(checksums.crc64nvme, 8)
        case ChecksumAlgorithm.CRC32C:
            return RunningCrc(checksums.crc32c, 4)
        case ChecksumAlgorithm.SHA256:
            return hashlib.sha256()
        case ChecksumAlgorithm.MD5:
            return hashlib.md5(usedforsecurity=False)


def compute(algorithm: ChecksumAlgorithm, data: Data) -> str:
    """The checksum of `data`, as text."""
    running = start(algorithm)
    running.update(data)
    return text_of(running)


def text_of(running: Running) -> str:
    """Base64 of the big-endian value, as S3 writes checksums."""
    return base64.b64encode(running.digest()).decode("ascii")


def canonical(algorithm: ChecksumAlgorithm, text: str) -> str:
    """`text`, if it is a checksum of this kind exactly as storage writes it: checksums are compared as text.

    Raises `Invalid` (checksum_invalid).
    """
    width = WIDTHS[algorithm]
    raw = _decoded(text)
    if len(raw) != width:
        example = base64.b64encode(bytes(width)).decode("ascii")
        raise Invalid(
            "checksum_invalid", f"A {NAMES[algorithm]} checksum is the base64 of {width} bytes, such as {example}."
        )
    written = base64.b64encode(raw).decode("ascii")
    if written != text:
        raise Invalid("checksum_invalid", f"{text!r} is not how base64 writes this checksum; {written!r} is.")
    return text


def combines(algorithm: ChecksumAlgorithm) -> bool:
    """Whether checksums of parts combine into the whole's."""
    return algorithm in {ChecksumAlgorithm.CRC64NVME, ChecksumAlgorithm.CRC32C}


def combined(algorithm: ChecksumAlgorithm, parts: Iterable[tuple[str, int]]) -> str | None:
    """The checksum of the concatenation of parts given as (text, length in bytes), in order; None where only a reading
    of all the bytes could tell."""
    match algorithm:
        case ChecksumAlgorithm.CRC64NVME:
            join, width = checksums.combine_crc64nvme, 8
        case ChecksumAlgorithm.CRC32C:
            join, width = checksums.combine_crc32c, 4
        case _:
            return None
    whole = 0
    for text, length in parts:
        whole = int(join(whole, int.from_bytes(base64.b64decode(text), "big"), length))
    return base64.b64encode(whole.to_bytes(width, "big")).decode("ascii")


def md5_etag(parts: Iterable[str]) -> str:
    """The ETag that most stores give the object of parts with these MD5s (base64): MD5 of the MD5s, and their count."""
    digests = [base64.b64decode(text) for text in parts]
    return f"{hashlib.md5(b''.join(digests), usedforsecurity=False).hexdigest()}-{len(digests)}"


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


# --- CRC64NVME by number ----------------------------------------------------------------------------------------------


def crc64nvme(data: Data, previous: int = 0) -> int:
    """CRC64NVME of `data`, continuing from `previous`. Releases the GIL; about 30 GB/s a core."""
    return int(checksums.crc64nvme(data, previous))


def combine(parts: Iterable[tuple[int, int]]) -> int:
    """The CRC64NVME of the concatenation of parts given as (crc, length in bytes), in order."""
    whole = 0
    for crc, length in parts:
        whole = int(checksums.combine_crc64nvme(whole, crc, length))
    return whole


def encode(crc: int) -> str:
    """Base64 of the big-endian value, as S3 writes checksums."""
    return base64.b64encode(crc.to_bytes(8, "big")).decode("ascii")


def decode(text: str) -> int:
    """The value behind `encode`'s text. Raises `Invalid` when it is not the base64 of exactly eight bytes."""
    raw = _decoded(text)
    if len(raw) != 8:
        raise Invalid("checksum_invalid", "A CRC64NVME checksum is the base64 of eight bytes, such as AAAAAAAAAAA=.")
    return int.from_bytes(raw, "big")
