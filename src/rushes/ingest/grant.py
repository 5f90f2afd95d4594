"""Grant and report: the next parts' presigned URLs go out, the parts done come in.

The multipart upload is opened in storage at the first grant, by compare-and-set, so that begin costs no storage call. Only
one checksum is open for a part: granting another means that the part is not held until it is reported again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import UUID

from rushes import checksum, events
from rushes.db import Conn, parts, uploads
from rushes.errors import Conflict, Invalid, NotFound
from rushes.ingest import ledger, staged
from rushes.ingest.context import Context
from rushes.ingest.relay_grant import relay_grants
from rushes.ingest.unsized import lengths_of
from rushes.model import Layout, Part, Principal, Upload, UploadState, Way
from rushes.plan import PartPlan
from rushes.storage import PartSigner, bare_etag
from rushes.wire import DonePart, Grant, GrantReply, GrantRequest, Held, WantedPart


async def grant(
    ctx: Context, who: Principal, upload_id: UUID, request: GrantRequest, base_url: str | None = None
) -> GrantReply:
    """Record `request.done`, open `request.want`, and sign. Raises `NotFound`, `Conflict`, `Invalid`.

    `base_url` is the API's own address as the client sees it: where it cannot reach storage, grants lead there.
    """
    now = ctx.now()
    upload, held = await _record(ctx, who, upload_id, request, now)
    if upload.storage_upload_id is None and request.want:
        upload, held = await _open_and_record(ctx, who, upload, request, now)
    if ctx.storage.reachable:
        grants = await _sign(ctx, upload, request.want, now)
    else:
        seconds = _seconds(ctx, upload, now)
        grants = relay_grants(ctx, who, upload, request.want, base_url, now=now, seconds=seconds)
    return GrantReply(grants=grants, held=held, expires_at=slid(ctx, upload, now))


def _check_wanted(upload: Upload, want: Sequence[WantedPart]) -> None:
    """Raise `Invalid` for a checksum that storage would refuse, or two of them for one part: the ledger holds one."""
    wanted: dict[int, tuple[str, int | None]] = {}
    for part in want:
        checksum.canonical(upload.checksum_algorithm, part.checksum)
        if wanted.setdefault(part.number, (part.checksum, part.size)) != (part.checksum, part.size):
            raise Invalid("part_twice", f"Part {part.number} is asked for with two checksums.", number=part.number)


async def _open_and_record(
    ctx: Context, who: Principal, upload: Upload, request: GrantRequest, now: datetime
) -> tuple[Upload, Held]:
    """The first grant: the multipart upload that was opened becomes the upload's in the transaction of the grant."""
    made = await _create(ctx, upload)
    try:
        opened, held = await _record(ctx, who, upload.id, request, now, made)
    except (Conflict, Invalid, NotFound):  # rolled back; after other errors nobody knows, and the sweep finds out
        await ctx.storage.s3.abort_multipart(upload.bucket, upload.key, made)
        raise
    if opened.storage_upload_id != made:
        await ctx.storage.s3.abort_multipart(upload.bucket, upload.key, made)
    return opened, held


async def _record(
    ctx: Context, who: Principal, upload_id: UUID, request: GrantRequest, now: datetime, made: str | None = None
) -> tuple[Upload, Held]:
    """The transaction of a grant; it changes nothing while the upload is not open in storage.

    `made` is a storage upload that becomes the upload's own if it has none.
    """
    async with ctx.db.transaction() as conn:
        upload = await locked(conn, who, upload_id)
        check_open(upload, now)
        if made is not None and await _adopt(conn, upload, made, now):
            upload = replace(upload, state=UploadState.UPLOADING, storage_upload_id=made)
        _check_wanted(upload, request.want)
        await record_done(conn, upload, request.done, now)
        if request.done:
            await staged.roll(ctx, conn, upload, now)
        if upload.storage_upload_id is None and request.want:
            lengths_of(
                upload, ((part.number, part.size) for part in request.want)
            )  # nothing is opened for what cannot be
            return upload, Held(parts=upload.held_parts, bytes=upload.held_bytes)
        if request.want:
            await open_parts(conn, upload, request.want, now)
        held = await uploads.record_progress(
            conn, upload.id, parts=0, size=0, now=now, expires_at=slid(ctx, upload, now)
        )
    return upload, Held(parts=held[0], bytes=held[1])


async def find(ctx: Context, who: Principal, upload_id: UUID) -> Upload:
    async with ctx.db.reading() as conn:
        upload = await uploads.get(conn, who, upload_id)
    if upload is None:
        raise NotFound("upload_not_found", "There is no such upload.")
    return upload


async def locked(conn: Conn, who: Principal, upload_id: UUID) -> Upload:
    upload = await uploads.get(conn, who, upload_id, lock=True)
    if upload is None:
        raise NotFound("upload_not_found", "There is no such upload.")
    return upload


