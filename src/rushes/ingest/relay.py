"""Relay: a part that its sender cannot bring to storage goes through the API into the same multipart upload.

What comes to exist, in order: the part's row in the ledger, open for the checksum that the sender claims; the part in
storage; the row held. The bytes pass in constant memory, with no database connection or lock, and are compared with the
claim before storage has the last of them: a body that is short or corrupt leaves nothing behind. Of a part without a
claim a stand-in is open until the server knows the checksum of what it received; that is then the part's, and its proof
is the server's.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from uuid import UUID, uuid4

from rushes.db import Conn, parts, slices, uploads
from rushes.errors import Conflict, Invalid, Rejected, Unavailable
from rushes.ingest import ledger, staged
from rushes.ingest.context import Context
from rushes.ingest.grant import check_open, locked, open_in_storage, open_parts, plan_of, slid
from rushes.ingest.intake import Intake
from rushes.ingest.scraps import forget
from rushes.ingest.tally import Tally, claimed
from rushes.model import Layout, Part, Principal, Upload, Way
from rushes.wire import Held, RelayedPart, WantedPart


async def relay(
    ctx: Context, who: Principal, upload_id: UUID, number: int, intake: Intake, headers: Mapping[str, str]
) -> RelayedPart:
    """Take one whole part. Again with the checksum that it is held with already, it is not stored again.

    `headers` are the request's, names in lower case. Raises `NotFound`, `Conflict`, `Invalid` (also: the body ended
    early), `Rejected` (checksum_mismatch), `Unavailable` (also: the sender is too slow).
    """
    upload, held = await _open(ctx, who, upload_id, number, intake, headers)
    if held is not None:
        await intake.drop(intake.left)
        return held
    claim = claimed(headers, upload.checksum_algorithm)
    return await carry(ctx, who, upload, number, intake.length, intake, claim)


async def _open(
    ctx: Context, who: Principal, upload_id: UUID, number: int, intake: Intake, headers: Mapping[str, str]
) -> tuple[Upload, RelayedPart | None]:
    """The upload, and the part if it is held with the claimed checksum already."""
    async with ctx.db.transaction() as conn:
        upload = await locked(conn, who, upload_id)
        check_open(upload, ctx.now())
        check_length(intake, length_of(upload, number, intake.length))
        claim = claimed(headers, upload.checksum_algorithm)
        part = (await parts.some(conn, upload.id, [number])).get(number)
    held = part is not None and part.held_at is not None and part.checksum == claim
    return upload, answer(upload, part) if held and part is not None else None


def length_of(upload: Upload, number: int, said: int) -> int:
    """Bytes of a part: as planned, or while the file's size is not known as its sender says, if it is no more."""
    planned = plan_of(upload).length(number)
    return planned if upload.size_known or not 0 < said < planned else said


def check_length(intake: Intake, length: int) -> None:
    """Raise `Invalid` unless the body is announced with exactly so many bytes."""
    if intake.length != length:
        code = "body_too_large" if intake.length > length else "length_wrong"
        raise Invalid(code, f"Send exactly {length} bytes, not {intake.length}.", length=length)


def answer(upload: Upload, part: Part) -> RelayedPart:
    held = Held(parts=upload.held_parts, bytes=upload.held_bytes)
    return RelayedPart(number=part.number, etag=part.etag or "", checksum=part.checksum, held=held)


