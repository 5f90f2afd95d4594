"""The checksum of a body: as its headers claim it, and as it comes."""

from __future__ import annotations

from collections.abc import Mapping

from rushes import checksum
from rushes.checksum import HEADERS
from rushes.errors import Invalid
from rushes.model import ChecksumAlgorithm


class Tally:
    """The checksum and the number of the bytes added so far."""

    def __init__(self, algorithm: ChecksumAlgorithm = ChecksumAlgorithm.CRC64NVME) -> None:
        self.length = 0
        self._running = checksum.start(algorithm)

    def add(self, chunk: bytes) -> None:
        self.length += len(chunk)
        self._running.update(chunk)

    @property
    def value(self) -> str:
        return checksum.text_of(self._running)


def claimed(headers: Mapping[str, str], algorithm: ChecksumAlgorithm) -> str | None:
    """The part's checksum as the request's headers (names in lower case) claim it; None when they claim none.

    Raises `Invalid` for one of another algorithm than the upload's, and for one that is not written as storage writes it.
    """
    given = [known for known, name in HEADERS.items() if name in headers]
    if not given:
        return None
    if given != [algorithm]:
        raise Invalid("checksum_invalid", f"Parts of this upload carry their checksum in {HEADERS[algorithm]} alone.")
    return checksum.canonical(algorithm, headers[HEADERS[algorithm]])
