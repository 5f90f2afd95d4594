from __future__ import annotations

import hashlib
import random
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from rushes.checksum import crc64nvme, encode
from rushes.client.digest import WholeDigest, split
from rushes.client.http import Stopped
from rushes.client.source import LocalFile
from rushes.errors import Invalid
from rushes.model import ChecksumAlgorithm

PART = 100_003


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("digest") / "clip.mov"
    made.write_bytes(random.Random(7).randbytes(9 * PART + 17))
    return made


def expected(data: bytes) -> list[str]:
    return [
        f"sha256:{hashlib.sha256(data).hexdigest()}",
        f"md5:{hashlib.md5(data, usedforsecurity=False).hexdigest()}",
        f"xxh128:{xxhash.xxh3_128(data).hexdigest()}",
    ]


@given(order=st.permutations(range(10)), readers=st.integers(1, 4), left_out=st.integers(0, 3))
def test_whatever_the_order_of_parts(path: Path, order: list[int], readers: int, left_out: int) -> None:
    data = path.read_bytes()
    with LocalFile(path) as file, ThreadPoolExecutor(readers) as pool:
        whole = WholeDigest(file, ["sha256", "md5", "xxh128"])

        def read(index: int) -> None:
            piece = data[index * PART : (index + 1) * PART]
            found = whole.checksums(index * PART, len(piece), ChecksumAlgorithm.CRC64NVME)
            assert found == (crc64nvme(piece), encode(crc64nvme(piece)))

        for done in [pool.submit(read, index) for index in order[left_out:]]:
            done.result()
        assert whole.finish() == expected(data)
        assert whole.finish() == expected(data), "it may be asked twice"


def test_a_part_read_twice_counts_once(path: Path) -> None:
    with LocalFile(path) as file:
        whole = WholeDigest(file, ["sha256"])
        for offset in (0, 0, PART, 0, PART, 2 * PART):
            whole.checksums(offset, PART, ChecksumAlgorithm.CRC64NVME)
        assert whole.finish() == expected(path.read_bytes())[:1]


def test_a_reading_broken_off_is_not_counted(path: Path) -> None:
    with LocalFile(path) as file:
        whole = WholeDigest(file, ["sha256"])
        whole.checksums(0, PART, ChecksumAlgorithm.CRC64NVME)
        stop = threading.Event()
        stop.set()
        with pytest.raises(Stopped):
            whole.checksums(PART, PART, ChecksumAlgorithm.CRC64NVME, stop)
        assert whole.finish() == expected(path.read_bytes())[:1]


def test_parts_in_order_are_read_once(path: Path) -> None:
    class Counting(LocalFile):
        count = 0

        def read_into(self, buffer: memoryview, offset: int) -> int:
            found = super().read_into(buffer, offset)
            self.count += found
            return found

    file = Counting(path)
    with file:
        whole = WholeDigest(file, ["sha256", "xxh128"])
        for index in range(10):
            whole.checksums(index * PART, min(PART, file.size - index * PART), ChecksumAlgorithm.CRC64NVME)
        whole.finish()
        assert file.count == file.size


def test_what_a_person_wants_declared() -> None:
    assert split(["SHA-256", "md5:00", "xxh128", "sha256"]) == (("sha256", "xxh128"), ("md5:00",))
    with pytest.raises(Invalid) as caught:
        split(["crc7"])
    assert caught.value.code == "checksum_invalid"
