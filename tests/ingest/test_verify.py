"""Where storage proves too little, a worker reads the object before it counts: whichever checksum the parts carry."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes import checksum
from rushes.config import Settings
from rushes.errors import Conflict, Unavailable
from rushes.ingest import finalize
from rushes.ingest.capabilities import capabilities_of, place_of
from rushes.ingest.verify import BLOCK, Reading, feed, must_be_read, read_on
from rushes.model import ChecksumAlgorithm, Part, Proof
from rushes.pipeline.finalize import run_finalize
from rushes.plan import MIN_PART
from rushes.storage import DonePart
from tests.ingest.equipment import TWO_PARTS, Desk, Directly, Person, crc, open_desk, pieces, some_bytes, sum_of
from tests.pipeline.equipment import database_apart, with_storage

DATA = some_bytes(TWO_PARTS, seed=6)
ALGORITHMS = list(ChecksumAlgorithm)
SHA256 = hashlib.sha256(DATA).hexdigest()


async def lenient_desk(settings: Settings, **seen: Any) -> AsyncIterator[Desk]:
    """A desk over a store that was seen to enforce parts' checksums, but of the whole object only what `seen` says."""
    with database_apart(settings) as apart:
        async with open_desk(apart) as first:
            found = (await capabilities_of(first.ctx)).to_json() | seen
            place = place_of(first.ctx)
            await first.sql(
                "UPDATE stores SET capabilities = %(seen)s::jsonb WHERE place = %(place)s RETURNING 1",
                seen=json.dumps(found),
                place=place,
            )
        async with open_desk(apart) as opened:
            assert (await capabilities_of(opened.ctx)).to_json() == found
            yield opened


@pytest.fixture(scope="module")
async def lenient(settings: Settings) -> AsyncIterator[Desk]:
    """Neither whole-object CRCs nor ETags of MD5s."""
    async for desk in lenient_desk(settings, full_object=[], etag_of_md5=False):
        yield desk


@pytest.fixture(scope="module")
async def by_etag(settings: Settings) -> AsyncIterator[Desk]:
    """No whole-object CRCs, but ETags of MD5s, as Ceph has them."""
    async for desk in lenient_desk(settings, full_object=[], etag_of_md5=True):
        yield desk


async def sent(desk: Desk, algorithm: str, **fields: Any) -> tuple[Person, dict[str, Any]]:
    """An upload of two parts that finalizes."""
    ann = desk.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART, checksum_algorithm=algorithm, **fields)
    assert upload["checksum_algorithm"] == algorithm
    assert (await ann.complete(upload, await ann.send(upload, DATA))).status_code == 202
    return ann, upload


async def was_read(desk: Desk, upload: dict[str, Any]) -> bool:
    return "upload_verifying" in await desk.events(upload["upload_id"])


# --- what is proven by whom -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_strict_store_proves_crcs_and_md5s_by_itself(desk: Desk, algorithm: str) -> None:
    """SeaweedFS refuses wrong CRCs of the whole object; its ETags are made of MD5s; of SHA-256 parts it shows nothing."""
    ann, upload = await sent(desk, algorithm)
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    seen = await capabilities_of(desk.ctx)
    proven = algorithm in seen.full_object or (algorithm == "md5" and seen.etag_of_md5)
    assert await was_read(desk, upload) is not proven
    asset = await ann.asset(upload)
    assert asset["verification"] == "end_to_end"
    whole = {"crc64nvme": crc(DATA), "crc32c": checksum.compute(ChecksumAlgorithm.CRC32C, DATA)}
    if algorithm in whole:
        assert asset["checksum"] == {"algorithm": algorithm, "value": whole[algorithm]}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_lenient_stores_object_is_read_first(lenient: Desk, algorithm: str) -> None:
    ann, upload = await sent(lenient, algorithm)
    ((attempt,),) = await lenient.sql("SELECT attempt FROM uploads WHERE id = %(id)s", id=upload["upload_id"])
    assert await run_finalize(lenient.ctx, Directly(), upload["upload_id"], attempt) == "verifying"
    status = await ann.read(f"uploads/{upload['upload_id']}/status")
    assert (status["upload_state"], status["verified"]) == ("finalizing", None)
    assert await lenient.enqueued(f"verify-{upload['upload_id']}%") == [f"verify-{upload['upload_id']}-1"]
    assert await lenient.finalize(upload["upload_id"]) == "ingested"
    asset = await ann.asset(upload)
    assert (asset["sha256"], asset["verification"]) == (SHA256, "end_to_end")
    assert asset["checksum"]["value"] is not None
    assert await lenient.quota(ann.who) == (len(DATA), 0, 0)


