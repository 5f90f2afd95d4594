"""Relay of whole files by one address, in one request and in ranges."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rushes.plan import KIB, MIB, MIN_PART
from tests.ingest.equipment import Desk, Person, body, crc, pieces, problem, some_bytes
from tests.ingest.relaying import HEADER, LONG, content, finished, forgotten, ingested, relay, scraps, slice_, unsized


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
