"""What the client says of the whole file: read, brought into one form, and never allowed to change.

A declared checksum is `algorithm:value` in hex or base64, or a bare base64 CRC64NVME. It is kept in the form people know
its kind by: CRCs as storage writes them (base64), the others in lower-case hex. XXH64 and XXH128 (of XXH3) are in their
canonical, big-endian form, as `xxhsum` prints them.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable, Mapping, Sequence

from rushes.errors import Conflict, Invalid
from rushes.model import Part
from rushes.wire import ManifestPart

WIDTHS: Mapping[str, int] = {"sha256": 32, "md5": 16, "crc64nvme": 8, "crc32c": 4, "xxh64": 8, "xxh128": 16}  # bytes
IN_BASE64 = frozenset({"crc64nvme", "crc32c"})
NAMED = 1_000  # parts named in one answer


def parse(declared: Iterable[str]) -> dict[str, str]:
    """{algorithm: value} of what a request declares. Raises `Invalid` (checksum_invalid, checksum_twice)."""
    found: dict[str, str] = {}
    for text in declared:
        algorithm, value = _read(text)
        if found.setdefault(algorithm, value) != value:
            raise Invalid("checksum_twice", f"The request declares two values of {algorithm}.", algorithm=algorithm)
    return found


def written(algorithm: str, digest: bytes) -> str:
    """A digest in the form declared ones are kept in."""
    return base64.b64encode(digest).decode("ascii") if algorithm in IN_BASE64 else digest.hex()


def _read(text: str) -> tuple[str, str]:
    algorithm, colon, value = text.partition(":")
    if not colon:
        algorithm, value = "crc64nvme", text
    algorithm = algorithm.strip().lower().replace("-", "")
    if algorithm not in WIDTHS:
        known = ", ".join(WIDTHS)
        raise Invalid(
            "checksum_invalid", f"A whole file's checksum can be {known}; {algorithm[:40]!r} is none of them."
        )
    width = WIDTHS[algorithm]
    digest = _digest(value.strip(), width, bare=not colon)
    if digest is None:
        raise Invalid(
            "checksum_invalid",
            f"The value of {algorithm} is {2 * width} hex digits or the base64 of {width} bytes; {value[:100]!r} is neither.",
        )
    return algorithm, written(algorithm, digest)


def _digest(value: str, width: int, *, bare: bool) -> bytes | None:
    """The value's bytes. Hex and base64 of one width differ in length or by `=`, so there is no doubt which it is."""
    try:
        if len(value) == 2 * width and not bare and "=" not in value:
            return bytes.fromhex(value) if value.isalnum() else None
        digest = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
    exact = len(digest) == width and base64.b64encode(digest).decode("ascii") == value
    return digest if exact else None


def added(known: Mapping[str, str], declared: Mapping[str, str]) -> dict[str, str]:
    """What `declared` adds to what is known. Raises `Conflict` (checksum_contradicts) when it says something else."""
    for algorithm, value in declared.items():
        before = known.get(algorithm, value)
        if before != value:
            raise Conflict(
                "checksum_contradicts",
                f"The {algorithm} of the whole file was declared as {before} before, and as {value} now. "
                "Complete with the first one, or abort and begin anew.",
                algorithm=algorithm,
                declared=before,
                now=value,
            )
    return {algorithm: value for algorithm, value in declared.items() if algorithm not in known}


def check_manifest(manifest: Sequence[ManifestPart] | None, ledger: Sequence[Part]) -> None:
    """Raise `Conflict` (manifest_mismatch, with `numbers`) unless the manifest says of every part what the ledger does."""
    if manifest is None:
        return
    told: dict[int, tuple[int, str]] = {}
    for part in manifest:
        if told.setdefault(part.number, (part.size, part.checksum)) != (part.size, part.checksum):
            raise Invalid("part_twice", f"The manifest tells two things of part {part.number}.", number=part.number)
    known = {part.number: (part.size, part.checksum) for part in ledger}
    wrong = sorted(number for number in told.keys() | known.keys() if told.get(number) != known.get(number))
    if wrong:
        raise Conflict(
            "manifest_mismatch",
            f"The manifest and the ledger differ in {len(wrong)} parts: compare number, size and checksum, and send those "
            "parts again.",
            numbers=wrong[:NAMED],
            count=len(wrong),
        )
