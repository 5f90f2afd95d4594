"""Relay: parts that come through the API whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from rushes.model import Role
from rushes.plan import MIN_PART
from tests.ingest.equipment import Desk, Person, body, crc, pieces, problem, somebody
from tests.ingest.relaying import DATA, HEADER, LONG, content, ingested, relay, slice_
from tests.ingest.staging import copy_all


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
    assert await desk.original(upload) == LONG
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
