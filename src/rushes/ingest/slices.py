"""Slices: a part that comes through the API in pieces, because something on the way lets no larger body pass.

What comes to exist, in order: an object under the incoming place for each slice; its row, once storage has acknowledged
it; when the rows cover the part, a claim on putting it together; the part in storage, streamed from the slices and held
to every checksum there is; the part held and the slices forgotten, in one transaction. Slices may come in any order, to
any pod, twice, overlapping. A pod that dies while it puts a part together leaves a claim that runs out after the takeover
time: the next slice, the next question about the part, or complete, puts it together again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum, auto
from uuid import UUID, uuid4

from rushes.checksum import crc64nvme, encode
from rushes.db import Conn, parts, slices, uploads
from rushes.errors import Conflict, Invalid, NotFound, Problem, Rejected, Unavailable
from rushes.ingest.context import Context
from rushes.ingest.grant import check_open, locked, plan_of, slid
from rushes.ingest.intake import Intake
from rushes.ingest.ranges import ContentRange, Step, covers, merged, needless, range_of, route
from rushes.ingest.relay import answer, carry, check_length, checked, length_of, open_part, opened, record, send
from rushes.ingest.scraps import forget
from rushes.ingest.tally import Tally, claimed
from rushes.model import Part, Principal, Slice, Upload
from rushes.plan import MIB
from rushes.storage import slice_key
from rushes.tasks import put_down
from rushes.wire import PartView, RelayedPart

BUSY_PAUSE = 0.25  # seconds between looks at a part that another puts together
LEAST = MIB  # bytes of a slice but the last: each costs an object, a row and two requests to storage


async def put(
    ctx: Context,
    who: Principal,
    upload_id: UUID,
    number: int,
    where: ContentRange,
    intake: Intake,
    headers: Mapping[str, str],
) -> RelayedPart | PartView:
    """Take a slice of a part; the part if it is whole now, else what is held of it. Raises as `relay.relay`.

    The checksum in `headers` is the whole part's, and the same on each of its slices: with another one the part begins
    anew. A part that is held already stays as it is.
    """
    upload, part, rows = await _read(ctx, who, upload_id, number)
    check_open(upload, ctx.now())
    length = length_of(upload, number, where.total or 0)
    claim = claimed(headers, upload.checksum_algorithm)
    first = _check_range(where, intake, length)
    if _is_held(part, claim):
        await intake.drop(intake.left)
    elif intake.length == length:
        return await carry(ctx, who, upload, number, length, intake, claim)
    elif covers(_ranges(rows, claim, length), first, first + intake.length - 1):
        await intake.drop(intake.left)
        await finish(ctx, who, upload, number)
    else:
        await store(ctx, who, upload, number, length, first, intake.take(intake.length), intake.length, claim)
        await finish(ctx, who, upload, number)
    return await _state(ctx, who, upload_id, number)


async def look(ctx: Context, who: Principal, upload_id: UUID, number: int) -> PartView:
    """What is held of a part; one that is covered and lies about in slices is put together first."""
    upload, part, rows = await _read(ctx, who, upload_id, number)
    plan_of(upload).length(number)  # such a part there is
    if not _is_held(part, None) and _route(rows) is not None and _is_open(ctx, upload):
        await finish(ctx, who, upload, number)
        upload, part, rows = await _read(ctx, who, upload_id, number)
    return _view(upload, number, part, rows)


def _check_range(where: ContentRange, intake: Intake, length: int) -> int:
    """The first byte of a slice that makes sense for a part of `length` bytes. Raises `Invalid`."""
    if where.first is None or where.last is None or where.total not in {None, length} or where.last >= length:
        raise Invalid(
            "range_invalid", f"A slice's Content-Range lies in its part: bytes 0-{length - 1}/{length}.", length=length
        )
    check_length(intake, where.length)
    if where.length < LEAST and where.last != length - 1:
        raise Invalid("slice_too_small", f"A slice but the part's last has at least {LEAST} bytes.", least=LEAST)
    return where.first


def _is_held(part: Part | None, claim: str | None) -> bool:
    return part is not None and part.held_at is not None and claim in {None, part.checksum}


def _is_open(ctx: Context, upload: Upload) -> bool:
    try:
        check_open(upload, ctx.now())
    except Problem:
        return False
    return True


def _ranges(rows: Iterable[Slice], claim: str | None, length: int) -> list[tuple[int, int]]:
    """What is held of the part whose sender makes this claim."""
    return merged(range_of(row) for row in rows if (row.checksum, row.total) == (claim or "", length))


def _route(rows: Sequence[Slice]) -> list[Step] | None:
    return route(rows, rows[0].total) if rows else None


async def _read(
    ctx: Context, who: Principal, upload_id: UUID, number: int
) -> tuple[Upload, Part | None, Sequence[Slice]]:
    async with ctx.db.transaction() as conn:
        upload = await uploads.get(conn, who, upload_id)
        if upload is None:
            raise NotFound("upload_not_found", "There is no such upload.")
        part = (await parts.some(conn, upload_id, [number])).get(number)
        return upload, part, await slices.of_part(conn, upload_id, number)


async def _state(ctx: Context, who: Principal, upload_id: UUID, number: int) -> RelayedPart | PartView:
    upload, part, rows = await _read(ctx, who, upload_id, number)
    return answer(upload, part) if part and part.held_at is not None else _view(upload, number, part, rows)


def _view(upload: Upload, number: int, part: Part | None, rows: Sequence[Slice]) -> PartView:
    if part is None or part.held_at is None:
        received = merged(range_of(row) for row in rows)
        length = rows[0].total if rows else plan_of(upload).length(number)
        return PartView(number=number, length=length, etag=None, checksum=None, received=received)
    return PartView(
        number=number, length=part.size, etag=part.etag, checksum=part.checksum, received=[(0, part.size - 1)]
    )


async def store(
    ctx: Context,
    who: Principal,
    upload: Upload,
    number: int,
    total: int,
    first: int,
    body: AsyncIterator[bytes],
    length: int,
    claim: str | None,
) -> None:
    """Store one slice of a part of `total` bytes, then its row; when this returns it is safe. Raises as `relay.relay`."""
    place, tally = ctx.storage.incoming, Tally()
    key = slice_key(place, upload.tenant, upload.creator, upload.asset_id, number=number, name=uuid4())
    await ctx.storage.s3.stream_object(place.bucket, key, checked(body, tally, None), length=length, at=ctx.now())
    now = ctx.now()
    row = Slice(number, claim or "", total, first, length, tally.value, place.bucket, key)
    try:
        async with ctx.db.transaction() as conn:
            current = await locked(conn, who, upload.id)
            check_open(current, now)
            part = (await parts.some(conn, upload.id, [number])).get(number)
            gone = [(row.bucket, key)] if _is_held(part, claim) else await _keep(conn, upload, row, now)
            expires_at = slid(ctx, current, now)
            await uploads.record_progress(conn, upload.id, parts=0, size=0, now=now, expires_at=expires_at, alive=True)
    except (Conflict, NotFound):
        await forget(ctx, [(row.bucket, key)])
        raise
    await forget(ctx, gone)


async def _keep(conn: Conn, upload: Upload, row: Slice, now: datetime) -> list[slices.Place]:
    """Keep a slice that is stored, unless its bytes are kept already; returns the objects that nobody needs any more.

    Slices that claim another checksum or length of the part go, as do those that the rest makes `needless`: what is kept
    of a part is never more than twice its bytes.
    """
    gone = await slices.drop_unlike(conn, upload.id, row)
    spare = needless(await slices.of_part(conn, upload.id, row.number), row)
    if row in spare:
        return [*gone, (row.bucket, row.key)]
    for other in spare:
        gone += await slices.drop_one(conn, upload.id, other.key)
    await slices.add(conn, upload.id, row, now)
    return gone


# --- putting a part together ------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Assembly:
    """One attempt to make a part of its slices, and the right to do so."""

    id: UUID
    upload: Upload
    number: int
    length: int
    claim: str | None
    ticket: str
    steps: list[Step]


class Outcome(Enum):
    """What came of putting a part together."""

    HELD = auto()
    MISSING = auto()  # there are not slices for all of its bytes
    BUSY = auto()  # another is at it


class _Broken(Exception):
    """A slice's object is not what was stored."""

    def __init__(self, row: Slice) -> None:
        super().__init__(row.key)
        self.slice = row


