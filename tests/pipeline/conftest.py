"""What the folder shares: databases where nobody else leaves or takes work, and a clip."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rushes import main
from rushes.config import Settings
from rushes.ingest.context import Context
from tests.pipeline.equipment import database_apart


@pytest.fixture(scope="package")
def apart(settings: Settings) -> Iterator[Settings]:
    """A database without a worker: what is enqueued there stays."""
    with database_apart(settings) as found:
        yield found


@pytest.fixture(scope="package")
async def alone(apart: Settings) -> AsyncIterator[Context]:
    """What the verbs need, where no worker takes part."""
    async with main.open_context(apart) as found:
        yield found


@pytest.fixture(scope="module")
def own(settings: Settings) -> Iterator[Settings]:
    """A database of a module's own: in the shared one a worker meets first what all other tests have left to process."""
    with database_apart(settings) as found:
        yield found


@pytest.fixture(scope="module")
async def ctx(own: Settings) -> AsyncIterator[Context]:
    """What the verbs need, where workers process what the module gives them."""
    async with main.open_context(own) as found:
        yield found


@pytest.fixture(scope="package")
def clip(tiny_clip: Path) -> bytes:
    return tiny_clip.read_bytes()
