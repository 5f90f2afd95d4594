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
from rushes.ingest.grant import find, locked, plan_of
from rushes.ingest.intake import Intake
from rushes.ingest.ranges import ContentRange, from_start, range_of
from rushes.ingest.relay import carry, check_length, opened
from rushes.ingest.slices import finish_waiting, store
from rushes.model import Principal, Upload, UploadState
from rushes.plan import KIB, MIB, PartPlan
from rushes.wire import CompleteUpload

SLICE = 8 * MIB  # the most that a connection cut off loses
LEAST = 256 * KIB  # bytes of a range but the last


@dataclass(frozen=True, slots=True)
class Progress:
    """What is held so far, in bytes from the start; once that is all, the upload as `complete` left it."""

    held: int
    upload: Upload | None = None


async def put(ctx: Context, who: Principal, upload_id: UUID, where: ContentRange | None, intake: Intake) -> Progress:
    """Take a range of the file, or all of it. Raises as `relay.relay` and `complete.complete`.

    While the file's size is not known ranges may end with "/*"; the first that names a total settles it.
    """
    upload = await find(ctx, who, upload_id)
    total = intake.length if where is None else where.total
    if upload.state not in {UploadState.INITIATED, UploadState.UPLOADING}:
        if upload.state in {UploadState.FINALIZING, UploadState.INGESTED} and intake.length <= upload.size:
            await intake.drop(intake.left)
        return Progress(upload.size, await complete(ctx, who, upload_id, CompleteUpload(size=total or None)))
    plan = _plan(upload, total)
    first = _check_range(where, plan, intake)
    if not upload.size_known and total is not None:
        async with ctx.db.transaction() as conn:
            await locked(conn, who, upload.id)
            await slices.shorten(conn, upload.id, plan.part_count, plan.length(plan.part_count))
    held = await _held(ctx, who, upload, plan)
    if first is not None and first <= held:
        await intake.drop(min(intake.left, held - first))
        held = await _take(ctx, who, upload, plan, held, intake)
    if total is None or held < total:
        return Progress(held)
    return Progress(held, await complete(ctx, who, upload_id, CompleteUpload(size=total)))


def _plan(upload: Upload, total: int | None) -> PartPlan:
    """The plan of a file of `total` bytes, or of the most it may have. Raises `Invalid`, `Conflict` (size_mismatch)."""
    if upload.size_known:
        if total == upload.size:
            return plan_of(upload)
        if total is None:
            raise Invalid("range_invalid", f"The file has {upload.size} bytes; end Content-Range with /{upload.size}.")
        code = "body_too_large" if total > upload.size else "length_wrong"
        raise Invalid(code, f"The file has {upload.size} bytes, not {total}.", length=upload.size)
    size = upload.size if total is None else total
    if not 0 < size <= upload.size:
        raise Conflict(
            "size_mismatch", f"Between 1 and {upload.size} bytes are reserved, not {size}.", size=upload.size
        )
    return PartPlan(size, upload.part_size, -(-size // upload.part_size))


def _check_range(where: ContentRange | None, plan: PartPlan, intake: Intake) -> int | None:
    """The file's byte that the body begins with; None when it is only asked what is held. Raises `Invalid`."""
    if where is None:
        return 0
    check_length(intake, where.length)
    if where.last is not None and where.last >= plan.size:
        raise Invalid("range_invalid", f"The file has at most {plan.size} bytes.", size=plan.size)
    if where.first is not None and where.length < LEAST and (where.total is None or where.last != where.total - 1):
        raise Invalid("slice_too_small", f"A range but the last has at least {LEAST} bytes.", least=LEAST)
    return where.first


async def _held(ctx: Context, who: Principal, upload: Upload, plan: PartPlan) -> int:
    """How many bytes of the file are held before the first that is not. A part that is covered is put together."""
    while True:
        async with ctx.db.transaction() as conn:
            whole, size = await parts.held_from_start(conn, upload.id)
            rows = await slices.of_part(conn, upload.id, whole + 1)
        if size != min(whole * plan.part_size, plan.size):
            raise Conflict("size_mismatch", f"Part {whole} is shorter than the others, but not the last.", number=whole)
        if whole >= plan.part_count:
            return plan.size
        # Slices with a claim belong to somebody who sends that part by itself.
        length = plan.length(whole + 1)
        begun = from_start(range_of(row) for row in rows if (row.checksum, row.total) == ("", length))
        if begun < length:
            return size + begun
        await finish_waiting(ctx, who, upload, [whole + 1])


async def _take(ctx: Context, who: Principal, upload: Upload, plan: PartPlan, held: int, intake: Intake) -> int:
    """Store the rest of the body, which begins with byte `held` of the file. The bytes held from the start then, which
    are fewer when what was held is not any more."""
    upload = await opened(ctx, who, upload)
    while intake.left:
        number, within = held // plan.part_size + 1, held % plan.part_size
        length = plan.length(number)
        piece = min(SLICE, intake.left, length - within)
        if piece == length:
            await carry(ctx, who, upload, number, length, intake, None)
        else:
            await store(ctx, who, upload, number, length, within, intake.take(piece), piece, None)
        reached = await _held(ctx, who, upload, plan)
        if reached < held + piece:
            return reached  # storage damaged a slice, or others opened the part: the sender goes on behind what is held
        await intake.drop(min(intake.left, reached - held - piece))
        held = reached
    return held
