from __future__ import annotations

import pytest_asyncio

from rushes.media import sandbox as sandboxes
from rushes.media.sandbox import Sandbox


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def best() -> Sandbox:
    """The best sandbox that this machine offers."""
    return await sandboxes.detect()
