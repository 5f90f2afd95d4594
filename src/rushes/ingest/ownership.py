"""Whether a place in storage is this installation's alone.

A sweep removes what no session owns, as its own database knows sessions: in a place that two installations share, each
would remove the other's uploads. So every process marks the places when it starts, and one that meets another's mark
begins no uploads there and sweeps nothing.

`keep_claimed` runs beside every API and worker process; what it finds is remembered on `Storage`, so `begin` asks nobody.
"""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Final

from rushes.db import installation
from rushes.errors import Misconfigured, Problem, Unavailable
from rushes.ingest.context import Context
from rushes.storage import Place, read_mark, write_mark

log = logging.getLogger(__name__)

LOOK_SECONDS: Final = 900.0
FIRST_PAUSE: Final = 0.5  # seconds
LONGEST_PAUSE: Final = 60.0


async def check_own(ctx: Context, place: Place, *, claim: bool) -> None:
    """Raise `Misconfigured` (place_shared) when the place is another installation's. With `claim` one of nobody's is marked."""
    if not await is_own(ctx, place, claim=claim):
        raise _shared(place)


def check_known(ctx: Context) -> None:
    """Raise `Unavailable` (place_shared) when a place of ours was another's when this process looked last.

    What it says is for creators: whose the place is, and what to do about it, is the operator's to know.
    """
    if ctx.storage.foreign is not None:
        raise Unavailable(
            "place_shared",
            "No upload can begin here: this server's storage is marked as another installation's. Tell the operator; "
            "`rushes doctor` says what to do.",
        )


async def is_own(ctx: Context, place: Place, *, claim: bool) -> bool:
    """Whether the place is ours, or nobody's; with `claim` one of nobody's is marked.

    Of two that claim at once the later mark counts, and both read it before they act.
    """
    async with ctx.db.transaction() as conn:
        own = str(await installation.id_of(conn))
    found = await read_mark(ctx.storage.s3, place)
    if found is None and claim:
        await write_mark(ctx.storage.s3, place, own)
        found = await read_mark(ctx.storage.s3, place)
    return found in {None, own}


async def keep_claimed(ctx: Context, *, first: float = FIRST_PAUSE, longest: float = LONGEST_PAUSE) -> None:
    """Claim all places and look whether they stay ours, for ever; pauses are seconds.

    While storage or the database is away it is tried again, with the pause doubling from `first` to `longest`; a place
    of another's is looked at every `longest`.
    """
    pause, said = first, ""
    while True:
        try:
            ctx.storage.foreign = await _foreign(ctx)
            if ctx.storage.foreign is not None:
                raise _shared(ctx.storage.foreign)
        except Problem as problem:
            foreign = problem.code == "place_shared"
            if problem.message != said:
                log.log(logging.ERROR if foreign else logging.WARNING, "storage is not claimed: %s", problem.message)
            said = problem.message
            pause = longest if foreign else min(pause * 2, longest)
            await asyncio.sleep(random.uniform(pause / 2, pause))  # noqa: S311 - jitter
        else:
            pause, said = first, ""
            await asyncio.sleep(LOOK_SECONDS)


async def _foreign(ctx: Context) -> Place | None:
    """The first of our places that is another's."""
    for place in ctx.storage.places:
        if not await is_own(ctx, place, claim=True):
            return place
    return None


def _shared(place: Place) -> Misconfigured:
    return Misconfigured(
        "place_shared",
        f"Another rushes installation uses {place.bucket}/{place.prefix} as well. Give each its own bucket or prefix "
        "(RUSHES_BUCKET_…). If the other is gone for good, delete the object rushes-installation there.",
        bucket=place.bucket,
        prefix=place.prefix,
    )
