"""The staged layout: parts as objects of their own in the incoming place, copied into the multipart upload as they land.

What comes to exist, in order:

1. An object `…/parts/{number}` for each part, written by its presigned PUT. It can be read at once.
2. With the report that makes it held, in the same transaction, a copier: a short workflow that copies up to sixteen parts
   (`rushes.ingest.copying`). A held part that is not copied always belongs to one copier, and to no two.
3. The part's copy in the multipart upload, as `copied_etag` in the ledger.
4. While the upload finalizes, whoever copies the last part starts the finalize workflow; nobody waits for anybody.
5. After it is settled, or came to nothing, the objects are removed: at once, and again when no grant can write them any more.

Storage holds the bytes twice until then; copying costs it as much as taking them did. Client and protocol are the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

from rushes.db import Conn, copies, parts, uploads
from rushes.errors import Conflict, Invalid, Unavailable
from rushes.ingest.capabilities import capabilities_of
from rushes.ingest.context import Context, Work
from rushes.model import OPEN_UPLOADS, Layout, Part, Upload, new_id
from rushes.storage import PartSigner, Signer, staged_key, staged_prefix

MOST_EACH: Final = 16  # parts one copier copies: it stays short, and a thousand reported at once make sixty
AT_ONCE: Final = 4  # copiers that parts reported together are dealt to, before each gets a second one
MOST_AGAIN: Final = 3  # times the copy of one part may turn out to be gone
LOOKS: Final = 16  # HEADs under way at once


async def check_store(ctx: Context) -> None:
    """Raise `Invalid` (layout_unsupported) when this store was seen not to copy parts safely."""
    seen = await capabilities_of(ctx)
    if not (seen.copies and seen.copies_if_match):
        raise Invalid(
            "layout_unsupported",
            "This object store does not copy parts as the staged layout needs it; begin with layout multipart.",
        )


def key_of(ctx: Context, upload: Upload, number: int) -> tuple[str, str]:
    """(bucket, key) of one part."""
    place = ctx.storage.incoming
    return place.bucket, staged_key(place, upload.tenant, upload.creator, upload.asset_id, number)


def part_signer(ctx: Context, signer: Signer, upload: Upload, *, at: datetime, seconds: float) -> PartSigner:
    """Signs the PUTs of the parts."""
    place = ctx.storage.incoming
    prefix = staged_prefix(place, upload.tenant, upload.creator, upload.asset_id)
    return signer.staged(place.bucket, prefix, algorithm=upload.checksum_algorithm.value, at=at, seconds=seconds)


# --- copying ----------------------------------------------------------------------------------------------------------


async def roll(ctx: Context, conn: Conn, upload: Upload, now: datetime) -> bool:
    """See that every held part of a locked upload is being copied; whether any is left to be. False for other layouts."""
    if upload.layout is not Layout.STAGED:
        return False
    free, under_way = await copies.waiting(conn, upload.id)
    for numbers in dealt(free):
        copier = new_id()
        await copies.assign(conn, upload.id, numbers, copier, now)
        await ctx.engine.enqueue(conn, copy_work(upload, copier))
    return bool(free) or under_way > 0


def dealt(numbers: Sequence[int]) -> list[Sequence[int]]:
    """Parts by copier: up to four copiers get one each, then each gets more, up to sixteen, then there are more copiers."""
    each = min(max(-(-len(numbers) // AT_ONCE), 1), MOST_EACH)
    return [numbers[start : start + each] for start in range(0, len(numbers), each)]


def copy_work(upload: Upload, copier: UUID) -> Work:
    return Work("copy", f"copy-{copier}", (str(upload.id), str(copier)), upload.tenant, upload.priority)


async def is_as_recorded(ctx: Context, upload: Upload) -> bool:
    """Whether storage has every copy that the ledger of a staged upload has; if not, the others are being made again.

    A store may keep several versions of a part, as SeaweedFS does, and take any of them: one of them has to be ours.
    Swift lists copies without an ETag; Complete, which is given it, refuses there what is not the recorded copy.
    Gives up on copies that went missing several times, and says yes: storage decides then. Raises `NotFound`.
    """
    if upload.layout is not Layout.STAGED or upload.storage_upload_id is None:
        return True
    try:
        listed = await ctx.storage.s3.list_parts(upload.bucket, upload.key, upload.storage_upload_id)
    except Conflict as error:  # somebody else's request is in the way: it passes
        raise Unavailable("storage_undecided", f"Storage does not list the parts yet: {error.message}") from error
    there = {(part.number, part.size, part.etag) for part in listed}
    async with ctx.db.transaction() as conn:
        current = await uploads.load(conn, upload.id, lock=True)
        if current is None or (current.state, current.attempt) != (upload.state, upload.attempt):
            return True  # whoever goes on sees that as well
        rows = await parts.all_of(conn, upload.id)
        wrong = [
            part.number
            for part in rows
            if not there & {(part.number, part.size, part.copied_etag), (part.number, part.size, "")}
        ]
        if not wrong or await copies.forget(conn, upload.id, wrong) > MOST_AGAIN:
            return True
        return not await roll(ctx, conn, current, ctx.now())


# --- looking ----------------------------------------------------------------------------------------------------------


async def found(ctx: Context, upload: Upload, unreported: Iterable[Part]) -> list[tuple[int, str]]:
    """(number, ETag) of parts nobody reported whose objects are there, as far as size and checksum tell.

    Only those for which one checksum alone was ever granted: no other bytes can have been written.
    """
    places = asyncio.Semaphore(LOOKS)

    async def look(part: Part) -> tuple[int, str] | None:
        async with places:
            stored = await ctx.storage.s3.head(*key_of(ctx, upload, part.number))
        if stored is None or stored.size != part.size:
            return None
        told = stored.checksum if stored.checksum_algorithm == upload.checksum_algorithm else None
        return (part.number, stored.etag) if told in {None, part.checksum} else None

    looks = await asyncio.gather(*(look(part) for part in unreported if part.grants == 1))
    return [part for part in looks if part is not None]


# --- removing ---------------------------------------------------------------------------------------------------------


async def remove(ctx: Context, upload_id: UUID) -> None:
    """Remove the part objects of an upload that has ended. May run twice, and does nothing for one that is open."""
    async with ctx.db.transaction() as conn:
        upload = await uploads.load(conn, upload_id)
    if upload is None or upload.layout is not Layout.STAGED or upload.state in OPEN_UPLOADS:
        return
    place = ctx.storage.incoming
    prefix = staged_prefix(place, upload.tenant, upload.creator, upload.asset_id)
    keys = [item.key async for item in ctx.storage.s3.list_objects(place.bucket, prefix)]
    await ctx.storage.s3.delete_objects(place.bucket, keys)


async def enqueue_removal(ctx: Context, conn: Conn, upload: Upload) -> None:
    """Remove the part objects now, and again once the last grant has run out: until then a late PUT may write one."""
    if upload.layout is not Layout.STAGED:
        return
    for again, delay in (("", 0.0), ("-again", ctx.settings.grant_seconds + ctx.settings.takeover_seconds)):
        work = Work("unstage", f"unstage-{upload.id}{again}", (str(upload.id),), upload.tenant, delay=delay)
        await ctx.engine.enqueue(conn, work)