async def test_how_far_a_reading_is_can_be_seen_while_it_is_the_present_attempts(lenient: Desk) -> None:
    ann, upload = await sent(lenient, "crc32c")
    assert await run_finalize(lenient.ctx, Directly(), upload["upload_id"], 1) == "verifying"
    opened = await finalize.open_reading(lenient.ctx, UUID(upload["upload_id"]), 1)
    assert opened is not None
    address, attempt = f"uploads/{upload['upload_id']}/status", "UPDATE uploads SET {} WHERE id = %(id)s"
    await read_on(lenient.ctx, *opened)
    assert (await ann.read(address))["verified"] == len(DATA)
    await lenient.sql(attempt.format("attempt = 2, verified_bytes = NULL"), id=upload["upload_id"])
    await read_on(lenient.ctx, *opened)
    assert (await ann.read(address))["verified"] is None
    await lenient.sql(attempt.format("attempt = 1"), id=upload["upload_id"])
    assert await finalize.judge(lenient.ctx, *opened) == "ingested"
    assert (await ann.read(address))["verified"] is None


async def test_etags_of_md5s_are_proof(by_etag: Desk) -> None:
    ann, upload = await sent(by_etag, "md5")
    assert await by_etag.finalize(upload["upload_id"]) == "ingested"
    assert not await was_read(by_etag, upload)
    assert (await ann.asset(upload))["checksum"] == {"algorithm": "md5", "value": None}


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_an_object_of_other_bytes_is_found_out(lenient: Desk, algorithm: str) -> None:
    """An earlier take of a part lies in storage under the later one's number, and its ETag was reported for it."""
    ann = lenient.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART, checksum_algorithm=algorithm)
    earlier = some_bytes(TWO_PARTS, seed=77)
    one, old = await ann.send(upload, pieces(DATA)[0] + pieces(earlier)[1])
    honest = sum_of(upload, pieces(DATA)[1])
    await ann.ask(upload, [(2, honest)])
    assert (await ann.complete(upload, [one, old | {"checksum": honest}])).status_code == 202
    assert await lenient.finalize(upload["upload_id"]) == "over"
    status = await ann.read(f"uploads/{upload['upload_id']}/status")
    # Complete refuses the part's SHA-256; HEAD tells another CRC; of MD5s nothing is told, and the reading finds out.
    code = "storage_refused" if algorithm == "sha256" else "object_corrupt"
    assert (status["status"], status["problem"]["code"]) == ("failed", code)
    assert status["problem"]["details"].get("parts") == ([2] if algorithm == "md5" else None)
    await lenient.assert_nothing_is_left(ann, upload)


async def test_an_object_that_changes_while_it_is_read_is_found_out(lenient: Desk) -> None:
    ann, upload = await sent(lenient, "crc32c")
    bucket, key, _ = await lenient.in_storage(upload)
    ctx, s3 = lenient.ctx, lenient.ctx.storage.s3
    assert await run_finalize(ctx, Directly(), upload["upload_id"], 1) == "verifying"
    head = await s3.head(bucket, key)
    assert head is not None
    await s3.put_object(bucket, key, some_bytes(len(DATA)), size=len(DATA), metadata=head.metadata)
    assert await lenient.finalize(upload["upload_id"]) == "over"
    await lenient.assert_nothing_is_left(ann, upload)


