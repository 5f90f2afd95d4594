"""Subscribers, and transactions that end when the test says so."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import psycopg
from psycopg import AsyncConnection

from rushes.config import Settings
from rushes.db import Database, open_database
from rushes.db import events as rows
from rushes.events import Batch, Cursor, Feed, Reach, Subscription
from rushes.model import Principal
from tests.ingest.equipment import Desk


def url_of(settings: Settings) -> str:
    assert settings.database_url is not None
    return settings.database_url.get_secret_value()


@asynccontextmanager
async def open_feed(settings: Settings) -> AsyncIterator[tuple[Database, Feed]]:
    async with open_database(url_of(settings), 5, 60) as db:
        feed = Feed(db, look_seconds=0.02)
        try:
            yield db, feed
        finally:
            await feed.close()


async def writer(settings: Settings) -> AsyncConnection[tuple[object, ...]]:
    """A connection whose transaction is the test's affair."""
    return await psycopg.AsyncConnection.connect(url_of(settings))


async def tell(
    conn: AsyncConnection[tuple[object, ...]],
    who: Principal,
    *names: str,
    upload_id: UUID | None = None,
    asset_id: UUID | None = None,
) -> None:
    """Append events of these types, in the connection's transaction."""
    for name in names:
        await rows.insert_each(
            conn,
            tenant=who.tenant,
            creator=who.creator,
            type_=name,
            title_id=None,
            upload_id=upload_id or uuid4(),
            asset_id=asset_id or uuid4(),
            data=[{}],
            now=datetime.now(UTC),
        )


async def subscribed(
    feed: Feed, who: Principal, after: Cursor | None = None, *, history: bool = False, **reach: UUID
) -> Subscription:
    """A subscription that has read what there was, unless `history` or `after` say where it starts."""
    subscription = await feed.subscribe(Reach(who, **reach), after, history=history)
    if after is None and not history:
        batch = await subscription.next(5)
        assert batch is not None
        assert (batch.events, batch.current) == ([], True)
    return subscription


async def heard(subscription: Subscription, count: int, seconds: float = 10) -> list[str]:
    """The types of the next `count` events."""
    found: list[str] = []
    async with asyncio.timeout(seconds):
        while len(found) < count:
            batch: Batch | None = await subscription.next(1)
            assert batch is not None, "the subscription has ended"
            found += [event.type for event in batch.events]
    return found


async def listened(desk: Desk, who: Principal, path: str, *headers: tuple[str, str]) -> tuple[int, str]:
    """The status of an event stream and what it says until it is up to date; then the listener hangs up."""
    enough = asyncio.Event()
    sent: list[dict[str, Any]] = []
    bearer = desk.person(who).http.headers["Authorization"]
    scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(name.lower().encode(), value.encode()) for name, value in (("Authorization", bearer), *headers)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 2),
    }
    messages = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> dict[str, Any]:
        if not messages:
            await enough.wait()
            return {"type": "http.disconnect"}
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(dict(message))
        if b": up to date" in message.get("body", b""):
            enough.set()

    async with asyncio.timeout(20):
        await desk.transport.app(scope, receive, send)
    return sent[0]["status"], b"".join(message.get("body", b"") for message in sent).decode()
