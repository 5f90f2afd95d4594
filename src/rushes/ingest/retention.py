"""What is forgotten after its time: events, reports of sweeps, and the engine's memory of workflows that have ended."""

from __future__ import annotations

from datetime import timedelta

from rushes.db import events, sweeps
from rushes.ingest.reclaimed import Kind, Sum
from rushes.ingest.sweeping import PAGE, Sweep


async def prune(sweep: Sweep) -> None:
    """Rows past their time go, a page a transaction."""
    settings = sweep.ctx.settings
    old = sweep.at - timedelta(days=settings.event_days)
    if sweep.dry:
        async with sweep.ctx.db.transaction() as conn:
            for tenant, count in await events.older(conn, old):
                sweep.count(tenant, Kind.EVENTS, Sum(count))
            ended = await sweep.ctx.engine.ended(conn, sweep.at - timedelta(days=settings.workflow_days))
            sweep.count("", Kind.WORKFLOWS, Sum(ended))
        return
    more = True
    while more:
        async with sweep.ctx.db.transaction() as conn:
            forgotten = await events.prune(conn, old, PAGE)
        for tenant, count in forgotten:
            sweep.count(tenant, Kind.EVENTS, Sum(count))
        await sweep.keep()
        more = bool(forgotten)
    more = True
    while more:
        async with sweep.ctx.db.transaction() as conn:
            count = await sweep.ctx.engine.forget(conn, sweep.at - timedelta(days=settings.workflow_days), PAGE)
        sweep.count("", Kind.WORKFLOWS, Sum(count))
        await sweep.keep()
        more = count > 0
    async with sweep.ctx.db.transaction() as conn:
        await sweeps.prune(conn, old)
