"""Relay at its edges: files that end in slices, slices without end, bodies that nobody wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.ingest.intake import LINGER_BYTES
from rushes.ingest.ranges import covers, merged, needless, range_of
from rushes.model import Slice
from rushes.plan import KIB, MIB, MIN_PART
from tests.ingest.equipment import Desk, Json, Person, pieces, problem, some_bytes
from tests.ingest.relaying import DATA, LONG, content, finished, ingested, relay, scraps, slice_, unsized


async def in_ranges(person: Person, upload: Json, data: bytes, step: int = 3 * MIB) -> None:
    """Send a file without a word of where it ends."""
    for at in range(0, len(data), step):
        piece = data[at : at + step]
        answer = await content(person, upload, piece, f"bytes {at}-{at + len(piece) - 1}/*")
        assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{at + len(piece) - 1}")


async def ingested_of_size(desk: Desk, person: Person, upload: Json, data: bytes) -> None:
    answer = await person.complete(upload, size=len(data))
    assert answer.status_code == 202, answer.text
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == data
    assert await scraps(desk, upload) == []


@pytest.mark.parametrize("how", ["complete", "content", "more"])
async def test_a_file_is_not_measured_without_its_last_slices(desk: Desk, person: Person, how: str) -> None:
    """They are acknowledged bytes that have no row in the ledger."""
    data = some_bytes(2 * MIN_PART + MIB, 6)
    upload, size = await unsized(person), len(data)
    await in_ranges(person, upload, data)
    told = problem(await person.complete(upload), 409, "size_missing")
    assert told == {"number": 3, "held": size}
    assert (await person.upload(upload))["size"] is None
    if how == "complete":
        await ingested_of_size(desk, person, upload, data)
    elif how == "content":
        await finished(desk, person, upload, data, await content(person, upload, b"", f"bytes */{size}"))
    else:
        data += some_bytes(MIN_PART, 7)
        rest = await content(person, upload, data[size:], f"bytes {size}-{len(data) - 1}/{len(data)}")
        await finished(desk, person, upload, data, rest)


async def test_a_file_that_is_one_slice_is_whole_once_its_size_is_said(desk: Desk, person: Person) -> None:
    upload, data = await unsized(person), some_bytes(MIB)
    first = {"content-range": f"bytes 0-{MIB - 1}/{MIN_PART}"}
    assert (await relay(person, upload, 1, data, **first)).status_code == 202
    assert problem(await person.complete(upload), 409, "size_missing") == {"number": 1, "held": MIB}
    for wrong in (MIB - 1, MIB + 1):  # a slip of the tongue costs nothing
        assert problem(await person.complete(upload, size=wrong), 409, "parts_missing")["missing"] == [1]
    await ingested_of_size(desk, person, upload, data)


async def test_slices_that_nobody_put_together_are_measured_as_well(desk: Desk, person: Person) -> None:
    """A pod died behind the last slice of the last part; the parts before it are held."""
    data = some_bytes(2 * MIN_PART, 8)
    upload = await unsized(person)
    assert (await relay(person, upload, 1, data[:MIN_PART])).status_code == 200
    part, claim = data[MIN_PART:], timedelta(seconds=desk.settings.takeover_seconds + 1)
    at_work = "INSERT INTO assemblies SELECT %(id)s, 2, gen_random_uuid(), now() {} %(claim)s"
    await desk.sql(at_work.format("+"), id=upload["upload_id"], claim=claim)
    for first in (0, MIB):
        last = MIB - 1 if first == 0 else MIN_PART - 1
        assert (await slice_(person, upload, 2, part, first, last, claim=False)).status_code == 202
    problem(await person.complete(upload), 503, "part_assembling")
    await desk.sql("UPDATE assemblies SET since = now() - %(claim)s", claim=claim)
    await ingested(desk, person, upload, data)


async def test_parts_before_the_last_slices_are_named_as_missing(desk: Desk, person: Person) -> None:
    upload, part = await unsized(person), some_bytes(MIN_PART)
    assert (await relay(person, upload, 1, part)).status_code == 200
    assert (await slice_(person, upload, 3, part, 0, MIB - 1, claim=False)).status_code == 202
    assert problem(await person.complete(upload), 409, "parts_missing")["missing"] == [2, 3]
    assert (await relay(person, upload, 2, part)).status_code == 200
    problem(await person.complete(upload), 409, "size_missing")
    assert (await slice_(person, upload, 4, part, MIB, 2 * MIB - 1, claim=False)).status_code == 202
    assert problem(await person.complete(upload), 409, "parts_missing")["missing"] == [3, 4]


async def test_a_part_sent_again_with_more_bytes_counts_them_all(desk: Desk, person: Person) -> None:
    upload = await unsized(person)
    assert (await relay(person, upload, 1, b"short")).status_code == 200
    for number, part in enumerate(pieces(LONG), 1):
        assert (await relay(person, upload, number, part)).status_code == 200
    held = await person.upload(upload)
    assert [part["size"] for part in held["parts"]] == [MIN_PART, MIN_PART, len(LONG) - 2 * MIN_PART]
    assert held["held"]["bytes"] == len(LONG)
    await ingested(desk, person, upload, LONG)


# --- slices -----------------------------------------------------------------------------------------------------------


async def test_a_part_that_could_not_be_recorded_can_be_put_together_at_once(desk: Desk, person: Person) -> None:
    """The connection is cut while the last transaction waits for the slices' rows; the claim does not outlive it."""
    upload, part = await person.begin(2 * MIB), some_bytes(2 * MIB)
    await slice_(person, upload, 1, part, 0, MIB - 1)
    async with desk.ctx.db.transaction() as conn:
        await conn.execute("SELECT 1 FROM slices WHERE upload_id = %s FOR UPDATE", [upload["upload_id"]])
        cursor = await conn.execute("SELECT pg_backend_pid()")
        ((holder,),) = await cursor.fetchall()
        sending = asyncio.create_task(slice_(person, upload, 1, part, MIB, 2 * MIB - 1))
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE %(holder)s = ANY(pg_blocking_pids(pid))"
        while not await desk.sql(cut, holder=holder):  # noqa: ASYNC110 - it waits in the database, unseen from here
            await asyncio.sleep(0)
        problem(await sending, 503, "database_unavailable")
    assert await desk.sql("SELECT 1 FROM assemblies WHERE upload_id = %(id)s", id=upload["upload_id"]) == []
    assert (await slice_(person, upload, 1, part, MIB, 2 * MIB - 1)).status_code == 200
    await ingested(desk, person, upload, part)


