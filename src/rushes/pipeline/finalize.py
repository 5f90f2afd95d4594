"""finalize: reconcile → assemble → settle. Also the small workflows that clean storage up."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar
from uuid import UUID

from rushes.errors import Misconfigured, Problem
from rushes.ingest import abort, assets, finalize
from rushes.ingest.context import Context
from rushes.pipeline.engine import Run

log = logging.getLogger(__name__)
T = TypeVar("T")

FIRST_PAUSE = 0.25  # seconds
LONGEST_PAUSE = 30.0


async def run_finalize(ctx: Context, run: Run, upload_id: str, attempt: int) -> str:
    """Returns "ingested", "missing" (parts have to be sent) or "over" (ended otherwise, or decided before)."""
    upload = UUID(upload_id)
    try:
        return await _finalize(ctx, run, upload, attempt)
    except Problem as problem:
        reason = problem
    log.error("upload %s cannot be finalized: %s", upload, reason.message)
    await insist(lambda: finalize.fail(ctx, upload, attempt, reason.code, reason.message, **reason.details))
    return "over"


async def _finalize(ctx: Context, run: Run, upload: UUID, attempt: int) -> str:
    verdict: str = await run.step("reconcile", insist, lambda: finalize.reconcile(ctx, upload, attempt))
    if verdict != "ready":
        return verdict
    verdict = await run.step("assemble", insist, lambda: finalize.assemble(ctx, upload, attempt))
    if verdict != "whole":
        return verdict
    await run.step("settle", insist, lambda: finalize.settle(ctx, upload, attempt))
    return "ingested"


async def run_discard(ctx: Context, run: Run, upload_id: str) -> str:
    await run.step("discard", insist, lambda: abort.discard(ctx, UUID(upload_id)))
    return "done"


async def run_remove(ctx: Context, run: Run, asset_id: str) -> str:
    await run.step("remove", insist, lambda: assets.remove(ctx, UUID(asset_id)))
    return "done"


async def insist(action: Callable[[], Awaitable[T]]) -> T:
    """Try until it works: storage and database come back, and nobody is helped by giving up on what was acknowledged.

    A misconfigured system counts as one that comes back: its operator is told, and mends it. Full-jitter backoff (AWS
    Architecture Blog, "Exponential Backoff And Jitter"). Other permanent problems are raised.
    """
    pause = FIRST_PAUSE
    while True:
        try:
            return await action()
        except Problem as error:
            if error.permanent and not isinstance(error, Misconfigured):
                raise
            log.warning("%s; trying again within %.0f s", error.message, pause)
        await asyncio.sleep(random.uniform(0, pause))  # noqa: S311 - jitter
        pause = min(pause * 2, LONGEST_PAUSE)
