"""Copying staged parts into the multipart upload: what one copier does with the parts that belong to it.

Between two parts there is one transaction, under the upload's row lock: record what became of the last one, take the next
one. So a part that was replaced while it was copied is simply the next one again, and a worker that dies is made up for
when its workflow runs again: it takes the same parts.

A copy is made only of the object with the ledger's ETag, and the checksum it answers must be the ledger's. A part object
that vanished or changed is not held any more and has to be sent again; other bytes are never taken instead.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from rushes.db import Conn, copies, uploads
from rushes.errors import Conflict, Invalid, NotFound, Problem, Rejected, Unavailable
from rushes.ingest import finalize, ledger, staged
from rushes.ingest.context import Context, Work
from rushes.model import Layout, Part, Upload, UploadState
from rushes.plan import MIN_PART

log = logging.getLogger(__name__)

REFUSED_PAUSES: Final = (0.05, 0.2, 0.75)  # seconds before a copy that was refused is asked for again
OBJECT_IS_ANOTHER: Final = frozenset(
    {"storage_object_unknown", "storage_precondition_failed", "storage_checksum_mismatch"}
)


@dataclass(frozen=True, slots=True)
class Copied:
    """The part is in the multipart upload, under this ETag."""

    part: Part
    etag: str


@dataclass(frozen=True, slots=True)
class Lost:
    """The part's object is not the one that was reported."""

    part: Part


@dataclass(frozen=True, slots=True)
class Turn:
    """What to copy next, and of which upload."""

    upload: Upload
    part: Part


async def take(ctx: Context, upload_id: UUID, copier: UUID) -> datetime | None:
    """Make the copier's parts those of the run that begins; since when they are, or None when it has none.

    Once a run: one that was frozen, and replaced, must not take its parts back when it wakes.
    """
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id, lock=True)
        return None if upload is None else await copies.take(conn, upload_id, copier, ctx.now())


async def copy(ctx: Context, upload_id: UUID, copier: UUID, since: datetime) -> str:
    """Copy the run's parts: "copied" when nothing is left for it, "over" when the upload takes no parts any more.

    May be called again after it raised. Raises `Unavailable` and `Misconfigured` as storage does: call it again then;
    other problems mean that this store will not do it.
    """
    outcome: Copied | Lost | None = None
    while True:
        turn = await _turn(ctx, upload_id, copier, since, outcome)
        if not isinstance(turn, Turn):
            return turn
        outcome = await _copied(ctx, turn.upload, turn.part)


async def _turn(
    ctx: Context, upload_id: UUID, copier: UUID, since: datetime, outcome: Copied | Lost | None
) -> Turn | str:
    """Record the outcome, conclude if it was the last part's, take the next part."""
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id, lock=True)
        if upload is None or upload.state not in {UploadState.UPLOADING, UploadState.FINALIZING}:
            await copies.let_go(conn, upload_id, copier)
            return "over"
        if outcome is not None and await copies.is_of(conn, upload_id, outcome.part.number, copier, since) == (
            outcome.part.etag
        ):
            await _record(conn, upload, outcome, now)
            await _conclude(ctx, conn, upload, copier, now)
        part = await copies.following(conn, upload_id, copier, since)
    return "copied" if part is None else Turn(upload, part)


async def _record(conn: Conn, upload: Upload, outcome: Copied | Lost, now: datetime) -> None:
    number = outcome.part.number
    if isinstance(outcome, Copied):
        await copies.record(conn, upload.id, number, outcome.etag)
        return
    log.warning("upload %s: the object of part %d is not the one reported; it has to be sent again", upload.id, number)
    await ledger.release(conn, upload, [number], now)
    await copies.distrust(conn, upload.id, number)


async def _conclude(ctx: Context, conn: Conn, upload: Upload, copier: UUID, now: datetime) -> None:
    """Nothing is left to copy for an upload that finalizes: go on with that. Parts that were lost it sends back for."""
    if upload.state is not UploadState.FINALIZING or await staged.roll(ctx, conn, upload, now):
        return
    await _finalize(ctx, conn, upload, copier)


async def _finalize(ctx: Context, conn: Conn, upload: Upload, copier: UUID) -> None:
    name = f"finalize-{upload.id}-{upload.attempt}-{copier}"
    args = (str(upload.id), upload.attempt)
    await ctx.engine.enqueue(conn, Work("finalize", name, args, upload.tenant, upload.priority))