def check_open(upload: Upload, now: datetime) -> None:
    """Raise `Conflict` unless parts may still be sent."""
    if upload.state not in {UploadState.INITIATED, UploadState.UPLOADING}:
        raise Conflict(f"upload_{upload.state}", f"This upload is {upload.state}; it takes no more parts.")
    if now >= upload.expires_at:
        raise Conflict("upload_expired", "This upload has expired; begin a new one.")


async def record_done(
    conn: Conn, upload: Upload, done: Iterable[DonePart], now: datetime, known: Mapping[int, Part] | None = None
) -> None:
    """Record reported parts of a locked upload, each once, with an event for each that is new.

    `known` are their rows, where the caller has read them under the lock. Raises `Conflict` (part_not_granted) for a part
    that was never granted with that checksum, `Invalid` for an ETag that no storage gives.
    """
    reported = {part.number: part for part in done}
    for number, part in reported.items():
        if not (part.etag.isascii() and part.etag.isprintable()):
            raise Invalid("etag_invalid", f"The ETag of part {number} is not the one storage gave.", number=number)
    known = await parts.some(conn, upload.id, sorted(reported)) if known is None else known
    for number, part in reported.items():
        row = known.get(number)
        if row is None or row.checksum != part.checksum:
            raise Conflict(
                "part_not_granted",
                f"Part {number} was not granted with that checksum; ask for a grant and send it again.",
                number=number,
            )
    etags = [(number, bare_etag(part.etag)) for number, part in reported.items()]
    await ledger.hold(conn, upload, etags, now, way=Way.DIRECT)


async def open_parts(conn: Conn, upload: Upload, want: Sequence[WantedPart], now: datetime) -> None:
    lengths = lengths_of(upload, ((part.number, part.size) for part in want))
    wanted = {part.number: (part.number, length, part.checksum) for part, length in zip(want, lengths, strict=True)}
    await ledger.reopen(conn, upload, sorted(wanted.values()), now)


def plan_of(upload: Upload) -> PartPlan:
    return PartPlan(upload.size, upload.part_size, upload.part_count)


def slid(ctx: Context, upload: Upload, now: datetime) -> datetime:
    """The expiry after progress made now: 14 days on, but never past the most an upload may live."""
    latest = upload.created_at + timedelta(days=ctx.settings.upload_max_days)
    return max(upload.expires_at, min(now + timedelta(seconds=upload.idle_seconds), latest))


async def open_in_storage(ctx: Context, upload: Upload) -> None:
    """Open the multipart upload. Of two that race, the loser aborts its own."""
    made = await _create(ctx, upload)
    async with ctx.db.transaction() as conn:
        won = await _adopt(conn, upload, made, ctx.now())
    if not won:
        await ctx.storage.s3.abort_multipart(upload.bucket, upload.key, made)


async def _create(ctx: Context, upload: Upload) -> str:
    """A multipart upload in storage, which is nobody's yet."""
    return await ctx.storage.s3.create_multipart(
        upload.bucket,
        upload.key,
        content_type=upload.content_type,
        metadata={
            "rushes-asset": str(upload.asset_id),
            "rushes-upload": str(upload.id),
            "rushes-creator": upload.creator,
            "rushes-name": upload.filename,
        },
        checksum_algorithm=upload.checksum_algorithm.value,
    )


async def _adopt(conn: Conn, upload: Upload, made: str, now: datetime) -> bool:
    """Compare-and-set: whether the storage upload is the upload's from now on."""
    won = await uploads.open_in_storage(conn, upload.id, made, now)
    if won:
        await events.append(conn, "upload_opened", upload, now)
    return won


def _seconds(ctx: Context, upload: Upload, now: datetime) -> float:
    """How long a grant made now lives."""
    left = (slid(ctx, upload, now) - now).total_seconds()
    return max(1.0, min(ctx.settings.grant_seconds, left))  # no URL can live for less than a second


async def _sign(ctx: Context, upload: Upload, want: Sequence[WantedPart], now: datetime) -> list[Grant]:
    if not want:
        return []
    signer = await _part_signer(ctx, upload, now, _seconds(ctx, upload, now))
    lengths = lengths_of(upload, ((part.number, part.size) for part in want))
    urls = signer.urls((part.number, length, part.checksum) for part, length in zip(want, lengths, strict=True))
    return [
        Grant(
            number=part.number,
            url=url,
            method="PUT",
            headers={signer.header: part.checksum},
            length=length,
            expires_at=signer.expires_at,
        )
        for part, length, url in zip(want, lengths, urls, strict=True)
    ]


async def _part_signer(ctx: Context, upload: Upload, at: datetime, seconds: float) -> PartSigner:
    assert upload.storage_upload_id is not None, "opened before the transaction, and never unset"
    signer = await ctx.storage.signer()
    if upload.layout is Layout.STAGED:
        return staged.part_signer(ctx, signer, upload, at=at, seconds=seconds)
    algorithm = upload.checksum_algorithm.value
    return signer.parts(
        upload.bucket, upload.key, upload.storage_upload_id, algorithm=algorithm, at=at, seconds=seconds
    )
