"""Expiry beside complete, abort, grants and other sweeps: exactly one outcome, sums exact. And a random mix of all things."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from uuid import UUID, uuid4

import pytest

from rushes.config import Settings
from rushes.ingest.abort import discard
from rushes.ingest.expiry import expire
from rushes.ingest.reclaimed import Sum, Tally
from rushes.ingest.sweeping import Sweep
from rushes.model import Principal, UploadState, new_id
from rushes.plan import MIN_PART
from tests.conftest import SEED
from tests.ingest.equipment import Desk, Json, Person, some_bytes
from tests.ingest.leftovers import (
    A_DAY,
    TWO_WEEKS,
    a_key,
    at,
    desk_apart,
    incoming_key,
    lost_multipart,
    multiparts,
    objects,
    put,
    storage_id,
    swept_as_announced,
)

SMALL = some_bytes(1_000, seed=6)
LARGE = some_bytes(MIN_PART + 1_000, seed=7)


@pytest.fixture(scope="module")
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with desk_apart(settings) as opened:
        yield opened


async def check_sums(desk: Desk, who: Principal) -> None:
    """What the quota says is what the rows add up to."""
    ((stored, reserved, count),) = await desk.sql(
        """SELECT COALESCE(sum(u.size) FILTER (WHERE u.state = 'ingested' AND a.state <> 'deleted'), 0)::bigint,
        COALESCE(sum(u.size) FILTER (WHERE u.state IN ('initiated', 'uploading', 'finalizing')), 0)::bigint,
        count(*) FILTER (WHERE u.state IN ('initiated', 'uploading', 'finalizing'))
        FROM uploads u JOIN assets a ON a.id = u.asset_id WHERE u.tenant = %(tenant)s""",
        tenant=who.tenant,
    )
    assert await desk.quota(who) == (stored, reserved, count)


async def expire_now(desk: Desk) -> Tally:
    ctx = at(desk.ctx, TWO_WEEKS)
    sweep = Sweep(ctx, new_id(), ctx.now())
    await expire(sweep)
    return sweep.tally


async def test_expiry_complete_abort_and_grant_that_race_have_one_outcome(desk: Desk, round_: int) -> None:
    outcomes: Counter[str] = Counter()
    seeded = random.Random(SEED + round_)
    for _ in range(6):
        ann = desk.person()
        upload = await ann.begin(len(SMALL))
        done = await ann.send(upload, SMALL)
        calls: list[Callable[[], Awaitable[object]]] = [
            lambda ann=ann, upload=upload, done=done: ann.complete(upload, done),  # type: ignore[misc]
            lambda ann=ann, upload=upload: ann.http.delete(f"/v1/uploads/{upload['upload_id']}"),  # type: ignore[misc]
            lambda ann=ann, upload=upload, done=done: ann.ask(upload, done=done),  # type: ignore[misc]
            lambda: expire_now(desk),
            lambda: expire_now(desk),
        ]
        seeded.shuffle(calls)
        answers = await asyncio.gather(*(call() for call in calls))
        assert not [answer for answer in answers if getattr(answer, "status_code", 200) >= 500]
        id_ = upload["upload_id"]
        state = (await ann.upload(upload))["state"]
        ends = [type_ for type_ in await desk.events(id_) if type_ in {"upload_expired", "upload_aborted"}]
        counted = sum(report.reclaimed(ann.who.tenant).count for report in answers if isinstance(report, Tally))
        if state == "finalizing":
            assert (ends, counted) == ([], 0)
            assert await desk.finalize(id_) == "ingested"
            assert (await ann.asset(upload))["size"] == len(SMALL)
        else:
            assert ends == [f"upload_{state}"]
            assert counted == int(state == UploadState.EXPIRED)
            assert len(await desk.enqueued(f"discard-{id_}%")) == 1
            await discard(desk.ctx, UUID(id_))
            assert not [key for _, key in await objects(desk) if upload["asset_id"] in key]
        outcomes[state] += 1
        await check_sums(desk, ann.who)
    assert set(outcomes) <= {"finalizing", "aborted", "expired"}


class Mix:
    """Things alive and dead in one tenant, made at random; what each kind leaves is known."""

    def __init__(self, desk: Desk, person: Person, seed: int) -> None:
        self.desk, self.person, self.random = desk, person, random.Random(seed)
        self.dead_keys: set[str] = set()
        self.dead_multiparts: set[str] = set()
        self.foreign: set[str] = set()
        self.open: list[tuple[Json, list[Json], bytes]] = []
        self.ingested: list[Json] = []
        self.freed = Sum()

    async def make(self) -> None:
        makers = (
            self.live,
            self.live,
            self.finished,
            self.deleted,
            self.aborted,
            self.orphan,
            self.loser,
            self.scratch,
            self.superseded,
            self.somebody_elses,
        )
        await self.random.choice(makers)()

    async def live(self) -> None:
        data = self.random.choice((SMALL, LARGE))
        upload = await self.person.begin(len(data), part_size=MIN_PART)
        parts = self.random.randrange(upload["part_count"] + 1)
        done = await self.person.send(upload, data, range(1, parts + 1)) if parts else []
        if self.random.random() < 0.5:
            await self.person.ask(upload, done=done)
        self.open.append((upload, done, data))

    async def finished(self) -> None:
        self.ingested.append(await self.person.ingest(SMALL))

    async def deleted(self) -> None:
        """`remove` never ran: no worker does."""
        upload = await self.person.ingest(SMALL)
        await self.person.http.delete(f"/v1/assets/{upload['asset_id']}")
        self.freed += Sum(1, len(SMALL))
        self.dead_keys.add(f"{upload['asset_id']}/original")

    async def aborted(self) -> None:
        """Nor does `discard`."""
        upload = await self.person.begin(len(SMALL))
        await self.person.send(upload, SMALL)
        await self.person.http.delete(f"/v1/uploads/{upload['upload_id']}")
        self.freed += Sum(1, len(SMALL))
        self.dead_multiparts.add(await storage_id(self.desk, upload))

    async def orphan(self) -> None:
        originals, key = self.desk.ctx.storage.originals, a_key(self.desk, self.person.who)
        self.dead_multiparts.add(await lost_multipart(self.desk, originals, key, SMALL))
        self.freed += Sum(1, len(SMALL))

    async def loser(self) -> None:
        """Another multipart upload for the key of a live upload."""
        await self.live()
        upload = self.open[-1][0]
        ((key,),) = await self.desk.sql("SELECT key FROM uploads WHERE id = %(id)s", id=upload["upload_id"])
        self.dead_multiparts.add(await lost_multipart(self.desk, self.desk.ctx.storage.originals, key, SMALL))
        self.freed += Sum(1, len(SMALL))

    async def scratch(self) -> None:
        key = incoming_key(self.desk, self.person.who, uuid4(), f"parts/{self.random.randrange(1, 99)}")
        await put(self.desk, self.desk.ctx.storage.incoming, key, SMALL)
        self.dead_keys.add(key)
        self.freed += Sum(1, len(SMALL))

    async def superseded(self) -> None:
        """What a run stored that was replaced, of an asset that stays."""
        upload = await self.person.ingest(SMALL)
        epoch = self.random.randrange(1, 5)
        await self.desk.sql("UPDATE assets SET epoch = 5 WHERE id = %(id)s", id=upload["asset_id"])
        await self.desk.sql("UPDATE jobs SET state = 'failed' WHERE asset_id = %(id)s", id=upload["asset_id"])
        place = self.desk.ctx.storage.renditions
        incoming = incoming_key(self.desk, self.person.who, upload["asset_id"], f"{epoch}/proxy.mp4")
        key = place.prefix + incoming.removeprefix(self.desk.ctx.storage.incoming.prefix)
        await put(self.desk, place, key, SMALL)
        self.dead_keys.add(key)
        self.freed += Sum(1, len(SMALL))
        self.ingested.append(upload)

    async def somebody_elses(self) -> None:
        storage = self.desk.ctx.storage
        place = self.random.choice((storage.incoming, storage.originals, storage.renditions))
        name = self.random.choice(("backup.tar", "a/b/c/original", "a/b/not-an-id/1/x.mp4", "probe-7", "x/y"))
        key = f"{place.prefix}{name}"
        await put(self.desk, place, key)
        self.foreign.add(key)


async def test_a_random_mix_loses_what_is_dead_and_nothing_else(desk: Desk, round_: int) -> None:
    seed = SEED + round_
    print(f"seed {seed}")
    mix = Mix(desk, desk.person(), seed)
    for _ in range(14):
        await mix.make()
    report = await swept_as_announced(desk, A_DAY + timedelta(hours=mix.random.randrange(24 * 12)))
    assert report.reclaimed(mix.person.who.tenant) == mix.freed
    keys = {key for _, key in await objects(desk)}
    assert not [key for key in keys if any(key.endswith(dead) for dead in mix.dead_keys)]
    assert mix.foreign <= keys
    assert not mix.dead_multiparts & await multiparts(desk)
    for upload, done, data in mix.open:
        missing = sorted(set(range(1, upload["part_count"] + 1)) - {part["number"] for part in done})
        late = await mix.person.send(upload, data, missing) if missing else []
        assert (await mix.person.complete(upload, done + late)).status_code == 202
        assert await desk.finalize(upload["upload_id"]) == "ingested"
        mix.ingested.append(upload)
    for upload in mix.ingested:
        ((bucket, key, size),) = await desk.sql(
            "SELECT bucket, key, size FROM assets WHERE id = %(id)s", id=upload["asset_id"]
        )
        head = await desk.ctx.storage.s3.head(bucket, key)
        assert head is not None
        assert head.size == size
    await check_sums(desk, mix.person.who)
    again = await swept_as_announced(desk, 2 * A_DAY)
    assert again.reclaimed(mix.person.who.tenant) == Sum()
