"""CRC64NVME against its definition, and combined from parts as storage combines them."""

from __future__ import annotations

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes import checksum
from rushes.errors import Invalid

POLYNOMIAL = 0x9A6C9329AC4BC9B5  # reflected; NVM Express NVM Command Set Specification, section 5.2.1.3.4


def by_definition(data: bytes) -> int:
    crc = 0xFFFFFFFFFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (POLYNOMIAL if crc & 1 else 0)
    return crc ^ 0xFFFFFFFFFFFFFFFF


def test_the_check_value_of_the_catalogue() -> None:
    assert checksum.crc64nvme(b"123456789") == by_definition(b"123456789") == 0xAE8B14860A799888
    assert checksum.encode(0xAE8B14860A799888) == "rosUhgp5mIg="


@given(st.binary(max_size=200))
def test_it_is_what_its_definition_says(data: bytes) -> None:
    assert checksum.crc64nvme(data) == checksum.crc64nvme(memoryview(data)) == by_definition(data)


@given(st.lists(st.binary(max_size=2_000), max_size=12))
def test_parts_combine_into_the_whole(parts: list[bytes]) -> None:
    whole = checksum.crc64nvme(b"".join(parts))
    assert checksum.combine((checksum.crc64nvme(part), len(part)) for part in parts) == whole
    running = 0
    for part in parts:
        running = checksum.crc64nvme(part, running)
    assert running == whole


@given(st.binary(min_size=1, max_size=100), st.integers(0, 99), st.integers(0, 7))
def test_a_flipped_bit_shows(data: bytes, place: int, bit: int) -> None:
    place %= len(data)
    flipped = data[:place] + bytes([data[place] ^ 1 << bit]) + data[place + 1 :]
    assert checksum.crc64nvme(flipped) != checksum.crc64nvme(data)


def test_parts_of_terabytes_combine() -> None:
    """Zeros in parts of 5 GiB, by doubling: no byte of them is ever made."""
    crc, length = checksum.crc64nvme(bytes(1024**2)), 1024**2
    steps = []
    while length < 40 * 1024**4:
        steps.append((crc, length))
        crc, length = checksum.combine([(crc, length), (crc, length)]), 2 * length
    assert checksum.combine([steps[-1], steps[-1]]) == crc
    assert checksum.combine([steps[0], *steps]) == crc


@given(st.integers(0, 2**64 - 1))
def test_written_and_read(crc: int) -> None:
    text = checksum.encode(crc)
    assert len(text) == 12
    assert base64.b64decode(text) == crc.to_bytes(8, "big")
    assert checksum.decode(text) == crc


@given(st.text(max_size=20) | st.text("AB/=+", min_size=10, max_size=13))
def test_reading_gives_a_value_or_refuses(text: str) -> None:
    read: int | str
    try:
        read = checksum.decode(text)
    except Invalid as refused:
        read = refused.code
    if isinstance(read, int):
        assert 0 <= read < 2**64
        assert checksum.encode(read)[:10] == text[:10]
    else:
        assert read == "checksum_invalid"


@pytest.mark.parametrize(
    "text",
    ["", "AAAAAAAAAAA", "AAAAAAAAAA==", "AAAAAAAAAAAA", "AAAAAAAAAAA=\n", " AAAAAAAAAAA=", "AAAA-AAA_AA=", "é" * 12],
)
def test_what_is_no_checksum(text: str) -> None:
    with pytest.raises(Invalid):
        checksum.decode(text)