async def finish(ctx: Context, who: Principal, upload: Upload, number: int) -> Outcome:
    """Put a part together if its slices cover it.

    Slices whose objects turn out broken are forgotten, so that they are asked for again. Raises `Rejected`
    (checksum_mismatch) when the part is not what its sender claimed: then all of them are.
    """
    assembly = await _claim(ctx, who, upload, number)
    if isinstance(assembly, Outcome):
        return assembly
    tally = Tally(upload.checksum_algorithm)
    try:
        async with _alive(ctx, assembly):
            body = checked(_bytes(ctx, assembly.steps), tally, assembly.claim)
            etag = await send(ctx, assembly.upload, number, body, assembly.length, assembly.claim)
    except _Broken as broken:
        await _give_up(ctx, assembly, [broken.slice])
        return Outcome.MISSING
    except Rejected:
        await _give_up(ctx, assembly, None)
        raise
    except BaseException:
        await asyncio.shield(_give_up(ctx, assembly, []))
        raise
    try:
        return await _record(ctx, who, assembly, tally.value, etag)
    except BaseException:  # or nobody could try again before the claim runs out
        await asyncio.shield(_give_up(ctx, assembly, []))
        raise


async def _record(ctx: Context, who: Principal, assembly: Assembly, checksum: str, etag: str) -> Outcome:
    """Hold the part that is in storage now, end the claim and forget the slices."""
    now, upload, number = ctx.now(), assembly.upload, assembly.number
    async with ctx.db.transaction() as conn:
        current = await locked(conn, who, upload.id)
        check_open(current, now)
        if not await slices.give_back(conn, assembly.id, upload.id, number):
            return Outcome.BUSY  # taken for dead: another has taken over
        _, scraps = await record(ctx, conn, current, number, assembly.ticket, checksum, etag, now)
    await forget(ctx, scraps)
    return Outcome.HELD