@pytest.mark.parametrize("backwards", [False, True])
async def test_slices_that_overlap_are_kept_twice_at_most(desk: Desk, person: Person, backwards: bool) -> None:
    size = 4 * MIB
    upload, part, step = await person.begin(size), some_bytes(size), 64 * KIB
    starts = list(range(step, 2 * MIB, step))
    for first in reversed(starts) if backwards else starts:
        answer = await slice_(person, upload, 1, part, first, first + MIB - 1)
        assert answer.status_code == 202
        if first % (8 * step) == 0:  # the last bytes, again and again
            await slice_(person, upload, 1, part, size - first // 8, size - 1)
    ((rows, kept),) = await desk.sql(
        "SELECT count(*), sum(length)::bigint FROM slices WHERE upload_id = %(id)s", id=upload["upload_id"]
    )
    assert (rows <= 7, kept <= 2 * size) == (True, True), (rows, kept)
    assert len(await scraps(desk, upload)) == rows
    assert (await slice_(person, upload, 1, part, 0, MIB - 1)).status_code == 202
    assert (await slice_(person, upload, 1, part, 2 * MIB, size - 1)).status_code == 200
    await ingested(desk, person, upload, part)


@given(st.data())
def test_what_is_kept_are_the_same_bytes_at_most_twice(data: st.DataObject) -> None:
    kept: list[Slice] = []
    sent: list[tuple[int, int]] = []
    for place in range(data.draw(st.integers(1, 30))):
        start = data.draw(st.integers(0, 99))
        new = Slice(1, "", 100, start, data.draw(st.integers(1, 100 - start)), "", "b", str(place))
        spare = needless(kept, new)
        whole = covers(map(range_of, kept), 0, 99)
        sent.append(range_of(new))
        kept = [row for row in [*kept, new] if row not in spare]
        assert merged(map(range_of, kept)) == merged(sent)
        assert not whole or spare == [new]
        in_order = sorted(kept, key=lambda row: row.start)
        for row, next_but_one in zip(in_order, in_order[2:], strict=False):
            assert row.start + row.length <= next_but_one.start


# --- bodies that nobody wants -----------------------------------------------------------------------------------------


class Endless:
    """A body that does not end before its reader has enough, and how much of it was read."""

    def __init__(self, most: int) -> None:
        self.read = 0
        self._most = most

    async def chunks(self) -> AsyncIterator[bytes]:
        while self.read < self._most:
            self.read += MIB
            yield bytes(MIB)

    async def put(self, person: Person, upload: Json, length: int, **headers: str) -> httpx.Response:
        said = {"content-length": str(length)} | {name.replace("_", "-"): value for name, value in headers.items()}
        address = f"/v1/uploads/{upload['upload_id']}/content"
        return await person.http.put(address, content=self.chunks(), headers=said)


async def test_an_upload_that_has_ended_swallows_no_more_than_its_own_bytes(desk: Desk, person: Person) -> None:
    done, gone = await person.ingest(DATA), await person.begin(5)
    assert (await person.http.delete(f"/v1/uploads/{gone['upload_id']}")).status_code == 204
    for upload in (done, gone):
        much = Endless(64 * MIB)
        problem(await much.put(person, upload, 10**15), 409, "size_mismatch")
        assert much.read <= LINGER_BYTES + MIB
    again = Endless(len(DATA))
    assert (await again.put(person, done, len(DATA))).status_code == 200
    assert again.read >= len(DATA)
    lies = Endless(64 * MIB)
    answer = await lies.put(person, done, 10**15, content_range=f"bytes 0-{len(DATA) - 1}/{len(DATA)}")
    assert answer.status_code == 200
    assert lies.read <= LINGER_BYTES + MIB


@pytest.mark.parametrize("patient", [False, True])
async def test_a_gap_is_answered_to_a_sender_that_listens(desk: Desk, person: Person, patient: bool) -> None:
    upload = await person.begin(len(LONG), part_size=MIN_PART)
    late = Endless(2 * MIB)
    headers = {"content_range": f"bytes {MIB}-{3 * MIB - 1}/{len(LONG)}"} | (
        {"expect": "100-continue"} if patient else {}
    )
    assert (await late.put(person, upload, 2 * MIB, **headers)).status_code == 308
    assert late.read == (0 if patient else 2 * MIB)
