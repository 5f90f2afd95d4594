"""Finalize: the steps of the durable workflow, each of which may run twice.

1. `reconcile` – the ledger must add up. Parts that nobody reported are looked up in storage.
2. `assemble` – complete in storage, with the parts' combined CRC as the object's checksum where the store holds Complete to
   it. An error from storage means "unknown": look, then decide.
3. `settle` – one transaction: `ingested`, quota settled, processing enqueued, event appended. Where storage has not proven
   enough (see `rushes.ingest.verify`), `hand_over` enqueues a workflow that reads the object, and `judge` ends it.

An upload whose ledger does not add up goes back to `uploading` with the parts to send; one that cannot be saved ends as
`failed`. Either way the verdict is a value, and the workflow ends well.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from rushes import checksum, events
from rushes.db import Conn, assets, parts, uploads
from rushes.errors import Conflict, Invalid, NotFound, Problem, Rejected, Unavailable
from rushes.ingest import ledger, quota, staged
from rushes.ingest.abort import discard_work
from rushes.ingest.capabilities import capabilities_of
from rushes.ingest.complete import NAMED_MISSING, never_sent
from rushes.ingest.context import Context, Work
from rushes.ingest.grant import slid
from rushes.ingest.process import start_processing
from rushes.ingest.reconcile import Listed, found_in, is_as_told, list_stored
from rushes.ingest.verify import Reading, must_be_read
from rushes.model import (
    AssetState,
    ChecksumAlgorithm,
    Json,
    Layout,
    Part,
    Proof,
    Upload,
    UploadState,
    Verification,
    Way,
)
from rushes.storage import Capabilities, DonePart, StoredObject

REFUSED_PAUSES = (0.05, 0.2, 0.5)  # seconds before Complete that was refused is asked for again
LOOKS = (0.0, 0.25, 1.0, 2.5)  # seconds before each look for an upload that storage does not seem to know


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
    declared, computed = upload.declared.get(upload.checksum_algorithm), combined(upload, rows)
    if computed is not None and declared not in {None, computed}:
        return await _contradicted(ctx, upload, attempt, upload.checksum_algorithm, computed)
    return "ready"


async def _contradicted(ctx: Context, upload: Upload, attempt: int, algorithm: str, computed: str) -> str:
    """The file is not the one that the client declared."""
    declared = upload.declared[algorithm]
    message = (
        f"The whole file's {algorithm} is {computed}, the client declared {declared}; nothing was published. "
        "Upload the file again."
    )
    facts = {"algorithm": str(algorithm), "declared": declared, "computed": computed}
    await fail(ctx, upload.id, attempt, "checksum_mismatch", message, **facts)
    return "over"


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
            await _send_back(ctx, conn, current, missing, now)
            return "missing"
        return "copying" if await staged.roll(ctx, conn, current, now) else "ready"


async def _found(ctx: Context, upload: Upload, unreported: list[Part]) -> list[tuple[int, str]]:
    """(number, ETag) of the unreported parts that storage has."""
    if upload.layout is Layout.STAGED:
        return await staged.found(ctx, upload, unreported)
    return found_in(await list_stored(ctx, upload), unreported)


async def _send_back(ctx: Context, conn: Conn, upload: Upload, missing: list[int], now: datetime) -> None:
    """The upload takes parts again, and has as long for them as after any other progress."""
    problem = {
        "code": "parts_missing",
        "message": f"{len(missing)} of the parts are not in storage; send them and complete again.",
        "missing": missing[:NAMED_MISSING],
        "missing_count": len(missing),
    }
    await uploads.move(conn, upload, UploadState.UPLOADING, now, problem)
    expires_at = slid(ctx, upload, now)
    await uploads.record_progress(conn, upload.id, parts=0, size=0, now=now, expires_at=expires_at)
    await events.append(conn, "finalize_failed", upload, now, **problem)


async def assemble(ctx: Context, upload_id: UUID, attempt: int) -> str:
    """Complete the upload in storage: "whole" when that is proven, "unread" when a worker has to read the object before it
    counts, "missing", "copying" or "over".

    Raises `Unavailable` when storage has not decided yet: the step is tried again.
    """
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        rows = await parts.all_of(conn, upload_id)
    if upload is None or upload.storage_upload_id is None:
        return "over"
    held_to = upload.checksum_algorithm in (await _seen(ctx)).full_object
    try:
        await _complete(ctx, upload, upload.storage_upload_id, rows, held_to=held_to)
    except Problem as error:
        return await _decide(ctx, upload, attempt, rows, error)
    return await _inspect(ctx, upload, attempt, rows, await _head(ctx, upload))


async def _seen(ctx: Context) -> Capabilities:
    """What storage enforces. Raises `Unavailable`: what goes wrong with finding out says nothing of the upload."""
    try:
        return await capabilities_of(ctx)
    except Problem as error:
        message = f"What storage enforces is not known yet: {error.message}"
        raise Unavailable("storage_undecided", message) from error


async def _complete(ctx: Context, upload: Upload, storage_upload_id: str, rows: list[Part], *, held_to: bool) -> None:
    """Ask storage to make the object, `held_to` the parts' combined CRC.

    A refusal has to be repeated to be believed: the request may have been damaged.
    """
    for pause in (*REFUSED_PAUSES, None):
        try:
            await ctx.storage.s3.complete_multipart(
                upload.bucket,
                upload.key,
                storage_upload_id,
                _named(upload, rows),
                checksum=combined(upload, rows) if held_to else None,
                checksum_algorithm=upload.checksum_algorithm,
                size=upload.size,
            )
        except (Rejected, Invalid):
            if pause is None:
                raise
            await asyncio.sleep(pause)
        else:
            return


def _named(upload: Upload, rows: list[Part]) -> list[DonePart]:
    """The parts as Complete names them. Only a composite checksum needs the parts' own."""
    composite = upload.checksum_algorithm is ChecksumAlgorithm.SHA256
    return [DonePart(part.number, part.assembled_etag or "", part.checksum if composite else None) for part in rows]


