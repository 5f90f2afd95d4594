"""sweep: begin → each step of `rushes.ingest.sweep` → report. Every worker asks for the sweep of every slot; one runs.

A sweep does not insist: what fails is in its report, and the next slot's sweep comes anyway. Only its own rows it insists on.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta

from rushes.errors import Problem
from rushes.ingest import sweep
from rushes.ingest.context import Context
from rushes.ingest.expiry import measure_abandoned
from rushes.ingest.sweeping import Sweep
from rushes.pipeline.engine import Run
from rushes.pipeline.insist import insist

log = logging.getLogger(__name__)

RETRY_SECONDS = 10.0  # after a slot's sweep could not be asked for


async def run_sweep(ctx: Context, run: Run, slot: str) -> str:
    """Returns "done", or "late" when it came too late to be worth it."""
    moment = datetime.fromisoformat(slot)
    verdict = await run.step("begin", insist, lambda: sweep.begin(ctx, moment))
    if verdict == "late":
        return "late"
    for name in sweep.STEPS:
        await run.step(name, insist, _step(ctx, moment, name))
    await run.step("report", insist, lambda: _report(ctx, moment))
    return "done"


def _step(ctx: Context, slot: datetime, name: str) -> Callable[[], Awaitable[str]]:
    async def step() -> str:
        return await sweep.take(Sweep(ctx, sweep.id_of(slot), ctx.now()), name)

    return step


async def _report(ctx: Context, slot: datetime) -> str:
    whole = Sweep(ctx, sweep.id_of(slot), ctx.now())
    await measure_abandoned(whole, ask_storage=False)
    report = await sweep.finish(whole)
    return str(report.reclaimed().bytes)


async def keep_sweeping(ctx: Context) -> None:
    """Ask for the sweep of the slot that is, then of each that comes; ends by being cancelled."""
    every = ctx.settings.sweep_seconds
    while True:
        slot = sweep.slot_of(ctx.now(), every)
        try:
            async with ctx.db.transaction() as conn:
                await ctx.engine.enqueue(conn, sweep.sweep_work(slot))
        except Exception as error:
            if not isinstance(error, Problem):
                log.exception("asking for a sweep met an error of our own")
            log.warning("the sweep of %s could not be asked for: %s", slot.isoformat(), error)
            await asyncio.sleep(random.uniform(0, min(RETRY_SECONDS, every)))  # noqa: S311 - jitter
            continue
        left = (slot + timedelta(seconds=every) - ctx.now()).total_seconds()
        await asyncio.sleep(max(left, 0.05))
