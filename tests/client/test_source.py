from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.checksum import compute, crc64nvme
from rushes.client.http import Stopped
from rushes.client.source import BLOCK, LocalFile
from rushes.errors import Conflict, Invalid
from rushes.model import ChecksumAlgorithm


def code_of(path: Path) -> str:
    with pytest.raises(Invalid) as caught:
        LocalFile(path)
    assert str(path) in caught.value.message
    return caught.value.code


def test_what_cannot_be_uploaded_is_named(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    os.mkfifo(tmp_path / "pipe")
    assert code_of(tmp_path / "absent") == "file_missing"
    assert code_of(tmp_path / "empty") == "file_empty"
    assert code_of(tmp_path) == "file_directory"
    assert code_of(tmp_path / "pipe") == "file_special"
    assert code_of(tmp_path / "empty" / "below") == "file_unreadable"


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_closed_file_leaves_no_descriptor(tmp_path: Path, make_file: Callable[..., Path]) -> None:
    before = descriptors()
    with LocalFile(make_file(10)):
        assert descriptors() == before + 1
    code_of(tmp_path)
    assert descriptors() == before


@pytest.fixture(scope="module")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sample") / "sample"
    path.write_bytes(os.urandom(3 * BLOCK + 17))
    return path


@given(st.data())
def test_any_slice_has_its_bytes_and_its_checksum(sample: Path, data: st.DataObject) -> None:
    whole = sample.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    length = data.draw(st.integers(1, len(whole) - start))
    with LocalFile(sample) as file:
        body = file.slice(start, length)
        sent = bytearray()
        while chunk := body.read(2 << 20):
            sent += chunk
        assert sent == whole[start : start + length]
        assert file.checksum(start, length) == crc64nvme(whole[start : start + length])
        body.seek(length // 2)
        assert bytes(body.read(1)) == whole[start + length // 2 : start + length // 2 + 1]


def test_reading_stops_when_asked(sample: Path) -> None:
    cancel = threading.Event()
    cancel.set()
    with LocalFile(sample) as file, pytest.raises(Stopped):
        file.checksum(0, file.size, cancel)


def changed(file: LocalFile) -> bool:
    try:
        file.check_unchanged()
    except Conflict as problem:
        return problem.code == "file_changed"
    return False


def test_a_change_is_noticed(make_file: Callable[..., Path]) -> None:
    path = make_file(100)
    with LocalFile(path) as file:
        assert not changed(file)
        os.utime(path, ns=(1, 1))
        assert changed(file)
    with LocalFile(path) as file:
        with path.open("ab") as writer:
            writer.write(b"more")
        assert changed(file)


def test_another_file_under_the_same_name_is_noticed(make_file: Callable[..., Path]) -> None:
    path = make_file(100)
    with LocalFile(path) as file:
        status = path.stat()
        make_file(100, "new").replace(path)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        assert changed(file)


def test_a_renamed_file_is_still_the_same(make_file: Callable[..., Path]) -> None:
    path = make_file(100)
    with LocalFile(path) as file:
        path.rename(path.with_name("elsewhere"))
        assert not changed(file)


def test_a_truncated_file_is_noticed_while_reading(make_file: Callable[..., Path]) -> None:
    path = make_file(100)
    with LocalFile(path) as file:
        os.truncate(path, 50)
        with pytest.raises(Conflict, match="changed"):
            file.checksum(0, 100)


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
def test_one_reading_gives_both_checksums(sample: Path, algorithm: ChecksumAlgorithm) -> None:
    data = sample.read_bytes()[5:-5]
    with LocalFile(sample) as file:
        assert file.checksums(5, len(data), algorithm) == (crc64nvme(data), compute(algorithm, data))