async def carry(
    ctx: Context, who: Principal, upload: Upload, number: int, length: int, intake: Intake, claim: str | None
) -> RelayedPart:
    """Stream the next `length` bytes of `intake` into part `number`, and hold it. Raises as `relay`."""
    ticket = claim or f"relay {uuid4()}"
    upload = await opened(ctx, who, upload)
    async with ctx.db.transaction() as conn:
        upload = await locked(conn, who, upload.id)
        check_open(upload, ctx.now())
        await open_part(conn, upload, number, length, claim, ticket, ctx.now())
    tally = Tally(upload.checksum_algorithm)
    etag = await send(ctx, upload, number, checked(intake.take(length), tally, claim), length, claim)
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        upload = await locked(conn, who, upload.id)
        check_open(upload, now)
        found, scraps = await record(ctx, conn, upload, number, ticket, tally.value, etag, now)
        held = await uploads.record_progress(
            conn, upload.id, parts=0, size=0, now=now, expires_at=slid(ctx, upload, now)
        )
    await forget(ctx, scraps)
    return RelayedPart(number=number, etag=found, checksum=tally.value, held=Held(parts=held[0], bytes=held[1]))


async def opened(ctx: Context, who: Principal, upload: Upload) -> Upload:
    """The upload with a multipart upload in storage, which is opened now if it was not."""
    if upload.storage_upload_id is None:
        await open_in_storage(ctx, upload)
        async with ctx.db.transaction() as conn:
            upload = await locked(conn, who, upload.id)
            check_open(upload, ctx.now())
    return upload


async def open_part(
    conn: Conn, upload: Upload, number: int, length: int, claim: str | None, ticket: str, now: datetime
) -> None:
    """Open the part of a locked upload for the checksum `claim`, or for `ticket` until it is known."""
    if claim is None:
        await ledger.reopen_unproven(conn, upload, number, length, ticket, now)
    else:
        await open_parts(conn, upload, [WantedPart(number=number, checksum=claim, size=length)], now)


async def record(
    ctx: Context, conn: Conn, upload: Upload, number: int, ticket: str, checksum: str, etag: str, now: datetime
) -> tuple[str, list[slices.Place]]:
    """Hold a part that storage has acknowledged; (its ETag, the slices' objects that are not needed any more).

    Raises `Conflict` (part_superseded) when somebody opened the part for other bytes meanwhile.
    """
    part = (await parts.some(conn, upload.id, [number])).get(number)
    if part is None or part.checksum != ticket:
        raise Conflict(
            "part_superseded", f"Part {number} was opened for other bytes while this was under way.", number=number
        )
    await parts.prove(conn, upload.id, number, ticket, checksum)
    await ledger.hold(conn, upload, [(number, etag)], now, way=Way.RELAYED)
    await staged.roll(ctx, conn, upload, now)
    return etag, await slices.drop(conn, upload.id, number)


async def checked(body: AsyncIterator[bytes], tally: Tally, claim: str | None) -> AsyncIterator[bytes]:
    """The same bytes, counted. Ends in `Rejected` (checksum_mismatch) when they are not what was claimed."""
    async for chunk in body:
        tally.add(chunk)
        yield chunk
    if claim is not None and tally.value != claim:
        raise Rejected(
            "checksum_mismatch",
            "What arrived is not what its checksum says; nothing of it was kept. Read it again and send it again.",
            claimed=claim,
            computed=tally.value,
        )


async def send(
    ctx: Context, upload: Upload, number: int, body: AsyncIterator[bytes], length: int, checksum: str | None
) -> str:
    """Stream a part into storage; its ETag. Nothing is stored unless `body` ends well."""
    assert upload.storage_upload_id is not None, "opened before"
    s3, storage_upload_id, now = ctx.storage.s3, upload.storage_upload_id, ctx.now()
    algorithm = upload.checksum_algorithm.value
    try:
        if upload.layout is Layout.STAGED:
            bucket, key = staged.key_of(ctx, upload, number)
            return await s3.stream_object(
                bucket, key, body, length=length, at=now, checksum=checksum, algorithm=algorithm
            )
        return await s3.stream_part(
            upload.bucket,
            upload.key,
            storage_upload_id,
            number,
            body,
            length=length,
            at=now,
            checksum=checksum,
            algorithm=algorithm,
        )
    except Rejected as error:
        if error.code == "storage_checksum_mismatch":  # they were right when they left here
            raise Unavailable("relay_corrupted", "The bytes were corrupted on their way; send them again.") from error
        raise