async def _inspect(ctx: Context, upload: Upload, attempt: int, rows: list[Part], head: StoredObject | None) -> str:
    """The object is there, or should be: is it ours, and does it have to be read?"""
    if head is None:
        raise Unavailable("object_unseen", "Storage does not show the object that it has just assembled.")
    if not _is_ours(upload, rows, head):
        return await corrupt(ctx, upload.id, attempt)
    found = await _seen(ctx)
    unread = must_be_read(upload, rows, head.etag, full_object=found.full_object, md5_etags=found.etag_of_md5)
    return "unread" if unread else "whole"


async def _decide(ctx: Context, upload: Upload, attempt: int, rows: list[Part], error: Problem) -> str:
    """Storage answered Complete with an error, which says nothing by itself. Look, then decide."""
    seen = await _steady_look(ctx, upload, rows)
    if isinstance(seen, StoredObject):
        return await _inspect(ctx, upload, attempt, rows, seen)
    if seen is None:
        await fail(ctx, upload.id, attempt, "upload_lost", "Storage no longer knows this upload; begin it again.")
        return "over"
    if not await _copies_are_there(ctx, upload):
        return "copying"
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        current = await _finalizing(conn, upload.id, attempt)
        if current is None:
            return "over"
        wrong = _suspects(await parts.all_of(conn, upload.id), seen, error)
        if wrong and upload.layout is Layout.MULTIPART:
            await ledger.release(conn, current, wrong, now)
            await _send_back(ctx, conn, current, wrong, now)
            return "missing"
    if not isinstance(error, Rejected):
        raise Unavailable("storage_undecided", f"Storage has not assembled the file yet: {error.message}") from error
    await fail(ctx, upload.id, attempt, "storage_refused", f"Storage refuses to assemble the file: {error.message}")
    return "over"


