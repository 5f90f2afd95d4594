"""finalize: reconcile → assemble → settle, or → hand over → verify. Also the small workflows that clean storage up.

Reading an object before it counts takes as long as it takes: a workflow of its own, on a queue of its own, so that the
others' verdicts do not wait for it.

Steps end in verdicts, never in errors: a recorded error comes back as a stranger when the workflow is run again.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable
from uuid import UUID

from rushes.errors import Conflict, Invalid, NotFound, Problem, Unavailable
from rushes.ingest import abort, assets, copying, finalize
from rushes.ingest.context import Context
from rushes.ingest.verify import Reading, read_on
from rushes.model import Upload
from rushes.pipeline.engine import Run
from rushes.pipeline.insist import insist

log = logging.getLogger(__name__)

OWN_ERROR = "Finalizing met an error of our own; the worker's log has it. Upload the file again."


async def run_finalize(ctx: Context, run: Run, upload_id: str, attempt: int) -> str:
    """Returns "ingested", "verifying" (a worker reads the object first), "missing" (parts have to be sent), "copying"
    (whoever copies the last staged part starts another one of these) or "over" (ended otherwise, or decided before)."""
    upload = UUID(upload_id)
    verdict = _verdict(ctx, upload, attempt)
    found = await run.step("reconcile", verdict, lambda: finalize.reconcile(ctx, upload, attempt))
    if found != "ready":
        return found
    found = await run.step("assemble", verdict, lambda: copying.assemble(ctx, upload, attempt))
    if found == "unread":
        return await run.step("hand_over", verdict, lambda: finalize.hand_over(ctx, upload, attempt))
    if found != "whole":
        return found
    return await run.step("settle", verdict, lambda: finalize.settle(ctx, upload, attempt))


async def run_verify(ctx: Context, run: Run, upload_id: str, attempt: int) -> str:
    """Returns "ingested" or "over"."""
    upload = UUID(upload_id)
    begun: list[tuple[Upload, str, Reading]] = []
    doubts = 0

    async def read() -> str:
        nonlocal doubts
        if not begun:
            opened = await finalize.open_reading(ctx, upload, attempt)
            if opened is None:
                return "over"
            begun.append(opened)
        row, etag, reading = begun[0]
        try:
            await read_on(ctx, row, etag, reading)
            other = bool(reading.wrong)
        except (Conflict, NotFound):
            other = True
        if other and doubts == 0:  # the reading may be what was damaged: it needs a second one to condemn the object
            doubts += 1
            begun.clear()
            raise Unavailable("object_doubtful", "The object is not the one that was sent; it is read once more.")
        if other and not reading.wrong:
            return await finalize.corrupt(ctx, upload, attempt)
        return await finalize.judge(ctx, row, etag, reading)

    return await run.step("verify", _verdict(ctx, upload, attempt), read)


def _verdict(ctx: Context, upload: UUID, attempt: int) -> Callable[[Callable[[], Awaitable[str]]], Awaitable[str]]:
    """Run an action until it gives a verdict; a permanent problem ends the upload."""

    async def verdict(action: Callable[[], Awaitable[str]]) -> str:
        try:
            return await insist(lambda: _undecided(action))
        except Problem as problem:
            code, message = problem.code, problem.message
            log.error("upload %s cannot be finalized: %s", upload, message)
        except Exception:
            code, message = "internal", OWN_ERROR
            log.exception("upload %s met an error of our own", upload)
        await insist(lambda: finalize.fail(ctx, upload, attempt, code, message))
        return "over"

    return verdict


async def _undecided(action: Callable[[], Awaitable[str]]) -> str:
    """A refusal that nobody knows the meaning of ends no upload. Raises `Unavailable` for it."""
    try:
        return await action()
    except Invalid as error:
        if error.code != "storage_request_refused":
            raise
        raise Unavailable("storage_undecided", f"Storage has not decided yet: {error.message}") from error


async def run_discard(ctx: Context, run: Run, upload_id: str, turn: int = 0) -> str:
    """The first turn has a second one follow, when no part can be on its way any more."""
    await run.step("discard", insist, lambda: abort.discard(ctx, UUID(upload_id)))
    if turn == 0:
        await run.step("again", insist, lambda: abort.discard_again(ctx, UUID(upload_id)))
    return "done"


async def run_remove(ctx: Context, run: Run, asset_id: str) -> str:
    await run.step("remove", insist, lambda: assets.remove(ctx, UUID(asset_id)))
    return "done"
