"""Finalizing that stopped: no workflow is under way for an upload that has been `finalizing` for an hour or more.

That takes a workflow that the engine gave up, or that somebody cancelled or deleted. What the upload was at is started
anew, under another id; the steps are fenced by state and attempt, so one time too many does nothing.
"""

from __future__ import annotations

from rushes.db import Conn, copies, idle
from rushes.db.idle import Idle
from rushes.ingest.context import Context, Work
from rushes.ingest.reclaimed import Kind, Sum
from rushes.ingest.sweeping import Sweep
from rushes.model import Upload


async def resume(sweep: Sweep) -> None:
    """Start finalizing anew where nobody does it any more; each under its lock, so two sweeps start it once."""

    async def one(found: Upload) -> None:
        async with sweep.ctx.db.transaction() as conn:
            for upload in await idle.locked(conn, Idle.STALLED, sweep.clock, [found.id]):
                work = await _work(sweep.ctx, conn, upload, f"{sweep.at:%Y%m%dT%H%M%S}")
                if work is None:
                    return
                if not sweep.dry:
                    await sweep.ctx.engine.enqueue(conn, work)
                sweep.count(upload.tenant, Kind.RESUMED, Sum(1))

    async for page in sweep.uploads(Idle.STALLED):
        await sweep.each(one, page)


async def _work(ctx: Context, conn: Conn, upload: Upload, again: str) -> Work | None:
    """What goes on with the upload: the reading, once it was begun, else the finalize workflow. None: it goes on already."""
    names = {name: f"{name}-{upload.id}-{upload.attempt}" for name in ("finalize", "verify")}
    copying = [f"copy-{copier}" for copier in await copies.copiers(conn, upload.id)]
    if await ctx.engine.under_way(conn, [*names.values(), *copying]):
        return None
    name = "verify" if await ctx.engine.known(conn, names["verify"]) else "finalize"
    args = (str(upload.id), upload.attempt)
    return Work(name, f"{names[name]}-{again}", args, upload.tenant, upload.priority)
