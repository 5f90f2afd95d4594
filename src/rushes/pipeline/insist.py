"""Trying until it works: storage and database come back, and nobody is helped by giving up on what was acknowledged."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

from rushes.errors import Misconfigured, Problem

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE = 0.25  # seconds
LONGEST_PAUSE = 30.0


async def insist(action: Callable[[], Awaitable[T]]) -> T:
    """Try `action` until it neither is unavailable nor misconfigured; other permanent problems are raised.

    A misconfigured system counts as one that comes back: its operator is told, and mends it. Full-jitter backoff (AWS
    Architecture Blog, "Exponential Backoff And Jitter").
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await action()
        except Problem as error:
            if not may_pass(error):
                raise
            log.warning("%s; trying again within %.1f s", error.message, pause)
        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
        pause = min(pause * 2, LONGEST_PAUSE)


def may_pass(problem: Problem) -> bool:
    return not problem.permanent or isinstance(problem, Misconfigured)
