"""Files whose size is not known at begin: the most they may become is reserved, and complete settles what they are.

Until then every part has the plan's part size but for a last one, whose grant says its bytes. Slices that are no part yet
are bytes of the file as well: it is never measured without them. In one transaction complete measures the file by its
ledger, gives back what was reserved beyond it, once, and moves on as for any other upload; before that nothing is settled,
and a complete that does not add up changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from rushes.db import Conn, assets, parts, slices, uploads
from rushes.errors import Conflict, Invalid
from rushes.ingest import quota
from rushes.ingest.ranges import from_start, range_of
from rushes.model import Part, Upload
from rushes.plan import PartPlan


def lengths_of(upload: Upload, wanted: Iterable[tuple[int, int | None]]) -> list[int]:
    """Bytes of parts, given as (number, what the client says): as planned, or as said of a last part while the file's size
    is not known.

    Raises `Invalid` for a part that the plan does not have, or that cannot have so many bytes.
    """
    plan = PartPlan(upload.size, upload.part_size, upload.part_count)
    return [_length(upload, number, plan.length(number), said) for number, said in wanted]


def _length(upload: Upload, number: int, planned: int, said: int | None) -> int:
    if said is None or said == planned:
        return planned
    if upload.size_known:
        raise Invalid("part_length_invalid", f"Part {number} has {planned} bytes, not {said}.", length=planned)
    if said > planned:
        raise Invalid(
            "part_length_invalid", f"Part {number} may have at most {planned} bytes, not {said}.", length=planned
        )
    return said


def check_said(upload: Upload, said: int | None) -> None:
    """Raise `Conflict` (size_mismatch) for a size at complete that is not the one that is known."""
    if upload.size_known and said is not None and said != upload.size:
        raise _mismatch(f"This upload has {upload.size} bytes, not {said}.", size=upload.size)


async def settle_size(conn: Conn, upload: Upload, said: int | None, now: datetime) -> tuple[Upload, list[int]]:
    """Fix the size of a locked upload, as `said` or as the ledger shows. Returns it, and no missing parts; or, with parts
    missing or still in slices, the upload as it was. Raises `Conflict` (size_mismatch, size_missing).
    """
    ledger, waiting = await parts.all_of(conn, upload.id), []
    if said is None:
        waiting = await slices.waiting(conn, upload.id)
    else:
        await _end_slices(conn, upload, said)
    size, missing = measure(upload, ledger, said, waiting)
    if missing:
        if missing == waiting and not any(part.number > missing[0] for part in ledger):
            await _check_tail(conn, upload, missing)
        return upload, missing
    count = -(-size // upload.part_size)
    await quota.shrink(conn, upload, size)
    await parts.drop_beyond(conn, upload.id, count)
    await uploads.set_size(conn, upload.id, size, count, now)
    await assets.change(conn, upload.asset_id, now, size=size)
    return replace(upload, size=size, part_count=count, size_known=True), []


async def _end_slices(conn: Conn, upload: Upload, said: int) -> None:
    """Where the last part of a file of `said` bytes lies in slices that end with the file, they are all of that part."""
    number = -(-said // upload.part_size)
    length = said - (number - 1) * upload.part_size
    rows = await slices.of_part(conn, upload.id, number)
    if from_start(range_of(row) for row in rows if not row.checksum) == length:
        await slices.shorten(conn, upload.id, number, length)


async def _check_tail(conn: Conn, upload: Upload, missing: Sequence[int]) -> None:
    """Raise `Conflict` (size_missing) when the only part that is missing may be whole: its slices begin it, and do not say
    where it ends.
    """
    if len(missing) != 1:
        return
    rows = await slices.of_part(conn, upload.id, missing[0])
    most = PartPlan(upload.size, upload.part_size, upload.part_count).length(missing[0])
    begun = from_start(range_of(row) for row in rows if (row.checksum, row.total) == ("", most))
    if 0 < begun < most:
        held = (missing[0] - 1) * upload.part_size + begun
        raise Conflict(
            "size_missing",
            f"{held} bytes are held, and whether the file ends there is not known. Say its size: complete with `size`, or "
            f"PUT /content with `Content-Range: bytes */{held}`. Or send the rest.",
            number=missing[0],
            held=held,
        )


def measure(
    upload: Upload, ledger: Sequence[Part], said: int | None, waiting: Sequence[int] = ()
) -> tuple[int, list[int]]:
    """(the file's bytes, the parts that are missing). Raises `Conflict` (size_mismatch) when it cannot be.

    Without a word from the client the ledger has to tell: all parts reported, from 1 on without a gap, full but the last;
    and none `waiting` in slices.
    """
    if said is None:
        return _by_ledger(upload, ledger, waiting)
    if said > upload.size:
        raise _mismatch(f"The file has {said} bytes; {upload.size} were reserved for it.", size=upload.size)
    plan = PartPlan(said, upload.part_size, -(-said // upload.part_size))
    for part in ledger:
        if part.held_at is None:
            continue
        if part.number > plan.part_count or part.size != plan.length(part.number):
            raise _mismatch(
                f"In a file of {said} bytes part {part.number} cannot have the {part.size} bytes that are held.",
                number=part.number,
                held=part.size,
            )
    possible = {
        part.number
        for part in ledger
        if part.number <= plan.part_count
        and part.size == plan.length(part.number)
        and (part.held_at is not None or part.grants == 1)
    }
    return said, [number for number in range(1, plan.part_count + 1) if number not in possible]


def _by_ledger(upload: Upload, ledger: Sequence[Part], waiting: Sequence[int]) -> tuple[int, list[int]]:
    last = max((*waiting, *(part.number for part in ledger)), default=1)
    held = {part.number: part for part in ledger if part.held_at is not None}
    missing = [number for number in range(1, last + 1) if number not in held]
    if missing:
        return 0, missing
    for number in range(1, last):
        if held[number].size != upload.part_size:
            raise _mismatch(
                f"Part {number} has {held[number].size} bytes and is not the last; only the last may have fewer than "
                f"{upload.part_size}. Send it again, or say the file's size.",
                number=number,
                held=held[number].size,
            )
    return (last - 1) * upload.part_size + held[last].size, []


def _mismatch(message: str, **details: int) -> Conflict:
    return Conflict("size_mismatch", message, **details)
