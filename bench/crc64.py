"""CRC64NVME in plain Python: an implementation of its own, so that what awscrt says is held against something else.

A CRC is the remainder of a polynomial over GF(2). Appending n bytes multiplies by x^(8n), so CRCs of pieces combine without
their bytes, and so does the CRC of a block repeated a billion times. Parameters: "CRC-64/NVME", reveng catalogue.
"""

from __future__ import annotations

POLYNOMIAL = 0x9A6C9329AC4BC9B5  # reflected: the highest bit stands for x^0
ONE = 1 << 63
ONES = (1 << 64) - 1


def _table() -> list[int]:
    table = []
    for byte in range(256):
        value = byte
        for _ in range(8):
            value = value >> 1 ^ (POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return table


TABLE = _table()


def crc64(data: bytes) -> int:
    """The CRC of `data`, a byte at a time: some 10 MB/s."""
    value = ONES
    for byte in data:
        value = value >> 8 ^ TABLE[(value ^ byte) & 0xFF]
    return value ^ ONES


def multiply(a: int, b: int) -> int:
    """a · b modulo the polynomial."""
    product, bit = 0, ONE
    while a:
        if a & bit:
            product ^= b
            a ^= bit
        bit >>= 1
        b = b >> 1 ^ (POLYNOMIAL if b & 1 else 0)
    return product


def shift(length: int) -> int:
    """x^(8 · length) modulo the polynomial: what appending `length` bytes multiplies by."""
    power, square = ONE, 1 << (63 - 8)  # x^0, x^8
    while length:
        if length & 1:
            power = multiply(power, square)
        square = multiply(square, square)
        length >>= 1
    return power


def combine(a: int, b: int, length: int) -> int:
    """The CRC of A followed by B, `length` bytes long, from the CRCs of both."""
    return multiply(shift(length), a) ^ b


def repeated(block: bytes, size: int) -> int:
    """The CRC of the first `size` bytes of `block` repeated for ever."""
    times, rest = divmod(size, len(block))
    power, move = (
        crc64(block),
        shift(len(block)),
    )  # of the block repeated 2^n times, and what appending that multiplies by
    whole = crc64(b"")
    while times:
        if times & 1:
            whole = multiply(move, whole) ^ power
        power = multiply(move, power) ^ power
        move = multiply(move, move)
        times >>= 1
    return combine(whole, crc64(block[:rest]), rest)
