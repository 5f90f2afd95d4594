"""Complete and finalize: nothing is ingested that is not the file that was sent, and what was sent is not lost.

The steps of the workflow run here without a worker; `test_worker.py` runs them in one.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from rushes import checksum
from rushes.ingest import finalize
from rushes.ingest.abort import discard
from rushes.model import ChecksumAlgorithm
from rushes.pipeline.finalize import run_finalize
from rushes.plan import MIN_PART
from rushes.storage import DonePart, StoredObject
from tests.ingest.equipment import TWO_PARTS, Desk, Directly, Person, body, crc, pieces, problem, some_bytes
from tests.pipeline.equipment import with_storage

DATA = some_bytes(TWO_PARTS, seed=2)


async def two_parts(desk: Desk) -> tuple[Person, dict[str, Any]]:
    ann = desk.person()
    return ann, await ann.begin(len(DATA), part_size=MIN_PART)


async def row(desk: Desk, upload: dict[str, Any]) -> tuple[str, str, str]:
    """(bucket, key, storage upload id)"""
    bucket, key, storage_id = await desk.in_storage(upload)
    return bucket, key, storage_id


async def object_in_storage(desk: Desk, upload: dict[str, Any]) -> bytes | None:
    bucket, key, _ = await row(desk, upload)
    if await desk.ctx.storage.s3.head(bucket, key) is None:
        return None
    return b"".join([chunk async for chunk in desk.ctx.storage.s3.get_range(bucket, key)])


# --- the good way -----------------------------------------------------------------------------------------------------


async def test_a_file_is_ingested(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    answer = await ann.complete(upload, await ann.send(upload, DATA), checksum=crc(DATA))
    assert answer.status_code == 202
    assert answer.headers["Location"] == f"/v1/uploads/{upload['upload_id']}/status"
    assert body(answer)["upload_state"] == "finalizing"
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await object_in_storage(desk, upload) == DATA
    assert await desk.quota(ann.who) == (len(DATA), 0, 0)
    asset = await ann.asset(upload)
    assert asset["checksum"] == {"algorithm": ChecksumAlgorithm.CRC64NVME, "value": crc(DATA)}
    assert (asset["verification"], asset["state"], asset["status"]) == ("end_to_end", "processing", "processing")
    assert (await desk.web.get(asset["original_url"])).content == DATA
    assert await desk.events(upload["upload_id"]) == [
        "upload_started",
        "upload_opened",
        "part_completed",
        "part_completed",
        "upload_finalizing",
        "upload_completed",
        "job_queued",
        "processing_queued",
    ]


async def test_a_whole_upload_can_be_completed_again(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    answers = await asyncio.gather(*(ann.complete(upload) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert body(answers[0])["status"] == "processing"
    assert await desk.quota(ann.who) == (10, 0, 0)
    assert len(await desk.enqueued(f"finalize-{upload['upload_id']}%")) == 1


async def test_every_step_may_run_twice(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await ann.complete(upload, await ann.send(upload, DATA))
    id_ = UUID(upload["upload_id"])
    assert [await finalize.reconcile(desk.ctx, id_, 1) for _ in range(2)] == ["ready", "ready"]
    assert [await finalize.assemble(desk.ctx, id_, 1) for _ in range(2)] == ["whole", "whole"]
    await asyncio.gather(*(finalize.settle(desk.ctx, id_, 1) for _ in range(5)))
    assert await finalize.assemble(desk.ctx, id_, 1) == "over"
    assert await finalize.reconcile(desk.ctx, id_, 1) == "over"
    assert await desk.quota(ann.who) == (len(DATA), 0, 0)
    assert len((await ann.read(f"jobs?asset_id={upload['asset_id']}"))["items"]) == 1


async def test_twenty_runs_at_once_ingest_once(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await ann.complete(upload, await ann.send(upload, DATA))
    verdicts = await asyncio.gather(*(run_finalize(desk.ctx, Directly(), upload["upload_id"], 1) for _ in range(20)))
    assert set(verdicts) <= {"ingested", "over"}
    assert await desk.quota(ann.who) == (len(DATA), 0, 0)
    assert (await desk.events(upload["upload_id"])).count("upload_completed") == 1
    assert len((await ann.read(f"jobs?asset_id={upload['asset_id']}"))["items"]) == 1


async def test_one_byte_is_a_file(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest(b"x")
    assert await object_in_storage(desk, upload) == b"x"


# --- parts that are missing -------------------------------------------------------------------------------------------


async def test_missing_parts_are_named(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(3 * MIN_PART, part_size=MIN_PART)
    everything = {"missing": [1, 2, 3], "missing_count": 3}
    assert problem(await ann.complete(upload), 409, "parts_missing") == everything
    data = some_bytes(3 * MIN_PART)
    done = await ann.send(upload, data, [2])
    assert problem(await ann.complete(upload, done), 409, "parts_missing") == {"missing": [1, 3], "missing_count": 2}
    assert (await ann.upload(upload))["held"] == {"parts": 1, "bytes": MIN_PART}  # the report counts all the same
    assert (await ann.upload(upload))["state"] == "uploading"
    await ann.complete(upload, await ann.send(upload, data, [1, 3]))
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await object_in_storage(desk, upload) == data


async def test_at_most_a_thousand_missing_parts_are_named(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin(9_999 * MIN_PART, part_size=MIN_PART)
    extra = problem(await ann.complete(upload), 409, "parts_missing")
    assert extra == {"missing": list(range(1, 1_001)), "missing_count": 9_999}


async def test_a_part_that_was_granted_but_never_sent_sends_the_upload_back(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    done = await ann.send(upload, DATA, [1])
    await ann.grants(upload, DATA, [2])
    assert (await ann.complete(upload, done)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "missing"
    found = await ann.upload(upload)
    assert (found["state"], found["problem"]["code"]) == ("uploading", "parts_missing")
    assert found["problem"]["details"] == {"missing": [2], "missing_count": 1}
    assert (await ann.complete(upload, await ann.send(upload, DATA, [2]))).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert (await ann.upload(upload))["problem"] is None
    ids = await desk.enqueued(f"finalize-{upload['upload_id']}%")
    assert ids == [f"finalize-{upload['upload_id']}-{attempt}" for attempt in (1, 2)]


async def test_an_old_attempt_does_nothing_to_a_newer_one(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await ann.grants(upload, DATA)
    await ann.complete(upload)
    assert await desk.finalize(upload["upload_id"]) == "missing"
    await ann.complete(upload, await ann.send(upload, DATA))
    assert await run_finalize(desk.ctx, Directly(), upload["upload_id"], 1) == "over"
    assert (await ann.upload(upload))["state"] == "finalizing"
    await finalize.fail(desk.ctx, UUID(upload["upload_id"]), 1, "late", "Too late.")
    assert await desk.finalize(upload["upload_id"]) == "ingested"


async def test_a_part_that_nobody_reported_counts_when_there_is_no_doubt(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await ann.send(upload, DATA)
    assert (await ann.complete(upload)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await object_in_storage(desk, upload) == DATA
    assert (await ann.upload(upload))["held"] == {"parts": 2, "bytes": len(DATA)}


async def test_a_part_with_two_grants_counts_only_when_reported(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await ann.ask(upload, [(2, crc(b"an earlier take"))])
    done = await ann.send(upload, DATA)
    assert problem(await ann.complete(upload, done[:1]), 409, "parts_missing")["missing"] == [2]
    assert (await ann.complete(upload, done[1:])).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"


async def test_an_unreported_part_of_another_size_does_not_count(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await ann.send(upload, DATA, [1])
    await ann.grants(upload, DATA, [2])
    bucket, key, storage_id = await row(desk, upload)
    await desk.ctx.storage.s3.upload_part(bucket, key, storage_id, 2, b"short", checksum=None)
    await ann.complete(upload)
    assert await finalize.reconcile(desk.ctx, UUID(upload["upload_id"]), 1) == "missing"
    assert (await ann.upload(upload))["held"] == {"parts": 1, "bytes": MIN_PART}


async def test_a_report_that_is_refused_starts_nothing(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    one, two = await ann.send(upload, DATA)
    problem(await ann.complete(upload, [one, two | {"checksum": crc(b"x")}]), 409, "part_not_granted")
    assert (await ann.upload(upload))["state"] == "uploading"
    problem(await ann.complete(upload, checksum="nonsense"), 422, "checksum_invalid")
    problem(await ann.complete(upload, checksum="AAAAAAAAAAB="), 422, "checksum_invalid")
    assert await desk.enqueued(f"finalize-{upload['upload_id']}%") == []


# --- what must never be ingested --------------------------------------------------------------------------------------


async def assert_nothing_came_of_it(desk: Desk, ann: Person, upload: dict[str, Any], code: str) -> None:
    found = await ann.read(f"uploads/{upload['upload_id']}/status")
    assert (found["status"], found["upload_state"], found["processing_state"]) == ("failed", "failed", "failed")
    assert found["problem"]["code"] == code
    assert await desk.quota(ann.who) == (0, 0, 0)
    asset = await ann.asset(upload)
    assert (asset["original_url"], asset["verification"], asset["published_at"]) == (None, None, None)
    assert (await ann.read(f"jobs?asset_id={upload['asset_id']}"))["items"] == []
    problem(await ann.complete(upload), 409, code)
    assert await desk.enqueued(f"discard-{upload['upload_id']}") == [f"discard-{upload['upload_id']}"]
    await discard(desk.ctx, UUID(upload["upload_id"]))
    bucket, key, _ = await row(desk, upload)
    assert [found async for found in desk.ctx.storage.s3.list_multipart_uploads(bucket, key)] == []


async def test_a_file_other_than_declared_is_not_ingested(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await ann.complete(upload, await ann.send(upload, DATA), checksum=crc(b"another file"))
    assert await desk.finalize(upload["upload_id"]) == "over"
    await assert_nothing_came_of_it(desk, ann, upload, "checksum_mismatch")
    assert await object_in_storage(desk, upload) is None


async def assert_right_in_the_end(desk: Desk, ann: Person, upload: dict[str, Any]) -> None:
    """Some stores assemble the part that the ETag names though another has replaced it, others refuse. Both are right."""
    if await desk.finalize(upload["upload_id"]) == "missing":
        assert (await ann.upload(upload))["problem"]["details"]["missing"] == [2]
        assert await object_in_storage(desk, upload) is None
        await ann.complete(upload, await ann.send(upload, DATA, [2]))
        assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await object_in_storage(desk, upload) == DATA


async def test_a_part_swapped_behind_the_ledger_is_not_ingested(desk: Desk) -> None:
    """Somebody with the storage's own key puts other bytes of the same length in a part's place."""
    ann, upload = await two_parts(desk)
    done = await ann.send(upload, DATA)
    bucket, key, storage_id = await row(desk, upload)
    swapped = some_bytes(len(pieces(DATA)[1]), seed=99)
    await desk.ctx.storage.s3.upload_part(bucket, key, storage_id, 2, swapped, checksum=None)
    await ann.complete(upload, done)
    await assert_right_in_the_end(desk, ann, upload)


async def test_an_earlier_take_that_lands_late_is_not_ingested(desk: Desk) -> None:
    """The URL of an earlier checksum still works; the part that it stores is not the one the ledger knows."""
    ann, upload = await two_parts(desk)
    earlier = some_bytes(TWO_PARTS, seed=7)
    (old,) = await ann.grants(upload, earlier, [2])
    done = await ann.send(upload, DATA)
    assert (await ann.put(old, pieces(earlier)[1])).status_code == 200
    await ann.complete(upload, done)
    await assert_right_in_the_end(desk, ann, upload)


async def test_a_report_that_lies_is_not_ingested(desk: Desk) -> None:
    """The ETag of one take with the checksum of another: parts as listed, yet not the file that was promised."""
    ann, upload = await two_parts(desk)
    earlier = await ann.send(upload, some_bytes(TWO_PARTS, seed=7))
    honest = crc(pieces(DATA)[1])
    await ann.ask(upload, [(2, honest)])
    await ann.complete(upload, [earlier[0], {"number": 2, "etag": earlier[1]["etag"], "checksum": honest}])
    assert await desk.finalize(upload["upload_id"]) == "over"
    await assert_nothing_came_of_it(desk, ann, upload, "storage_refused")
    assert await object_in_storage(desk, upload) is None


async def test_an_etag_that_is_not_the_parts_sends_it_back(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    one, two = await ann.send(upload, DATA)
    await ann.complete(upload, [one, two | {"etag": "<&\"'>" + "0" * 32}])
    assert await desk.finalize(upload["upload_id"]) == "missing"
    assert (await ann.upload(upload))["held"] == {"parts": 1, "bytes": MIN_PART}
    await ann.complete(upload, [two])
    assert await desk.finalize(upload["upload_id"]) == "ingested"


async def test_an_upload_that_is_sent_back_has_time_to_send(desk: Desk) -> None:
    """It was completed a moment before it would have expired."""
    ann, upload = await two_parts(desk)
    one, two = await ann.send(upload, DATA)
    await ann.complete(upload, [one, two | {"etag": "0" * 32}])
    id_ = upload["upload_id"]
    await desk.sql("UPDATE uploads SET expires_at = now() WHERE id = %(id)s RETURNING 1", id=id_)
    assert await desk.finalize(id_) == "missing"
    later = """SELECT expires_at > now() + make_interval(secs => idle_seconds) - interval '1 hour'
        FROM uploads WHERE id = %(id)s"""
    assert await desk.sql(later, id=id_) == [(True,)]


@pytest.mark.parametrize(
    ("stored", "ours"),
    [(DATA, False), (DATA[:-1], True), (DATA + b"x", True), (DATA[:-1] + b"?", True)],
    ids=["another upload's", "short", "long", "flipped"],
)
async def test_another_object_at_the_key_is_not_ingested(desk: Desk, stored: bytes, ours: bool) -> None:
    """Storage has forgotten the upload, and something lies where its object would."""
    ann, upload = await two_parts(desk)
    await ann.complete(upload, await ann.send(upload, DATA))
    bucket, key, storage_id = await row(desk, upload)
    s3 = desk.ctx.storage.s3
    await s3.abort_multipart(bucket, key, storage_id)
    metadata = {"rushes-upload": upload["upload_id"] if ours else upload["asset_id"]}
    impostor = await s3.create_multipart(bucket, key, metadata=metadata)
    etags = [
        DonePart(number, await s3.upload_part(bucket, key, impostor, number, part, checksum=crc(part)))
        for number, part in enumerate(pieces(stored), 1)
    ]
    await s3.complete_multipart(bucket, key, impostor, etags, checksum=crc(stored), size=len(stored))
    assert await desk.finalize(upload["upload_id"]) == "over"
    await assert_nothing_came_of_it(desk, ann, upload, "object_corrupt")


async def test_an_object_of_another_length_is_not_ingested(desk: Desk) -> None:
    """Many stores tell no checksum of an object; its length they all do."""
    ann, upload = await two_parts(desk)
    await ann.complete(upload, await ann.send(upload, DATA))

    async def head(bucket: str, key: str) -> StoredObject | None:
        found = await desk.ctx.storage.s3.head(bucket, key)
        return None if found is None else replace(found, size=found.size - 1, checksum=None)

    assert await finalize.assemble(with_storage(desk.ctx, head=head), UUID(upload["upload_id"]), 1) == "over"
    await assert_nothing_came_of_it(desk, ann, upload, "object_corrupt")


async def test_an_upload_that_storage_has_lost_fails(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await ann.complete(upload, await ann.send(upload, DATA))
    bucket, key, storage_id = await row(desk, upload)
    await desk.ctx.storage.s3.abort_multipart(bucket, key, storage_id)
    assert await desk.finalize(upload["upload_id"]) == "over"
    await assert_nothing_came_of_it(desk, ann, upload, "upload_lost")


# --- lost replies -----------------------------------------------------------------------------------------------------


async def completed_in_storage(desk: Desk, upload: dict[str, Any], done: list[dict[str, Any]]) -> None:
    bucket, key, storage_id = await row(desk, upload)
    await desk.ctx.storage.s3.complete_multipart(
        bucket,
        key,
        storage_id,
        [DonePart(part["number"], part["etag"]) for part in done],
        checksum=crc(DATA),
        size=len(DATA),
    )


@pytest.mark.parametrize("forgotten", [False, True], ids=["remembered", "forgotten"])
@pytest.mark.parametrize("reported", [0, 1, 2])
async def test_a_reply_that_was_lost_costs_nothing(desk: Desk, forgotten: bool, reported: int) -> None:
    """Storage assembled the file, but nobody heard; some stores then no longer know the multipart upload."""
    ann, upload = await two_parts(desk)
    done = await ann.send(upload, DATA)
    await completed_in_storage(desk, upload, done)
    if forgotten:
        await desk.sql(
            "UPDATE uploads SET storage_upload_id = storage_upload_id || 'x' WHERE id = %(id)s", id=upload["upload_id"]
        )
    await ann.complete(upload, done[:reported])
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await object_in_storage(desk, upload) == DATA
    assert (await ann.asset(upload))["checksum"]["value"] == crc(DATA)
    assert (await ann.upload(upload))["held"] == {"parts": 2, "bytes": len(DATA)}


def test_the_combined_checksum_is_the_files() -> None:
    parts = [(checksum.crc64nvme(part), len(part)) for part in pieces(DATA, 1_000_003)]
    assert checksum.encode(checksum.combine(parts)) == crc(DATA)
