"""Races for quota: whatever runs into whatever, each upload has one outcome, and every sum is that of the rows.

Each test runs `RACES` races: a few ordinarily, as many as `make long ROUNDS=200` asks for.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable
from dataclasses import replace
from itertools import cycle
from typing import Any

import httpx
import pytest

from rushes.ingest.expiry import expire
from rushes.ingest.sweeping import Sweep
from rushes.model import Role, new_id
from tests.conftest import ROUNDS, SEED
from tests.ingest.equipment import Desk, Json, Person, body, crc, some_bytes, somebody

RACES = max(4, ROUNDS)
DATA = some_bytes(1_000)
UNIT = len(DATA)
CRC = crc(DATA)

LIMITS: dict[str, Json] = {
    "quota_exceeded": {"plans": {"user": {"stored_bytes": 5 * UNIT}}},
    "month_exceeded": {"plans": {"user": {"month_bytes": 5 * UNIT}}},
    "too_many_uploads": {"plans": {"user": {"open_uploads": 5}}},
    "tenant_quota_exceeded": {"stored_bytes": 5 * UNIT},
    "tenant_month_exceeded": {"month_bytes": 5 * UNIT},
    "tenant_too_many_uploads": {"open_uploads": 5},
}


async def creators(desk: Desk, count: int, **limits: Any) -> list[Person]:
    """People of one new tenant with these limits."""
    first = somebody(plan="user")
    await desk.allow(first, **limits)
    return [desk.person(replace(first, creator=f"c{number}")) for number in range(count)]


async def try_begin(who: Person, size: int = UNIT, **fields: Any) -> httpx.Response:
    return await who.http.post("/v1/uploads", json={"filename": "a.mov", "size": size} | fields)


@pytest.mark.parametrize("code", LIMITS)
async def test_begins_at_a_limit_take_exactly_what_there_is(desk: Desk, code: str) -> None:
    """Of twelve that begin at once five get a place; those of a tenant's cap are of three creators."""
    for _ in range(RACES):
        people = await creators(desk, 3 if code.startswith("tenant") else 1, **LIMITS[code])
        racing = [try_begin(who) for who, _ in zip(cycle(people), range(12), strict=False)]
        answers = await asyncio.gather(*racing)
        assert Counter(answer.status_code for answer in answers) == {201: 5, 413: 7}
        assert {body(answer)["code"] for answer in answers if answer.status_code == 413} == {code}
        await desk.adds_up(people[0].who)
        # Each place that comes free is taken once, however many want it.
        begun = [body(answer)["upload_id"] for answer in answers if answer.status_code == 201]
        olga = desk.person(replace(people[0].who, creator="olga", role=Role.OPERATOR))
        freed = [olga.http.delete(f"/v1/uploads/{upload_id}") for upload_id in begun[:2]]
        answers = await asyncio.gather(*(try_begin(people[0]) for _ in range(6)), *freed)
        assert [answer.status_code for answer in answers[6:]] == [204, 204]
        taken = Counter(answer.status_code for answer in answers[:6])[201]
        assert taken <= 2
        answers = await asyncio.gather(*(try_begin(people[0]) for _ in range(6)))
        assert Counter(answer.status_code for answer in answers)[201] == 2 - taken
        await desk.adds_up(people[0].who)


async def test_files_of_many_sizes_never_exceed_a_limit_and_leave_no_room_unused(desk: Desk) -> None:
    chance = random.Random(SEED)
    for _ in range(RACES):
        ann, bob = await creators(desk, 2, stored_bytes=10 * UNIT, plans={"user": {"stored_bytes": 7 * UNIT}})
        sizes = [chance.randint(1, 4 * UNIT) for _ in range(12)]
        answers = await asyncio.gather(*(try_begin(chance.choice((ann, bob)), size) for size in sizes))
        taken = sum(size for size, answer in zip(sizes, answers, strict=True) if answer.status_code == 201)
        assert taken <= 10 * UNIT
        for answer, size in zip(answers, sizes, strict=True):
            assert answer.status_code == 201 or body(answer)["extra"]["left"] < size
        await desk.adds_up(ann.who)


async def test_the_last_byte_goes_to_one_of_two_creators(desk: Desk) -> None:
    for _ in range(RACES):
        ann, bob = await creators(desk, 2, stored_bytes=10 * UNIT)
        answers = await asyncio.gather(try_begin(ann, 10 * UNIT), try_begin(bob, 10 * UNIT))
        assert sorted(answer.status_code for answer in answers) == [201, 413]
        await desk.adds_up(ann.who)


async def test_complete_abort_and_delete_have_one_outcome(desk: Desk) -> None:
    """What was begun ends ingested or aborted, then deleted once; begins that wait for the room get it after that."""
    chance = random.Random(SEED)
    outcomes = Counter[str]()
    (ann,) = await creators(desk, 1, plans={"user": {"stored_bytes": UNIT}})
    for _ in range(RACES):
        upload = await ann.begin(UNIT)
        done = await ann.send(upload, DATA)
        path, asset = f"/v1/uploads/{upload['upload_id']}", f"/v1/assets/{upload['asset_id']}"
        calls = [ann.complete(upload, done), ann.complete(upload, done), ann.http.delete(path), ann.http.delete(path)]
        calls += [ann.http.delete(asset), try_begin(ann)]
        order = chance.sample(range(len(calls)), len(calls))
        found = await asyncio.gather(*(calls[place] for place in order))
        answers = dict(zip(order, found, strict=True))
        codes = [answers[place].status_code for place in range(len(calls))]
        begun = codes.pop()
        state = (await ann.upload(upload))["state"]
        outcomes[state] += 1
        await desk.adds_up(ann.who)
        if state == "finalizing":
            assert codes == [202, 202, 409, 409, 409]
            assert begun == 413
            await race_to_the_end(desk, ann, upload, asset)
        else:
            assert state == "aborted"
            assert codes[:4] == [409, 409, 204, 204]
            assert codes[4] in {404, 409}
        if begun == 201:
            assert state == "aborted"
            again = body(answers[len(calls) - 1])["upload_id"]
            assert (await ann.http.delete(f"/v1/uploads/{again}")).status_code == 204
        assert await desk.quota(ann.who) == (0, 0, 0)
        await desk.adds_up(ann.who)
    assert outcomes.total() == RACES


