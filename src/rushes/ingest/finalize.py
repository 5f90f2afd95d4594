"""Finalize: the steps of the durable workflow, each of which may run twice.

1. `reconcile` – the ledger must add up. Parts that nobody reported are looked up in storage.
2. `assemble` – complete in storage with the combined CRC64NVME as the object's checksum. An error from storage means
   "unknown": HEAD decides.
3. `settle` – one transaction: `ingested`, quota settled, processing enqueued, event appended.

An upload whose ledger does not add up goes back to `uploading` with the parts to send; one that cannot be saved ends as
`failed`. Either way the verdict is a value, and the workflow ends well.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from rushes import checksum, events
from rushes.db import Conn, assets, parts, uploads
from rushes.errors import Conflict, Invalid, NotFound, Problem, Rejected, Unavailable
from rushes.ingest import ledger, quota, staged
from rushes.ingest.abort import discard_work
from rushes.ingest.complete import NAMED_MISSING, never_sent
from rushes.ingest.context import Context
from rushes.ingest.process import start_processing
from rushes.model import AssetState, Json, Layout, Part, Upload, UploadState, Verification, Way
from rushes.storage import DonePart, StoredObject, StoredPart


async def reconcile(ctx: Context, upload_id: UUID, attempt: int) -> str:
    """Make the ledger add up: "ready" when every part is held, "missing" when parts have to be sent, "over" otherwise.

    "copying" hands over: parts of a staged upload were found, and whoever copies the last of them finalizes again.
    """
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        rows = await parts.all_of(conn, upload_id)
    if upload is None:
        return "over"
    unreported = [part for part in rows if part.held_at is None]
    if unreported and (verdict := await _adopt(ctx, upload, attempt, unreported)) != "ready":
        return verdict
    declared = upload.declared.get("crc64nvme")
    if declared is not None and declared != combined(rows):
        await fail(
            ctx,
            upload_id,
            attempt,
            "checksum_mismatch",
            "The whole file's checksum is not the one the client declared.",
            declared=declared,
            computed=combined(rows),
        )
        return "over"
    return "ready"


async def _adopt(ctx: Context, upload: Upload, attempt: int, unreported: list[Part]) -> str:
    """Count unreported parts that storage has with the right size; send the upload back when some are not there."""
    try:
        found = await _found(ctx, upload, unreported)
    except NotFound:
        return "ready"  # completed before, or gone: `assemble` finds out which
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        current = await _finalizing(conn, upload.id, attempt)
        if current is None:
            return "over"
        await ledger.hold(conn, current, found, now, way=Way.FOUND)
        missing = never_sent(
            current, [part for part in await parts.all_of(conn, upload.id) if part.held_at is not None]
        )
        if missing:
            await _send_back(conn, current, missing, now)
            return "missing"
        return "copying" if await staged.roll(ctx, conn, current, now) else "ready"


async def _found(ctx: Context, upload: Upload, unreported: list[Part]) -> list[tuple[int, str]]:
    """(number, ETag) of the unreported parts that storage has."""
    if upload.layout is Layout.STAGED:
        return await staged.found(ctx, upload, unreported)
    listed = await _listed(ctx, upload)
    return [(part.number, listed[part.number].etag) for part in unreported if _is_there(part, listed)]


def _is_there(part: Part, listed: dict[int, StoredPart]) -> bool:
    stored = listed.get(part.number)
    return part.grants == 1 and stored is not None and stored.size == part.size


async def _listed(ctx: Context, upload: Upload) -> dict[int, StoredPart]:
    assert upload.storage_upload_id is not None, "an upload that finalizes was opened in storage"
    try:
        stored = await ctx.storage.s3.list_parts(upload.bucket, upload.key, upload.storage_upload_id)
    except Conflict as error:  # somebody else's request is in the way: it passes
        raise Unavailable("storage_undecided", f"Storage does not list the parts yet: {error.message}") from error
    return {part.number: part for part in stored}


async def _send_back(conn: Conn, upload: Upload, missing: list[int], now: datetime) -> None:
    problem = {
        "code": "parts_missing",
        "message": f"{len(missing)} of the parts are not in storage; send them and complete again.",
        "missing": missing[:NAMED_MISSING],
        "missing_count": len(missing),
    }
    await uploads.move(conn, upload, UploadState.UPLOADING, now, problem)
    await events.append(conn, "finalize_failed", upload, now, **problem)


async def assemble(ctx: Context, upload_id: UUID, attempt: int) -> str:
    """Complete the upload in storage and verify the object: "whole", "missing", "copying" or "over".

    Raises `Unavailable` when storage has not decided yet: the step is tried again.
    """
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        rows = await parts.all_of(conn, upload_id)
    if upload is None or upload.storage_upload_id is None:
        return "over"
    try:
        await ctx.storage.s3.complete_multipart(
            upload.bucket,
            upload.key,
            upload.storage_upload_id,
            [DonePart(part.number, part.assembled_etag or "") for part in rows],
            checksum=combined(rows),
            size=upload.size,
        )
    except Problem as error:
        return await _decide(ctx, upload, attempt, rows, error)
    return "whole" if _is_whole(upload, rows, await _head(ctx, upload)) else await _corrupt(ctx, upload, attempt)


async def _decide(ctx: Context, upload: Upload, attempt: int, rows: list[Part], error: Problem) -> str:
    """Storage answered Complete with an error, which says nothing by itself. Look, then decide."""
    head = await _head(ctx, upload)
    if head is not None:
        return "whole" if _is_whole(upload, rows, head) else await _corrupt(ctx, upload, attempt)
    try:
        if not await staged.is_as_recorded(ctx, upload):
            return "copying"
        listed = await _listed(ctx, upload)
    except NotFound:
        await fail(ctx, upload.id, attempt, "upload_lost", "Storage no longer knows this upload; begin it again.")
        return "over"
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        current = await _finalizing(conn, upload.id, attempt)
        if current is None:
            return "over"
        wrong = [part.number for part in await parts.all_of(conn, upload.id) if not _matches(part, listed)]
        if wrong and upload.layout is Layout.MULTIPART:
            await ledger.release(conn, current, wrong, now)
            await _send_back(conn, current, wrong, now)
            return "missing"
    if not isinstance(error, Rejected | Invalid):
        raise Unavailable("storage_undecided", f"Storage has not assembled the file yet: {error.message}") from error
    await fail(ctx, upload.id, attempt, "storage_refused", f"Storage refuses to assemble the file: {error.message}")
    return "over"


def _matches(part: Part, listed: dict[int, StoredPart]) -> bool:
    stored = listed.get(part.number)
    return stored is not None and stored.size == part.size and stored.etag == part.etag


async def _head(ctx: Context, upload: Upload) -> StoredObject | None:
    return await ctx.storage.s3.head(upload.bucket, upload.key)


def _is_whole(upload: Upload, rows: list[Part], head: StoredObject | None) -> bool:
    """Whether the object is ours, of the right size and, where storage tells, of the right checksum."""
    if head is None or head.size != upload.size or head.metadata.get("rushes-upload") != str(upload.id):
        return False
    return head.checksum is None or head.checksum_type != "FULL_OBJECT" or head.checksum == combined(rows)


async def _corrupt(ctx: Context, upload: Upload, attempt: int) -> str:
    await fail(
        ctx,
        upload.id,
        attempt,
        "object_corrupt",
        "The object in storage is not the file that was sent; nothing was published. Upload it again.",
    )
    return "over"


def combined(rows: list[Part]) -> str:
    """The whole object's CRC64NVME, base64, from its parts'."""
    return checksum.encode(checksum.combine((checksum.decode(part.checksum), part.size) for part in rows))


async def settle(ctx: Context, upload_id: UUID, attempt: int) -> str:
    """The upload is whole: `ingested`, quota settled, processing enqueued; "over" the second time, which does nothing."""
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        if upload is None:
            return "over"
        rows = await parts.all_of(conn, upload_id)
    head = await _head(ctx, upload)
    if head is None:
        raise Unavailable("object_unseen", "Storage does not show the object that it has just assembled.")
    verdict = Verdict(etag=head.etag, checksum=combined(rows))
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        if upload is None:
            return "over"
        await _ingest(ctx, conn, upload, verdict, now)
    return "ingested"


@dataclass(frozen=True, slots=True)
class Verdict:
    """What was proven about the object."""

    etag: str
    checksum: str


async def _ingest(ctx: Context, conn: Conn, upload: Upload, verdict: Verdict, now: datetime) -> None:
    # A part whose report was lost is in the object all the same, as its checksum proves.
    unreported = [(part.number, "") for part in await parts.all_of(conn, upload.id) if part.held_at is None]
    await ledger.hold(conn, upload, unreported, now, way=Way.FOUND)
    await uploads.move(conn, upload, UploadState.INGESTED, now)
    await quota.settle(conn, upload)
    await assets.change(
        conn, upload.asset_id, now, etag=verdict.etag, checksum=verdict.checksum, verification=Verification.END_TO_END
    )
    await events.append(
        conn,
        "upload_completed",
        upload,
        now,
        size=upload.size,
        checksum=verdict.checksum,
        seconds=round((now - upload.created_at).total_seconds(), 3),
    )
    asset = await assets.load(conn, upload.asset_id, lock=True)
    assert asset is not None, "begin made it, and the upload refers to it"
    await start_processing(ctx, conn, asset, now)
    await staged.enqueue_removal(ctx, conn, upload)


async def fail(ctx: Context, upload_id: UUID, attempt: int, code: str, message: str, **details: Any) -> None:
    """End the upload as failed: quota released, asset failed, event appended, its parts in storage discarded."""
    problem: Json = {"code": code, "message": message} | details
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        if upload is None:
            return
        await uploads.move(conn, upload, UploadState.FAILED, now, problem)
        await quota.release(conn, upload)
        asset = await assets.load(conn, upload.asset_id, lock=True)
        assert asset is not None, "begin made it, and the upload refers to it"
        await assets.move(conn, asset, AssetState.FAILED, now, problem=problem)
        await events.append(conn, "finalize_failed", upload, now, **problem)
        await ctx.engine.enqueue(conn, discard_work(upload))


async def _finalizing(conn: Conn, upload_id: UUID, attempt: int) -> Upload | None:
    """The locked upload, if it is this attempt that finalizes it."""
    upload = await uploads.load(conn, upload_id, lock=True)
    if upload is None:
        raise Conflict("upload_gone", "The upload's row is gone.")
    return upload if upload.state is UploadState.FINALIZING and upload.attempt == attempt else None
