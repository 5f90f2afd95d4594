"""Every legal move of an upload, an asset or a job is told of, in the transaction that makes it.

A trigger writes down each move that the database sees, with its transaction; the test walks through the verbs and then
looks for an event of the right type beside each move.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import pytest

from rushes import main
from rushes.config import Settings
from rushes.errors import Conflict
from rushes.events import moves
from rushes.ingest import abort, assets, begin, complete, expiry, finalize, grant, process, reprocess
from rushes.ingest.context import Context
from rushes.ingest.sweeping import Sweep
from rushes.model import (
    ASSET_MOVES,
    JOB_MOVES,
    UPLOAD_MOVES,
    AssetState,
    JobState,
    Principal,
    Upload,
    UploadState,
    new_id,
)
from rushes.pipeline import stages
from rushes.pipeline.runs import Ownership
from rushes.wire import BeginUpload, CompleteUpload, GrantRequest, WantedPart
from tests.ingest.equipment import crc, somebody
from tests.ingest.leftovers import TWO_WEEKS, at
from tests.pipeline.equipment import claimed, database_apart, end_run, ingest_without_worker, rows, send

A, J, U = AssetState, JobState, UploadState
SHA256 = "ab" * 32
PROBLEM = {"code": "undecodable", "message": "This is no video."}

# Legal, and made by nothing in the code: a retry starts a new run, and nothing quarantines or rejects yet.
NOT_MADE: set[tuple[str, str | None, str]] = {
    ("jobs", J.FAILED, J.QUEUED),
    ("jobs", J.CANCELLED, J.QUEUED),
    ("assets", A.PROCESSING, A.QUARANTINED),
    ("assets", A.PUBLISHED, A.QUARANTINED),
    ("assets", A.QUARANTINED, A.PROCESSING),
    ("assets", A.QUARANTINED, A.DELETED),
    ("uploads", U.INITIATED, U.REJECTED),
    ("uploads", U.UPLOADING, U.REJECTED),
}

AUDIT = """
CREATE TABLE audit (noun text, asset_id uuid, old text, new text, xid xid8);
CREATE FUNCTION audit() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE row jsonb := to_jsonb(NEW);
BEGIN
    IF TG_OP = 'INSERT' OR OLD.state <> NEW.state THEN
        INSERT INTO audit VALUES (TG_TABLE_NAME, COALESCE(row->>'asset_id', row->>'id')::uuid,
            CASE WHEN TG_OP = 'UPDATE' THEN OLD.state END, NEW.state, pg_current_xact_id());
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON uploads FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON assets FOR EACH ROW EXECUTE FUNCTION audit();
CREATE TRIGGER audit AFTER INSERT OR UPDATE ON jobs FOR EACH ROW EXECUTE FUNCTION audit();
"""


@pytest.fixture(scope="module")
def audited(settings: Settings) -> Iterator[Settings]:
    with database_apart(settings) as found:
        yield found


@pytest.fixture(scope="module")
async def ctx(audited: Settings) -> AsyncIterator[Context]:
    async with main.open_context(audited) as found:
        async with found.db.transaction() as conn:
            await conn.execute(AUDIT.encode())
        yield found


@pytest.mark.parametrize(
    ("told", "legal"), [(moves.UPLOAD, UPLOAD_MOVES), (moves.ASSET, ASSET_MOVES)], ids=["uploads", "assets"]
)
def test_each_legal_move_has_its_events(
    told: Mapping[tuple[Any, Any], frozenset[str]], legal: Mapping[Any, frozenset[Any]]
) -> None:
    assert {move for move in told if move[0] is not None} == {(old, new) for old in legal for new in legal[old]}
    assert [new for old, new in told if old is None] == [next(iter(legal))]
    assert all(told.values())


def test_each_state_of_a_job_has_its_event() -> None:
    assert moves.JOB.keys() == set(JobState)
    assert len(set(moves.JOB.values())) == len(JobState)


@dataclass
class Walk:
    ctx: Context
    who: Principal

    async def ingested(self) -> Upload:
        return await ingest_without_worker(self.ctx, self.who, b"not a film", "take one.mov")

    async def published(self) -> Upload:
        upload = await self.ingested()
        owned = await claimed(self.ctx, upload.asset_id, "identify")
        await stages._end(owned[1], J.SUCCEEDED, "done", None)
        await self.publish(upload, owned[0])
        return upload

    async def publish(self, upload: Upload, own: Ownership) -> None:
        await rows(self.ctx, "UPDATE assets SET sha256 = %s WHERE id = %s RETURNING 1", SHA256, upload.asset_id)
        await end_run(own)

    async def failed(self) -> Upload:
        upload = await self.ingested()
        (own,) = await claimed(self.ctx, upload.asset_id)
        await end_run(own, dict(PROBLEM))
        return upload

    async def again(self, upload: Upload) -> UUID:
        return (await reprocess.reprocess(self.ctx, self.who, upload.asset_id)).id


async def uploads_that_come_to_nothing(walk: Walk) -> None:
    ctx, who = walk.ctx, walk.who
    begun, _ = await send(ctx, who, b"x", "a.mov")
    await abort.abort(ctx, who, begun.id)
    fresh, _ = await _begun(ctx, who)
    await abort.abort(ctx, who, fresh.id)
    stuck, request = await send(ctx, who, b"x", "b.mov")
    assert not await complete.start(ctx, who, stuck.id, request)
    await finalize.fail(ctx, stuck.id, 1, "internal", "It went wrong.")
    await assets.delete(ctx, who, stuck.asset_id)


async def _begun(ctx: Context, who: Principal) -> tuple[Upload, str]:
    wanted = BeginUpload(filename="c.mov", size=5)
    return await begin.begin(ctx, who, wanted, idempotency_key=None, origin="test")


async def an_upload_that_is_sent_back(walk: Walk) -> None:
    """Its part was granted and never sent, which only storage can tell."""
    upload, _ = await _begun(walk.ctx, walk.who)
    want = [WantedPart(number=1, checksum=crc(b"12345"))]
    await grant.grant(walk.ctx, walk.who, upload.id, GrantRequest(want=want))
    assert not await complete.start(walk.ctx, walk.who, upload.id, CompleteUpload())
    assert await finalize.reconcile(walk.ctx, upload.id, 1) == "missing"


async def uploads_that_expire(walk: Walk) -> None:
    """All that are open by then."""
    await _begun(walk.ctx, walk.who)
    await send(walk.ctx, walk.who, b"x", "d.mov")
    later = at(walk.ctx, TWO_WEEKS)
    await expiry.expire(Sweep(later, new_id(), later.now()))


async def runs_that_publish(walk: Walk) -> None:
    upload = await walk.published()
    await walk.again(upload)
    _, stage, other = await claimed(walk.ctx, upload.asset_id, "identify", "digest")
    await stages._put_back(stage)
    await stages._end(other, J.FAILED, "no", dict(PROBLEM))  # what is published stays: the asset is `published` again
    await process.cancel_job(walk.ctx, walk.who, await walk.again(upload))
    await assets.delete(walk.ctx, walk.who, upload.asset_id)


async def runs_that_do_not(walk: Walk) -> None:
    upload = await walk.failed()
    job = await walk.again(upload)
    await claimed(walk.ctx, upload.asset_id, "identify")
    await process.cancel_job(walk.ctx, walk.who, job)
    with pytest.raises(Conflict):
        await process.cancel_job(walk.ctx, walk.who, job)
    await walk.again(upload)
    await assets.delete(walk.ctx, walk.who, upload.asset_id)  # while it is processed


async def test_every_move_that_is_made_is_told_of(ctx: Context) -> None:
    walk = Walk(ctx, somebody())
    for steps in (
        uploads_that_come_to_nothing,
        an_upload_that_is_sent_back,
        runs_that_publish,
        runs_that_do_not,
        uploads_that_expire,
    ):
        await steps(walk)
    made = await rows(
        ctx,
        """SELECT a.noun, a.old, a.new, ARRAY(SELECT e.type FROM events e
            WHERE e.xid = a.xid AND e.asset_id = a.asset_id AND e.tenant = %s) FROM audit a""",
        walk.who.tenant,
    )
    for noun, old, new, told in made:
        assert right(noun, old, new) & set(told), f"{noun}: {old} → {new} was told of by {told}"
    walked = {(noun, old, new) for noun, old, new, _ in made}
    assert walked | NOT_MADE == legal_moves()
    assert not walked & NOT_MADE


def right(noun: str, old: str | None, new: str) -> frozenset[str]:
    """The events of which one must tell of a move."""
    if noun == "jobs":
        return frozenset({moves.JOB[J(new)]})
    if noun == "uploads":
        return moves.UPLOAD[None if old is None else U(old), U(new)]
    return moves.ASSET[None if old is None else A(old), A(new)]


def legal_moves() -> set[tuple[str, str | None, str]]:
    tables: dict[str, Mapping[Any, frozenset[Any]]] = {
        "uploads": UPLOAD_MOVES,
        "assets": ASSET_MOVES,
        "jobs": JOB_MOVES,
    }
    found: set[tuple[str, str | None, str]] = set()
    for noun, legal in tables.items():
        states: list[StrEnum] = list(legal)
        found.add((noun, None, states[0]))
        found |= {(noun, old, new) for old in legal for new in legal[old]}
    return found
