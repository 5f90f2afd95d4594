"""The staged layout: the same protocol, but parts are objects of their own until copiers have assembled them.

No worker runs here: a test takes the copiers' part when it wants to.
"""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import UUID, uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.db import copies
from rushes.ingest import copying, staged
from rushes.ingest.abort import discard
from rushes.ingest.capabilities import capabilities_of, keep
from rushes.ingest.context import Context
from rushes.pipeline.finalize import run_finalize, run_verify
from rushes.pipeline.staged import run_copy, run_unstage
from rushes.plan import MIN_PART
from rushes.storage import DonePart, StoredPart
from tests.ingest.equipment import Desk, Directly, Json, Person, body, crc, pieces, problem, some_bytes
from tests.ingest.staging import (
    DATA,
    OTHER,
    copiers,
    copy_all,
    ledger,
    overwrite,
    part_objects,
    prefix_of,
    report,
    staged_upload,
    stored_parts,
)
from tests.pipeline.equipment import with_storage

# --- the same protocol ------------------------------------------------------------------------------------------------


async def test_a_grant_is_for_an_object_of_ids_and_number_in_the_incoming_place(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    assert (upload["layout"], upload["part_count"]) == ("staged", 3)
    granted = await ann.grants(upload, DATA)
    prefix = await prefix_of(desk, upload)
    for grant, part in zip(granted, pieces(DATA), strict=True):
        url = urlsplit(grant["url"])
        assert url.path == f"/{desk.ctx.storage.incoming.bucket}/{prefix}{grant['number']}"
        signed = parse_qs(url.query)["X-Amz-SignedHeaders"]
        assert signed == ["content-length;host;x-amz-checksum-crc64nvme"]
        assert (grant["method"], grant["length"]) == ("PUT", len(part))
        assert grant["headers"] == {"x-amz-checksum-crc64nvme": crc(part)}


async def test_storage_refuses_other_bytes_and_other_lengths(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    grant = (await ann.grants(upload, DATA, [1]))[0]
    part = pieces(DATA)[0]
    flipped = bytes([part[0] ^ 1]) + part[1:]
    for wrong in (flipped, part[:-1], part + b"!"):
        assert (await ann.put(grant, wrong)).is_client_error
    assert await part_objects(desk, upload) == {}
    assert (await ann.put(grant, part)).status_code == 200
    assert await part_objects(desk, upload) == {"1": MIN_PART}


async def test_a_file_is_ingested_and_nothing_is_left_in_the_incoming_place(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    done = await ann.send(upload, DATA)
    await report(ann, upload, done)
    assert await part_objects(desk, upload) == {"1": MIN_PART, "2": MIN_PART, "3": 1_000}
    assert await stored_parts(desk, upload) == {}
    assert await copy_all(desk, upload) == ["copied"] * 3
    assert await stored_parts(desk, upload) == {1: MIN_PART, 2: MIN_PART, 3: 1_000}
    assert (await ann.complete(upload, checksum=crc(DATA))).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == DATA
    asset = await ann.asset(upload)
    assert (asset["verification"], asset["checksum"]["value"]) == ("end_to_end", crc(DATA))
    assert await desk.quota(ann.who) == (len(DATA), 0, 0)
    assert (
        len(await desk.enqueued(f"unstage-{upload['upload_id']}%")) == 2
    )  # and once more when no grant is good any more
    await run_unstage(desk.ctx, upload["upload_id"])
    assert await part_objects(desk, upload) == {}
    assert await desk.original(upload) == DATA


async def test_a_small_file_is_staged_too(desk: Desk) -> None:
    ann, upload = await staged_upload(desk, b"not a film")
    assert (await ann.complete(upload, await ann.send(upload, b"not a film"))).status_code == 202
    assert await copy_all(desk, upload) == ["copied"]
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == b"not a film"


async def test_a_file_of_unknown_size_is_staged_too(desk: Desk) -> None:
    ann, data = desk.person(), DATA[: MIN_PART + 9]
    wanted = {"filename": "a.mov", "max_size": 10 * MIN_PART, "part_size": MIN_PART, "layout": "staged"}
    upload = body(await ann.http.post("/v1/uploads", json=wanted))
    for number, part in enumerate(pieces(data), 1):
        wanted = {"number": number, "checksum": crc(part), "size": len(part)}
        answer = await ann.http.post(f"/v1/uploads/{upload['upload_id']}/parts", json={"want": [wanted]})
        answer = await ann.put(body(answer)["grants"][0], part)
        await report(ann, upload, [{"number": number, "etag": answer.headers["ETag"], "checksum": crc(part)}])
    assert await copy_all(desk, upload) == ["copied"] * 2
    assert (await ann.complete(upload, size=len(data))).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == data


@pytest.mark.parametrize("algorithm", ["crc32c", "sha256", "md5"])
async def test_parts_may_carry_any_checksum(desk: Desk, algorithm: str) -> None:
    ann, data = desk.person(), DATA[: MIN_PART + 9]
    upload = await ann.begin(len(data), part_size=MIN_PART, layout="staged", checksum_algorithm=algorithm)
    assert upload["checksum_algorithm"] == algorithm
    assert (await ann.complete(upload, await ann.send(upload, data))).status_code == 202
    assert await copy_all(desk, upload) == ["copied"] * 2
    if await desk.finalize(upload["upload_id"]) == "verifying":  # what does not combine is read, in any layout
        assert await run_verify(desk.ctx, Directly(), upload["upload_id"], 1) == "ingested"
    assert (await ann.upload(upload))["state"] == "ingested"
    assert await desk.original(upload) == data


async def test_a_store_that_does_not_copy_safely_takes_no_staged_uploads(desk: Desk) -> None:
    seen = await capabilities_of(desk.ctx)
    assert seen.copies
    assert seen.copies_if_match
    ann = desk.person()
    for lacking in (replace(seen, copies=False), replace(seen, copies_if_match=False)):
        await keep(desk.ctx, lacking, desk.ctx.now())
        try:
            answer = await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 9, "layout": "staged"})
            problem(answer, 422, "layout_unsupported")
            assert "multipart" in body(answer)["detail"]
            assert (await ann.begin(9))["layout"] == "multipart"
        finally:
            await keep(desk.ctx, seen, desk.ctx.now())


# --- rolling assembly -------------------------------------------------------------------------------------------------


@given(count=st.integers(0, 10_000))
def test_parts_are_dealt_so_that_copiers_stay_short(count: int) -> None:
    numbers = list(range(1, count + 1))
    hands = staged.dealt(numbers)
    assert [number for hand in hands for number in hand] == numbers
    assert all(1 <= len(hand) <= staged.MOST_EACH for hand in hands)
    assert len(hands) <= max(staged.AT_ONCE, -(-count // staged.MOST_EACH))


async def test_a_part_is_copied_as_it_lands(desk: Desk) -> None:
    """One copier a part, enqueued with the report; reporting again enqueues nothing."""
    ann, upload = await staged_upload(desk)
    done = await ann.send(upload, DATA, [2])
    await report(ann, upload, done)
    await report(ann, upload, done)
    (copier,) = await copiers(desk, upload)
    assert await desk.enqueued(f"copy-{copier}") == [f"copy-{copier}"]
    assert await copy_all(desk, upload) == ["copied"]
    assert await ledger(desk, upload) == [(2, True, True)]
    await report(ann, upload, done)
    assert await copiers(desk, upload) == []
    assert await run_copy(desk.ctx, upload["upload_id"], copier) == "copied"  # as when a dead worker's work is repeated


async def test_a_report_that_is_refused_starts_no_copy(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    (done,) = await ann.send(upload, DATA, [1])
    problem(await ann.ask(upload, done=[done, done | {"number": 2}]), 409, "part_not_granted")
    assert await copiers(desk, upload) == []
    assert await ledger(desk, upload) == [(1, False, False)]


async def test_a_replaced_part_is_copied_again(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    old = OTHER + DATA[MIN_PART:]
    await report(ann, upload, await ann.send(upload, old))
    await copy_all(desk, upload)
    await report(ann, upload, await ann.send(upload, DATA, [1]))
    assert await ledger(desk, upload) == [(1, True, False), (2, True, True), (3, True, True)]
    assert len(await copiers(desk, upload)) == 1
    await copy_all(desk, upload)
    assert (await ann.complete(upload)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == DATA


async def test_a_part_replaced_before_its_copier_came_stays_with_it(desk: Desk) -> None:
    """The part is reported, replaced and reported again: one copier, and no second that could meet it."""
    ann, upload = await staged_upload(desk)
    await report(ann, upload, await ann.send(upload, OTHER + DATA[MIN_PART:], [1]))
    (first,) = await copiers(desk, upload)
    await report(ann, upload, await ann.send(upload, DATA, [1]))
    assert await copiers(desk, upload) == [first]
    assert len(await desk.enqueued("copy-%")) >= 1
    await copy_all(desk, upload)
    await report(ann, upload, await ann.send(upload, DATA, [2, 3]))
    await copy_all(desk, upload)
    assert (await ann.complete(upload)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == DATA


async def test_an_earlier_run_of_a_copier_writes_nothing(desk: Desk) -> None:
    """A worker that froze wakes after its work was taken over."""
    ann, upload = await staged_upload(desk)
    await report(ann, upload, await ann.send(upload, DATA, [1]))
    (copier,) = await copiers(desk, upload)
    upload_id, mine = UUID(upload["upload_id"]), UUID(copier)
    async with desk.ctx.db.transaction() as conn:
        before = await copies.take(conn, upload_id, mine, desk.ctx.now())
        after = await copies.take(conn, upload_id, mine, desk.ctx.now() - timedelta(minutes=1))
        assert before is not None
        assert after is not None
        assert after > before  # whatever the clocks say
        assert await copies.following(conn, upload_id, mine, before) is None
        part = await copies.following(conn, upload_id, mine, after)
    assert part is not None
    late = copying.Copied(part, "of a ghost")
    assert await copying._turn(desk.ctx, upload_id, mine, before, late) == "copied"
    assert await ledger(desk, upload) == [(1, True, False)]


# --- completing -------------------------------------------------------------------------------------------------------


async def test_complete_waits_for_nobody(desk: Desk) -> None:
    """Parts still to be copied: whoever copies the last one starts the finalize workflow, once."""
    ann, upload = await staged_upload(desk)
    assert (await ann.complete(upload, await ann.send(upload, DATA))).status_code == 202
    finalizing = f"finalize-{upload['upload_id']}%"
    assert await desk.enqueued(finalizing) == []
    waiting = await copiers(desk, upload)
    for copier in waiting[:-1]:
        await run_copy(desk.ctx, upload["upload_id"], copier)
        assert await desk.enqueued(finalizing) == []
    assert await desk.finalize(upload["upload_id"]) == "copying"  # out of turn: nothing happens
    await run_copy(desk.ctx, upload["upload_id"], waiting[-1])
    assert len(await desk.enqueued(finalizing)) == 1
    for copier in waiting:
        await run_copy(desk.ctx, upload["upload_id"], copier)
    assert len(await desk.enqueued(finalizing)) == 1
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == DATA


async def test_complete_when_all_is_copied_starts_finalizing_at_once(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    await report(ann, upload, await ann.send(upload, DATA))
    await copy_all(desk, upload)
    assert (await ann.complete(upload)).status_code == 202
    assert len(await desk.enqueued(f"finalize-{upload['upload_id']}%")) == 1
    assert (await ann.complete(upload)).status_code == 202
    assert len(await desk.enqueued(f"finalize-{upload['upload_id']}%")) == 1


async def test_parts_nobody_reported_count_if_their_objects_are_right(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    done = await ann.send(upload, DATA)
    assert (await ann.complete(upload, done[:1])).status_code == 202
    await copy_all(desk, upload)
    assert await desk.finalize(upload["upload_id"]) == "copying"
    assert await ledger(desk, upload) == [(1, True, True), (2, True, False), (3, True, False)]
    await copy_all(desk, upload)
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == DATA
    ways = await desk.sql("SELECT way FROM parts WHERE upload_id = %(id)s ORDER BY number", id=upload["upload_id"])
    assert ways == [("direct",), ("found",), ("found",)]


async def test_a_client_that_lost_everything_learns_which_parts_are_there(desk: Desk) -> None:
    """Nothing was reported; what is found is copied, and counted once."""
    ann, upload = await staged_upload(desk)
    await ann.send(upload, DATA, [1, 3])
    await ann.grants(upload, DATA, [2])
    for _ in range(2):
        view = await ann.read(f"uploads/{upload['upload_id']}?reconcile=true")
        assert [(part["number"], part["way"]) for part in view["parts"]] == [(1, "found"), (3, "found")]
        assert view["held"] == {"parts": 2, "bytes": MIN_PART + 1_000}
    assert await copy_all(desk, upload) == ["copied"] * 2
    assert await ledger(desk, upload) == [(1, True, True), (2, False, False), (3, True, True)]


async def test_parts_nobody_reported_do_not_count_if_they_are_absent_or_others(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    await ann.send(upload, DATA, [1])
    await ann.grants(upload, DATA, [2, 3])
    await overwrite(desk, upload, 2, OTHER)  # the right size, and the checksum that storage tells is another
    assert (await ann.complete(upload)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "missing"
    view = await ann.upload(upload)
    assert (view["state"], view["problem"]["code"]) == ("uploading", "parts_missing")
    assert view["problem"]["details"]["missing"] == [2, 3]


async def test_other_bytes_that_were_found_are_refused_when_they_are_copied(desk: Desk) -> None:
    """Storage tells no checksum of the object, so its size alone counts until the copy's checksum is known."""
    ann, upload = await staged_upload(desk)
    done = await ann.send(upload, DATA)
    await overwrite(desk, upload, 2, OTHER, told=False)
    assert (await ann.complete(upload, [done[0], done[2]])).status_code == 202
    await copy_all(desk, upload)
    assert await desk.finalize(upload["upload_id"]) == "copying"
    await copy_all(desk, upload)
    assert await desk.finalize(upload["upload_id"]) == "missing"
    assert (await ann.upload(upload))["problem"]["details"]["missing"] == [2]


async def test_a_part_granted_anew_and_not_reported_does_not_count(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    await report(ann, upload, await ann.send(upload, OTHER + DATA[MIN_PART:]))
    await copy_all(desk, upload)
    await ann.send(upload, DATA, [1])
    assert problem(await ann.complete(upload), 409, "parts_missing")["missing"] == [1]


@pytest.mark.parametrize("harm", ["vanished", "changed"])
@pytest.mark.parametrize("number", [1, 3], ids=["copied", "carried"])
async def test_a_part_object_that_vanished_or_changed_has_to_be_sent_again(desk: Desk, harm: str, number: int) -> None:
    """Never other bytes than those reported, even of the same length."""
    ann, upload = await staged_upload(desk)
    await report(ann, upload, await ann.send(upload, DATA))
    if harm == "vanished":
        bucket = desk.ctx.storage.incoming.bucket
        await desk.ctx.storage.s3.delete_objects(bucket, [f"{await prefix_of(desk, upload)}{number}"])
    else:
        await overwrite(desk, upload, number, some_bytes(len(pieces(DATA)[number - 1]), seed=number))
    await copy_all(desk, upload)
    assert [held for _, held, _ in await ledger(desk, upload)] == [part != number for part in (1, 2, 3)]
    view = await ann.upload(upload)
    assert view["held"]["parts"] == 2
    assert problem(await ann.complete(upload), 409, "parts_missing")["missing"] == [number]
    await report(ann, upload, await ann.send(upload, DATA, [number]))
    await copy_all(desk, upload)
    assert (await ann.complete(upload)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == DATA


async def test_a_part_lost_while_it_finalizes_sends_the_upload_back(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    done = await ann.send(upload, DATA)
    await overwrite(desk, upload, 2, OTHER)
    assert (await ann.complete(upload, done)).status_code == 202
    await copy_all(desk, upload)
    assert len(await desk.enqueued(f"finalize-{upload['upload_id']}%")) == 1
    assert await desk.finalize(upload["upload_id"]) == "missing"
    view = await ann.upload(upload)
    assert (view["state"], view["problem"]["details"]["missing"]) == ("uploading", [2])
    await ann.send(upload, DATA, [2])
    assert problem(await ann.complete(upload), 409, "parts_missing")["missing"] == [2]  # found is not enough any more
    assert (await ann.complete(upload, await ann.send(upload, DATA, [2]))).status_code == 202
    await copy_all(desk, upload)
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == DATA


def without_part(desk: Desk, number: int, looks: int) -> Context:
    """Storage does not list this part, for so many looks: AWS shows another one there when a late copy replaced it."""
    left = looks

    async def list_parts(*args: Any) -> list[StoredPart]:
        nonlocal left
        left -= 1
        listed = await desk.ctx.storage.s3.list_parts(*args)
        return [part for part in listed if part.number != number or left < 0]

    return with_storage(desk.ctx, list_parts=list_parts)


async def copied_and_completed(desk: Desk) -> tuple[Person, Json]:
    ann, upload = await staged_upload(desk)
    await report(ann, upload, await ann.send(upload, DATA))
    await copy_all(desk, upload)
    assert (await ann.complete(upload)).status_code == 202
    return ann, upload


async def test_a_copy_that_is_not_in_storage_as_recorded_is_made_again(desk: Desk) -> None:
    """As when a dead worker's request lands late and replaces a part's copy by that of its predecessor."""
    _, upload = await copied_and_completed(desk)
    ctx = without_part(desk, 2, looks=1)
    assert await run_finalize(ctx, Directly(), upload["upload_id"], 1) == "copying"
    assert await ledger(desk, upload) == [(1, True, True), (2, True, False), (3, True, True)]
    await copy_all(desk, upload)
    assert await run_finalize(ctx, Directly(), upload["upload_id"], 1) == "ingested"
    assert await desk.original(upload) == DATA


async def test_a_copy_that_never_stays_is_left_to_storage_to_judge(desk: Desk) -> None:
    """No circle: after a few times the upload is completed as it is, and what storage says of that counts."""
    _, upload = await copied_and_completed(desk)
    ctx = without_part(desk, 2, looks=100)
    verdicts: list[str] = []
    while not verdicts or verdicts[-1] == "copying":
        verdicts.append(await run_finalize(ctx, Directly(), upload["upload_id"], 1))
        await copy_all(desk, upload)
    assert verdicts == ["copying"] * staged.MOST_AGAIN + ["ingested"]
    assert await desk.original(upload) == DATA


async def test_a_copier_that_thaws_late_destroys_nothing(desk: Desk) -> None:
    """Its work was taken over and the object is being read when storage tells it that there is no such upload."""
    ann = desk.person()
    sha256 = hashlib.sha256(DATA).hexdigest()
    upload = await ann.begin(len(DATA), part_size=MIN_PART, layout="staged", checksum=f"sha256:{sha256}")
    await report(ann, upload, await ann.send(upload, DATA))
    query = "SELECT copier FROM parts WHERE upload_id = %(id)s AND number = 1"  # which is not carried
    ((copier,),) = await desk.sql(query, id=upload["upload_id"])
    frozen, thawed = asyncio.Event(), asyncio.Event()

    async def upload_part_copy(*args: Any, **options: Any) -> Any:
        frozen.set()
        await thawed.wait()
        return await desk.ctx.storage.s3.upload_part_copy(*args, **options)

    ctx = with_storage(desk.ctx, upload_part_copy=upload_part_copy)
    zombie = asyncio.create_task(run_copy(ctx, upload["upload_id"], str(copier)))
    await frozen.wait()
    await copy_all(desk, upload)
    assert (await ann.complete(upload)).status_code == 202
    assert await run_finalize(desk.ctx, Directly(), upload["upload_id"], 1) == "verifying"
    thawed.set()
    assert await zombie == "copied"
    assert (await ann.upload(upload))["state"] == "finalizing"
    assert await run_verify(desk.ctx, Directly(), upload["upload_id"], 1) == "ingested"
    assert await desk.original(upload) == DATA


async def test_copies_of_an_upload_that_is_complete_in_storage_are_not_missed(desk: Desk) -> None:
    """A Complete whose worker died takes the parts away while another looks, and shows the object after."""
    ann, upload = await copied_and_completed(desk)
    ctx = without_part(desk, 2, looks=1)
    assert await run_finalize(ctx, Directly(), upload["upload_id"], 1) == "copying"
    bucket, key, storage_id = await desk.in_storage(upload)
    s3 = desk.ctx.storage.s3
    listed = [DonePart(part.number, part.etag) for part in await s3.list_parts(bucket, key, storage_id)]
    await s3.complete_multipart(bucket, key, storage_id, listed)
    before = len(await desk.enqueued(f"finalize-{upload['upload_id']}%"))
    assert await copy_all(desk, upload) == ["refused"]
    assert (await ann.upload(upload))["state"] == "finalizing"
    assert len(await desk.enqueued(f"finalize-{upload['upload_id']}%")) == before + 1
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await desk.original(upload) == DATA


async def test_an_upload_that_storage_forgot_fails_when_it_is_completed(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    done = await ann.send(upload, DATA)
    bucket, key, storage_id = await desk.in_storage(upload)
    await desk.ctx.storage.s3.abort_multipart(bucket, key, storage_id)
    await report(ann, upload, done)
    assert await copy_all(desk, upload) == ["refused"] * 3
    assert (await ann.upload(upload))["state"] == "uploading"
    assert (await ann.complete(upload)).status_code == 202
    await copy_all(desk, upload)
    view = await ann.upload(upload)
    assert (view["state"], view["problem"]["code"]) == ("failed", "upload_lost")
    assert await desk.quota(ann.who) == (0, 0, 0)


# --- coming to nothing ------------------------------------------------------------------------------------------------


async def test_abort_leaves_nothing(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    await report(ann, upload, await ann.send(upload, DATA, [1, 2]))
    waiting = await copiers(desk, upload)
    await run_copy(desk.ctx, upload["upload_id"], waiting[0])
    assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    assert await run_copy(desk.ctx, upload["upload_id"], waiting[1]) == "over"
    await discard(desk.ctx, UUID(upload["upload_id"]))
    assert await part_objects(desk, upload) == {}
    ((key,),) = await desk.sql("SELECT key FROM uploads WHERE id = %(id)s", id=upload["upload_id"])
    listed = desk.ctx.storage.s3.list_multipart_uploads(desk.ctx.storage.originals.bucket, key)
    assert [open_.key async for open_ in listed] == []
    assert await copiers(desk, upload) == []


async def test_removing_never_touches_an_open_upload(desk: Desk) -> None:
    ann, upload = await staged_upload(desk)
    await report(ann, upload, await ann.send(upload, DATA, [1]))
    await staged.remove(desk.ctx, UUID(upload["upload_id"]))
    assert await part_objects(desk, upload) == {"1": MIN_PART}
    await staged.remove(desk.ctx, uuid4())
