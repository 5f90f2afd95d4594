"""Which checksum the parts of an upload carry: the client's wish where the store was seen to enforce it."""

from __future__ import annotations

from collections.abc import Sequence

from rushes.errors import Misconfigured
from rushes.ingest.capabilities import capabilities_of
from rushes.ingest.context import Context
from rushes.model import ChecksumAlgorithm


async def part_algorithm(ctx: Context, wish: str | None) -> ChecksumAlgorithm:
    """Raises `Misconfigured` when the store enforces none, and as `capabilities_of` does."""
    return pick((await capabilities_of(ctx)).part_algorithms, wish)


def pick(enforced: Sequence[str], wish: str | None) -> ChecksumAlgorithm:
    """The wish, else the first of what is enforced. Raises `Misconfigured` (store_unchecked) when nothing is."""
    if not enforced:
        raise Misconfigured(
            "store_unchecked",
            "The object store refuses no part whose bytes are wrong, whichever checksum is sent with it, so nothing can be "
            "uploaded safely. Use a store that enforces CRC64NVME, CRC32C, Content-MD5 or SHA-256 on UploadPart; "
            "`rushes doctor` shows what was tried.",
        )
    return ChecksumAlgorithm(wish if wish is not None and wish in enforced else enforced[0])
