"""What the store enforces: probed when a process starts and nothing fresh is kept, kept in the database, known everywhere.

`keep_fresh` runs beside every API and worker process from its start. A claim on the store's row, not a lock, sees to it
that one of them probes: a lock would hold a connection while storage thinks.
"""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import datetime, timedelta
from typing import Final, NamedTuple

from rushes.config import Settings
from rushes.db import stores
from rushes.db.stores import StoreRow
from rushes.errors import Problem
from rushes.ingest.context import Context
from rushes.storage import Capabilities, probe

log = logging.getLogger(__name__)

REMEMBERED: Final = timedelta(minutes=1)  # by a process, without asking the database
FRESH: Final = timedelta(days=1)
CLAIM: Final = timedelta(minutes=1)  # a probe takes a second or two; one that takes longer counts as dead
LOOK_SECONDS: Final = 900.0
FIRST_PAUSE: Final = 0.5  # seconds
LONGEST_PAUSE: Final = 60.0
ANY_PAGE: Final = "https://rushes.example"


class Kept(NamedTuple):
    capabilities: Capabilities
    probed_at: datetime


async def capabilities_of(ctx: Context) -> Capabilities:
    """As kept, and remembered for a minute; probed now when nothing is kept. Raises as `probe` does."""
    known = _remembered(ctx)
    if known is None:
        found = await kept(ctx)
        if found is None:
            async with ctx.storage.asking:
                found = await kept(ctx)
                known = found.capabilities if found else await probe_now(ctx)
        else:
            known = found.capabilities
        ctx.storage.remembered = (known, ctx.now())
    return known


def _remembered(ctx: Context) -> Capabilities | None:
    known = ctx.storage.remembered
    return known[0] if known is not None and abs(ctx.now() - known[1]) < REMEMBERED else None


async def kept(ctx: Context) -> Kept | None:
    """What was found last, by whichever process; None when nothing was, or by a release that looked at other things."""
    async with ctx.db.transaction() as conn:
        return _read(await stores.get(conn, place_of(ctx)))


def _read(row: StoreRow | None) -> Kept | None:
    if row is None or row.capabilities is None or row.probed_at is None:
        return None
    found = Capabilities.from_json(row.capabilities)
    return Kept(found, row.probed_at) if found is not None else None


async def probe_now(ctx: Context) -> Capabilities:
    """Probe the store and keep what was found. Raises as `probe` does."""
    log.info("trying out what storage enforces; that it complains of wrong checksums now is part of it")
    now = ctx.now()
    found = await probe(ctx.storage, at=now, origin=page_of(ctx.settings))
    await keep(ctx, found, now)
    return found


async def keep(ctx: Context, found: Capabilities, now: datetime) -> None:
    """Let every process know what was found at `now`: this one at once, the others within a minute."""
    async with ctx.db.transaction() as conn:
        await stores.keep(conn, place_of(ctx), found.to_json(), now)
    ctx.storage.remembered = (found, now)


async def keep_fresh(ctx: Context, *, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
    """Probe whenever nothing is kept or what is kept is older than a day, for ever; pauses are seconds.

    While storage or the database is away it is tried again, with the pause doubling from `first` to `longest`.
    """
    pause, said = first, ""
    while True:
        try:
            fresh = await refresh(ctx)
        except Problem as problem:
            if problem.message != said:
                log.warning("what storage enforces is not known yet: %s Trying again.", problem.message)
            said = problem.message
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
            pause = min(pause * 2, longest)
        else:
            pause, said = first, ""
            await asyncio.sleep(LOOK_SECONDS if fresh else longest)


async def refresh(ctx: Context) -> bool:
    """Probe if that is due and nobody else does; whether something fresh is kept now. Raises as `probe` does."""
    async with ctx.storage.asking:
        now, place = ctx.now(), place_of(ctx)
        async with ctx.db.transaction() as conn:
            row = await stores.get(conn, place)
            found = _read(row)
            if found is not None and abs(now - found.probed_at) < FRESH:
                return True
            if not await stores.claim(conn, place, now, seen=row.probed_at if row else None, free_before=now - CLAIM):
                return False
        try:
            await probe_now(ctx)
        except Problem:
            async with ctx.db.transaction() as conn:
                await stores.unclaim(conn, place, now)
            raise
        return True


def place_of(ctx: Context) -> str:
    """The store that the capabilities are of: the endpoint clients see and the bucket that parts go to."""
    return f"{ctx.storage.public.origin}{ctx.storage.public.path} {ctx.storage.originals.bucket}"


def page_of(settings: Settings) -> str:
    """The origin of a page that uploads, as far as the settings name one."""
    return next((origin for origin in settings.cors_origins if "*" not in origin), ANY_PAGE)
