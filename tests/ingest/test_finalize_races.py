"""Completes that race each other, and completes that race an abort: exactly one outcome each time, and the sums exact.

No worker takes part: each round has three runs of the finalize workflow at once, as after a takeover from a worker that
only seemed dead. `make long ROUNDS=200` runs two hundred rounds of each.
"""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import pytest

from rushes.config import Settings
from rushes.ingest.abort import discard
from rushes.pipeline.finalize import run_finalize
from tests.conftest import ROUNDS, SEED
from tests.ingest.equipment import Desk, Directly, Person, body, open_desk, some_bytes
from tests.pipeline.equipment import database_apart

RACES = max(3, ROUNDS)
RACING = 100  # completes at once
DATA = some_bytes(1_000, seed=8)


@pytest.fixture(scope="module")
async def patient(settings: Settings) -> AsyncIterator[Desk]:
    """A desk that waits for verdicts, over a database of its own: every row in it is of these races."""
    with database_apart(settings) as apart:
        async with open_desk(apart, wait=60) as opened:
            yield opened


async def sent(desk: Desk) -> tuple[Person, dict[str, Any], list[dict[str, Any]]]:
    ann = desk.person()
    upload = await ann.begin(len(DATA))
    return ann, upload, await ann.send(upload, DATA)


async def finalizers(desk: Desk, upload: dict[str, Any], over: asyncio.Event) -> list[str]:
    """Three runs of the workflow at once, as soon as it is enqueued; none when it never is."""
    id_ = upload["upload_id"]
    while not await desk.enqueued(f"finalize-{id_}%"):
        if over.is_set() and not await desk.enqueued(f"finalize-{id_}%"):
            return []
        await asyncio.sleep(0.005)
    return list(await asyncio.gather(*(run_finalize(desk.ctx, Directly(), id_, 1) for _ in range(3))))


async def adds_up(desk: Desk) -> None:
    """What the quotas say is what the rows say, of everybody who ever took part."""
    stored = """SELECT tenant, sum(size) FILTER (WHERE state = 'ingested') FROM uploads GROUP BY tenant HAVING
        count(*) FILTER (WHERE state = 'ingested') > 0 ORDER BY 1"""
    for table in ("quotas", "tenant_quotas"):
        counted = await desk.sql(f"SELECT tenant, stored FROM {table} WHERE stored > 0 ORDER BY 1")  # noqa: S608
        assert counted == await desk.sql(stored)
        assert await desk.sql(f"SELECT tenant FROM {table} WHERE reserved <> 0 OR open_uploads <> 0") == []  # noqa: S608


async def outcome(desk: Desk, ann: Person, upload: dict[str, Any]) -> str:
    """The state the upload ended in, after all that has to be true of it was found true."""
    id_ = upload["upload_id"]
    ((state, asset, bucket, key),) = await desk.sql(
        """SELECT u.state, a.state, u.bucket, u.key FROM uploads u JOIN assets a ON a.upload_id = u.id
        WHERE u.id = %(id)s""",
        id=id_,
    )
    events = Counter(await desk.events(id_))
    runs = await desk.sql("SELECT 1 FROM jobs WHERE asset_id = %(id)s", id=upload["asset_id"])
    head = await desk.ctx.storage.s3.head(bucket, key)
    if state == "ingested":
        assert (asset, len(runs), await desk.quota(ann.who)) == ("processing", 1, (len(DATA), 0, 0))
        assert (events["upload_completed"], events["upload_aborted"], events["processing_queued"]) == (1, 0, 1)
        assert len(await desk.enqueued(f"finalize-{id_}%")) == 1
        assert head is not None
        assert head.size == len(DATA)
    else:
        assert (state, asset, len(runs), await desk.quota(ann.who)) == ("aborted", "deleted", 0, (0, 0, 0))
        assert (events["upload_completed"], events["upload_aborted"], events["upload_finalizing"]) == (0, 1, 0)
        assert len(await desk.enqueued(f"discard-{id_}%")) >= 1
        await discard(desk.ctx, UUID(id_))
        assert await desk.ctx.storage.s3.head(bucket, key) is None
        assert [found async for found in desk.ctx.storage.s3.list_multipart_uploads(bucket, key)] == []
    return str(state)


async def test_a_hundred_racing_completes_have_one_outcome(patient: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    for _ in range(RACES):
        ann, upload, done = await sent(patient)
        over = asyncio.Event()
        runs = asyncio.create_task(finalizers(patient, upload, over))
        answers = await asyncio.gather(*(ann.complete(upload, done) for _ in range(RACING)))
        over.set()
        verdicts = await runs
        assert Counter(answer.status_code for answer in answers) == {200: RACING}
        assert {body(answer)["asset_id"] for answer in answers} == {upload["asset_id"]}
        assert {body(answer)["upload_state"] for answer in answers} == {"ingested"}
        assert set(verdicts) <= {"ingested", "over"}
        assert await outcome(patient, ann, upload) == "ingested"
    await adds_up(patient)
    with capsys.disabled():
        print(f"\n  {RACES} rounds of {RACING} racing completes: one asset each, sums exact")


async def test_completes_racing_aborts_have_one_outcome(patient: Desk, capsys: pytest.CaptureFixture[str]) -> None:
    rng = random.Random(SEED)
    outcomes: Counter[str] = Counter()
    for _ in range(RACES):
        ann, upload, done = await sent(patient)
        over = asyncio.Event()
        runs = asyncio.create_task(finalizers(patient, upload, over))

        async def abort(ann: Person = ann, upload: dict[str, Any] = upload) -> httpx.Response:
            return await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")

        calls = [abort() for _ in range(5)] + [ann.complete(upload, done) for _ in range(5)]
        rng.shuffle(calls)
        answers = await asyncio.gather(*calls)
        over.set()
        await runs
        state = await outcome(patient, ann, upload)
        outcomes[state] += 1
        told = Counter((answer.request.method, answer.status_code) for answer in answers)
        assert told == {
            ("POST", 200 if state == "ingested" else 409): 5,
            ("DELETE", 409 if state == "ingested" else 204): 5,
        }
        codes = {body(answer)["code"] for answer in answers if answer.status_code == 409}
        assert codes <= ({"upload_finalizing", "upload_ingested"} if state == "ingested" else {"upload_aborted"})
    await adds_up(patient)
    with capsys.disabled():
        print(f"\n  {RACES} rounds of 5 completes racing 5 aborts: {dict(outcomes)}, sums exact (seed {SEED})")
