"""Relay: parts that come through the API, whole and in slices, and whole files by one address."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from rushes.config import Settings
from rushes.model import Role
from rushes.plan import KIB, MIB, MIN_PART
from tests.ingest.equipment import (
    Desk,
    Json,
    Person,
    body,
    crc,
    open_desk,
    pieces,
    problem,
    some_bytes,
    somebody,
)
from tests.ingest.relaying import (
    DATA,
    HEADER,
    LONG,
    content,
    finished,
    ingested,
    relay,
    scraps,
    slice_,
    stored,
    unsized,
)
from tests.ingest.staging import copy_all


@pytest.fixture
async def person(desk: Desk) -> Person:
    return desk.person()


async def test_a_relayed_part_is_reported_already(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(DATA), part_size=MIN_PART)
    for number, part in enumerate(pieces(DATA), 1):
        answer = await relay(person, upload, number, part, **{HEADER: crc(part)})
        assert answer.status_code == 200
        told = body(answer)
        assert answer.headers["etag"] == f'"{told["etag"]}"'
        assert (told["number"], told["checksum"], told["held"]["parts"]) == (number, crc(part), number)
    held = (await person.upload(upload))["parts"]
    assert [part["way"] for part in held] == ["relayed", "relayed"]
    assert (await desk.events(upload["upload_id"])).count("part_completed") == 2
    asset = await ingested(desk, person, upload, DATA)
    assert asset["verification"] == "end_to_end"


async def test_without_a_checksum_the_servers_own_is_the_parts(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(DATA), part_size=MIN_PART)
    first, second = pieces(DATA)
    told = body(await relay(person, upload, 1, first))
    assert told["checksum"] == crc(first)
    await relay(person, upload, 2, second, **{HEADER: crc(second)})
    assert (await ingested(desk, person, upload, DATA))["verification"] == "storage"


async def test_direct_and_relayed_parts_mix(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(LONG), part_size=MIN_PART)
    parts = pieces(LONG)
    done = await person.send(upload, LONG, [1])
    assert (await relay(person, upload, 2, parts[1], **{HEADER: crc(parts[1])})).status_code == 200
    assert (await slice_(person, upload, 3, parts[2], 0, len(parts[2]) - 1)).status_code == 200
    assert (await ingested(desk, person, upload, LONG, done))["verification"] == "end_to_end"


async def test_staged_parts_come_through_the_api_as_well(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(LONG), part_size=MIN_PART, layout="staged")
    _, second, third = pieces(LONG)
    done = await person.send(upload, LONG, [1])
    assert (await relay(person, upload, 2, second)).status_code == 200
    await slice_(person, upload, 3, third, 0, len(third) - 1)
    assert (await person.complete(upload, done)).status_code == 202
    assert set(await copy_all(desk, upload)) == {"copied"}
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert await stored(desk, upload) == LONG
    assert (await person.asset(upload))["verification"] == "storage"


async def test_a_part_held_is_not_stored_again(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(DATA), part_size=MIN_PART)
    part = pieces(DATA)[0]
    first = await relay(person, upload, 1, part, **{HEADER: crc(part)})
    again = await relay(person, upload, 1, part, **{HEADER: crc(part)})
    assert (again.status_code, body(again)) == (200, body(first))
    direct = await person.send(upload, DATA, [2])
    assert (await person.ask(upload, done=direct)).status_code == 200
    repeated = await relay(person, upload, 2, pieces(DATA)[1], **{HEADER: direct[0]["checksum"]})
    assert repeated.headers["etag"] == direct[0]["etag"]
    assert [part["way"] for part in (await person.upload(upload))["parts"]] == ["relayed", "direct"]


async def test_other_bytes_take_the_parts_place(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(DATA), part_size=MIN_PART)
    wrong = bytes(MIN_PART)
    for other in (wrong, DATA[:MIN_PART]):
        assert (await relay(person, upload, 1, other, **{HEADER: crc(other)})).status_code == 200
        assert [part["checksum"] for part in (await person.upload(upload))["parts"]] == [crc(other)]
    assert (await relay(person, upload, 1, wrong)).status_code == 200
    assert (await relay(person, upload, 1, DATA[:MIN_PART])).status_code == 200
    assert (await relay(person, upload, 2, DATA[MIN_PART:])).status_code == 200
    await ingested(desk, person, upload, DATA)


async def test_a_corrupt_body_leaves_nothing(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(DATA), part_size=MIN_PART)
    part = pieces(DATA)[0]
    flipped = part[:-1] + bytes([part[-1] ^ 1])
    extra = problem(await relay(person, upload, 1, flipped, **{HEADER: crc(part)}), 422, "checksum_mismatch")
    assert extra == {"claimed": crc(part), "computed": crc(flipped)}
    assert (await person.upload(upload))["parts"] == []
    ((key, storage_id),) = await desk.sql(
        "SELECT key, storage_upload_id FROM uploads WHERE id = %(id)s", id=upload["upload_id"]
    )
    assert await desk.ctx.storage.s3.list_parts(desk.ctx.storage.originals.bucket, key, storage_id) == []
    missing = problem(await person.complete(upload), 409, "parts_missing")
    assert missing["missing"] == [2]  # of part 1 storage is asked once there is nothing certainly missing


async def test_a_body_of_another_length_is_refused(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(DATA), part_size=MIN_PART)

    async def cut() -> AsyncIterator[bytes]:
        yield DATA[: MIN_PART - 1]

    async def unmeasured() -> AsyncIterator[bytes]:
        yield DATA[:MIN_PART]

    assert problem(await relay(person, upload, 1, DATA[: MIN_PART - 1]), 400, "length_wrong") == {"length": MIN_PART}
    problem(await relay(person, upload, 1, DATA[: MIN_PART + 1]), 413, "body_too_large")
    problem(await relay(person, upload, 1, unmeasured()), 411, "length_missing")
    short = await relay(person, upload, 1, cut(), content_length=str(MIN_PART))
    assert problem(short, 400, "body_short") == {"missing": 1}
    assert (await person.upload(upload))["parts"] == []
    problem(await relay(person, upload, 3, b"x"), 422, "part_number_invalid")


@pytest.mark.parametrize("checksum", ["AAAA", "AAAAAAAAAAB=", "!!!!!!!!!!!=", ""])
async def test_a_checksum_that_is_none_is_refused(desk: Desk, person: Person, checksum: str) -> None:
    upload = await person.begin(5)
    problem(await relay(person, upload, 1, b"hello", **{HEADER: checksum}), 422, "checksum_invalid")
    problem(await relay(person, upload, 1, b"hello", content_md5="XUFAKrxLKna5cZ2REBfFkg=="), 422, "checksum_invalid")


async def test_only_its_own_people_relay(desk: Desk, person: Person) -> None:
    upload = await person.begin(5)
    stranger = desk.person()
    colleague = desk.person(somebody(tenant=person.who.tenant, creator="bob"))
    for other in (stranger, colleague):
        problem(await relay(other, upload, 1, b"hello"), 404, "upload_not_found")
        problem(await slice_(other, upload, 1, b"hello", 0, 3), 404, "upload_not_found")
        problem(await content(other, upload, b"hello"), 404, "upload_not_found")
        problem(await other.http.get(f"/v1/uploads/{upload['upload_id']}/parts/1"), 404, "upload_not_found")
    nobody = desk.with_token(None)
    answer = await nobody.put(f"/v1/uploads/{upload['upload_id']}/parts/1", content=b"hello")
    assert answer.status_code == 401
    operator = desk.person(somebody(Role.OPERATOR, tenant=person.who.tenant, creator="olga"))
    assert (await relay(operator, upload, 1, b"hello")).status_code == 200
    assert (await person.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    problem(await relay(person, upload, 1, b"hello"), 409, "upload_aborted")
    problem(await slice_(person, upload, 1, b"hello", 0, 3), 409, "upload_aborted")
    problem(await content(person, upload, b"hello"), 409, "upload_aborted")


# --- slices -----------------------------------------------------------------------------------------------------------


async def test_slices_in_any_order_make_a_part(desk: Desk, person: Person) -> None:
    upload = await person.begin(MIN_PART)
    part = DATA[:MIN_PART]
    address = f"/v1/uploads/{upload['upload_id']}/parts/1"
    assert "range" not in (await person.http.head(address)).headers
    for first in (3 * MIB, 0, 4 * MIB, 1 * MIB):
        answer = await slice_(person, upload, 1, part, first, first + MIB - 1)
        assert answer.status_code == 202
    assert body(answer)["received"] == [[0, 2 * MIB - 1], [3 * MIB, MIN_PART - 1]]
    assert answer.headers["range"] == f"bytes=0-{2 * MIB - 1},{3 * MIB}-{MIN_PART - 1}"
    asked = await person.http.get(address)
    assert (body(asked)["received"], body(asked)["etag"]) == (body(answer)["received"], None)
    assert (await person.http.head(address)).headers["range"] == answer.headers["range"]
    last = await slice_(person, upload, 1, part, 2 * MIB, 3 * MIB - 1)
    assert (last.status_code, body(last)["checksum"]) == (200, crc(part))
    again = await slice_(person, upload, 1, part, 2 * MIB, 3 * MIB - 1)
    assert (again.status_code, body(again)) == (200, body(last))
    assert body(await person.http.get(address))["received"] == [[0, MIN_PART - 1]]
    assert (await person.http.head(address)).headers["etag"] == last.headers["etag"]
    assert (await ingested(desk, person, upload, part))["verification"] == "end_to_end"


async def test_slices_in_random_order_overlapping_and_twice(desk: Desk, person: Person, round_: int) -> None:
    for _ in range(3):
        size = random.randrange(2 * MIB, 9 * MIB)
        part = random.randbytes(size)
        upload = await person.begin(size)
        claim = random.random() < 0.5
        status = 0
        while status != 200:
            view = body(await person.http.get(f"/v1/uploads/{upload['upload_id']}/parts/1"))
            first = random.randrange(size - MIB) if random.random() < 0.5 else _hole(view["received"], size)
            last = min(size - 1, first + random.randrange(MIB, 3 * MIB))
            answer = await slice_(person, upload, 1, part, first, last, claim=claim)
            status = answer.status_code
            assert status in {200, 202}, answer.text
        assert (await ingested(desk, person, upload, part))["verification"] == ("end_to_end" if claim else "storage")


def _hole(received: list[list[int]], size: int) -> int:
    """The first byte that is not held, or one before it from which a slice is long enough."""
    missing = received[0][1] + 1 if received and received[0][0] == 0 else 0
    return max(0, min(missing, size - MIB))


async def test_slices_at_once(desk: Desk, person: Person, round_: int) -> None:
    """Whoever comes last puts the part together, once. As many as one creator may send at once."""
    for claim in (True, False):
        upload = await person.begin(4 * MIB)
        part = DATA[: 4 * MIB]
        sent = [
            slice_(person, upload, 1, part, first, first + MIB - 1, claim=claim)
            for first in range(0, len(part), MIB)
            for _ in range(2)
        ]
        answers = await asyncio.gather(*sent)
        assert {answer.status_code for answer in answers} <= {200, 202}
        assert body(await slice_(person, upload, 1, part, 0, MIB - 1, claim=claim))["checksum"] == crc(part)
        await ingested(desk, person, upload, part)
        assert (await desk.events(upload["upload_id"])).count("part_completed") == 1


async def test_a_slice_makes_sense(desk: Desk, person: Person) -> None:
    upload = await person.begin(MIN_PART)
    part = DATA[:MIN_PART]
    extra = problem(await slice_(person, upload, 1, part, 0, MIB - 2), 422, "slice_too_small")
    assert extra == {"least": MIB}
    for where in (
        "bytes 0-1/3",
        "bytes */5242880",
        "bytes 0-9",
        "0-9/10",
        f"bytes 5-4/{MIN_PART}",
        f"bytes 0-{MIN_PART}/*",
    ):
        problem(await relay(person, upload, 1, part[:10], content_range=where), 400, "range_invalid")
    where = f"bytes 0-{MIB - 1}/{MIN_PART}"
    problem(await relay(person, upload, 1, part[: MIB - 1], content_range=where), 400, "length_wrong")


async def test_another_checksum_begins_the_part_anew(desk: Desk, person: Person) -> None:
    upload = await person.begin(2 * MIB)
    old, new = some_bytes(2 * MIB, 3), some_bytes(2 * MIB, 4)
    await slice_(person, upload, 1, old, 0, MIB - 1)
    answer = await slice_(person, upload, 1, new, MIB, 2 * MIB - 1)
    assert body(answer)["received"] == [[MIB, 2 * MIB - 1]]
    assert len(await scraps(desk, upload)) == 1
    assert (await slice_(person, upload, 1, new, 0, MIB - 1)).status_code == 200
    await ingested(desk, person, upload, new)


async def test_slices_that_are_not_what_was_claimed_are_all_forgotten(desk: Desk, person: Person) -> None:
    upload = await person.begin(2 * MIB)
    part = some_bytes(2 * MIB)
    await slice_(person, upload, 1, part, 0, MIB - 1)
    headers = {"content-range": f"bytes {MIB}-{2 * MIB - 1}/{2 * MIB}", HEADER: crc(part)}
    problem(await relay(person, upload, 1, bytes(MIB), **headers), 422, "checksum_mismatch")
    assert body(await person.http.get(f"/v1/uploads/{upload['upload_id']}/parts/1"))["received"] == []
    assert await scraps(desk, upload) == []
    assert (await slice_(person, upload, 1, part, 0, MIB - 1)).status_code == 202
    assert (await slice_(person, upload, 1, part, MIB, 2 * MIB - 1)).status_code == 200
    await ingested(desk, person, upload, part)


@pytest.mark.parametrize("harm", ["gone", "changed"])
@pytest.mark.parametrize("claim", [True, False])
async def test_a_slice_that_storage_lost_is_asked_for_again(desk: Desk, person: Person, harm: str, claim: bool) -> None:
    upload = await person.begin(2 * MIB)
    part = some_bytes(2 * MIB)
    await slice_(person, upload, 1, part, 0, MIB - 1, claim=claim)
    (key,) = await scraps(desk, upload)
    bucket = desk.ctx.storage.incoming.bucket
    if harm == "gone":
        await desk.ctx.storage.s3.delete_objects(bucket, [key])
    else:
        await desk.ctx.storage.s3.put_object(bucket, key, bytes(MIB), size=MIB)
    answer = await slice_(person, upload, 1, part, MIB, 2 * MIB - 1, claim=claim)
    assert (answer.status_code, body(answer)["received"]) == (202, [[MIB, 2 * MIB - 1]])
    assert (await person.upload(upload))["parts"] == []
    assert (await slice_(person, upload, 1, part, 0, MIB - 1, claim=claim)).status_code == 200
    await ingested(desk, person, upload, part)


async def test_a_part_sent_directly_needs_no_slices(desk: Desk, person: Person) -> None:
    upload = await person.begin(2 * MIB)
    part = some_bytes(2 * MIB)
    await slice_(person, upload, 1, part, 0, MIB - 1)
    done = await person.send(upload, part)
    assert (await person.ask(upload, done=done)).status_code == 200
    answer = await slice_(person, upload, 1, part, MIB, 2 * MIB - 1)
    assert (answer.status_code, body(answer)["checksum"]) == (200, crc(part))


async def forgotten(desk: Desk, person: Person, *, claim: bool, dead_for: float) -> tuple[Json, bytes]:
    """A part that is covered by slices, and whose assembler has given no sign of life for so many seconds."""
    upload = await person.begin(MIN_PART + MIB, part_size=MIN_PART)
    data = some_bytes(MIN_PART + MIB, 5)
    part = data[:MIN_PART]
    await slice_(person, upload, 1, part, 0, MIN_PART - MIB - 1, claim=claim)
    if claim:
        await desk.sql(
            "INSERT INTO parts (upload_id, number, size, checksum, grants) VALUES (%(id)s, 1, %(size)s, %(sum)s, 1)",
            id=upload["upload_id"],
            size=MIN_PART,
            sum=crc(part),
        )
    await desk.sql(
        """INSERT INTO assemblies (upload_id, number, assembler, since)
        VALUES (%(id)s, 1, gen_random_uuid(), now() - %(dead)s)""",
        id=upload["upload_id"],
        dead=timedelta(seconds=dead_for),
    )
    return upload, data


@pytest.mark.parametrize("claim", [True, False])
async def test_a_part_whose_assembler_died_is_put_together_by_whoever_asks(
    desk: Desk, person: Person, claim: bool
) -> None:
    takeover = desk.settings.takeover_seconds
    for how in ("slice", "look", "complete"):
        upload, data = await forgotten(desk, person, claim=claim, dead_for=takeover - 2)
        part, address = data[:MIN_PART], f"/v1/uploads/{upload['upload_id']}"
        busy = await slice_(person, upload, 1, part, MIN_PART - MIB, MIN_PART - 1, claim=claim)
        assert (busy.status_code, body(busy)["received"]) == (202, [[0, MIN_PART - 1]])
        assert (await relay(person, upload, 2, data[MIN_PART:], **{HEADER: crc(data[MIN_PART:])})).status_code == 200
        problem(await person.complete(upload), 503, "part_assembling")
        await desk.sql("UPDATE assemblies SET since = since - interval '2 seconds'")
        if how == "slice":
            assert (await slice_(person, upload, 1, part, 0, MIB - 1, claim=claim)).status_code == 200
        elif how == "look":
            assert body(await person.http.get(f"{address}/parts/1"))["checksum"] == crc(part)
        await ingested(desk, person, upload, data)


# --- content ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("size", "part_size"), [(1, None), (LONG.__len__(), MIN_PART), (21 * MIB + 7, 10 * MIB)])
async def test_a_whole_file_in_one_request(desk: Desk, person: Person, size: int, part_size: int | None) -> None:
    data = some_bytes(size)
    upload = await person.begin(size, **({"part_size": part_size} if part_size else {}))
    await finished(desk, person, upload, data, await content(person, upload, data))


async def test_ranges_in_order(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(LONG), part_size=MIN_PART)
    asked = await content(person, upload, b"", f"bytes */{len(LONG)}")
    assert (asked.status_code, "range" in asked.headers) == (308, False)
    at, step = 0, 700 * KIB
    while at + step < len(LONG):
        answer = await content(person, upload, LONG[at : at + step], f"bytes {at}-{at + step - 1}/{len(LONG)}")
        at += step
        assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{at - 1}")
    asked = await content(person, upload, b"", f"bytes */{len(LONG)}")
    assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{at - 1}")
    answer = await content(person, upload, LONG[at:], f"bytes {at}-{len(LONG) - 1}/{len(LONG)}")
    await finished(desk, person, upload, LONG, answer)


async def test_a_gap_is_answered_and_what_is_held_is_skipped(desk: Desk, person: Person) -> None:
    size = len(LONG)
    upload = await person.begin(size, part_size=MIN_PART)
    gap = await content(person, upload, LONG[MIB:], f"bytes {MIB}-{size - 1}/{size}")
    assert (gap.status_code, "range" in gap.headers) == (308, False)
    assert await scraps(desk, upload) == []
    await content(person, upload, LONG[: 6 * MIB], f"bytes 0-{6 * MIB - 1}/{size}")
    gap = await content(person, upload, LONG[7 * MIB :], f"bytes {7 * MIB}-{size - 1}/{size}")
    assert (gap.status_code, gap.headers["range"]) == (308, f"bytes=0-{6 * MIB - 1}")
    wrong = bytes(6 * MIB)  # what is held is not written again
    same = await content(person, upload, wrong, f"bytes 0-{6 * MIB - 1}/{size}")
    assert (same.status_code, same.headers["range"]) == (308, f"bytes=0-{6 * MIB - 1}")
    await finished(desk, person, upload, LONG, await content(person, upload, wrong + LONG[6 * MIB :]))


async def test_parts_sent_otherwise_are_skipped(desk: Desk, person: Person) -> None:
    upload = await person.begin(len(LONG), part_size=MIN_PART)
    middle = pieces(LONG)[1]
    assert (await relay(person, upload, 2, middle)).status_code == 200
    garbled = LONG[:MIN_PART] + bytes(MIN_PART) + LONG[2 * MIN_PART :]
    await finished(desk, person, upload, LONG, await content(person, upload, garbled))


async def test_a_cut_connection_loses_less_than_a_slice(desk: Desk, person: Person) -> None:
    size = 21 * MIB
    data = some_bytes(size)
    upload = await person.begin(size, part_size=20 * MIB)

    async def cut() -> AsyncIterator[bytes]:
        yield data[: 17 * MIB]

    address = f"/v1/uploads/{upload['upload_id']}/content"
    short = await person.http.put(address, content=cut(), headers={"content-length": str(size)})
    problem(short, 400, "body_short")
    asked = await content(person, upload, b"", f"bytes */{size}")
    assert asked.headers["range"] == f"bytes=0-{16 * MIB - 1}"
    rest = await content(person, upload, data[16 * MIB :], f"bytes {16 * MIB}-{size - 1}/{size}")
    await finished(desk, person, upload, data, rest)


async def test_a_range_of_the_file_makes_sense(desk: Desk, person: Person) -> None:
    size = len(LONG)
    upload = await person.begin(size, part_size=MIN_PART)
    for where in ("bytes 0-9/*", f"bytes 9-0/{size}", f"bytes {size}-{size + 9}/{size}"):
        problem(await content(person, upload, LONG[:10], where), 400, "range_invalid")
    problem(await content(person, upload, LONG[:10], f"bytes 0-9/{size - 1}"), 400, "length_wrong")
    problem(await content(person, upload, LONG[:10], f"bytes 0-9/{size + 1}"), 413, "body_too_large")
    problem(await content(person, upload, LONG[:10], f"bytes 0-9/{size}"), 422, "slice_too_small")
    problem(await content(person, upload, LONG[:10]), 400, "length_wrong")
    problem(await content(person, upload, LONG + b"!"), 413, "body_too_large")


async def test_a_file_goes_on_behind_a_part_whose_assembler_died(desk: Desk, person: Person) -> None:
    upload, data = await forgotten(desk, person, claim=False, dead_for=desk.settings.takeover_seconds - 2)
    size, at = len(data), MIN_PART - MIB
    busy = await content(person, upload, data[at:], f"bytes {at}-{size - 1}/{size}")
    problem(busy, 503, "part_assembling")
    await desk.sql("UPDATE assemblies SET since = since - interval '2 seconds'")
    asked = await content(person, upload, b"", f"bytes */{size}")
    assert asked.headers["range"] == f"bytes=0-{MIN_PART - 1}"
    rest = await content(person, upload, data[MIN_PART:], f"bytes {MIN_PART}-{size - 1}/{size}")
    await finished(desk, person, upload, data, rest)


@pytest.mark.parametrize("ending", ["with the last range", "with a question", "with a part's end"])
async def test_a_file_of_unknown_size_in_ranges(desk: Desk, person: Person, ending: str) -> None:
    data = LONG[: 2 * MIN_PART] if ending == "with a part's end" else LONG
    upload = await unsized(person)
    step, size = 3 * MIB, len(data)
    starts = range(0, size, step)
    for at in starts:
        piece = data[at : at + step]
        total = size if at == starts[-1] and ending == "with the last range" else "*"
        answer = await content(person, upload, piece, f"bytes {at}-{at + len(piece) - 1}/{total}")
        if total == "*":
            assert (answer.status_code, answer.headers["range"]) == (308, f"bytes=0-{at + len(piece) - 1}")
    if ending != "with the last range":
        asked = await content(person, upload, b"", "bytes */*")
        assert (asked.status_code, asked.headers["range"]) == (308, f"bytes=0-{size - 1}")
        answer = await content(person, upload, b"", f"bytes */{size}")
    await finished(desk, person, upload, data, answer)
    assert (await person.asset(upload))["size"] == size


async def test_a_file_of_unknown_size_in_one_request(desk: Desk, person: Person) -> None:
    upload = await unsized(person)
    await finished(desk, person, upload, LONG, await content(person, upload, LONG))


async def test_the_last_part_of_an_unknown_size_is_as_long_as_it_is_sent(desk: Desk, person: Person) -> None:
    for sliced in (False, True):
        upload = await unsized(person)
        first, second, last = pieces(some_bytes(2 * MIN_PART + 3 * MIB, 9))
        assert (await relay(person, upload, 1, first)).status_code == 200
        assert (await relay(person, upload, 2, second, **{HEADER: crc(second)})).status_code == 200
        if sliced:
            assert (await slice_(person, upload, 3, last, MIB, 3 * MIB - 1)).status_code == 202
            view = body(await person.http.get(f"/v1/uploads/{upload['upload_id']}/parts/3"))
            assert (view["length"], view["received"]) == (len(last), [[MIB, 3 * MIB - 1]])
            assert (await slice_(person, upload, 3, last, 0, MIB - 1)).status_code == 200
        else:
            assert (await relay(person, upload, 3, last)).status_code == 200
        problem(await relay(person, upload, 3, bytes(MIN_PART + 1)), 413, "body_too_large")
        await ingested(desk, person, upload, first + second + last)


async def test_a_file_of_unknown_size_stays_within_what_is_reserved(desk: Desk, person: Person) -> None:
    upload = await unsized(person)
    most = 8 * MIN_PART
    problem(await content(person, upload, bytes(MIB), f"bytes 0-{MIB - 1}/{most + 1}"), 409, "size_mismatch")
    problem(await content(person, upload, b"x", f"bytes {most}-{most}/*"), 400, "range_invalid")
    assert (await relay(person, upload, 1, b"short")).status_code == 200
    problem(await content(person, upload, LONG), 409, "size_mismatch")


# --- grants that lead here --------------------------------------------------------------------------------------------


@pytest.fixture
async def cut_off(settings: Settings) -> AsyncIterator[Desk]:
    """A desk whose storage clients cannot reach."""
    changes = {"storage_public_endpoint": None, "public_url": "https://rushes.example/api/"}
    async with open_desk(settings.model_copy(update=changes)) as found:
        yield found


async def test_without_a_public_endpoint_grants_lead_through_the_api(cut_off: Desk) -> None:
    person = cut_off.person()
    upload = await person.begin(len(DATA), part_size=MIN_PART)
    grants = await person.grants(upload, DATA)
    nobody = cut_off.with_token(None)
    for grant, part in zip(grants, pieces(DATA), strict=True):
        begins = f"https://rushes.example/api/v1/uploads/{upload['upload_id']}/parts/{grant['number']}"
        assert (grant["method"], grant["length"], grant["url"]) == ("PUT", len(part), begins)
        assert grant["headers"][HEADER] == crc(part)
        here = grant["url"].removeprefix("https://rushes.example/api")
        flipped = bytes([part[0] ^ 1]) + part[1:]
        problem(await nobody.put(here, content=flipped, headers=grant["headers"]), 422, "checksum_mismatch")
        assert (await nobody.put(here, content=part, headers=grant["headers"])).status_code == 200
    assert (await ingested(cut_off, person, upload, DATA))["verification"] == "end_to_end"


async def test_a_grants_token_is_for_this_upload_and_no_longer_than_the_grant(cut_off: Desk) -> None:
    person = cut_off.person()
    upload, other = await person.begin(5), await person.begin(5)
    (grant,) = await person.grants(upload, b"hello")
    headers = {"Authorization": grant["headers"]["Authorization"]}
    nobody = cut_off.with_token(None)
    answer = await nobody.put(f"/v1/uploads/{other['upload_id']}/parts/1", content=b"hello", headers=headers)
    problem(answer, 404, "upload_not_found")
    claims = jwt.decode(headers["Authorization"].removeprefix("Bearer "), options={"verify_signature": False})
    assert claims["upload"] == upload["upload_id"]
    assert claims["exp"] <= datetime.fromisoformat(grant["expires_at"]).timestamp() + 1
    past = datetime.now(UTC) - timedelta(seconds=cut_off.settings.grant_seconds + 60)
    late = await person.signed_at(upload, b"hello", past)
    here = late["url"].removeprefix("https://rushes.example/api")
    problem(await nobody.put(here, content=b"hello", headers=late["headers"]), 401, "token_expired")


async def test_without_a_setting_the_clients_own_address_is_granted(settings: Settings) -> None:
    async with open_desk(settings.model_copy(update={"storage_public_endpoint": None})) as desk:
        person = desk.person()
        upload = await person.begin(5)
        (grant,) = await person.grants(upload, b"hello")
        assert grant["url"] == f"http://api/v1/uploads/{upload['upload_id']}/parts/1"
