"""The sweep: what was given up, forgotten or outlived its time is found, counted and removed.

1. `expire`, `warn`, `abandon` – open uploads without progress (rows; what storage holds of the expired goes durably);
   `resume` – finalizing, `restart` – processing that nobody does any more.
2. `multiparts`, `incoming` – what storage holds for no session, by listing.
3. `renditions`, `originals` – what rows say nobody needs, asset by asset.
4. `prune` – old events, old reports, the engine's old workflows.

Steps may run twice, in any order, beside each other and beside everything else: each thing is removed by what its row
says at that moment. What cannot be removed now is counted as a problem and left for the next sweep, which comes anyway.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

from rushes.db import sweeps
from rushes.db.sweeps import SweepRow
from rushes.errors import Problem
from rushes.ingest.context import Context, Work
from rushes.ingest.expiry import abandon, expire, measure_abandoned, warn
from rushes.ingest.losers import originals, renditions
from rushes.ingest.lost import restart
from rushes.ingest.orphans import incoming, multiparts
from rushes.ingest.reclaimed import RECLAIMED, Kind, Tally
from rushes.ingest.retention import prune
from rushes.ingest.stalled import resume
from rushes.ingest.sweeping import Sweep
from rushes.model import new_id

log = logging.getLogger(__name__)

STEPS: Mapping[str, Callable[[Sweep], Awaitable[None]]] = {
    "expire": expire,
    "warn": warn,
    "abandon": abandon,
    "resume": resume,
    "restart": restart,
    "multiparts": multiparts,
    "incoming": incoming,
    "renditions": renditions,
    "originals": originals,
    "prune": prune,
}


def slot_of(moment: datetime, every: float) -> datetime:
    """The beginning of the span of `every` seconds that this moment lies in; spans are counted from 1970."""
    return datetime.fromtimestamp(moment.timestamp() // every * every, UTC)


def sweep_work(slot: datetime) -> Work:
    """The sweep of a slot: one, however many workers ask for it."""
    return Work("sweep", f"sweep-{slot:%Y%m%dT%H%M%S.%f}", (slot.isoformat(),), tenant="")


def id_of(slot: datetime) -> UUID:
    """The id of a slot's sweep: a UUIDv7 (RFC 9562, section 5.7) whose random bits the slot decides."""
    bits = int.from_bytes(sha256(slot.isoformat().encode()).digest()[:10], "big")
    stamp = int(slot.timestamp() * 1000)
    return UUID(int=(stamp << 80) | (0x7 << 76) | ((bits >> 68) << 64) | (0b10 << 62) | (bits & ((1 << 62) - 1)))


async def begin(ctx: Context, slot: datetime) -> str:
    """ "go", or "late" when the slot has long passed: its successors' sweeps do what it would have done."""
    if (ctx.now() - slot).total_seconds() > 2 * ctx.settings.sweep_seconds:
        return "late"
    async with ctx.db.transaction() as conn:
        await sweeps.insert(conn, id_of(slot), ctx.now())
    return "go"


async def take(sweep: Sweep, name: str) -> str:
    """Take one step: "done", or the code of what ended it early. The next sweep goes on where it ended."""
    try:
        await STEPS[name](sweep)
    except Problem as problem:
        log.warning("sweep %s: the step %s ended early: %s", sweep.id, name, problem.message)
        sweep.failed(problem.code)
        return problem.code
    except Exception:
        log.exception("sweep %s: the step %s met an error of our own", sweep.id, name)
        sweep.failed("internal")
        return "internal"
    finally:
        await sweep.keep()
    found = described(sweep.tally)
    log.log(logging.INFO if found else logging.DEBUG, "sweep %s: %s done: %s", sweep.id, name, found or "nothing to do")
    return "done"


async def finish(sweep: Sweep) -> Tally:
    """Close the report and write it into the log; returns it."""
    if sweep.id is None:
        return sweep.tally
    await sweep.keep()
    async with sweep.ctx.db.transaction() as conn:
        row = await sweeps.locked(conn, sweep.id)
        report = Tally.from_json(row.report) if row is not None else Tally()
        report.abandoned = sweep.tally.abandoned
        await sweeps.finish(conn, sweep.id, report.to_json(), sweep.ctx.now())
    freed, left = report.reclaimed(), report.all_abandoned()
    log.info(
        "sweep %s: reclaimed %d bytes: %s; %d abandoned uploads hold %d bytes; %d problems",
        sweep.id,
        freed.bytes,
        described(report) or "nothing",
        left.count,
        left.bytes,
        sum(report.problems.values()),
    )
    return report


async def sweep_now(ctx: Context, *, dry: bool) -> Tally:
    """A whole sweep here and now, for a person who waits for the report. A dry run changes nothing."""
    sweep = Sweep(ctx, None if dry else new_id(), ctx.now())
    if sweep.id is not None:
        async with ctx.db.transaction() as conn:
            await sweeps.insert(conn, sweep.id, sweep.at)
    await measure_abandoned(sweep, ask_storage=True)
    for name in STEPS:
        step = Sweep(ctx, sweep.id, sweep.at)
        await take(step, name)
        sweep.tally.merge(step.tally)
    return await finish(sweep)


async def latest(ctx: Context, limit: int) -> list[SweepRow]:
    """The last sweeps, the newest first."""
    async with ctx.db.transaction() as conn:
        return await sweeps.latest(conn, limit)


def described(tally: Tally) -> str:
    """The sums over all tenants on one line, without any text of a user's."""
    words = []
    for kind in Kind:
        sum_ = tally.of_kind(kind)
        if sum_.count:
            size = f" ({sum_.bytes} bytes)" if kind in RECLAIMED else ""
            words.append(f"{sum_.count} {kind.replace('_', ' ')}{size}")
    return ", ".join(words)
