"""finalize: reconcile → assemble → settle. Also the small workflows that clean storage up.

Steps end in verdicts, never in errors: a recorded error comes back as a stranger when the workflow is run again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from rushes.errors import Problem
from rushes.ingest import abort, assets, copying, finalize
from rushes.ingest.context import Context
from rushes.pipeline.engine import Run
from rushes.pipeline.insist import insist

log = logging.getLogger(__name__)

OWN_ERROR = "Finalizing met an error of our own; the worker's log has it. Upload the file again."


async def run_finalize(ctx: Context, run: Run, upload_id: str, attempt: int) -> str:
    """Returns "ingested", "missing" (parts have to be sent), "copying" (whoever copies the last staged part starts another
    one of these) or "over" (ended otherwise, or decided before)."""
    upload = UUID(upload_id)

    async def verdict(action: Callable[[], Awaitable[str]]) -> str:
        try:
            return await insist(action)
        except Problem as problem:
            code, message = problem.code, problem.message
            log.error("upload %s cannot be finalized: %s", upload, message)
        except Exception:
            code, message = "internal", OWN_ERROR
            log.exception("upload %s met an error of our own", upload)
        await insist(lambda: finalize.fail(ctx, upload, attempt, code, message))
        return "over"

    found = await run.step("reconcile", verdict, lambda: finalize.reconcile(ctx, upload, attempt))
    if found != "ready":
        return found
    found = await run.step("assemble", verdict, lambda: copying.assemble(ctx, upload, attempt))
    if found != "whole":
        return found
    return await run.step("settle", verdict, lambda: finalize.settle(ctx, upload, attempt))


async def run_discard(ctx: Context, run: Run, upload_id: str) -> str:
    await run.step("discard", insist, lambda: abort.discard(ctx, UUID(upload_id)))
    return "done"


async def run_remove(ctx: Context, run: Run, asset_id: str) -> str:
    await run.step("remove", insist, lambda: assets.remove(ctx, UUID(asset_id)))
    return "done"
