"""Waiting for uploads that are being finalized: one question a tenth of a second for all of a process's waiting requests.

A request that asked for itself would cost a query with every look; NOTIFY would serialise all commits.
"""

from __future__ import annotations

import asyncio
from typing import Final
from uuid import UUID

from rushes.db import Database, uploads
from rushes.errors import Unavailable

PAUSE: Final = 0.1  # seconds between looks: as often as workers look for work


class Verdicts:
    """Belongs to one event loop. Nothing runs while nobody waits."""

    def __init__(self, db: Database) -> None:
        self._db = db
        self._waiting: dict[asyncio.Future[None], UUID] = {}
        self._looking: asyncio.Task[None] | None = None

    async def wait(self, upload_id: UUID, seconds: float) -> None:
        """Return when the upload is not being finalized any more, or after so many seconds. Raises `Unavailable`."""
        if seconds <= 0:
            return
        told = asyncio.get_running_loop().create_future()
        self._waiting[told] = upload_id
        if self._looking is None:
            self._looking = asyncio.create_task(self._look())
        try:
            async with asyncio.timeout(seconds):
                await told
        except TimeoutError:
            return
        finally:
            del self._waiting[told]

    async def _look(self) -> None:
        try:
            while self._waiting:
                await asyncio.sleep(PAUSE)
                await self._tell()
        finally:
            self._looking = None

    async def _tell(self) -> None:
        asked = dict(self._waiting)  # who comes while the database answers is told with the next look
        try:
            async with self._db.reading() as conn:
                unsettled = await uploads.finalizing(conn, list(set(asked.values())))
        except Unavailable as error:
            for told in asked:
                if not told.done():
                    told.set_exception(error)
            return
        for told, upload_id in asked.items():
            if upload_id not in unsettled and not told.done():
                told.set_result(None)
