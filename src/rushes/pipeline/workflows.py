"""Which workflow runs which function."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any
from uuid import UUID

from rushes.ingest.context import Context
from rushes.pipeline.engine import Run
from rushes.pipeline.finalize import run_discard, run_finalize, run_remove, run_verify
from rushes.pipeline.insist import insist
from rushes.pipeline.pieces import remove as remove_pieces
from rushes.pipeline.process import run_process
from rushes.pipeline.staged import run_copy, run_unstage
from rushes.pipeline.stages import run_stage
from rushes.pipeline.sweep import run_sweep
from rushes.pipeline.work import Bench


def workflows(ctx: Context, bench: Bench) -> Mapping[str, Callable[..., Coroutine[Any, Any, str]]]:
    """The workflows by the name they are enqueued under. Arguments are ids, small numbers, moments: they are stored as JSON."""
    run = Run()

    async def finalize(upload_id: str, attempt: int) -> str:
        return await run_finalize(ctx, run, upload_id, attempt)

    async def verify(upload_id: str, attempt: int) -> str:
        return await run_verify(ctx, run, upload_id, attempt)

    async def process(job_id: str) -> str:
        return await run_process(ctx, job_id)

    async def stage(job_id: str) -> str:
        return await run_stage(ctx, bench, job_id)

    async def copy(upload_id: str, copier: str) -> str:
        return await run_copy(ctx, upload_id, copier)

    async def discard(upload_id: str, turn: int = 0) -> str:
        return await run_discard(ctx, run, upload_id, turn)

    async def remove(asset_id: str) -> str:
        return await run_remove(ctx, run, asset_id)

    async def unstage(upload_id: str) -> str:
        return await run_unstage(ctx, upload_id)

    async def tidy(asset_id: str, epoch: int) -> str:
        await insist(lambda: remove_pieces(ctx, UUID(asset_id), epoch))
        return "done"

    async def sweep(slot: str) -> str:
        return await run_sweep(ctx, run, slot)

    return {
        "finalize": finalize,
        "verify": verify,
        "process": process,
        "stage": stage,
        "copy": copy,
        "discard": discard,
        "remove": remove,
        "unstage": unstage,
        "tidy": tidy,
        "sweep": sweep,
    }