def _suspects(rows: list[Part], seen: Listed, error: Problem) -> list[int]:
    """The parts that keep storage from assembling the file: those that it does not have as told.

    When it has them all and yet the whole has another checksum, those whose senders claimed none: between the API and
    storage nothing protected them.
    """
    changed = [part.number for part in rows if not is_as_told(part, seen)]
    if changed or error.code != "storage_checksum_mismatch":
        return changed
    return [part.number for part in rows if part.proof is Proof.SERVER]


async def _copies_are_there(ctx: Context, upload: Upload) -> bool:
    """Whether storage has every copied part as recorded; if not, the others are being made again."""
    try:
        return await staged.is_as_recorded(ctx, upload)
    except NotFound as error:
        raise Unavailable("storage_undecided", f"Storage has not decided yet: {error.message}") from error


async def _look(ctx: Context, upload: Upload) -> StoredObject | Listed | None:
    """What storage has: the object, else the parts. None only after several looks, the last of them for the object:
    a Complete that is still under way takes the parts away and shows the object after."""
    for pause in LOOKS:
        await asyncio.sleep(pause)
        if (head := await _head(ctx, upload)) is not None:
            return head
        try:
            return await list_stored(ctx, upload)
        except NotFound:
            continue
    return await _head(ctx, upload)


async def _steady_look(ctx: Context, upload: Upload, rows: list[Part]) -> StoredObject | Listed | None:
    """As `_look`. Parts that are not the ledger's have to be listed twice: a Complete takes them away one by one.

    Raises `Unavailable` when every look shows others.
    """
    seen = await _look(ctx, upload)
    for pause in LOOKS[1:]:
        if upload.layout is Layout.STAGED or not isinstance(seen, Mapping):
            return seen
        if all(is_as_told(part, seen) for part in rows):
            return seen
        await asyncio.sleep(pause)
        before, seen = seen, await _look(ctx, upload)
        if seen == before:
            return seen
    raise Unavailable("storage_undecided", "Storage lists other parts at every look.")


async def is_assembled(ctx: Context, upload: Upload) -> bool:
    """Whether an object lies where the upload's will; whose it is, `assemble` finds out."""
    return await _head(ctx, upload) is not None


async def was_assembled(ctx: Context, upload: Upload) -> bool:
    """As `is_assembled`, for an upload that storage seems not to know: several looks."""
    return isinstance(await _look(ctx, upload), StoredObject)


async def _head(ctx: Context, upload: Upload) -> StoredObject | None:
    return await ctx.storage.s3.head(upload.bucket, upload.key)


def _is_ours(upload: Upload, rows: list[Part], head: StoredObject) -> bool:
    """Whether the object is this upload's, of the right size and, where storage tells, of the right checksum."""
    if head.size != upload.size or head.metadata.get("rushes-upload") != str(upload.id):
        return False
    told = head.checksum is not None and head.checksum_type == "FULL_OBJECT"
    if not told or (head.checksum_algorithm or "").lower() != upload.checksum_algorithm:
        return True
    return head.checksum == combined(upload, rows)


async def corrupt(ctx: Context, upload_id: UUID, attempt: int, **details: Any) -> str:
    """End the upload because of what storage holds. Returns "over"."""
    message = "The object in storage is not the file that was sent; nothing was published. Upload it again."
    await fail(ctx, upload_id, attempt, "object_corrupt", message, **details)
    return "over"


def combined(upload: Upload, rows: list[Part]) -> str | None:
    """The whole object's CRC, base64, from its parts'; None where parts carry what does not combine."""
    return checksum.combined(upload.checksum_algorithm, ((part.checksum, part.size) for part in rows))


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
    verdict = Verdict(head.etag, upload.checksum_algorithm, combined(upload, rows))
    return await _settle(ctx, upload_id, attempt, verdict)


async def _settle(ctx: Context, upload_id: UUID, attempt: int, verdict: Verdict) -> str:
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
    algorithm: ChecksumAlgorithm
    checksum: str | None  # of the whole object; None until it is read, where parts carry what does not combine
    sha256: str | None = None  # when a worker has read it


