"""The feed: nothing is lost, nothing comes twice, whatever order transactions end in, and only those who may hear it do."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from uuid import UUID, uuid4

import pytest

from rushes.config import Settings
from rushes.db import Conn, Database, open_database
from rushes.errors import Conflict, Invalid, Unavailable
from rushes.events import Cursor, Feed, Reach, Subscription
from rushes.model import Role
from tests.conftest import ROUNDS, SEED
from tests.events.equipment import heard, open_feed, subscribed, tell, url_of, writer
from tests.ingest.equipment import Desk, somebody


@pytest.fixture
async def feed(settings: Settings) -> AsyncIterator[Feed]:
    async with open_feed(settings) as (_, opened):
        yield opened


async def test_a_transaction_that_commits_late_is_never_skipped(settings: Settings, feed: Feed) -> None:
    """Its ids are the smaller ones, and a reader has asked after the larger ones were committed."""
    ann = somebody()
    live = await subscribed(feed, ann)
    early, late = await writer(settings), await writer(settings)
    async with early, late:
        await tell(late, ann, "late_one", "late_two")
        await tell(early, ann, "early")
        await early.commit()
        asked = await subscribed(feed, ann, Cursor(0, 0))
        batch = await asked.next(0.5)
        assert batch is not None
        assert batch.events == [], "what is committed above an open transaction has to wait for it"
        await late.commit()
        await tell(early, ann, "after")
        await early.commit()
    for subscription in (live, asked):
        assert await heard(subscription, 4) == ["late_one", "late_two", "early", "after"]
    assert await heard(await subscribed(feed, ann, batch.cursor), 4) == ["late_one", "late_two", "early", "after"]


async def test_what_was_rolled_back_did_not_happen(settings: Settings, feed: Feed) -> None:
    ann = somebody()
    live = await subscribed(feed, ann)
    async with await writer(settings) as conn:
        await tell(conn, ann, "one")
        await conn.commit()
        await tell(conn, ann, "never")
        await conn.rollback()
        await tell(conn, ann, "two")
        await conn.commit()
    assert await heard(live, 2) == ["one", "two"]


async def test_a_reader_that_comes_back_at_any_event_goes_on_right_after_it(settings: Settings, feed: Feed) -> None:
    ann = somebody()
    names = [f"event_{number}" for number in range(7)]
    async with await writer(settings) as conn:
        for some in (names[:3], names[3:4], names[4:]):  # within a transaction and between two
            await tell(conn, ann, *some)
            await conn.commit()
    first = await subscribed(feed, ann, Cursor(0, 0))
    batch = await first.next(5)
    assert batch is not None
    assert [event.type for event in batch.events] == names
    for number, event in enumerate(batch.events[:-1]):
        again = await subscribed(feed, ann, Cursor(event.xid, event.id))
        assert await heard(again, len(names) - number - 1) == names[number + 1 :]
    end = await (await subscribed(feed, ann, batch.cursor)).next(5)
    assert end is not None
    assert (end.events, end.current) == ([], True)


async def test_writers_in_any_order_and_readers_that_come_and_go(settings: Settings, feed: Feed) -> None:
    """Writers commit, roll back and dawdle; readers break off anywhere and come back. Each hears every event once."""
    rng = random.Random(SEED)
    ann = somebody()
    told: list[str] = []

    async def write(name: str, plan: list[tuple[int, float, bool]]) -> None:
        async with await writer(settings) as conn:
            for number, (count, pause, keep) in enumerate(plan):
                names = [f"{name}_{number}_{place}" for place in range(count)]
                await tell(conn, ann, *names)
                await asyncio.sleep(pause)
                await (conn.commit() if keep else conn.rollback())
                told.extend(names if keep else [])

    def plan() -> list[tuple[int, float, bool]]:
        return [(rng.randint(1, 4), rng.random() * 0.02, rng.random() < 0.8) for _ in range(25 * ROUNDS)]

    async def read(seed: int) -> list[str]:
        own, found, cursor = random.Random(seed), list[str](), Cursor(0, 0)
        while "the end" not in found:
            subscription = await feed.subscribe(Reach(ann), cursor, history=False)
            for _ in range(own.randint(1, 5)):
                batch = await subscription.next(0.05)
                assert batch is not None
                events = batch.events[: own.randint(0, len(batch.events))] if own.random() < 0.3 else batch.events
                found += [event.type for event in events]
                if len(events) < len(batch.events):  # it breaks off in the middle of a page
                    cursor = Cursor(events[-1].xid, events[-1].id) if events else cursor
                    break
                cursor = batch.cursor
            subscription.close()
        return found

    readers = [asyncio.create_task(read(rng.randrange(2**31))) for _ in range(4)]
    await asyncio.gather(*(write(f"writer{number}", plan()) for number in range(6)))
    async with await writer(settings) as conn:  # later than all others, so it is the last to be heard
        await tell(conn, ann, "the end")
        await conn.commit()
    told.append("the end")
    results = await asyncio.wait_for(asyncio.gather(*readers), 60)
    assert sorted(results[0]) == sorted(told)
    assert all(result == results[0] for result in results)


async def test_history_is_read_page_by_page(settings: Settings, feed: Feed) -> None:
    ann, upload = somebody(), uuid4()
    names = [f"event_{number}" for number in range(250)]
    async with await writer(settings) as conn:
        await tell(conn, ann, *names, upload_id=upload)
        await tell(conn, ann, "another's")
    subscription = await subscribed(feed, ann, history=True, upload_id=upload)
    batches = [await subscription.next(5) for _ in range(3)]
    assert [len(batch.events) for batch in batches if batch] == [100, 100, 50]
    assert [batch.current for batch in batches if batch] == [False, False, True]
    assert [event.type for batch in batches if batch for event in batch.events] == names


async def test_only_those_hear_it_who_may_see_it(desk: Desk, settings: Settings, feed: Feed) -> None:
    ann = desk.person()
    upload, other = await ann.begin(), await ann.begin()
    who, title, elsewhere = ann.who, UUID(upload["title_id"]), UUID(other["title_id"])
    hears = {
        "the creator": who,
        "the operator": replace(who, creator="olga", role=Role.OPERATOR),
        "the service": replace(who, creator="cron", role=Role.SERVICE),
        "a token for the title": replace(who, title=title),
        "a token for the upload": replace(who, upload=UUID(upload["upload_id"])),
        "an operator with a token for the title": replace(who, creator="olga", role=Role.OPERATOR, title=title),
    }
    deaf = {
        "another creator": replace(who, creator="bob"),
        "another tenant": replace(who, tenant="elsewhere"),
        "another tenant's operator": replace(who, tenant="elsewhere", role=Role.OPERATOR),
        "a token for another title": replace(who, title=elsewhere),
        "an operator with a token for another title": replace(who, role=Role.OPERATOR, title=elsewhere),
        "a token for another upload": replace(who, upload=UUID(other["upload_id"])),
    }
    live = {name: await subscribed(feed, person) for name, person in (hears | deaf).items()}
    of_upload = await subscribed(feed, who, history=True, upload_id=UUID(upload["upload_id"]))
    of_asset = await subscribed(feed, who, history=True, asset_id=UUID(upload["asset_id"]))
    assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    for name, person in hears.items():
        assert await heard(live[name], 1) == ["upload_aborted"], name
        past = await heard(await subscribed(feed, person, Cursor(0, 0)), 2)
        assert set(past) <= {"upload_started", "upload_aborted"}
    for subscription in (of_upload, of_asset):
        assert await heard(subscription, 2) == ["upload_started", "upload_aborted"]
    for name, person in deaf.items():
        batch = await live[name].next(0.2)
        assert batch is not None
        assert batch.events == [], name
        seen = await (await subscribed(feed, person, Cursor(0, 0))).next(5)
        assert seen is not None
        assert upload["upload_id"] not in {str(event.upload_id) for event in seen.events}, name


async def test_an_upload_given_to_another_title_is_heard_there(desk: Desk, feed: Feed) -> None:
    ann = desk.person()
    upload, other = await ann.ingest(), await ann.begin()
    before = await subscribed(feed, replace(ann.who, title=UUID(upload["title_id"])))
    after = await subscribed(feed, replace(ann.who, title=UUID(other["title_id"])))
    answer = await ann.http.patch(f"/v1/assets/{upload['asset_id']}", json={"title_id": other["title_id"]})
    assert answer.status_code == 200
    assert (await ann.http.delete(f"/v1/assets/{upload['asset_id']}")).status_code == 204
    assert "asset_deleted" in await heard(after, 1)
    batch = await before.next(0.1)
    assert batch is not None
    assert batch.events == []


async def test_a_quiet_reader_keeps_up_without_asking(settings: Settings, feed: Feed) -> None:
    """Its cursor moves on with what others are told of, so that it never has to read past that."""
    ann, bob = somebody(), somebody()
    quiet, busy = await subscribed(feed, ann), await subscribed(feed, bob)
    start = quiet.cursor
    async with await writer(settings) as conn:
        await tell(conn, bob, "one")
        await conn.commit()
        assert await heard(busy, 1) == ["one"]
        batch = await quiet.next(0.1)
        assert batch is not None
        assert (batch.events, batch.current) == ([], True)
        assert batch.cursor > start
        await tell(conn, ann, "mine")
        await conn.commit()
    assert await heard(quiet, 1) == ["mine"]
    assert await heard(await subscribed(feed, ann, batch.cursor), 1) == ["mine"]


class Counting(Database):
    """The database behind, and how often it was asked."""

    def __init__(self, behind: Database) -> None:
        self._behind = behind
        self.transactions = 0

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Conn]:
        self.transactions += 1
        async with self._behind.transaction() as conn:
            yield conn


async def test_those_who_hear_the_same_share_the_question(settings: Settings) -> None:
    ann = somebody()
    async with open_database(url_of(settings), 5, 60) as db, await writer(settings) as conn:
        counting = Counting(db)
        feed = Feed(counting, look_seconds=0.2)
        subscriptions = [await subscribed(feed, ann) for _ in range(200)]
        for name in ("one", "two"):
            before = counting.transactions
            await tell(conn, ann, name)
            await conn.commit()
            assert await asyncio.gather(*(heard(one, 1) for one in subscriptions)) == [[name]] * 200
        assert counting.transactions - before < 10, "one question for all, and the looks of the watcher"
        before = counting.transactions
        await asyncio.gather(*(one.next(0.5) for one in subscriptions))
        assert counting.transactions - before < 6, "nobody asks when nothing happens, but for the watcher"
        await feed.close()


async def test_nobody_looks_when_nobody_listens(feed: Feed) -> None:
    subscription = await subscribed(feed, somebody())
    watcher = feed._watcher
    assert watcher is not None
    subscription.close()
    await asyncio.wait_for(watcher, 5)
    assert len(feed) == 0
    assert feed._watcher is None
    assert await subscription.next(5) is None


async def test_the_end_of_the_process_is_heard_at_once(feed: Feed) -> None:
    waiting = [asyncio.create_task((await subscribed(feed, somebody())).next(60)) for _ in range(3)]
    await asyncio.sleep(0)
    feed.stop()
    assert await asyncio.wait_for(asyncio.gather(*waiting), 2) == [None, None, None]
    with pytest.raises(Unavailable) as refused:
        await feed.subscribe(Reach(somebody()), None, history=False)
    assert refused.value.code == "stopping"


async def test_there_is_a_most(settings: Settings) -> None:
    async with open_feed(settings) as (db, _):
        feed = Feed(db, most=2)
        one, _two = await subscribed(feed, somebody()), await subscribed(feed, somebody())
        with pytest.raises(Unavailable) as refused:
            await feed.subscribe(Reach(somebody()), None, history=False)
        assert refused.value.code == "streams_full"
        one.close()
        assert isinstance(await subscribed(feed, somebody()), Subscription)
        await feed.close()


async def test_one_creator_cannot_keep_out_all_others(settings: Settings) -> None:
    ann = somebody()
    async with open_feed(settings) as (db, _):
        feed = Feed(db, most=8)
        one, _two = await subscribed(feed, ann), await subscribed(feed, ann)
        with pytest.raises(Unavailable) as refused:
            await feed.subscribe(Reach(ann), None, history=False)
        assert refused.value.code == "streams_full"
        assert isinstance(await subscribed(feed, somebody()), Subscription)
        one.close()
        assert isinstance(await subscribed(feed, ann), Subscription)
        await feed.close()


async def test_who_comes_in_the_moment_the_watcher_ends_is_told(settings: Settings) -> None:
    ann = somebody()
    async with open_feed(settings) as (db, _), await writer(settings) as conn:
        feed = Feed(db, look_seconds=0.01)
        for number in range(20):
            leaving = await subscribed(feed, ann)
            watcher = feed._watcher
            leaving.close()
            while watcher is not None and not watcher.done():  # noqa: ASYNC110 - the very turn of the loop is what matters
                await asyncio.sleep(0)
            coming = await subscribed(feed, ann)
            assert (await coming.next(5)) is not None  # up to date
            await tell(conn, ann, f"number_{number}")
            await conn.commit()
            assert await heard(coming, 1) == [f"number_{number}"]
            coming.close()
            while feed._watcher is not None:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        await feed.close()


async def test_cursors_of_another_database_are_refused(settings: Settings, feed: Feed) -> None:
    with pytest.raises(Conflict) as refused:
        await feed.subscribe(Reach(somebody()), Cursor(2**62, 0), history=False)
    assert refused.value.code == "cursor_unknown"
    assert len(feed) == 0


@pytest.mark.parametrize(
    "text", ["", "1", "1-", "-1", "1-2-3", "a-b", "1 - 2", "٣-4", "9223372036854775808-1", "1" * 99]
)
def test_what_is_no_cursor(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        Cursor.parse(text)
    assert refused.value.code == "cursor_invalid"


async def test_a_database_that_goes_away_costs_no_event(settings: Settings) -> None:
    """Every connection of the feed is cut while it listens; what happened meanwhile is told afterwards."""
    ann = somebody()
    async with open_feed(settings) as (db, feed):
        live = await subscribed(feed, ann)
        async with await writer(settings) as conn, await writer(settings) as killer:
            for number in range(5):
                pids = await _backends(db)
                await killer.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS of (pid)", [pids])
                await tell(conn, ann, f"event_{number}")
                await conn.commit()
            assert await heard(live, 5, 30) == [f"event_{number}" for number in range(5)]


async def _backends(db: Database) -> list[int]:
    async with db.transaction() as conn:
        cursor = await conn.execute("SELECT pg_backend_pid()")
        return [int(row[0]) for row in await cursor.fetchall()]