async def _copied(ctx: Context, upload: Upload, part: Part) -> Copied | Lost:
    """Copy one part. A refusal has to be repeated to be believed: request or answer may have been damaged.

    Only what says that the part's own object is another or gone makes it lost; other refusals are raised.
    """
    for pause in REFUSED_PAUSES:
        try:
            return await _once(ctx, upload, part)
        except (NotFound, Rejected, Invalid, Conflict) as error:
            log.info("upload %s: part %d was not copied: %s", upload.id, part.number, error.message)
        await asyncio.sleep(pause)
    try:
        return await _once(ctx, upload, part)
    except (NotFound, Rejected, Conflict, Invalid) as error:
        if error.code in OBJECT_IS_ANOTHER:
            return Lost(part)
        if isinstance(
            error, Conflict | Invalid
        ):  # somebody else's request is in the way, or nobody knows what: it passes
            raise Unavailable("storage_undecided", f"Storage does not copy yet: {error.message}") from error
        raise


async def _once(ctx: Context, upload: Upload, part: Part) -> Copied:
    etag, told = await _carry(ctx, upload, part) if part.size < MIN_PART else await _copy(ctx, upload, part)
    if told not in {None, part.checksum}:
        raise Rejected("storage_checksum_mismatch", "The copy's checksum is not the part's.")
    return Copied(part, etag)


async def _copy(ctx: Context, upload: Upload, part: Part) -> tuple[str, str | None]:
    """(ETag of the copy, its checksum if storage tells it)"""
    return await ctx.storage.s3.upload_part_copy(
        upload.bucket,
        upload.key,
        upload.storage_upload_id or "",
        part.number,
        *staged.key_of(ctx, upload, part.number),
        if_match=part.etag,
        algorithm=upload.checksum_algorithm.value,
    )


async def _carry(ctx: Context, upload: Upload, part: Part) -> tuple[str, str | None]:
    """As `_copy`, for a last part of less than 5 MiB, of which stores make no copies: read and sent with its checksum."""
    read = ctx.storage.s3.get_range(*staged.key_of(ctx, upload, part.number), if_match=part.etag)
    body = b"".join([chunk async for chunk in read])
    etag = await ctx.storage.s3.upload_part(
        upload.bucket,
        upload.key,
        upload.storage_upload_id or "",
        part.number,
        body,
        checksum=part.checksum,
        algorithm=upload.checksum_algorithm.value,
    )
    return etag, None


async def assemble(ctx: Context, upload_id: UUID, attempt: int) -> str:
    """`finalize.assemble`, once all parts are copied and storage lists the copies as recorded; "copying" until then.

    It is not left to Complete to find a copy that landed late and replaced another: SeaweedFS takes stale ETags. Where
    the object is there already, nothing is copied any more: a Complete was carried out whose answer was lost.
    """
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id, lock=True)
        if upload is None or upload.state is not UploadState.FINALIZING or upload.attempt != attempt:
            return "over"
    if upload.layout is Layout.STAGED and await finalize.is_assembled(ctx, upload):
        return await finalize.assemble(ctx, upload_id, attempt)
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id, lock=True)
        if upload is None or upload.state is not UploadState.FINALIZING or upload.attempt != attempt:
            return "over"
        if await staged.roll(ctx, conn, upload, ctx.now()):
            return "copying"
    try:
        if not await staged.is_as_recorded(ctx, upload):
            return "copying"
    except NotFound as error:  # completed before, or gone: Complete finds out which
        log.info("upload %s: %s", upload_id, error.message)
    return await finalize.assemble(ctx, upload_id, attempt)


async def give_up(ctx: Context, upload_id: UUID, copier: UUID, since: datetime, problem: Problem) -> str:
    """This store will not copy the run's parts: an upload that finalizes fails of it, another when it is completed.

    Unless the object is there: then storage forgot the upload because it was completed, and finalizing goes on. Returns
    "refused", or "copied" when the parts are another run's by now, whose business this is. Raises `Unavailable`.
    """
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id)
    finalizes = upload is not None and upload.state is UploadState.FINALIZING
    unknown = problem.code == "storage_upload_unknown"
    assembled = upload is not None and finalizes and unknown and await finalize.was_assembled(ctx, upload)
    async with ctx.db.transaction() as conn:
        current = await uploads.load(conn, upload_id, lock=True)
        if not await copies.give_back(conn, upload_id, copier, since):
            return "copied"
        if current is None or current.state is not UploadState.FINALIZING:
            return "refused"
        if unknown and not finalizes:  # completed since: nobody has looked yet
            raise Unavailable("storage_undecided", "The upload was completed while its copies were given up.")
        if assembled:
            await _finalize(ctx, conn, current, copier)
        else:
            await finalize.fail_locked(ctx, conn, current, *_told(problem))
    return "refused"


def _told(error: Problem) -> tuple[str, str]:
    """(code, message) that an upload shows whose parts cannot be copied."""
    if error.code == "storage_upload_unknown":
        return "upload_lost", "Storage no longer knows this upload; begin it again."
    if error.code == "internal":
        return error.code, error.message
    return "storage_refused", f"Storage refuses to assemble the file: {error.message}"
