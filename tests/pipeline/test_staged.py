"""Staged uploads and everything that may befall their copiers: wrong answers, races, kill -9 at every point, frost."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from rushes import checksum, main
from rushes.config import Settings
from rushes.errors import Conflict, Problem
from rushes.ingest import abort, complete, grant
from rushes.ingest.context import Context
from rushes.model import Principal, Role, Upload
from rushes.pipeline.finalize import run_discard, run_finalize
from rushes.pipeline.staged import run_copy, run_unstage
from rushes.plan import MIN_PART
from rushes.storage import staged_prefix
from rushes.wire import CompleteUpload, GrantRequest
from tests.ingest.equipment import Directly
from tests.pipeline.equipment import database_apart, rows, send, started, until, with_storage, worker
from tests.pipeline.gate import Gate, Held, Kind, When, gate_to
from tests.pipeline.test_storage_answers import ANSWERS, Once

WHO = Principal("staged", "stan", Role.CREATOR, "studio")
DATA = random.Random(41).randbytes(MIN_PART + 1_000)  # a part that is copied and one that is carried
FOUR = random.Random(42).randbytes(3 * MIN_PART + 1_000)
FINALIZING: list[tuple[Kind, When]] = [
    ("list", "asked"),
    ("complete", "asked"),
    ("complete", "answered"),
    ("delete", "asked"),
    ("delete", "answered"),
]
COPYING: list[tuple[Kind, When]] = [("copy", "asked"), ("copy", "answered"), ("carry", "asked"), ("carry", "answered")]


async def staged(ctx: Context, data: bytes = DATA) -> tuple[Upload, CompleteUpload]:
    """All parts in storage, none reported."""
    return await send(ctx, WHO, data, "a.mov", part_size=MIN_PART, layout="staged")


async def report(ctx: Context, upload: Upload, request: CompleteUpload) -> None:
    await grant.grant(ctx, WHO, upload.id, GrantRequest(done=request.done))


async def copiers(ctx: Context, upload: Upload) -> list[str]:
    query = "SELECT DISTINCT copier FROM parts WHERE upload_id = %s AND copier IS NOT NULL"
    return [str(row[0]) for row in await rows(ctx, query, upload.id)]


async def enqueued(ctx: Context, upload: Upload, name: str) -> list[str]:
    query = """SELECT workflow_uuid FROM dbos.workflow_status
        WHERE name = %s AND workflow_uuid LIKE '%%' || %s || '%%' ORDER BY created_at"""
    return [str(row[0]) for row in await rows(ctx, query, name, str(upload.id))]


async def state(ctx: Context, upload: Upload) -> str:
    ((found,),) = await rows(ctx, "SELECT state FROM uploads WHERE id = %s", upload.id)
    return str(found)


async def in_incoming(ctx: Context, upload: Upload) -> list[str]:
    place = ctx.storage.incoming
    prefix = staged_prefix(place, upload.tenant, upload.creator, upload.asset_id)
    return [item.key async for item in ctx.storage.s3.list_objects(place.bucket, prefix)]


async def open_in_storage(ctx: Context, upload: Upload) -> list[str]:
    listed = ctx.storage.s3.list_multipart_uploads(upload.bucket, upload.key)
    return [found.storage_upload_id async for found in listed]


async def adds_up(ctx: Context, upload: Upload, data: bytes = DATA) -> None:
    """Ingested once: the object is the file, nothing is left of the parts, and the rows say so."""
    assert await state(ctx, upload) == "ingested"
    head = await ctx.storage.s3.head(upload.bucket, upload.key)
    assert head is not None
    assert (head.size, head.checksum) == (len(data), checksum.encode(checksum.crc64nvme(data)))
    assert await in_incoming(ctx, upload) == []
    assert await open_in_storage(ctx, upload) == []
    parts = "SELECT count(*), count(copied_etag), count(copier) FROM parts WHERE upload_id = %s"
    assert await rows(ctx, parts, upload.id) == [(upload.part_count, upload.part_count, 0)]
    told = "SELECT count(*) FROM events WHERE upload_id = %s AND type = 'upload_completed'"
    assert await rows(ctx, told, upload.id) == [(1,)]
    runs = "SELECT count(*) FROM jobs WHERE asset_id = %s AND parent_id IS NULL"
    assert await rows(ctx, runs, upload.asset_id) == [(1,)]


# --- wrong answers ----------------------------------------------------------------------------------------------------

WRONG = [
    ("upload_part_copy", "SlowDown", "before"),
    ("upload_part_copy", "SlowDown", "after"),
    ("upload_part_copy", "OperationAborted", "after"),
    ("upload_part_copy", "AccessDenied", "before"),
    ("upload_part_copy", "NoSuchUpload", "before"),
    ("upload_part", "SlowDown", "after"),
    ("get_range", "SlowDown", "in the middle"),
]


@pytest.mark.parametrize(("call", "answer", "when"), WRONG, ids=[" ".join(wrong) for wrong in WRONG])
async def test_copying_is_answered_with_an_error_once(alone: Context, call: str, answer: str, when: str) -> None:
    upload, request = await staged(alone)
    assert not await complete.start(alone, WHO, upload.id, request)
    real, error = getattr(alone.storage.s3, call), ANSWERS[answer]()
    failing = BrokenOff(real, error) if call == "get_range" else Once(real, error, after=when == "after")
    for copier in await copiers(alone, upload):
        assert await run_copy(with_storage(alone, **{call: failing}), str(upload.id), copier) == "copied"
    assert failing.calls == 2
    assert len(await enqueued(alone, upload, "finalize")) == 1
    assert await run_finalize(alone, Directly(), str(upload.id), 1) == "ingested"
    await run_unstage(alone, str(upload.id))
    await adds_up(alone, upload)


class BrokenOff:
    """A read that breaks off in the middle, once."""

    def __init__(self, real: Any, error: Problem) -> None:
        self.calls = 0
        self._real = real
        self._error = error

    async def __call__(self, *args: Any, **options: Any) -> AsyncIterator[bytes]:
        self.calls += 1
        first = self.calls == 1
        async for chunk in self._real(*args, **options):
            yield chunk[: len(chunk) // 2] if first else chunk
            if first:
                raise self._error


# --- races ------------------------------------------------------------------------------------------------------------


async def test_copiers_complete_and_abort_race(alone: Context, round_: int) -> None:
    """In any order: either ingested, once, or aborted with nothing left; no row waits, nobody deadlocks."""
    chance = random.Random(round_)
    outcomes = set()
    for turn in range(3):
        upload, request = await staged(alone)
        await report(alone, upload, request)
        racing = [run_copy(alone, str(upload.id), copier) for copier in await copiers(alone, upload)]
        racing.append(_twice_completed(alone, upload, request))
        if turn:  # without an abort, it is ingested
            racing.append(_aborted(alone, upload, after=chance.random() * 0.2))
        chance.shuffle(racing)
        async with asyncio.timeout(30):
            await asyncio.gather(*racing)
        outcomes.add(await _brought_to_its_end(alone, upload))
    assert "ingested" in outcomes


async def _twice_completed(ctx: Context, upload: Upload, request: CompleteUpload) -> str:
    calls = (complete.start(ctx, WHO, upload.id, request) for _ in range(2))
    await asyncio.gather(*calls, return_exceptions=True)
    return ""


async def _aborted(ctx: Context, upload: Upload, after: float) -> str:
    await asyncio.sleep(after)
    try:
        await abort.abort(ctx, WHO, upload.id)
    except Conflict as conflict:
        return conflict.code
    return await run_discard(ctx, Directly(), str(upload.id))


async def _brought_to_its_end(ctx: Context, upload: Upload) -> str:
    """Run what was enqueued by then; the state it ends in."""
    for copier in await copiers(ctx, upload):
        await run_copy(ctx, str(upload.id), copier)
    finalizing = await enqueued(ctx, upload, "finalize")
    assert len(finalizing) <= 1
    for _ in finalizing:
        assert await run_finalize(ctx, Directly(), str(upload.id), 1) == "ingested"
        await run_unstage(ctx, str(upload.id))
    ended = await state(ctx, upload)
    if ended == "ingested":
        await adds_up(ctx, upload)
    else:
        assert ended == "aborted"
        assert await in_incoming(ctx, upload) == []
        assert await open_in_storage(ctx, upload) == []
    return ended


# --- death and frost --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def quick(settings: Settings) -> Iterator[Settings]:
    """A database of its own, and a takeover as early as it may be."""
    with database_apart(settings.model_copy(update={"takeover_seconds": 2.0})) as found:
        yield found


@pytest.fixture(scope="module")
async def ctx(quick: Settings) -> AsyncIterator[Context]:
    async with main.open_context(quick) as found:
        yield found


@pytest.fixture
async def gate(quick: Settings) -> AsyncIterator[Gate]:
    assert quick.storage_endpoint is not None
    async with gate_to(quick.storage_endpoint) as found:
        yield found


def through(gate: Gate, settings: Settings) -> Settings:
    public = settings.storage_public_endpoint or settings.storage_endpoint
    return settings.model_copy(update={"storage_endpoint": gate.url, "storage_public_endpoint": public})


async def held_up(ctx: Context, gate: Gate, points: list[tuple[Kind, When]]) -> list[Upload]:
    """An upload for each point, completed, on whose way through a worker just that request is held up by now."""
    holds: list[Held] = []
    found: list[Upload] = []
    for kind, when in points:
        upload, request = await staged(ctx)
        holds.append(gate.hold(kind, upload.asset_id, when))
        await report(ctx, upload, request)
        assert not await complete.start(ctx, WHO, upload.id, request)
        found.append(upload)
    async with asyncio.timeout(60):
        for held in holds:
            await held.reached.wait()
    return found


async def ended(ctx: Context, uploads: list[Upload]) -> None:
    """All are ingested, and nothing is left of any."""

    async def over() -> bool:
        states = {await state(ctx, upload) for upload in uploads}
        left = [key for upload in uploads for key in await in_incoming(ctx, upload)]
        return states == {"ingested"} and not left

    await until(over, 60, "some upload is not ingested, or left something behind")


async def test_a_worker_is_killed_at_every_point(ctx: Context, quick: Settings, gate: Gate, round_: int) -> None:
    """Before and after each request that matters; what the dead one asked for lands when all is over."""
    async with started(through(gate, quick)) as first:
        uploads = await held_up(ctx, gate, FINALIZING)
        uploads += await held_up(ctx, gate, COPYING)
        first.kill()
        await first.wait()
    async with worker(quick):
        await ended(ctx, uploads)
        gate.release()
        await gate.idle()
    for upload in uploads:
        await adds_up(ctx, upload)


async def test_a_copy_that_lands_after_the_abort_leaves_nothing(ctx: Context, quick: Settings, gate: Gate) -> None:
    """Its worker lives in one case, and is dead in the other."""
    uploads: list[Upload] = []
    async with started(through(gate, quick)) as process:
        for _ in range(2):
            upload, request = await staged(ctx)
            held = gate.hold("copy", upload.asset_id, "asked")
            await report(ctx, upload, request)
            await asyncio.wait_for(held.reached.wait(), 30)
            await abort.abort(ctx, WHO, upload.id)
            await until(lambda: _gone(ctx, upload), 30, "the parts of an aborted upload are still there")  # noqa: B023
            if uploads:
                process.kill()
                await process.wait()
            gate.release()
            uploads.append(upload)
            if len(uploads) == 1:
                await until(lambda: _let_go(ctx, upload), 30, "the copier does not end")  # noqa: B023
        await gate.idle()
    async with worker(quick):
        for upload in uploads:
            await until(lambda: _let_go(ctx, upload), 30, "the copier does not end")  # noqa: B023
    for upload in uploads:
        assert await state(ctx, upload) == "aborted"
        assert await in_incoming(ctx, upload) == []
        assert await open_in_storage(ctx, upload) == []


async def _gone(ctx: Context, upload: Upload) -> bool:
    return not await in_incoming(ctx, upload) and not await open_in_storage(ctx, upload)


async def _let_go(ctx: Context, upload: Upload) -> bool:
    return not await copiers(ctx, upload)


async def test_a_frozen_worker_is_replaced_and_changes_nothing_when_it_wakes(
    ctx: Context, quick: Settings, gate: Gate
) -> None:
    async with started(through(gate, quick)) as frozen:
        uploads = await held_up(ctx, gate, [("copy", "answered"), ("carry", "asked")])
        frozen.send_signal(signal.SIGSTOP)
        async with worker(quick):
            await ended(ctx, uploads)
        query = "SELECT number, etag, copied_etag, copier FROM parts WHERE upload_id = ANY(%s) ORDER BY 1, 2"
        ids = [upload.id for upload in uploads]
        before = await rows(ctx, query, ids)
        gate.release()
        frozen.send_signal(signal.SIGCONT)
        await gate.idle()
        upload, request = await staged(ctx)  # when this is done, the answers that came late were taken in before
        assert not await complete.start(ctx, WHO, upload.id, request)
        await ended(ctx, [upload])
        assert await rows(ctx, query, ids) == before
    for upload in uploads:
        await adds_up(ctx, upload)


async def test_a_bad_line_to_storage(ctx: Context, quick: Settings, gate: Gate, round_: int) -> None:
    """One request in five is refused, lost before it is sent, or loses its answer; parts come in one by one."""
    gate.seed, gate.chance = random.Random(1_000 + round_), 0.2
    uploads = []
    async with worker(through(gate, quick)):
        for _ in range(2):
            upload, request = await staged(ctx, FOUR)
            for part in request.done:
                await report(ctx, upload, CompleteUpload(done=[part]))
            assert not await complete.start(ctx, WHO, upload.id, request)
            uploads.append(upload)
        await ended(ctx, uploads)
        gate.chance = 0.0
    assert gate.troubles > 0
    for upload in uploads:
        await adds_up(ctx, upload, FOUR)
