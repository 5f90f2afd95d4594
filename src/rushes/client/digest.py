"""Checksums of a whole file, beside those of its parts: computed in the same reading where parts come in order, and right
behind it, from the page cache, where several are read at once. Nothing waits for it until the upload is completed.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Mapping, Sequence

from awscrt.checksums import XXHash

from rushes.checksum import Data, Running
from rushes.client.source import LocalFile
from rushes.errors import Invalid
from rushes.model import ChecksumAlgorithm


class _Xxh128:
    """XXH128 (of XXH3) in its canonical, big-endian form, as `xxhsum` prints it."""

    def __init__(self) -> None:
        self._state = XXHash.new_xxhash3_128()

    def update(self, data: Data, /) -> None:
        self._state.update(bytes(data))  # it takes nothing that can be written to

    def digest(self) -> bytes:
        return bytes(self._state.finalize())


KINDS: Mapping[str, Callable[[], Running]] = {
    "sha256": hashlib.sha256,
    "md5": lambda: hashlib.md5(usedforsecurity=False),
    "xxh128": _Xxh128,
}


def split(wanted: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """(kinds to compute, values known already) of what a person wants declared: `sha256`, or `sha256:…`.

    Raises `Invalid` (checksum_invalid) for a kind that cannot be computed here.
    """
    kinds = tuple(dict.fromkeys(text.strip().lower().replace("-", "") for text in wanted if ":" not in text))
    for kind in kinds:
        if kind not in KINDS:
            raise Invalid(
                "checksum_invalid",
                f"{kind!r} is no checksum that can be computed: {', '.join(KINDS)} are. A value that is known already is "
                "declared as sha256:VALUE.",
            )
    return kinds, tuple(text for text in wanted if ":" in text)


class WholeDigest:
    """The checksums of these kinds of one file. Safe to use from many threads."""

    def __init__(self, file: LocalFile, kinds: Sequence[str]) -> None:
        self._file = file
        self._kinds = tuple(kinds)
        self._lock = threading.Lock()  # held while bytes are taken in
        self._read: dict[int, int] = {}  # offset → length, of what was read out of turn
        self._restart()

    def _restart(self) -> None:
        self._at = 0  # all before was taken in
        self._running = {kind: KINDS[kind]() for kind in self._kinds}

    def update(self, data: Data, /) -> None:
        """Bytes that come next; with `digest`, what makes this a `Running`."""
        for running in self._running.values():
            running.update(data)
        self._at += len(data)

    def digest(self) -> bytes:
        return b"".join(running.digest() for running in self._running.values())

    def checksums(
        self, offset: int, length: int, algorithm: ChecksumAlgorithm, cancel: threading.Event | None = None
    ) -> tuple[int, str]:
        """As `LocalFile.checksums`, taking the bytes in on the way if they are the next ones."""
        if not self._lock.acquire(blocking=False):
            found = self._file.checksums(offset, length, algorithm, cancel)
            self._read[offset] = length
            self._follow(cancel)
            return found
        try:
            if self._at != offset:
                self._read[offset] = length
                found = self._file.checksums(offset, length, algorithm, cancel)
            else:
                found = self._taking(offset, length, algorithm, cancel)
        finally:
            self._lock.release()
        self._follow(cancel)
        return found

    def _taking(
        self, offset: int, length: int, algorithm: ChecksumAlgorithm, cancel: threading.Event | None
    ) -> tuple[int, str]:
        try:
            return self._file.checksums(offset, length, algorithm, cancel, also=self)
        except BaseException:
            self._restart()  # half a part was taken in
            raise

    def _follow(self, cancel: threading.Event | None) -> None:
        """Take in what was read out of turn and comes next; whoever is at it does it for all."""
        while self._at in self._read and self._lock.acquire(blocking=False):
            try:
                if (length := self._read.pop(self._at, None)) is not None:
                    self._taking(self._at, length, ChecksumAlgorithm.CRC64NVME, cancel)
            finally:
                self._lock.release()

    def finish(self, cancel: threading.Event | None = None) -> list[str]:
        """The checksums as they are declared, `sha256:…`, after what is still missing was read. May be repeated."""
        with self._lock:
            if self._at < self._file.size:
                self._taking(self._at, self._file.size - self._at, ChecksumAlgorithm.CRC64NVME, cancel)
            return [f"{kind}:{running.digest().hex()}" for kind, running in self._running.items()]
