"""copy: one copier's parts go into the multipart upload. unstage: the part objects of an upload that has ended go away.

Neither waits for anything but storage; both may run twice, so nothing of them is recorded but their end.
"""

from __future__ import annotations

import logging
from uuid import UUID

from rushes.errors import Problem
from rushes.ingest import abort, copying, staged
from rushes.ingest.context import Context
from rushes.pipeline.insist import insist

log = logging.getLogger(__name__)

OWN_ERROR = "Copying the parts met an error of our own; the worker's log has it. Upload the file again."


async def run_copy(ctx: Context, upload_id: str, copier: str) -> str:
    """Returns "copied", "refused" by storage, or "over" when the upload takes no parts any more."""
    upload, mine = UUID(upload_id), UUID(copier)
    since = await insist(lambda: copying.take(ctx, upload, mine))
    if since is None:
        return "copied"
    try:
        verdict = await insist(lambda: copying.copy(ctx, upload, mine, since))
    except Problem as problem:
        refusal = problem
        log.error("parts of upload %s cannot be copied: %s", upload, problem.message)
        verdict = await insist(lambda: copying.give_up(ctx, upload, mine, since, refusal))
    except Exception:
        log.exception("upload %s met an error of our own", upload)
        verdict = await insist(lambda: copying.give_up(ctx, upload, mine, since, Problem("internal", OWN_ERROR)))
    if verdict == "over":  # a copy that landed after the upload was aborted is a part nobody would ever remove
        await insist(lambda: abort.discard(ctx, upload))
    return verdict


async def run_unstage(ctx: Context, upload_id: str) -> str:
    await insist(lambda: staged.remove(ctx, UUID(upload_id)))
    return "done"
