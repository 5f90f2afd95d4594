"""The feed: events as they become final, for any number of subscribers of one process.

1. `Feed.subscribe` registers a subscriber and finds out where it starts.
2. One watcher a process looks at the database four times a second, while anybody is subscribed, and wakes those
   subscribers whom new events may concern. (NOTIFY would cost every writer: it serialises commits.)
3. A woken subscriber reads from its own cursor, a page at a time; those who may see the same and stand at the same place
   share the query. While it hands a page on it holds no connection.

A cursor is (xid, id). Events are read below the horizon alone, so none can turn up later before a cursor that was handed
out: whoever comes back with its last cursor, to whatever process, misses nothing and gets nothing twice. A subscriber that
sleeps costs no query: as long as nobody woke it, there is nothing for it below what the watcher has seen, and its cursor
moves on with that.
"""

from __future__ import annotations

import asyncio
import logging
import re
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from rushes.db import Conn, Database
from rushes.db import events as rows
from rushes.errors import Conflict, Invalid, Unavailable
from rushes.model import Event, Principal
from rushes.tasks import put_down

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.25
PAGE = 100  # events read at once: what a subscriber holds in memory
READERS = 3  # subscribers that read at the same time, so that requests find a connection as well
MAX_NEWS = 10_000  # different things told of between two looks; with more everybody is woken
SHARE = 4  # one creator, or one of their programs, gets a quarter of the streams: nobody can keep out all others
RETRY_SECONDS = 1.0  # before a read that failed is tried again
FIRST = re.compile(r"(\d{1,19})-(\d{1,19})", re.ASCII)
MOST = 2**63 - 1


