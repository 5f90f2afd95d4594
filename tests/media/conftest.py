from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from rushes.errors import Misconfigured
from rushes.media import sandbox as sandboxes
from rushes.media.sandbox import Mode, Sandbox

from .clips import Clips


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Clips:
    return Clips(tmp_path_factory.mktemp("clips"))


@pytest.fixture
def job(tmp_path: Path) -> Path:
    """A job's directory, below one that nobody else may enter."""
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    path = private / "job"
    path.mkdir()
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def namespaces() -> Sandbox:
    return await _detected("namespaces")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def inherited() -> Sandbox:
    return await _detected("inherited")


@pytest_asyncio.fixture(scope="session", loop_scope="session", params=["namespaces", "inherited"])
async def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    """Each mode in turn."""
    return await _detected(request.param)


@pytest_asyncio.fixture(loop_scope="session")
async def host_port() -> AsyncIterator[int]:
    """A port of this machine's loopback on which somebody listens."""

    async def hang_up(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()

    server = await asyncio.start_server(hang_up, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def _detected(mode: Mode) -> Sandbox:
    try:
        return await sandboxes.detect(mode)
    except Misconfigured as problem:
        pytest.skip(f"this machine does not offer {mode}: {problem}")
