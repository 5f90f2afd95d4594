"""Storage gives a wrong answer once: the upload is ingested all the same, and everything adds up."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from typing import Any

import pytest

from rushes import checksum
from rushes.errors import Conflict, Invalid, Misconfigured, NotFound, Problem, Rejected, Unavailable
from rushes.ingest import complete, finalize
from rushes.ingest.context import Context
from rushes.model import Principal, Role, Upload
from rushes.pipeline.finalize import run_finalize
from rushes.wire import CompleteUpload
from tests.ingest.equipment import Directly
from tests.pipeline.equipment import rows, send, with_storage

DATA = random.Random(7).randbytes(20_000_000)  # three parts
ANSWERS: dict[str, Callable[[], Problem]] = {
    "NoSuchUpload": lambda: NotFound("storage_upload_unknown", "Storage has no such multipart upload."),
    "AccessDenied": lambda: Misconfigured("storage_access_denied", "Storage denies access: check the key's policy."),
    "OperationAborted": lambda: Conflict("storage_conflict", "Another request is changing the object."),
    "SlowDown": lambda: Unavailable("storage_busy", "Storage asks to slow down."),
}


class Once:
    """A call of storage that is answered with an error the first time; with `after`, although it was carried out."""

    def __init__(self, real: Callable[..., Any], error: Problem, *, after: bool = False) -> None:
        self.calls = 0
        self._real = real
        self._error = error
        self._after = after

    async def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        if self.calls > 1:
            return await self._real(*args, **options)
        if self._after:
            await self._real(*args, **options)
        raise self._error


@pytest.fixture
def who(request: pytest.FixtureRequest) -> Principal:
    """Somebody with a quota of their own."""
    return Principal("answers", f"ann-{abs(hash(request.node.name))}", Role.CREATOR, "studio")


@pytest.mark.parametrize("after", [False, True], ids=["undone", "done"])
@pytest.mark.parametrize("answer", ANSWERS)
async def test_complete_is_answered_with_an_error_once(
    alone: Context, who: Principal, answer: str, after: bool
) -> None:
    upload = await finalizing(alone, who)
    call = Once(alone.storage.s3.complete_multipart, ANSWERS[answer](), after=after)
    ctx = with_storage(alone, complete_multipart=call)
    assert await run_finalize(ctx, Directly(), str(upload.id), 1) == "ingested"
    assert call.calls == (1 if after else 2)
    await adds_up(alone, upload)


@pytest.mark.parametrize("answer", ANSWERS)
async def test_listing_parts_is_answered_with_an_error_once(alone: Context, who: Principal, answer: str) -> None:
    """Two of the parts were never reported, so storage is asked for them."""
    upload = await finalizing(alone, who, unreported=2)
    call = Once(alone.storage.s3.list_parts, ANSWERS[answer]())
    verdict = await run_finalize(with_storage(alone, list_parts=call), Directly(), str(upload.id), 1)
    assert call.calls == (3 if answer == "NoSuchUpload" else 2)  # that parts are missing has to be seen twice
    if (
        answer == "NoSuchUpload"
    ):  # it was believed, and the parts not found: completing again is enough, sending is not needed
        assert verdict == "missing"
        assert not await complete.start(alone, who, upload.id, CompleteUpload())
        verdict = await run_finalize(alone, Directly(), str(upload.id), 2)
    assert verdict == "ingested"
    await adds_up(alone, upload)


async def test_parts_that_a_complete_takes_away_are_not_missed(alone: Context, who: Principal) -> None:
    """Its answer was lost; the list shows what is left of the parts, and the object is seen only after."""
    upload = await finalizing(alone, who)
    real = alone.storage.s3
    ((storage_id,),) = await rows(alone, "SELECT storage_upload_id FROM uploads WHERE id = %s", upload.id)
    left = (await real.list_parts(upload.bucket, upload.key, storage_id))[1:]
    complete_ = Once(real.complete_multipart, ANSWERS["SlowDown"](), after=True)
    looks: list[str] = []

    async def head(*args: Any) -> Any:
        looks.append("head")
        return await real.head(*args) if "list" in looks else None

    async def list_parts(*args: Any) -> Any:
        looks.append("list")
        return left

    ctx = with_storage(alone, complete_multipart=complete_, head=head, list_parts=list_parts)
    assert await run_finalize(ctx, Directly(), str(upload.id), 1) == "ingested"
    assert looks[:3] == ["head", "list", "head"]
    await adds_up(alone, upload)


async def test_a_refusal_of_unknown_meaning_ends_nothing(alone: Context, who: Principal) -> None:
    upload = await finalizing(alone, who)
    tries = len(finalize.REFUSED_PAUSES) + 1  # before a refusal is believed

    async def complete_multipart(*args: Any, **options: Any) -> Any:
        nonlocal tries
        tries -= 1
        if tries >= 0:
            raise Invalid("storage_request_refused", "Storage refuses the request: 400")
        return await alone.storage.s3.complete_multipart(*args, **options)

    ctx = with_storage(alone, complete_multipart=complete_multipart)
    assert await run_finalize(ctx, Directly(), str(upload.id), 1) == "ingested"
    await adds_up(alone, upload)


async def test_a_probe_that_is_refused_ends_nothing(alone: Context, who: Principal) -> None:
    """Nothing is known of the store when the upload is assembled, and the probe is told no."""
    upload = await finalizing(alone, who)
    await rows(alone, "DELETE FROM stores RETURNING 1")
    refusal = Rejected("storage_part_too_small", "A part but the last is smaller than storage takes.")
    call = Once(alone.storage.s3.create_multipart, refusal)
    ctx = with_storage(alone, create_multipart=call)
    ctx.storage.remembered = None
    assert await run_finalize(ctx, Directly(), str(upload.id), 1) == "ingested"
    assert call.calls > 1
    await adds_up(alone, upload)


async def test_reconciling_again_changes_nothing(alone: Context, who: Principal) -> None:
    upload = await finalizing(alone, who, unreported=2)
    assert await finalize.reconcile(alone, upload.id, 1) == "ready"
    before = await ledger(alone, upload)
    assert await finalize.reconcile(alone, upload.id, 1) == "ready"
    assert await ledger(alone, upload) == before
    await adds_up_after(alone, upload)


async def test_reconciling_twice_at_once_counts_once(alone: Context, who: Principal) -> None:
    """Both runs have read the listing before either writes."""
    upload = await finalizing(alone, who, unreported=2)
    both = asyncio.Barrier(2)

    async def listed(*args: Any) -> Any:
        found = await alone.storage.s3.list_parts(*args)
        await both.wait()
        return found

    ctx = with_storage(alone, list_parts=listed)
    runs = (finalize.reconcile(ctx, upload.id, 1), finalize.reconcile(ctx, upload.id, 1))
    assert set(await asyncio.gather(*runs)) == {"ready"}
    await adds_up_after(alone, upload)


async def finalizing(ctx: Context, who: Principal, unreported: int = 0) -> Upload:
    """An upload whose parts are all in storage and that was completed, `unreported` of its parts without a report."""
    upload, request = await send(ctx, who, DATA, "a.mov")
    assert upload.part_count == 3
    request = request.model_copy(update={"done": request.done[unreported:]})
    assert not await complete.start(ctx, who, upload.id, request)
    return upload


async def ledger(ctx: Context, upload: Upload) -> list[tuple[Any, ...]]:
    counted = await rows(ctx, "SELECT held_parts, held_bytes FROM uploads WHERE id = %s", upload.id)
    parts = "SELECT number, etag, held_at FROM parts WHERE upload_id = %s ORDER BY number"
    events = "SELECT id, type FROM events WHERE upload_id = %s ORDER BY id"
    return counted + await rows(ctx, parts, upload.id) + await rows(ctx, events, upload.id)


async def adds_up_after(ctx: Context, upload: Upload) -> None:
    """The rest of the way is taken, and everything adds up."""
    assert await run_finalize(ctx, Directly(), str(upload.id), 1) == "ingested"
    await adds_up(ctx, upload)


async def adds_up(ctx: Context, upload: Upload) -> None:
    """The upload is ingested; rows, sums, events, quota and the object say the same."""
    found = "SELECT state, held_parts, held_bytes, bucket, key, tenant, creator FROM uploads WHERE id = %s"
    ((state, parts, size, bucket, key, *owner),) = await rows(ctx, found, upload.id)
    assert (state, parts, size) == ("ingested", upload.part_count, len(DATA))
    held = "SELECT count(*), sum(size) FROM parts WHERE upload_id = %s AND held_at IS NOT NULL"
    assert await rows(ctx, held, upload.id) == [(upload.part_count, len(DATA))]
    told = "SELECT (data->>'number')::int FROM events WHERE upload_id = %s AND type = 'part_completed' ORDER BY 1"
    assert await rows(ctx, told, upload.id) == [(number,) for number in range(1, upload.part_count + 1)]
    quota = "SELECT stored, reserved, open_uploads FROM quotas WHERE tenant = %s AND creator = %s"
    assert await rows(ctx, quota, *owner) == [(len(DATA), 0, 0)]
    runs = "SELECT count(*) FROM jobs WHERE asset_id = %s AND parent_id IS NULL"
    assert await rows(ctx, runs, upload.asset_id) == [(1,)]
    object_ = await ctx.storage.s3.head(bucket, key)
    assert object_ is not None
    assert (object_.size, object_.checksum) == (len(DATA), checksum.encode(checksum.crc64nvme(DATA)))
