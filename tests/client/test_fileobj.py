"""What reads and seeks like a file is uploaded like one."""

from __future__ import annotations

import io
import os
import random
import tempfile
from pathlib import Path

import pytest

from rushes.checksum import crc64nvme
from rushes.client import Client
from rushes.errors import Conflict, Invalid
from tests.client.equipment import Site

PART = 5 << 20


def test_bytes_in_memory(site: Site, client: Client) -> None:
    data = random.Random(1).randbytes(3 * PART + 7)
    result = client.upload(io.BytesIO(data), filename="take.mov", part_size=PART)
    assert (result.size, result.part_count) == (len(data), 4)
    assert site.only().crc == crc64nvme(data)
    begin = site.only().begin
    assert begin is not None
    assert (begin.filename, begin.content_type) == ("take.mov", "video/quicktime")


def test_an_open_file_from_where_it_stands(site: Site, client: Client, tmp_path: Path) -> None:
    data = random.Random(2).randbytes(2 * PART)
    path = tmp_path / "reel.mxf"
    path.write_bytes(b"a header" + data)
    with path.open("rb") as file:
        file.seek(8)
        client.upload(file, part_size=PART)
        assert not file.closed
    assert site.only().crc == crc64nvme(data)
    assert site.only().filename == "reel.mxf"


def test_a_file_that_may_be_in_memory_or_on_disk(site: Site, client: Client) -> None:
    data = random.Random(3).randbytes(100_000)
    with tempfile.SpooledTemporaryFile(max_size=1_000) as file:
        file.write(data)
        file.seek(0)
        client.upload(file, filename="grab.png")
    assert site.only().crc == crc64nvme(data)


def test_what_cannot_be_uploaded_is_refused_before_anything_is_sent(site: Site, client: Client, tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(write)
    (tmp_path / "text").write_text("words")
    with os.fdopen(read, "rb") as pipe, (tmp_path / "text").open() as text:
        for what, code in ((io.BytesIO(), "file_empty"), (pipe, "file_unseekable"), (text, "file_text")):
            with pytest.raises(Invalid) as caught:
                client.upload(what, filename="x.mov")  # type: ignore[arg-type]
            assert caught.value.code == code
        with pytest.raises(Invalid) as caught:
            client.upload(io.BytesIO(b"bytes"))
        assert caught.value.code == "file_nameless"
    assert site.requests == []


def test_one_that_grows_meanwhile_is_not_completed(site: Site, client: Client) -> None:
    file = io.BytesIO(bytes(2 * PART))

    def grow(number: int) -> None:
        if number == 2:
            file.seek(0, os.SEEK_END)
            file.write(b"more")

    site.before_put = grow
    with pytest.raises(Conflict) as caught:
        client.upload(file, filename="growing.mov", part_size=PART)
    assert caught.value.code == "file_changed"
    assert site.only().state != "ingested"
