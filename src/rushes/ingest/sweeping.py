"""A sweep under way: its moment, what it has counted, and the ways its steps go through many things in little memory.

A dry run meets the same things in the same order; it asks and changes nothing, not even a row.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Protocol, TypeVar
from uuid import UUID

from rushes.db import Conn, idle, sweeps
from rushes.db.idle import Clock, Idle
from rushes.errors import NotFound, Problem, Unavailable
from rushes.ingest.context import Context
from rushes.ingest.reclaimed import Kind, Sum, Tally
from rushes.model import Upload

log = logging.getLogger(__name__)
T = TypeVar("T")

PAGE = 500  # rows or keys in memory at once
TOGETHER = 8  # questions to storage at once
PATIENCE = 3  # failures of storage, one after the other, after which a step gives up until the next sweep


class HasId(Protocol):
    @property
    def id(self) -> UUID: ...


R = TypeVar("R", bound=HasId)


@dataclass(slots=True)
class Sweep:
    """One sweep, or one step of it. `id` is None for a dry run."""

    ctx: Context
    id: UUID | None
    at: datetime
    tally: Tally = field(default_factory=Tally)  # all that was counted here
    _unkept: Tally = field(default_factory=Tally)
    failures: int = 0  # of storage, one after the other

    @property
    def dry(self) -> bool:
        return self.id is None

    @property
    def before(self) -> datetime:
        """What nobody owns is removed when it is older than this."""
        return self.at - timedelta(seconds=self.ctx.settings.sweep_grace_seconds)

    @property
    def clock(self) -> Clock:
        settings = self.ctx.settings
        return Clock(self.at, settings.upload_warn_seconds, settings.upload_abandoned_seconds)

    def count(self, tenant: str, kind: Kind, sum_: Sum) -> None:
        if sum_ == Sum():
            return
        for tally in (self.tally, self._unkept):
            tally.add(tenant, kind, sum_)

    def failed(self, code: str) -> None:
        for tally in (self.tally, self._unkept):
            tally.add_problem(code)

    async def keep(self) -> None:
        """Add what was counted since the last time to the sweep's row."""
        counted, self._unkept = self._unkept, Tally()
        if self.id is None or counted == Tally():
            return
        async with self.ctx.db.transaction() as conn:
            row = await sweeps.locked(conn, self.id)
            if row is not None:
                kept = Tally.from_json(row.report)
                kept.merge(counted)
                await sweeps.keep(conn, self.id, kept.to_json())

    async def pages(
        self, query: Callable[[Conn, UUID | None, int], Awaitable[list[R]]]
    ) -> AsyncGenerator[list[R], None]:
        """The rows that `query` finds, a page at a time, in the order of ids; counts are kept after each page."""
        after: UUID | None = None
        while True:
            async with self.ctx.db.transaction() as conn:
                page = await query(conn, after, PAGE)
            if page:
                yield page
                await self.keep()
            if len(page) < PAGE:
                return
            after = page[-1].id

    def uploads(self, what: Idle) -> AsyncGenerator[list[Upload], None]:
        """The uploads of this kind, as `pages`."""
        return self.pages(lambda conn, after, limit: idle.page(conn, what, self.clock, after, limit))

    async def batches(self, items: AsyncGenerator[T, None]) -> AsyncGenerator[list[T], None]:
        """What storage lists, a page at a time; counts are kept after each page."""
        async with aclosing(items):
            async for batch in _batched(items):
                yield batch
                await self.keep()

    async def each(self, action: Callable[[T], Awaitable[None]], items: Sequence[T]) -> None:
        """Do `action` for every item, some at once. One that fails is counted, and left for the next sweep.

        Raises the problem when storage fails again and again: then it is away.
        """

        async def one(item: T) -> None:
            try:
                await action(item)
                self.failures = 0
            except Problem as problem:
                self.failed(problem.code)
                log.warning("a sweep leaves something for the next one: %s", problem.message)
                self.failures += isinstance(problem, Unavailable)
                if self.failures >= PATIENCE:
                    raise

        for start in range(0, len(items), TOGETHER):
            outcomes = await asyncio.gather(*map(one, items[start : start + TOGETHER]), return_exceptions=True)
            for outcome in outcomes:
                if isinstance(outcome, BaseException):
                    raise outcome

    async def stored_bytes(self, bucket: str, key: str, storage_upload_id: str) -> int | None:
        """What the parts of an unfinished multipart upload take; None when storage does not know it any more."""
        try:
            parts = await self.ctx.storage.s3.list_parts(bucket, key, storage_upload_id)
        except NotFound:
            return None
        return sum(part.size for part in parts)


async def _batched(items: AsyncIterator[T]) -> AsyncIterator[list[T]]:
    batch: list[T] = []
    async for item in items:
        batch.append(item)
        if len(batch) == PAGE:
            yield batch
            batch = []
    if batch:
        yield batch
