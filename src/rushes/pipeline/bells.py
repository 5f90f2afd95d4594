"""Waking the queues: one look into the database for all of them; a queue in which something waits has its bell rung.

The engine has a thread a queue, which by itself asks the database two or three times a look whether there is anything to do:
190 transactions a second of an idle worker. Here each thread waits by its bell, and one query, eight times a second, which costs
two steps into an index a queue, tells which to ring. NOTIFY would cost nothing while idle and all who commit a place in one line.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections.abc import Mapping

from rushes.db import Database
from rushes.errors import Problem

log = logging.getLogger(__name__)

UNRUNG = 60.0  # seconds after which a queue's thread looks without having been told to
LOOK_SECONDS = 0.125  # between two looks; with a tenth of jitter, so that workers do not look all at once
WAITING = """SELECT asked.queue FROM unnest(%s::text[]) AS asked (queue) WHERE EXISTS (
    SELECT FROM dbos.workflow_status w WHERE w.queue_name = asked.queue AND w.status = 'ENQUEUED')"""


class Bell:
    """What a queue's thread waits by: to the engine, a `threading.Event` that is set when the thread is to end."""

    def __init__(self, least_seconds: float) -> None:
        """`least_seconds`: between two rings, while something waits and nobody has a place for it."""
        self._least = least_seconds
        self._next = 0.0  # by the monotonic clock
        self._rung = threading.Event()
        self._over = False

    def is_due(self, now: float) -> bool:
        return now >= self._next

    def ring(self, now: float) -> None:
        self._next = now + self._least
        self._rung.set()

    def end(self) -> None:
        """Have the thread end."""
        self._over = True
        self._rung.set()

    def is_set(self) -> bool:
        return self._over

    def wait(self, timeout: float | None = None) -> bool:
        """Until the bell is rung, whatever pause the engine would make; whether the thread is to end."""
        self._rung.wait(UNRUNG)
        self._rung.clear()
        return self._over


async def keep_ringing(db: Database, bells: Mapping[str, Bell]) -> None:
    """Look and ring, for ever; a look that fails is followed by the next one."""
    away = False
    while True:
        now = time.monotonic()
        try:
            for name in await waiting(db, [name for name, bell in bells.items() if bell.is_due(now)]):
                bells[name].ring(now)
            away = False
        except Exception as error:
            if not isinstance(error, Problem):
                log.exception("looking for work met an error of our own")
            elif not away:
                log.warning("no look for work: %s", error.message)
            away = True
        await asyncio.sleep(LOOK_SECONDS * random.uniform(0.9, 1.1))  # noqa: S311 - jitter


async def waiting(db: Database, names: list[str]) -> list[str]:
    """The queues, of these, in which something waits."""
    if not names:
        return []
    async with db.reading() as conn:
        cursor = await conn.execute(WAITING.encode(), [names])
        return [str(row[0]) for row in await cursor.fetchall()]
