"""Complete: take the last reports, start finalizing, wait a moment for the verdict.

However often and however parallel it is called, the row lock lets one call move the upload to `finalizing`; the others find
it there and wait for the same verdict.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from rushes import events
from rushes.checksum import combined
from rushes.db import Conn, assets, parts, slices, uploads
from rushes.errors import Conflict
from rushes.ingest import declared, staged, unsized
from rushes.ingest.context import Context, Work
from rushes.ingest.grant import find, locked, record_done
from rushes.ingest.slices import finish_waiting
from rushes.model import Part, Principal, Upload, UploadState
from rushes.wire import CompleteUpload, DonePart

NAMED_MISSING = 1_000  # missing parts named in one answer


async def complete(ctx: Context, who: Principal, upload_id: UUID, request: CompleteUpload) -> Upload:
    """Finalize an upload. Returns it as it stands after the wait: `ingested`, or still `finalizing`.

    Raises `Conflict` parts_missing with `missing` (part numbers) when parts have to be sent, size_missing when only the
    client can tell where the file ends, size_mismatch, upload_… when the upload has ended otherwise, `NotFound`.
    """
    missing, settled = await _start(ctx, who, upload_id, request, slices_first=True)
    if missing and await _put_together(ctx, who, upload_id):
        missing, settled = await _start(ctx, who, upload_id, request)
    if missing:
        raise parts_missing(missing)
    if not settled:
        await ctx.verdicts.wait(upload_id, ctx.settings.complete_wait_seconds)
    return await _verdict(ctx, who, upload_id)


async def start(ctx: Context, who: Principal, upload_id: UUID, request: CompleteUpload) -> list[int]:
    """Move to `finalizing` and enqueue the workflow; or return the parts that are certainly missing.

    Raises `Conflict` when what is declared of the whole file contradicts what was (checksum_contradicts) or comes too
    late to be verified (checksum_late), or the manifest contradicts the ledger (manifest_mismatch); `Invalid` for
    checksums that are none.
    """
    return (await _start(ctx, who, upload_id, request))[0]


async def _start(
    ctx: Context, who: Principal, upload_id: UUID, request: CompleteUpload, *, slices_first: bool = False
) -> tuple[list[int], bool]:
    """As `start`; (missing parts, with `slices_first` also those that may have to be made of slices; whether the upload's
    verdict is there already).
    """
    claimed = declared.parse(request.checksum)
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        upload = await locked(conn, who, upload_id)
        unsized.check_said(upload, request.size)
        if upload.state is UploadState.INITIATED and upload.size_known:
            return list(range(1, upload.part_count + 1)), False
        if upload.state in {UploadState.FINALIZING, UploadState.INGESTED}:
            await _check_late(conn, upload, claimed)
        if upload.state not in {UploadState.INITIATED, UploadState.UPLOADING}:
            return [], upload.state is not UploadState.FINALIZING
        if upload.size_known:
            rows = await _with_done(conn, upload, request.done, now)
        else:
            await record_done(conn, upload, request.done, now)
            upload, missing = await unsized.settle_size(conn, upload, request.size, now)
            if missing:
                return missing, False
            rows = await parts.all_of(conn, upload.id)
        missing = never_sent(upload, rows)
        if not missing and slices_first and any(part.held_at is None for part in rows):
            missing = await slices.waiting(conn, upload.id)
        if missing:
            return missing, False
        declared.check_manifest(request.manifest, rows)
        await uploads.declare(conn, upload.id, declared.added(upload.declared, claimed))
        await uploads.move(conn, upload, UploadState.FINALIZING, now)
        if not await staged.roll(ctx, conn, upload, now):  # else whoever copies the last part enqueues it
            await ctx.engine.enqueue(conn, finalize_work(upload))
        await events.append(conn, "upload_finalizing", upload, now)
    return [], False


async def _with_done(conn: Conn, upload: Upload, done: Sequence[DonePart], now: datetime) -> list[Part]:
    """The ledger after the last reports, which are recorded; read once, before. Raises as `record_done`."""
    rows = {part.number: part for part in await parts.all_of(conn, upload.id)}
    await record_done(conn, upload, done, now, rows)
    for part in done:
        row = rows[part.number]
        rows[part.number] = replace(row, etag=part.etag, held_at=row.held_at or now)
    return list(rows.values())


async def _check_late(conn: Conn, upload: Upload, claimed: Mapping[str, str]) -> None:
    """A checksum that comes when finalizing has begun is not verified with it: never answer as if it were.

    Raises `Conflict`: checksum_contradicts what was declared before, checksum_mismatch with what is known by now, or
    checksum_late when nothing is.
    """
    late = declared.added(upload.declared, claimed)
    if not late:
        return
    rows = [(part.checksum, part.size) for part in await parts.all_of(conn, upload.id)]
    asset = await assets.load(conn, upload.asset_id)
    assert asset is not None, "begin made it, and the upload refers to it"
    known: dict[str, str | None] = {asset.checksum_algorithm: asset.checksum, "sha256": asset.sha256}
    known |= {upload.checksum_algorithm: combined(upload.checksum_algorithm, rows)}
    for algorithm, value in late.items():
        facts = {"algorithm": algorithm, "declared": value, "computed": known.get(algorithm)}
        if facts["computed"] is None:
            message = f"The {algorithm} came after the upload was completed without it, so it was not verified."
            raise Conflict("checksum_late", message, **facts)
        if facts["computed"] != value:
            message = (
                f"The whole file's {algorithm} is {facts['computed']}, not {value}; it was completed without that."
            )
            raise Conflict("checksum_mismatch", message, **facts)


async def _put_together(ctx: Context, who: Principal, upload_id: UUID) -> bool:
    """Make parts of the slices that lie about, as a pod that died left them. False when there are none."""
    async with ctx.db.transaction() as conn:
        waiting = await slices.waiting(conn, upload_id)
    if waiting:
        await finish_waiting(ctx, who, await find(ctx, who, upload_id), waiting)
    return bool(waiting)


def finalize_work(upload: Upload) -> Work:
    attempt = upload.attempt + 1  # as `uploads.move` counts it
    return Work(
        "finalize", f"finalize-{upload.id}-{attempt}", (str(upload.id), attempt), upload.tenant, upload.priority
    )


def never_sent(upload: Upload, ledger: list[Part]) -> list[int]:
    """Parts that cannot be in storage as they should: never granted, or granted anew and not reported since.

    A part nobody reported may still count when one checksum alone was ever granted for it: storage is asked then.
    """
    possible = {part.number for part in ledger if part.held_at is not None or part.grants == 1}
    return [number for number in range(1, upload.part_count + 1) if number not in possible]


def parts_missing(missing: list[int]) -> Conflict:
    named = missing[:NAMED_MISSING]
    return Conflict(
        "parts_missing",
        f"{len(missing)} of the parts are not in storage; send them and complete again.",
        missing=named,
        missing_count=len(missing),
    )


async def _verdict(ctx: Context, who: Principal, upload_id: UUID) -> Upload:
    upload = await find(ctx, who, upload_id)
    if upload.state in {UploadState.FINALIZING, UploadState.INGESTED}:
        return upload
    if upload.problem:
        details = {name: value for name, value in upload.problem.items() if name not in {"code", "message"}}
        raise Conflict(upload.problem["code"], upload.problem["message"], **details)
    raise Conflict(f"upload_{upload.state}", f"This upload is {upload.state}; it cannot be completed.")