async def race_to_the_end(desk: Desk, ann: Person, upload: Json, asset: str) -> None:
    """Finalizers, deletes and begins against each other, until the asset is gone."""
    ends = await asyncio.gather(
        desk.finalize(upload["upload_id"]),
        desk.finalize(upload["upload_id"]),
        *(ann.http.delete(asset) for _ in range(3)),
    )
    assert sorted(str(end) for end in ends[:2]) == ["ingested", "over"]
    answers = [end for end in ends[2:] if isinstance(end, httpx.Response)]
    answers += await asyncio.gather(*(ann.http.delete(asset) for _ in range(3)))
    assert Counter(answer.status_code for answer in answers)[204] == 1
    assert {answer.status_code for answer in answers} <= {204, 404, 409}


async def test_deletes_free_their_room_once_and_for_one(desk: Desk) -> None:
    for _ in range(RACES):
        (ann,) = await creators(desk, 1, plans={"user": {"stored_bytes": UNIT}})
        asset = await ann.ingest(DATA)
        path = f"/v1/assets/{asset['asset_id']}"
        answers = await asyncio.gather(*(ann.http.delete(path) for _ in range(4)), *(try_begin(ann) for _ in range(4)))
        codes = [answer.status_code for answer in answers]
        assert sorted(codes[:4]) == [204, 404, 404, 404]
        if 201 not in codes[4:]:
            assert (await try_begin(ann)).status_code == 201
        assert codes[4:].count(201) <= 1
        assert await desk.quota(ann.who) == (0, UNIT, 1)
        await desk.adds_up(ann.who)


async def test_what_expires_frees_its_room_once_and_for_one(desk: Desk) -> None:
    """Sweeps, an abort and a complete of one upload, against begins that want its room."""
    outcomes = Counter[str]()
    chance = random.Random(SEED)
    for _ in range(RACES):
        ann, bob = await creators(desk, 2, stored_bytes=UNIT)
        upload = await ann.begin(UNIT)
        done = await ann.send(upload, DATA)
        await desk.sql("UPDATE uploads SET expires_at = now() WHERE id = %(id)s", id=upload["upload_id"])
        path = f"/v1/uploads/{upload['upload_id']}"
        calls: list[Awaitable[Any]] = [swept(desk), swept(desk), ann.http.delete(path), ann.complete(upload, done)]
        calls += [try_begin(bob), try_begin(bob), try_begin(bob)]
        order = chance.sample(range(len(calls)), len(calls))
        answers = dict(zip(order, await asyncio.gather(*(calls[place] for place in order)), strict=True))
        state = (await ann.upload(upload))["state"]
        outcomes[state] += 1
        begun = [answers[place].status_code for place in (4, 5, 6)].count(201)
        assert begun <= (0 if state == "finalizing" else 1)
        assert answers[2].status_code == (204 if state == "aborted" else 409)
        assert answers[3].status_code == (202 if state == "finalizing" else 409)
        assert state in {"finalizing", "aborted", "expired"}
        if state == "finalizing":
            assert await desk.finalize(upload["upload_id"]) == "ingested"
        elif not begun:
            assert (await try_begin(bob)).status_code == 201
        await desk.adds_up(ann.who)
    assert len(outcomes) > 1 or RACES < 50, "of a few, one may win them all"


async def swept(desk: Desk) -> None:
    """The sweep's first step: what is past its time expires."""
    await expire(Sweep(desk.ctx, new_id(), desk.ctx.now()))


async def test_a_size_that_becomes_known_frees_the_rest_once(desk: Desk) -> None:
    """Completes and an abort of an upload of unknown size against begins that want what it has reserved."""
    outcomes = Counter[str]()
    for turn in range(RACES):
        ann, bob = await creators(desk, 2, stored_bytes=3 * UNIT)
        upload = body(await ann.http.post("/v1/uploads", json={"filename": "live.mov"}))
        assert upload["max_size"] == 3 * UNIT
        want = {"want": [{"number": 1, "checksum": CRC, "size": UNIT}]}
        answer = await ann.http.post(f"/v1/uploads/{upload['upload_id']}/parts", json=want)
        (grant,) = body(answer)["grants"]
        put = await ann.put(grant, DATA)
        done = [{"number": 1, "etag": put.headers["ETag"], "checksum": CRC}]
        calls = [ann.complete(upload, done, size=UNIT), ann.complete(upload, done)]
        calls += [ann.http.delete(f"/v1/uploads/{upload['upload_id']}")] if turn % 2 else []
        answers = await asyncio.gather(*calls, *(try_begin(bob, 2 * UNIT) for _ in range(3)))
        begun = [answer.status_code for answer in answers[len(calls) :]]
        assert begun.count(201) <= 1
        await desk.adds_up(ann.who)
        state = (await ann.upload(upload))["state"]
        outcomes[state] += 1
        if state == "finalizing":
            assert await desk.finalize(upload["upload_id"]) == "ingested"
            assert (await desk.quota(ann.who)) == (UNIT, 0, 0)
        else:
            assert state == "aborted"
            assert (await desk.quota(ann.who)) == (0, 0, 0)
        await desk.adds_up(ann.who)
    assert outcomes["finalizing"] > 0
