"""One connection breaks, or one statement is refused, at the worst moments: the asset is published all the same.

A trigger does it, once, inside the server: in the very transaction that matters, whichever connection that is on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID

import pytest
from psycopg import sql

from rushes import main
from rushes.config import Settings
from rushes.db import Conn
from rushes.ingest import complete
from rushes.ingest.context import Context
from rushes.model import AssetState
from tests.conftest import OPERATOR
from tests.pipeline.equipment import (
    database_apart,
    ingest_without_worker,
    picture,
    rows,
    send,
    settled,
    until,
    worker,
)

BREAK = "PERFORM pg_terminate_backend(pg_backend_pid()); PERFORM pg_sleep(0.1)"
REFUSE = "RAISE EXCEPTION 'cannot execute UPDATE in a read-only transaction' USING ERRCODE = '25006'"


@dataclass(frozen=True)
class Fault:
    """What happens, once, before a row of `table` is written."""

    event: str
    table: str
    when: str
    action: str = BREAK


FAULTS = {
    "settle": Fault("UPDATE", "uploads", "NEW.state = 'ingested'"),
    "claim_run": Fault("UPDATE", "jobs", "OLD.state = 'queued' AND NEW.state = 'running' AND NEW.type = 'process'"),
    "add_stage": Fault("INSERT", "jobs", "NEW.type = 'images'"),
    "claim_stage": Fault("UPDATE", "jobs", "OLD.state = 'queued' AND NEW.state = 'running' AND NEW.type = 'digest'"),
    "end_stage": Fault("UPDATE", "jobs", "NEW.state = 'succeeded' AND NEW.type = 'digest'"),
    "publish": Fault("UPDATE", "assets", "OLD.state = 'processing' AND NEW.state = 'published'"),
    "beat_broken": Fault("UPDATE", "jobs", "OLD.state = NEW.state AND OLD.epoch = NEW.epoch AND NEW.type = 'process'"),
    "beat_refused": Fault(
        "UPDATE", "jobs", "OLD.state = NEW.state AND OLD.epoch = NEW.epoch AND NEW.type = 'process'", REFUSE
    ),
}


@pytest.fixture(scope="module")
def served(settings: Settings) -> Iterator[Settings]:
    with database_apart(settings) as found:
        yield found


@pytest.fixture(scope="module")
async def at_work(served: Settings) -> AsyncIterator[Context]:
    """A context on a database with a worker; one for all tests here, which it has to live through."""
    async with main.open_context(served) as ctx, worker(served) as process:
        yield ctx
        assert process.returncode is None


@pytest.mark.parametrize("where", FAULTS)
async def test_one_fault_is_lived_through(at_work: Context, where: str) -> None:
    async with once(at_work, FAULTS[where]) as fired:
        upload, request = await send(at_work, OPERATOR, picture(1), "a.png")
        assert not await complete.start(at_work, OPERATOR, upload.id, request)
        asset = await settled(at_work, upload.asset_id, 30)
        assert await fired()
    assert (asset.state, asset.problem) == (AssetState.PUBLISHED, None)
    await nothing_is_left(at_work, upload.asset_id)


async def test_three_faults_in_one_run_are_lived_through(at_work: Context) -> None:
    """One break after the other, in one asset that waited in the queue."""
    upload = await ingest_without_worker(at_work, OPERATOR, picture(2), "a.png")
    async with once(at_work, FAULTS["add_stage"]), once(at_work, FAULTS["end_stage"]), once(at_work, FAULTS["publish"]):
        asset = await settled(at_work, upload.asset_id, 30)
    assert (asset.state, asset.problem) == (AssetState.PUBLISHED, None)
    await nothing_is_left(at_work, upload.asset_id)


async def nothing_is_left(ctx: Context, asset_id: UUID) -> None:
    """No row waits for anything, and every rendition is in storage."""
    engine = "SELECT name, status, error FROM dbos.workflow_status WHERE status <> 'SUCCESS'"

    async def idle() -> bool:
        return not await rows(ctx, engine)

    await until(idle, 30, "workflows that are not done")
    jobs = await rows(ctx, "SELECT type, state FROM jobs WHERE asset_id = %s ORDER BY type", asset_id)
    assert jobs == [(type_, "succeeded") for type_ in ("digest", "identify", "images", "process")]
    assert await rows(ctx, "SELECT 1 FROM uploads WHERE state <> 'ingested'") == []
    published = await rows(ctx, "SELECT 1 FROM events WHERE asset_id = %s AND type = 'asset_published'", asset_id)
    assert len(published) == 1
    made = await rows(ctx, "SELECT bucket, key FROM renditions WHERE asset_id = %s", asset_id)
    assert made
    for bucket, key in made:
        assert await ctx.storage.s3.head(bucket, key) is not None


@asynccontextmanager
async def once(ctx: Context, fault: Fault) -> AsyncIterator[Fired]:
    """The fault lies in wait while the block lasts; what it yields asks whether it has struck."""
    name = f"fault_{abs(hash(fault)) % 10**9}"
    body = f"BEGIN IF nextval('{name}') = 1 THEN {fault.action}; END IF; RETURN NEW; END"
    async with ctx.db.transaction() as conn:
        await _execute(conn, "CREATE SEQUENCE {name}", name)
        await _execute(conn, f"CREATE FUNCTION {{name}}() RETURNS trigger LANGUAGE plpgsql AS $${body}$$", name)
        await _execute(
            conn,
            f"""CREATE TRIGGER {{name}} BEFORE {fault.event} ON {fault.table}
            FOR EACH ROW WHEN ({fault.when}) EXECUTE FUNCTION {{name}}()""",
            name,
        )
    try:
        yield Fired(ctx, name)
    finally:
        async with ctx.db.transaction() as conn:
            await _execute(conn, f"DROP TRIGGER {{name}} ON {fault.table}", name)
            await _execute(conn, "DROP FUNCTION {name}", name)
            await _execute(conn, "DROP SEQUENCE {name}", name)


@dataclass(frozen=True)
class Fired:
    ctx: Context
    name: str

    async def __call__(self) -> bool:
        ((called,),) = await rows(self.ctx, "SELECT pg_sequence_last_value(%s::regclass) > 0", self.name)
        return bool(called)


async def _execute(conn: Conn, statement: str, name: str) -> None:
    await conn.execute(sql.SQL(statement).format(name=sql.Identifier(name)))
