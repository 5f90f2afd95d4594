"""One desk for the folder, and somebody new at it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rushes.config import Settings
from tests.ingest.equipment import Desk, Person, open_desk


@pytest.fixture(scope="session")
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with open_desk(settings) as opened:
        yield opened


@pytest.fixture
async def person(desk: Desk) -> Person:
    return desk.person()
