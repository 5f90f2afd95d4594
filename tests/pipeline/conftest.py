"""Databases of the folder's own: one that a worker serves, one where only the tests move anything."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

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