async def test_an_object_that_vanishes_ends_the_upload(lenient: Desk) -> None:
    ann, upload = await sent(lenient, "crc32c")
    bucket, key, _ = await lenient.in_storage(upload)
    assert await run_finalize(lenient.ctx, Directly(), upload["upload_id"], 1) == "verifying"
    await lenient.ctx.storage.s3.delete_objects(bucket, [key])
    assert await lenient.finalize(upload["upload_id"]) == "over"
    await lenient.assert_nothing_is_left(ann, upload)


async def test_a_reading_that_breaks_goes_on_where_it_was(lenient: Desk) -> None:
    """The connection breaks at random places, again and again; what was read is not read twice but for a block."""
    ann, upload = await sent(lenient, "sha256")
    rng = random.Random(5)
    starts: list[int] = []
    real = lenient.ctx.storage.s3.get_range

    async def broken(bucket: str, key: str, **how: Any) -> AsyncIterator[bytes]:
        starts.append(how["start"])
        left = rng.randrange(1, 3_000_000) if len(starts) < 6 else len(DATA)
        async for chunk in real(bucket, key, **how):
            if left <= 0:
                raise Unavailable("storage_unreachable", "The connection to storage failed.")
            left -= len(chunk)
            yield chunk

    usual = lenient.ctx
    try:
        lenient.ctx = with_storage(usual, get_range=broken)
        assert await lenient.finalize(upload["upload_id"]) == "ingested"
    finally:
        lenient.ctx = usual
    assert starts == sorted(starts)
    assert (await ann.asset(upload))["sha256"] == SHA256


@pytest.mark.parametrize("harm", ["a bit flips", "another object"])
async def test_one_reading_that_was_damaged_condemns_nothing(lenient: Desk, harm: str) -> None:
    ann, upload = await sent(lenient, "crc32c")
    real, readings = lenient.ctx.storage.s3.get_range, 0

    async def damaged(bucket: str, key: str, **how: Any) -> AsyncIterator[bytes]:
        nonlocal readings
        readings += 1
        if readings == 1 and harm == "another object":
            raise Conflict("storage_precondition_failed", "The object is not the one meant.")
        async for chunk in real(bucket, key, **how):
            yield chunk if readings > 1 else bytes([chunk[0] ^ 1]) + chunk[1:]

    usual = lenient.ctx
    try:
        lenient.ctx = with_storage(usual, get_range=damaged)
        assert await lenient.finalize(upload["upload_id"]) == "ingested"
    finally:
        lenient.ctx = usual
    assert readings == 2
    assert (await ann.asset(upload))["sha256"] == SHA256


@pytest.mark.parametrize("algorithm", ["crc32c", "md5"])
async def test_parts_the_server_made_checksums_of_prove_less(lenient: Desk, algorithm: str) -> None:
    """Unless the client declared what the whole file is."""
    levels = []
    for declared in ([], [f"sha256:{SHA256}"]):
        ann = lenient.person()
        upload = await ann.begin(len(DATA), part_size=MIN_PART, checksum_algorithm=algorithm, checksum=declared)
        done = await ann.send(upload, DATA)
        await lenient.sql(
            "UPDATE parts SET proof = 'server' WHERE upload_id = %(id)s AND number = 1", id=upload["upload_id"]
        )
        await ann.complete(upload, done)
        assert await lenient.finalize(upload["upload_id"]) == "ingested"
        levels.append((await ann.asset(upload))["verification"])
    assert levels == ["storage", "end_to_end"]


async def test_another_uploads_object_of_the_same_bytes_is_not_taken(lenient: Desk) -> None:
    ann, upload = await sent(lenient, "crc64nvme")
    bucket, key, storage_id = await lenient.in_storage(upload)
    s3 = lenient.ctx.storage.s3
    await s3.abort_multipart(bucket, key, storage_id)
    other = await s3.create_multipart(bucket, key, metadata={"rushes-upload": str(UUID(int=1))})
    etags = [
        DonePart(number, await s3.upload_part(bucket, key, other, number, part, checksum=crc(part)))
        for number, part in enumerate(pieces(DATA), 1)
    ]
    await s3.complete_multipart(bucket, key, other, etags)
    assert await lenient.finalize(upload["upload_id"]) == "over"
    await lenient.assert_nothing_is_left(ann, upload)


