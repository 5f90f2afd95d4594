"""Event streams as bytes: cut anywhere, in any line ending, they mean the same."""

from __future__ import annotations

import random

import pytest

from rushes.client.stream import MAX_LINE, Message, Parser
from rushes.errors import Misconfigured
from tests.conftest import SEED

STREAM = (
    b'retry: 1500\n\nid: 1-1\ndata: {"a":\ndata: 1}\n\n: a comment\n\nid: 7-0\n\n'
    b"event: other\r\nid: 8-1\r\ndata:two\r\n\r\nid\ndata: \xff\n\nretry: soon\nodd: x\n\ndata: never ended\n"
)
MEANS = [
    Message('{"a":\n1}', "1-1"),
    Message("", "7-0"),
    Message("two", "8-1"),
    Message("\ufffd", ""),
]


def test_a_stream_cut_anywhere() -> None:
    rng = random.Random(SEED)
    for size in [1, 2, 3, 7, len(STREAM), *(rng.randint(1, 40) for _ in range(20))]:
        parser = Parser()
        chunks = [STREAM[start : start + size] for start in range(0, len(STREAM), size)]
        assert [message for chunk in chunks for message in parser.feed(chunk)] == MEANS
        assert parser.retry == 1.5


def test_a_line_without_end_is_refused() -> None:
    parser = Parser()
    with pytest.raises(Misconfigured):
        for _ in range(MAX_LINE // 2**20 + 2):
            list(parser.feed(b"x" * 2**20))