async def finish_waiting(ctx: Context, who: Principal, upload: Upload, numbers: Iterable[int]) -> None:
    """Put these parts together where their slices cover them.

    Raises `Unavailable` (part_assembling) when another pod is still at one of them after the time `complete` may wait.
    """
    clock = asyncio.get_running_loop().time
    deadline = clock() + ctx.settings.complete_wait_seconds
    for number in numbers:
        while await finish(ctx, who, upload, number) is Outcome.BUSY:
            if clock() >= deadline:
                raise Unavailable("part_assembling", f"Part {number} is being put together; try again shortly.")
            await asyncio.sleep(BUSY_PAUSE)


async def _claim(ctx: Context, who: Principal, upload: Upload, number: int) -> Assembly | Outcome:
    async with ctx.db.transaction() as conn:
        rows = await slices.of_part(conn, upload.id, number)
    if _route(rows) is None:
        return Outcome.MISSING  # the ordinary case, without a lock
    await opened(ctx, who, upload)
    now, mine = ctx.now(), uuid4()
    async with ctx.db.transaction() as conn:
        upload = await locked(conn, who, upload.id)
        check_open(upload, now)
        rows = await slices.of_part(conn, upload.id, number)
        steps = _route(rows)
        part = (await parts.some(conn, upload.id, [number])).get(number)
        claim = rows[0].checksum or None if rows else None
        if _is_held(part, claim):
            return Outcome.HELD
        if steps is None:
            return Outcome.MISSING
        stale = now - timedelta(seconds=ctx.settings.takeover_seconds)
        if not await slices.claim(conn, upload.id, number, mine, now, stale):
            return Outcome.BUSY
        ticket = claim or f"slices {mine}"
        await open_part(conn, upload, number, rows[0].total, claim, ticket, now)
    return Assembly(mine, upload, number, rows[0].total, claim, ticket, steps)


async def _bytes(ctx: Context, steps: Iterable[Step]) -> AsyncIterator[bytes]:
    """The part's bytes. Each slice is read whole, so that it is known to be what came."""
    for step in steps:
        row, end, at, crc = step.slice, step.skip + step.take, 0, 0
        try:
            async with aclosing(ctx.storage.s3.get_range(row.bucket, row.key)) as chunks:
                async for chunk in chunks:
                    crc = crc64nvme(chunk, crc)
                    yield chunk[max(0, step.skip - at) : max(0, end - at)]
                    at += len(chunk)
        except NotFound:
            raise _Broken(row) from None
        if at != row.length or encode(crc) != row.crc:
            raise _Broken(row)


@asynccontextmanager
async def _alive(ctx: Context, assembly: Assembly) -> AsyncIterator[None]:
    """Keep the claim while the block lasts."""

    async def renew() -> None:
        while True:
            await asyncio.sleep(ctx.settings.takeover_seconds / 4)
            with suppress(Unavailable):  # the next one may be in time; if not, another pod does the same again
                async with ctx.db.transaction() as conn:
                    await slices.renew(conn, assembly.id, assembly.upload.id, assembly.number, ctx.now())

    renewing = asyncio.create_task(renew())
    try:
        yield
    finally:
        await put_down([renewing])


async def _give_up(ctx: Context, assembly: Assembly, broken: Sequence[Slice] | None) -> None:
    """End the claim and forget these slices; None means all of the part's."""
    upload, gone = assembly.upload, []
    async with ctx.db.transaction() as conn:
        await uploads.load(conn, upload.id, lock=True)
        if not await slices.give_back(conn, assembly.id, upload.id, assembly.number):
            return
        if broken is None:
            gone = await slices.drop(conn, upload.id, assembly.number)
        for row in broken or ():
            gone += await slices.drop_one(conn, upload.id, row.key)
    await forget(ctx, gone)
