"""The byte-range server, spoken to by a real HTTP client, and its promise about sources that fail."""

from __future__ import annotations

import asyncio
import http.client
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from rushes.media.feed import HttpFeed, select_range
from rushes.media.source import FileSource, Source

from .clips import Counted

DATA = bytes(range(256)) * 4096


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (None, (200, 0, 1000)),
        ("bytes=0-", (206, 0, 1000)),
        ("bytes=10-19", (206, 10, 10)),
        ("bytes=990-5000", (206, 990, 10)),
        ("bytes=-5", (206, 995, 5)),
        ("bytes=-5000", (206, 0, 1000)),
        ("bytes=1000-", (416, 0, 0)),
        ("bytes=20-10", (416, 0, 0)),
        ("bytes=-0", (416, 0, 0)),
        ("bytes=-", (200, 0, 1000)),
        ("bytes=0-1,5-6", (200, 0, 1000)),
        ("chapters=1-2", (200, 0, 1000)),
        ("bytes=" + "9" * 5000 + "-", (200, 0, 1000)),
    ],
)
def test_ranges(header: str | None, expected: tuple[int, int, int]) -> None:
    assert select_range(header, 1000) == expected


@asynccontextmanager
async def _serving(source: Source) -> AsyncIterator[tuple[int, HttpFeed]]:
    listener = socket.create_server(("127.0.0.1", 0))
    feed = HttpFeed(source, listener)
    try:
        yield listener.getsockname()[1], feed
    finally:
        await feed.close()


def _talk(port: int, *requests: tuple[str, str, dict[str, str]]) -> list[tuple[int, dict[str, str], bytes]]:
    """Requests over one connection that is kept."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    answers = []
    try:
        for method, path, headers in requests:
            connection.request(method, path, headers=headers)
            response = connection.getresponse()
            answers.append((response.status, dict(response.getheaders()), response.read()))
    finally:
        connection.close()
    return answers


async def test_one_connection_serves_many_requests(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    async with _serving(FileSource(path)) as (port, feed):
        answers = await asyncio.to_thread(
            _talk, port,
            ("GET", "/source", {}),
            ("GET", "/source", {"Range": "bytes=300000-300009"}),
            ("HEAD", "/source", {}),
            ("GET", "/source", {"Range": "bytes=9999999-"}),
            ("GET", "/other", {}),
            ("POST", "/source", {}),
            ("GET", "/source", {"Range": "bytes=-3"}),
        )  # fmt: skip
        assert not feed.failure.done()
    assert [status for status, _, _ in answers] == [200, 206, 200, 416, 404, 405, 206]
    assert answers[0][2] == DATA
    assert answers[1][2] == DATA[300000:300010]
    assert answers[1][1]["Content-Range"] == f"bytes 300000-300009/{len(DATA)}"
    assert answers[2][1]["Content-Length"] == str(len(DATA))
    assert answers[3][1]["Content-Range"] == f"bytes */{len(DATA)}"
    assert answers[6][2] == DATA[-3:]


async def test_a_reader_that_hangs_up_costs_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    source = Counted(path, delay=0.001)
    async with _serving(source) as (port, feed):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /source HTTP/1.1\r\nHost: x\r\n\r\n")
        await reader.readexactly(1000)
        writer.close()
        assert (await asyncio.to_thread(_talk, port, ("GET", "/source", {"Range": "bytes=0-3"})))[0][2] == DATA[:4]
        assert not feed.failure.done()


@pytest.mark.parametrize("short", [False, True])
async def test_a_failing_source_breaks_the_connection_and_is_told(tmp_path: Path, short: bool) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    async with _serving(Counted(path, fail_after=200_000, short=short)) as (port, feed):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            await asyncio.to_thread(_talk, port, ("GET", "/source", {}))
        assert isinstance(await asyncio.wait_for(feed.failure, 5), OSError)


async def test_a_source_that_gives_too_much_is_told(tmp_path: Path) -> None:
    class Generous:
        size = 10

        async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
            yield bytes(length + 1)

    async with _serving(Generous()) as (port, feed):
        with pytest.raises((http.client.IncompleteRead, ConnectionError)):
            await asyncio.to_thread(_talk, port, ("GET", "/source", {}))
        assert "gave 11 of 10 bytes" in str(await asyncio.wait_for(feed.failure, 5))


async def test_a_head_without_end_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    async with _serving(FileSource(path)) as (port, feed):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /source HTTP/1.1\r\nX: " + b"y" * 40000)
        assert (await reader.readline()).startswith(b"HTTP/1.1 400")
        writer.close()
        assert not feed.failure.done()