class Cursor(NamedTuple):
    """A place in the order of events: right after the event with this transaction id and id."""

    xid: int
    id: int

    def __str__(self) -> str:
        return f"{self.xid}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """Raises `Invalid` (cursor_invalid)."""
        match = FIRST.fullmatch(text)
        numbers = [] if match is None else [int(number) for number in match.groups()]
        if not numbers or max(numbers) > MOST:
            raise Invalid("cursor_invalid", "An event's id looks like 123-456; send one as it was received, or none.")
        return cls(*numbers)


START = Cursor(0, 0)


@dataclass(frozen=True, slots=True)
class Reach:
    """What a subscriber hears of: all that `who` may see, or of that one upload or asset."""

    who: Principal
    upload_id: UUID | None = None
    asset_id: UUID | None = None

    @property
    def whose(self) -> tuple[str, str]:
        return self.who.tenant, self.who.creator

    def key(self) -> Hashable:
        """By what the watcher finds the subscriber; it may be woken for events that it may not see, never the reverse."""
        if self.asset_id is not None:
            return ("asset", self.asset_id)
        if self.upload_id is not None or self.who.upload is not None:
            return ("upload", self.upload_id or self.who.upload)
        return ("tenant", self.who.tenant) if self.who.sees_tenant else ("creator", self.who.tenant, self.who.creator)


@dataclass(frozen=True, slots=True)
class Batch:
    """Events, and the cursor after them. Without events: nothing new; `current` tells that there surely is nothing."""

    events: list[Event]
    cursor: Cursor
    current: bool


class Feed:
    """One a process. Everything happens on its event loop."""

    def __init__(self, db: Database, *, most: int = 10_000, look_seconds: float = LOOK_SECONDS) -> None:
        self._db = db
        self._most = most
        self._look_seconds = look_seconds
        self._subscribers: dict[Hashable, set[Subscription]] = {}
        self._count = 0
        self._of: Counter[tuple[str, str]] = Counter()  # subscribers by tenant and creator
        self._watcher: asyncio.Task[None] | None = None
        self._seen: int | None = None  # events of transactions below it have been told of
        self._readers = asyncio.Semaphore(READERS)
        self._reading: dict[tuple[Reach, Cursor], asyncio.Task[Batch]] = {}
        self._stopped = False

    def __len__(self) -> int:
        """Subscribers."""
        return self._count

    async def subscribe(self, reach: Reach, after: Cursor | None, *, history: bool) -> Subscription:
        """Hear of what follows `after`; without it of everything (`history`) or of what comes from now on.

        Raises `Unavailable` (streams_full, stopping, database_unavailable), `Conflict` (cursor_unknown) for a cursor that
        lies ahead of the database. The caller closes the subscription.
        """
        if self._stopped:
            raise Unavailable("stopping", "This server is stopping; ask again and another one answers.")
        if self._count >= self._most or self._of[reach.whose] >= max(1, self._most // SHARE):
            raise Unavailable("streams_full", "This server keeps as many event streams as it may; try again shortly.")
        subscription = Subscription(self, reach)
        self._add(subscription)
        try:
            subscription.cursor = await self._start(after, history=history)
        except BaseException:
            subscription.close()
            raise
        return subscription

    def stop(self) -> None:
        """End all subscriptions and take no more: the process is about to stop."""
        self._stopped = True
        for subscription in self._all():
            subscription.close()

    async def close(self) -> None:
        """Stop, and wait for what is under way in the database."""
        self.stop()
        tasks = [*self._reading.values(), *([self._watcher] if self._watcher else [])]
        await put_down(tasks)

    async def _start(self, after: Cursor | None, *, history: bool) -> Cursor:
        if after is None and history:
            return START
        async with self._db.transaction() as conn:
            horizon = await rows.horizon(conn)
        if after is not None and after.xid > horizon:
            raise Conflict(
                "cursor_unknown",
                "This event id is ahead of the server's database, which was probably restored. Start without one.",
            )
        return after or Cursor(horizon, 0)

    # --- who listens ------------------------------------------------------------------------------------------------

    def _add(self, subscription: Subscription) -> None:
        self._subscribers.setdefault(subscription.reach.key(), set()).add(subscription)
        self._count += 1
        self._of[subscription.reach.whose] += 1
        if self._watcher is None or self._watcher.done():  # it may have ended without having been seen to
            self._watcher = asyncio.create_task(self._watch())
            self._watcher.add_done_callback(self._watched)

    def remove(self, subscription: Subscription) -> None:
        key = subscription.reach.key()
        peers = self._subscribers.get(key, set())
        if subscription in peers:
            peers.discard(subscription)
            self._count -= 1
            self._of[subscription.reach.whose] -= 1
            if not self._of[subscription.reach.whose]:
                del self._of[subscription.reach.whose]
        if not peers:
            self._subscribers.pop(key, None)

    def _all(self) -> list[Subscription]:
        return [subscription for peers in self._subscribers.values() for subscription in peers]

    # --- watching ---------------------------------------------------------------------------------------------------

    async def _watch(self) -> None:
        away = False
        while self._subscribers:
            try:
                await self._look()
                away = False
            except Unavailable as error:
                if not away:
                    log.warning("no look for new events: %s", error.message)
                away = True
            await asyncio.sleep(self._look_seconds)

    def _watched(self, task: asyncio.Task[None]) -> None:
        if self._watcher is task:
            self._watcher, self._seen = None, None
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("the watcher of events met an error of our own", exc_info=error)
            for subscription in self._all():  # their readers come back, and a new watcher with them
                subscription.close()

    async def _look(self) -> None:
        async with self._db.transaction() as conn:
            horizon = await rows.horizon(conn)
            keys = await self._news(conn, horizon)
        before, self._seen = self._seen, horizon  # from here to the end nothing else runs: nobody sees half of a look
        floor = None if before is None else Cursor(before, 0)
        found = self._subscribers if keys is None else keys
        for key in found:
            for subscription in self._subscribers.get(key, ()):
                subscription.wake(floor)

    async def _news(self, conn: Conn, horizon: int) -> set[Hashable] | None:
        """The keys of those to wake; None for everybody, as the first time."""
        if self._seen is None:
            return None
        if horizon <= self._seen:
            return set()
        found = await rows.news(conn, self._seen, horizon, MAX_NEWS)
        if found is None:
            return None
        keys: set[Hashable] = set()
        for tenant, creator, upload, asset in found:
            keys |= {("tenant", tenant), ("creator", tenant, creator), ("upload", upload), ("asset", asset)}
        return keys

    def quiet_until(self) -> Cursor:
        """Where a subscriber stands that was told of everything and that nobody has woken since."""
        return START if self._seen is None else Cursor(self._seen, 0)

    # --- reading ----------------------------------------------------------------------------------------------------

    async def read(self, reach: Reach, after: Cursor) -> Batch:
        """The next page. Those who ask for the same at the same time share one query. Raises `Unavailable`."""
        key = (reach, after)
        task = self._reading.get(key)
        if task is None:
            task = asyncio.create_task(self._read(reach, after))
            self._reading[key] = task
            task.add_done_callback(lambda done: self._was_read(key, done))
        return await asyncio.shield(task)

    def _was_read(self, key: tuple[Reach, Cursor], task: asyncio.Task[Batch]) -> None:
        del self._reading[key]
        if not task.cancelled():
            task.exception()  # told to those who wait, if there still are any

    async def _read(self, reach: Reach, after: Cursor) -> Batch:
        async with self._readers, self._db.transaction() as conn:
            below = await rows.horizon(conn)
            found = await rows.page(
                conn,
                reach.who,
                upload_id=reach.upload_id,
                asset_id=reach.asset_id,
                after=after,
                below=below,
                limit=PAGE,
            )
        if len(found) == PAGE:
            return Batch(found, Cursor(found[-1].xid, found[-1].id), current=False)
        return Batch(found, max(after, Cursor(below, 0)), current=True)


class Subscription:
    """One subscriber: its place, and whether there may be something after it."""

    def __init__(self, feed: Feed, reach: Reach) -> None:
        self.reach = reach
        self.cursor = START
        self._feed = feed
        self._woken = asyncio.Event()
        self._behind = True  # what is there has not been read to its end
        self._told_current = False
        self._closed = False

    async def next(self, seconds: float) -> Batch | None:
        """The next events, or an empty batch after `seconds` without any; None when the subscription has ended.

        That everything there is has been read for the first time is told as well, with events or without.
        """
        now = asyncio.get_running_loop().time
        until = now() + seconds
        while not self._has_ended():
            if not self._behind and not await self._wakened(until - now()):
                self.cursor = max(self.cursor, self._feed.quiet_until())
                return Batch([], self.cursor, current=True)
            if self._has_ended():
                break
            batch = await self._read()
            if batch.events or not batch.current or not self._told_current or now() >= until:
                self._told_current = self._told_current or batch.current
                return batch
        return None

    def _has_ended(self) -> bool:
        return self._closed

    async def _wakened(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._woken.wait()
        except TimeoutError:
            return self._woken.is_set()
        return True

    async def _read(self) -> Batch:
        """A page; an empty one that is not `current` when the database was away, after a moment."""
        self._behind = True
        if not self._closed:
            self._woken.clear()
        try:
            batch = await self._feed.read(self.reach, self.cursor)
        except Unavailable:  # the watcher logs it, once
            await asyncio.sleep(RETRY_SECONDS)
            return Batch([], self.cursor, current=False)
        self.cursor, self._behind = batch.cursor, not batch.current
        return batch

    def wake(self, floor: Cursor | None) -> None:
        """There may be news for it. `floor`: the watcher told of everything before it earlier."""
        if floor is not None and not self._behind and not self._woken.is_set():
            self.cursor = max(self.cursor, floor)
        self._woken.set()

    def close(self) -> None:
        self._closed = True
        self._woken.set()
        self._feed.remove(self)
