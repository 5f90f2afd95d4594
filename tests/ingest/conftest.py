"""One desk for the folder, and somebody new at it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rushes.config import Settings
from tests.ingest.equipment import Desk, Person, open_desk


@pytest.fixture(scope="session")
def settings(settings: Settings) -> Settings:
    """The database ends transactions in which nothing is asked for 0.4 of the takeover time. Here a hundred requests share
    one event loop of a busy machine, and nothing waits for a takeover."""
    return settings.model_copy(update={"takeover_seconds": 60.0})


@pytest.fixture(scope="session")
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with open_desk(settings) as opened:
        yield opened


@pytest.fixture
async def person(desk: Desk) -> Person:
    return desk.person()