# --- the reading itself -----------------------------------------------------------------------------------------------


def ledger_of(data: bytes, cuts: list[int], algorithm: ChecksumAlgorithm) -> list[Part]:
    bounds = [0, *cuts, len(data)]
    return [
        Part(
            number=number,
            size=end - start,
            checksum=checksum.compute(algorithm, data[start:end]),
            proof=Proof.CLIENT,
            grants=1,
            etag="e",
            held_at=None,
            way=None,
            copied_etag=None,
        )
        for number, (start, end) in enumerate(pairwise(bounds), 1)
    ]


@given(st.binary(min_size=2, max_size=400), st.sampled_from(ALGORITHMS), st.data())
def test_a_reading_finds_every_wrong_part_however_the_bytes_come(
    data: bytes, algorithm: ChecksumAlgorithm, draw: st.DataObject
) -> None:
    places = st.lists(st.integers(1, len(data) - 1), unique=True, max_size=8).map(sorted)
    cuts, blocks = draw.draw(places), draw.draw(places)
    rows = ledger_of(data, cuts, algorithm)
    flipped = draw.draw(st.integers(0, len(data) - 1))
    for stored in (data, data[:flipped] + bytes([data[flipped] ^ 1]) + data[flipped + 1 :]):
        reading = Reading(algorithm, rows, ["md5"])
        for start, end in zip([0, *blocks], [*blocks, len(stored)], strict=True):
            reading.update(stored[start:end])
        wrong = [] if stored is data else [next(n for n, cut in enumerate([*cuts, len(data)], 1) if flipped < cut)]
        assert (reading.done, reading.wrong) == (len(data), wrong)
        assert reading.value("sha256") == hashlib.sha256(stored).hexdigest()
        assert reading.value("md5") == hashlib.md5(stored).hexdigest()  # noqa: S324 - what a client may declare


async def test_a_feed_that_ends_in_error_leaves_the_reading_at_a_block() -> None:
    data = some_bytes(3 * BLOCK)
    reading = Reading(ChecksumAlgorithm.CRC64NVME, ledger_of(data, [], ChecksumAlgorithm.CRC64NVME))

    async def chunks(start: int, end: int) -> AsyncIterator[bytes]:
        for at in range(start, end, 1_000_000):
            yield data[at : min(at + 1_000_000, end)]
        if end < len(data):
            raise Unavailable("gone", "Gone.")

    async def nothing(done: int) -> None:
        assert done == reading.done

    with pytest.raises(Unavailable):
        await feed(chunks(0, 2 * BLOCK + 5), reading, nothing)
    assert 0 < reading.done <= 2 * BLOCK + 5
    await feed(chunks(reading.done, len(data)), reading, nothing)
    assert (reading.done, reading.wrong, reading.value("crc64nvme")) == (len(data), [], crc(data))


async def test_only_what_storage_has_proven_need_not_be_read(desk: Desk) -> None:
    _, upload = await sent(desk, "md5")
    async with desk.ctx.db.transaction() as conn:
        from rushes.db import parts, uploads

        row = await uploads.load(conn, UUID(upload["upload_id"]))
        rows = await parts.all_of(conn, UUID(upload["upload_id"]))
    assert row is not None
    etag = checksum.md5_etag(part.checksum for part in rows)
    full = ("crc64nvme", "crc32c")
    assert not must_be_read(row, rows, etag, full_object=full, md5_etags=True)
    assert must_be_read(row, rows, etag, full_object=full, md5_etags=False)
    assert must_be_read(row, rows, "0" * 32 + "-2", full_object=full, md5_etags=True)
    assert must_be_read(row, rows[:1], etag, full_object=full, md5_etags=True)
