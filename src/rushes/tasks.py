"""Ending asyncio tasks for certain."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 1.0  # seconds until a task that has not ended is cancelled once more


async def put_down(tasks: Iterable[asyncio.Future[Any]]) -> None:
    """Cancel tasks and wait until each has ended, whatever came of it; to be cancelled meanwhile does not shorten that.

    One cancellation is not enough: `asyncio.wait_for`, by which the connection pool waits, loses one that comes in the
    moment in which it has what it waited for (python/cpython#86296, until Python 3.12), and the task goes on for ever.
    """
    waiting = set(tasks)
    cancelled: asyncio.CancelledError | None = None
    while waiting:
        for task in waiting:
            task.cancel()
        try:
            ended, waiting = await asyncio.wait(waiting, timeout=AGAIN)
        except asyncio.CancelledError as error:
            cancelled = error
            ended, waiting = {task for task in waiting if task.done()}, {task for task in waiting if not task.done()}
        for task in ended:
            if not task.cancelled():
                task.exception()  # looked at: nobody else will
    if cancelled is not None:
        raise cancelled