async def _ingest(ctx: Context, conn: Conn, upload: Upload, verdict: Verdict, now: datetime) -> None:
    rows = await parts.all_of(conn, upload.id)
    # A part whose report was lost is in the object all the same, as its checksum proves.
    unreported = [(part.number, "") for part in rows if part.held_at is None]
    await ledger.hold(conn, upload, unreported, now, way=Way.FOUND)
    await uploads.move(conn, upload, UploadState.INGESTED, now)
    await quota.settle(conn, upload)
    await assets.change(
        conn,
        upload.asset_id,
        now,
        etag=verdict.etag,
        checksum_algorithm=verdict.algorithm,
        checksum=verdict.checksum,
        sha256=verdict.sha256,
        verification=proven(upload, rows),
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


def proven(upload: Upload, rows: list[Part]) -> Verification:
    """What is shown of an upload whose parts, and whose declared checksums, were all found right: from the client's own
    bytes on, if it made the checksums of all parts or one of the whole file."""
    from_the_client = all(part.proof is Proof.CLIENT for part in rows) or upload.declared
    return Verification.END_TO_END if from_the_client else Verification.STORAGE


# --- reading before it counts -----------------------------------------------------------------------------------------


async def hand_over(ctx: Context, upload_id: UUID, attempt: int) -> str:
    """Have a worker read the object: "verifying". The verdict is that workflow's."""
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        if upload is None:
            return "over"
        name = f"verify-{upload.id}-{attempt}"
        work = Work("verify", name, (str(upload.id), attempt), upload.tenant, upload.priority)
        await ctx.engine.enqueue(conn, work)
        await events.append(conn, "upload_verifying", upload, now, size=upload.size)
    return "verifying"


async def open_reading(ctx: Context, upload_id: UUID, attempt: int) -> tuple[Upload, str, Reading] | None:
    """The upload, its object's ETag, and a reading that has not begun; None when there is nothing to decide any more.

    Raises `NotFound` (object_lost).
    """
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        rows = await parts.all_of(conn, upload_id)
    if upload is None:
        return None
    seen = await _look(ctx, upload)
    if not isinstance(seen, StoredObject):
        raise NotFound("object_lost", "Storage has lost the object that it had assembled; upload the file again.")
    return upload, seen.etag, Reading(upload.checksum_algorithm, rows, upload.declared)


async def judge(ctx: Context, upload: Upload, etag: str, reading: Reading) -> str:
    """The object was read to its end: "ingested" if it is what was sent and declared, else "over"."""
    if reading.wrong:
        return await corrupt(ctx, upload.id, upload.attempt, parts=reading.wrong[:NAMED_MISSING])
    for algorithm, value in upload.declared.items():
        if (computed := reading.value(algorithm)) != value:
            return await _contradicted(ctx, upload, upload.attempt, algorithm, computed)
    kind = upload.checksum_algorithm if checksum.combines(upload.checksum_algorithm) else ChecksumAlgorithm.CRC64NVME
    verdict = Verdict(etag, kind, reading.value(kind), reading.value("sha256"))
    return await _settle(ctx, upload.id, upload.attempt, verdict)


async def fail(ctx: Context, upload_id: UUID, attempt: int, code: str, message: str, **details: Any) -> None:
    """End the upload as failed: quota released, asset failed, event appended, its parts in storage discarded."""
    async with ctx.db.transaction() as conn:
        upload = await _finalizing(conn, upload_id, attempt)
        if upload is not None:
            await fail_locked(ctx, conn, upload, code, message, **details)


async def fail_locked(ctx: Context, conn: Conn, upload: Upload, code: str, message: str, **details: Any) -> None:
    """As `fail`, in the transaction that holds the row of an upload that finalizes."""
    problem: Json = {"code": code, "message": message} | details
    now = ctx.now()
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
