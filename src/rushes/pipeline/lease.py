"""Who is alive: each worker holds an advisory lock named after it, on a connection of its own.

* A worker that dies lets go of its lock at once; one that freezes, or loses the network, within `takeover * 2/5` seconds,
  because the server ends its idle session. Signs of life keep it.
* Any other worker that can take the lock of one that owns running workflows holds it for `takeover` seconds, in which a
  cut-off worker has long killed its tools, and then recovers those workflows. Holding the lock makes it the only one to.
* A worker whose connection breaks takes its lock again, if nobody else has it by then; else it must go.

Needs a direct connection: a transaction-mode pooler would lose the lock.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable

import psycopg
from psycopg import AsyncConnection

from rushes.errors import Unavailable

log = logging.getLogger(__name__)

SIGN_OF_LIFE = 0.1  # of the takeover time, between two signs of life
SESSION = 0.4  # of the takeover time: the server ends a session that is silent for so long
MOST_RECONNECTING = 5.0  # seconds in which a broken connection must be back; DESIGN: tools are killed within 5 s


class Lease:
    """This worker's lock and its watch over the others'."""

    def __init__(
        self, url: str, worker_id: str, takeover_seconds: float, recover: Callable[[str], Awaitable[None]]
    ) -> None:
        self._url = url
        self._worker_id = worker_id
        self._takeover = takeover_seconds
        self._recover = recover
        self._conn: AsyncConnection[tuple[object, ...]] | None = None
        self._held: dict[str, float] = {}  # locks of others that we hold, and since when (monotonic)

    async def acquire(self) -> None:
        """Take this worker's own lock. Raises `Unavailable`."""
        try:
            conn = await AsyncConnection.connect(
                self._url, autocommit=True, connect_timeout=5, application_name=f"rushes worker {self._worker_id}"
            )
        except psycopg.OperationalError as error:
            raise Unavailable("database_unavailable", "The database does not answer.") from error
        await conn.execute(f"SET idle_session_timeout = {int(self._takeover * SESSION * 1000)}")
        cursor = await conn.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 1))", [self._worker_id])
        row = await cursor.fetchone()
        if not (row and row[0]):
            await conn.close()
            raise Unavailable("worker_replaced", "Another worker has taken this one's place.")
        self._conn = conn
        self._held.clear()

    async def keep(self) -> None:
        """Give signs of life and take over from the dead, until the lock is lost for good (`Unavailable`)."""
        while True:
            await asyncio.sleep(self._takeover * SIGN_OF_LIFE)
            try:
                async with asyncio.timeout(self._takeover * SESSION):
                    await self._look()
            except (psycopg.Error, TimeoutError) as error:
                log.warning("the lock's connection broke (%s); taking the lock again", type(error).__name__)
                await self._reacquire()

    async def _reacquire(self) -> None:
        deadline = time.monotonic() + min(MOST_RECONNECTING, self._takeover / 3)
        await self._close()
        while True:
            try:
                return await self.acquire()
            except Unavailable as error:
                if error.code == "worker_replaced" or time.monotonic() > deadline:
                    raise
            await asyncio.sleep(0.2)

    async def _look(self) -> None:
        """One look over all workers that own running workflows."""
        assert self._conn is not None, "acquired before it is kept"
        cursor = await self._conn.execute(
            "SELECT DISTINCT executor_id FROM dbos.workflow_status WHERE status = 'PENDING' AND executor_id <> %s",
            [self._worker_id],
        )
        owners = {str(row[0]) for row in await cursor.fetchall()}
        for owner in owners - self._held.keys():
            cursor = await self._conn.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 1))", [owner])
            row = await cursor.fetchone()
            if row and row[0]:
                self._held[owner] = time.monotonic()
        for owner in list(self._held):
            due = time.monotonic() - self._held[owner] >= self._takeover
            if due and owner in owners:
                await self._recover(owner)
            if due or owner not in owners:
                del self._held[owner]
                await self._conn.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 1))", [owner])

    async def hand_back(self) -> None:
        """Put our own running workflows back on their queues and let go: this worker stops in good order."""
        if self._conn is None or self._conn.closed:
            return
        try:
            await self._conn.execute(
                """UPDATE dbos.workflow_status SET status = 'ENQUEUED', owner_xid = NULL, started_at_epoch_ms = NULL
                WHERE status = 'PENDING' AND executor_id = %s AND queue_name IS NOT NULL""",
                [self._worker_id],
            )
        except psycopg.Error as error:
            log.warning("could not hand the work back (%s); another worker takes it over", type(error).__name__)
        await self._close()

    async def _close(self) -> None:
        if self._conn is not None:
            await self._conn.close()
            self._conn = None
