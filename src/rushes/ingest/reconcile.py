"""Reconcile: the ledger against storage's own list of parts.

Storage's list is asked without a lock; what it says is applied under the upload's row lock, and only to parts whose row is
still as it was before the question: a part that was granted, reported or relayed meanwhile is not touched.

A part nobody reported counts only if exactly one checksum was ever granted for it and storage lists it with the right
size. A part that was reported but is listed with another ETag or size, or not at all, has to be sent again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from rushes.db import Conn, parts, uploads
from rushes.errors import Conflict, NotFound, Unavailable
from rushes.ingest import ledger, staged
from rushes.ingest.context import Context
from rushes.model import Layout, Part, Principal, Upload, UploadState, Way
from rushes.storage import StoredPart

Listed = Mapping[int, Sequence[StoredPart]]  # some stores keep, and list, several versions of a part


async def reconcile(ctx: Context, who: Principal, upload_id: UUID) -> None:
    """Make the ledger of an upload that takes parts say what storage holds. Raises `NotFound`, `Unavailable`."""
    async with ctx.db.transaction() as conn:
        upload = await uploads.get(conn, who, upload_id)
        if upload is None:
            raise NotFound("upload_not_found", "There is no such upload.")
        before = await parts.all_of(conn, upload_id)
    if upload.state is not UploadState.UPLOADING:
        return
    if upload.layout is Layout.STAGED:
        await _find_staged(ctx, upload, before)
        return
    try:
        listed = await list_stored(ctx, upload)
    except NotFound:
        return  # completed behind our back, or gone: finalizing finds out which
    async with ctx.db.transaction() as conn:
        current = await uploads.load(conn, upload_id, lock=True)
        if current is not None and current.state is UploadState.UPLOADING:
            await apply(conn, current, before, listed, ctx.now())


async def _find_staged(ctx: Context, upload: Upload, before: Sequence[Part]) -> None:
    """Hold, and have copied, what lies in the incoming place unreported. A part that was reported its copier looks at."""
    seen = dict(await staged.found(ctx, upload, [part for part in before if part.held_at is None]))
    if not seen:
        return
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        current = await uploads.load(conn, upload.id, lock=True)
        if current is None or current.state is not UploadState.UPLOADING:
            return
        now_there = await parts.some(conn, upload.id, sorted(seen))
        same = [(part.number, seen[part.number]) for part in before if now_there.get(part.number) == part]
        await ledger.hold(conn, current, same, now, way=Way.FOUND)
        await staged.roll(ctx, conn, current, now)


async def apply(conn: Conn, upload: Upload, before: Sequence[Part], listed: Listed, now: datetime) -> None:
    """Bring the locked upload's ledger in line with the list, as far as it is still what it was `before`."""
    now_there = {part.number: part for part in await parts.all_of(conn, upload.id)}
    same = [part for part in before if now_there.get(part.number) == part]
    lost = [part.number for part in same if part.held_at is not None and not is_as_told(part, listed)]
    found = found_in(listed, [part for part in same if part.held_at is None])
    await ledger.release(conn, upload, lost, now)
    await ledger.hold(conn, upload, found, now, way=Way.FOUND)


async def list_stored(ctx: Context, upload: Upload) -> Listed:
    """The parts that storage holds, by number. Raises `NotFound` when it does not know the upload, `Unavailable`."""
    assert upload.storage_upload_id is not None, "parts are only sent to uploads that were opened in storage"
    try:
        stored = await ctx.storage.s3.list_parts(upload.bucket, upload.key, upload.storage_upload_id)
    except Conflict as error:  # somebody else's request is in the way: it passes
        raise Unavailable("storage_undecided", f"Storage does not list the parts yet: {error.message}") from error
    listed: dict[int, list[StoredPart]] = {}
    for part in stored:
        listed.setdefault(part.number, []).append(part)
    return listed


def found_in(listed: Listed, unreported: Iterable[Part]) -> list[tuple[int, str]]:
    """(number, ETag) of parts nobody reported that storage surely holds: no other bytes can have been written."""
    return [
        (part.number, stored.etag)
        for part in unreported
        if part.grants == 1
        for stored in listed.get(part.number, ())[-1:]
        if stored.size == part.size
    ]


def is_as_told(part: Part, listed: Listed) -> bool:
    """Whether storage holds the part that was reported."""
    return any((stored.size, stored.etag) == (part.size, part.etag) for stored in listed.get(part.number, ()))
