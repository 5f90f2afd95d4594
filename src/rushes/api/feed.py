"""Event streams (server-sent events): `/v1/events`, and those of one upload or one asset.

A message is `id: <xid>-<id>` with a `data:` line of JSON (`wire.Event`). Messages carry no `event:` field, so that a
browser's `onmessage` gets all of them; the type is in the data. When everything there is has been sent, and with every sign
of life, comes a block of a comment and an `id:` alone: readers keep that id as well (WHATWG HTML, section 9.2.6), so that
one who comes back after a quiet hour asks for nothing that it has had.

A stream holds no database connection while it writes, and one page of events at most. It ends when its reader takes nothing
for `event_stall_seconds`, when its token is no longer good, and when the process stops; readers come back with the last id.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, cast
from uuid import UUID

from fastapi import APIRouter, Depends, Header, Query, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from rushes import wire
from rushes.api.auth import Bearer, Ctx, Who
from rushes.config import Settings
from rushes.errors import Unauthenticated, Unavailable
from rushes.events import Batch, Cursor, Feed, Reach, Subscription
from rushes.ingest import assets, uploads
from rushes.ingest.context import Context
from rushes.model import Event, Principal

log = logging.getLogger(__name__)

RETRY = (1_000, 3_000)  # milliseconds a reader waits before it comes back: not all at once after a restart
HEADERS = {
    "Cache-Control": "no-store",
    "X-Accel-Buffering": "no",  # nginx would hold events back until its buffer is full
}


def _feed(request: Request) -> Feed:
    return cast(Feed, request.app.state.feed)


async def _stream(
    request: Request,
    ctx: Ctx,
    who: Who,
    bearer: Bearer,
    feed: Annotated[Feed, Depends(_feed)],
    last_event_id: Annotated[
        str | None, Header(description="The last id that was received: the stream goes on right after it.")
    ] = None,
    after: Annotated[
        str | None, Query(description="The same, where headers cannot be set; `0-0` is the start.")
    ] = None,
) -> Opening:
    given = last_event_id or after
    cursor = Cursor.parse(given) if given else None
    verifier = request.app.state.verifier

    async def still_good() -> None:
        await verifier.verify(bearer)

    return Opening(ctx, who, feed, cursor, still_good)


class Opening:
    """A stream that was asked for properly."""

    def __init__(
        self, ctx: Context, who: Principal, feed: Feed, after: Cursor | None, still_good: Callable[[], Awaitable[None]]
    ) -> None:
        self.ctx = ctx
        self.who = who
        self._feed = feed
        self._after = after
        self._still_good = still_good

    async def open(self, reach: Reach, *, history: bool) -> EventStream:
        subscription = await self._feed.subscribe(reach, self._after, history=history)
        return EventStream(subscription, self.ctx.settings, self._still_good)


Stream = Annotated[Opening, Depends(_stream)]


class EventStream(Response):
    """Sends what a subscription tells, until one of the two ends."""

    media_type = "text/event-stream"

    def __init__(
        self, subscription: Subscription, settings: Settings, still_good: Callable[[], Awaitable[None]]
    ) -> None:
        super().__init__(headers=HEADERS)
        del self.headers["content-length"]
        self._subscription = subscription
        self._heartbeat = settings.event_heartbeat_seconds
        self._stall = settings.event_stall_seconds
        self._still_good = still_good

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        gone = asyncio.create_task(self._until_gone(receive))
        try:
            await self._put(send, {"type": "http.response.start", "status": 200, "headers": self.raw_headers})
            await self._put(send, _body(f"retry: {random.randint(*RETRY)}\n\n".encode()))  # noqa: S311 - spreads load
            await self._send_all(send)
            await self._put(send, {"type": "http.response.body", "body": b"", "more_body": False})
        except TimeoutError:
            log.info("an event stream is cut off: its reader took nothing for %g seconds", self._stall)
        finally:
            gone.cancel()
            self._subscription.close()

    async def _send_all(self, send: Send) -> None:
        checked = time.monotonic()
        while (batch := await self._subscription.next(self._heartbeat)) is not None:
            if time.monotonic() - checked >= self._heartbeat:
                checked = time.monotonic()
                if not await self._is_good():
                    return
            await self._put(send, _body(encode(batch)))

    async def _is_good(self) -> bool:
        try:
            await self._still_good()
        except Unauthenticated:
            return False
        except Unavailable:
            return True  # its issuer does not answer: no reason to believe the worse
        return True

    async def _put(self, send: Send, message: dict[str, Any]) -> None:
        async with asyncio.timeout(self._stall):
            await send(message)

    async def _until_gone(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._subscription.close()


def _body(data: bytes) -> dict[str, Any]:
    return {"type": "http.response.body", "body": data, "more_body": True}


def encode(batch: Batch) -> bytes:
    """A batch as it stands in the stream."""
    blocks = [f"id: {row.xid}-{row.id}\ndata: {view(row).model_dump_json()}\n\n" for row in batch.events]
    if batch.current:
        blocks.append(f": up to date\nid: {batch.cursor}\n\n")
    elif not blocks:
        blocks.append(": the database does not answer for the moment\n\n")
    return "".join(blocks).encode()


def view(row: Event) -> wire.Event:
    return wire.Event(
        id=str(Cursor(row.xid, row.id)),
        type=row.type,
        at=row.created_at,
        title_id=row.title_id,
        upload_id=row.upload_id,
        asset_id=row.asset_id,
        creator=row.creator,
        data=row.data,
    )


# --- the addresses ----------------------------------------------------------------------------------------------------

router = APIRouter(tags=["events"])
ANSWERS: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Server-sent events: `id`, and an `Event` as JSON in `data`.",
        "content": {"text/event-stream": {"schema": {"$ref": "#/components/schemas/Event"}}},
    }
}


@router.get("/events", status_code=200, response_class=EventStream, responses=ANSWERS)
async def follow_events(stream: Stream) -> Response:
    """What happens from now on to all that you may see, live.

    With `Last-Event-ID` (or `after`) it goes on right after that event, on whatever server: nothing is lost or repeated, as
    long as events are kept (90 days, unless the operator chose otherwise).
    """
    return await stream.open(Reach(stream.who), history=False)


@router.get(
    "/uploads/{upload_id}/events", status_code=200, response_class=EventStream, responses=ANSWERS, tags=["uploads"]
)
async def follow_upload_events(stream: Stream, upload_id: UUID) -> Response:
    """Everything that happened to one upload and its asset, then what happens, live."""
    upload = await uploads.get(stream.ctx, stream.who, upload_id)
    return await stream.open(Reach(stream.who, upload_id=upload.id), history=True)


@router.get(
    "/assets/{asset_id}/events", status_code=200, response_class=EventStream, responses=ANSWERS, tags=["assets"]
)
async def follow_asset_events(stream: Stream, asset_id: UUID) -> Response:
    """Everything that happened to one asset and its upload, then what happens, live."""
    asset = await assets.find(stream.ctx, stream.who, asset_id)
    return await stream.open(Reach(stream.who, asset_id=asset.id), history=True)
