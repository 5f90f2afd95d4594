"""Content: a whole file by one address, in one request or in sequential ranges, and completed with its last byte.

What is held grows from the start of the file. The bytes that come are cut into the plan's parts on the fly: a part that
is no larger than a slice streams through, others become slices of at most 8 MiB, which are put together as soon as the
part is whole; so a connection that is cut loses at most 8 MiB. Bytes that are held already are read and forgotten, a gap
is never stored. Source of the manners: Google's resumable uploads ("Upload the file in multiple chunks",
cloud.google.com/storage/docs/performing-resumable-uploads), which UpChunk shares.
"""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from rushes.db import parts, slices
from rushes.errors import Conflict, Invalid
from rushes.ingest.complete import complete
from rushes.ingest.context import Context
from rushes.ingest.grant import find, plan_of
from rushes.ingest.intake import Intake
from rushes.ingest.ranges import ContentRange, from_start, range_of
from rushes.ingest.relay import carry, check_length, opened
from rushes.ingest.slices import finish_waiting, store
from rushes.model import Principal, Upload, UploadState
from rushes.plan import KIB, MIB
from rushes.wire import CompleteUpload

SLICE = 8 * MIB  # the most that a connection cut off loses
LEAST = 256 * KIB  # bytes of a range but the last


@dataclass(frozen=True, slots=True)
class Progress:
    """What is held so far, in bytes from the start; once that is all, the upload as `complete` left it."""

    held: int
    upload: Upload | None = None


async def put(ctx: Context, who: Principal, upload_id: UUID, where: ContentRange | None, intake: Intake) -> Progress:
    """Take a range of the file, or all of it. Raises as `relay.relay` and `complete.complete`."""
    upload = await find(ctx, who, upload_id)
    if upload.state not in {UploadState.INITIATED, UploadState.UPLOADING}:
        await intake.drop(intake.left)
        return Progress(upload.size, await complete(ctx, who, upload_id, CompleteUpload()))
    first = _check_range(where, upload, intake)
    held = await _held(ctx, who, upload)
    if first is not None and first <= held:
        await intake.drop(min(intake.left, held - first))
        held = await _take(ctx, who, upload, held, intake)
    if held < upload.size:
        return Progress(held)
    return Progress(held, await complete(ctx, who, upload_id, CompleteUpload()))


def _check_range(where: ContentRange | None, upload: Upload, intake: Intake) -> int | None:
    """The file's byte that the body begins with; None when it is only asked what is held. Raises `Invalid`."""
    if where is None:
        check_length(intake, upload.size)
        return 0
    if where.total != upload.size:
        raise Invalid("range_invalid", f"The file has {upload.size} bytes; end Content-Range with /{upload.size}.")
    check_length(intake, where.length)
    if where.first is not None and where.length < LEAST and where.last != upload.size - 1:
        raise Invalid("slice_too_small", f"A range but the last has at least {LEAST} bytes.", least=LEAST)
    return where.first


async def _held(ctx: Context, who: Principal, upload: Upload) -> int:
    """How many bytes of the file are held before the first that is not. A part that is covered is put together."""
    plan = plan_of(upload)
    while True:
        async with ctx.db.transaction() as conn:
            whole = await parts.held_from_start(conn, upload.id)
            rows = await slices.of_part(conn, upload.id, whole + 1)
        if whole == plan.part_count:
            return plan.size
        # Slices with a claim belong to somebody who sends that part by itself.
        begun = from_start(range_of(row) for row in rows if not row.checksum)
        if begun < plan.length(whole + 1):
            return whole * plan.part_size + begun
        await finish_waiting(ctx, who, upload, [whole + 1])


async def _take(ctx: Context, who: Principal, upload: Upload, held: int, intake: Intake) -> int:
    """Store the rest of the body, which begins with byte `held` of the file. The bytes held from the start then."""
    plan = plan_of(upload)
    upload = await opened(ctx, who, upload)
    while intake.left:
        number, within = held // plan.part_size + 1, held % plan.part_size
        piece = min(SLICE, intake.left, plan.length(number) - within)
        if piece == plan.length(number):
            await carry(ctx, who, upload, number, intake, None)
        else:
            await store(ctx, who, upload, number, within, intake.take(piece), piece, None)
        reached = await _held(ctx, who, upload)
        if reached < held + piece:
            raise Conflict("part_superseded", f"Part {number} was opened for other bytes while this was under way.")
        await intake.drop(min(intake.left, reached - held - piece))
        held = reached
    return held
