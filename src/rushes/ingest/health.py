"""Whether everything that a request needs is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from rushes.db import schema_is_current
from rushes.errors import Problem
from rushes.ingest.context import Context


async def check(ctx: Context) -> dict[str, str]:
    """For each part of the system: "ok", or a sentence that says what is wrong."""
    checks = {"database": _database, "engine": _engine, "storage": _storage}
    verdicts = await asyncio.gather(*(_verdict(function, ctx) for function in checks.values()))
    return dict(zip(checks, verdicts, strict=True))


async def _verdict(function: Callable[[Context], Awaitable[None]], ctx: Context) -> str:
    try:
        await asyncio.wait_for(function(ctx), timeout=5)
    except Problem as error:
        return error.message
    except TimeoutError:
        return "It does not answer within 5 seconds."
    return "ok"


async def _database(ctx: Context) -> None:
    async with ctx.db.transaction() as conn:
        await schema_is_current(conn)


async def _engine(ctx: Context) -> None:
    async with ctx.db.transaction() as conn:
        await ctx.engine.check(conn)


async def _storage(ctx: Context) -> None:
    await ctx.storage.s3.head(ctx.storage.originals.bucket, f"{ctx.storage.originals.prefix}.rushes-ready")
