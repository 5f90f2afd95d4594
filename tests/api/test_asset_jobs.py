"""An asset's jobs: cancelled, retried, shown. No worker runs: they stay where a test puts them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from uuid import UUID

import pytest

from rushes.db import assets as asset_rows
from rushes.db import jobs as job_rows
from rushes.model import AssetState, JobState, Verification, new_id
from tests.api.runs import publish, run, the_job
from tests.ingest.equipment import Desk, body, problem
from tests.pipeline.equipment import until

DATA = b"not a film"


async def test_a_run_is_cancelled_and_tried_again(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    job = await the_job(ann, upload)
    await run(desk, job["id"])
    answer = await ann.http.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, body(answer)["status"]) == (200, "cancelled")
    found = await ann.asset(upload)
    assert (found["status"], found["problem"]["code"]) == ("failed", "cancelled")
    assert (await desk.web.get(found["original_url"])).content == DATA
    problem(await ann.http.post(f"/v1/jobs/{job['id']}/cancel"), 409, "job_cancelled")
    answers = await asyncio.gather(*(ann.http.post(f"/v1/jobs/{job['id']}/retry") for _ in range(5)))
    assert sorted(answer.status_code for answer in answers) == [202] + [409] * 4
    again = await the_job(ann, upload)
    assert (again["status"], again["type"]) == ("queued", "process")
    assert again["id"] != job["id"]
    assert (await ann.asset(upload))["problem"] is None


async def test_cancelling_leaves_what_was_published(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    await publish(desk, upload)
    job = body(await ann.http.post(f"/v1/assets/{upload['asset_id']}/process"))
    assert (await ann.http.post(f"/v1/jobs/{job['id']}/cancel")).status_code == 200
    asset = await ann.asset(upload)
    assert (asset["state"], len(asset["renditions"]), asset["problem"]) == ("published", 1, None)
    assert (await ann.http.post(f"/v1/assets/{upload['asset_id']}/process")).status_code == 202


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled"])
async def test_a_job_that_is_over_is_not_cancelled(desk: Desk, state: str) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    job = await the_job(ann, upload)
    await desk.sql("UPDATE jobs SET state = %(state)s WHERE id = %(id)s", state=state, id=job["id"])
    problem(await ann.http.post(f"/v1/jobs/{job['id']}/cancel"), 409, f"job_{state}")


@pytest.mark.parametrize("state", ["queued", "running", "succeeded"])
async def test_only_what_failed_or_was_cancelled_is_retried(desk: Desk, state: str) -> None:
    ann = desk.person()
    job = await the_job(ann, await ann.ingest())
    await desk.sql("UPDATE jobs SET state = %(state)s WHERE id = %(id)s", state=state, id=job["id"])
    problem(await ann.http.post(f"/v1/jobs/{job['id']}/retry"), 409, f"job_{state}")


async def test_a_run_that_ends_first_is_not_cancelled(desk: Desk) -> None:
    """Whoever asks to cancel waits for the lock under which the run publishes."""
    ann = desk.person()
    upload = await ann.ingest()
    job = await the_job(ann, upload)
    await run(desk, job["id"])
    async with desk.ctx.db.transaction() as conn:
        asset = await asset_rows.load(conn, UUID(upload["asset_id"]), lock=True)
        cancelling = asyncio.create_task(ann.http.post(f"/v1/jobs/{job['id']}/cancel"))
        cursor = await conn.execute("SELECT pg_backend_pid()")
        mine = await cursor.fetchone()
        waiting = "SELECT 1 FROM pg_stat_activity WHERE %(mine)s = ANY(pg_blocking_pids(pid))"
        await until(lambda: desk.sql(waiting, mine=mine[0] if mine else 0), 60, "nobody waits for the lock")
        row = await job_rows.load(conn, UUID(job["id"]), lock=True)
        assert asset is not None
        assert row is not None
        now = desk.ctx.now()
        await job_rows.finish(conn, row, JobState.SUCCEEDED, now, "done")
        facts = {"sha256": "0" * 64, "verification": Verification.END_TO_END, "published_at": now}
        await asset_rows.move(conn, asset, AssetState.PUBLISHED, now, published_job_id=row.id, **facts)
    problem(await cancelling, 409, "job_succeeded")
    assert (await ann.asset(upload))["status"] == "published"


async def test_a_run_that_was_replaced_writes_nothing(desk: Desk) -> None:
    ann = desk.person()
    job_id = UUID((await the_job(ann, await ann.ingest()))["id"])
    now = desk.ctx.now()
    async with desk.ctx.db.transaction() as conn:
        for epoch in (1, 2):
            assert await job_rows.claim(conn, job_id, epoch, now) is not None
        for epoch in (1, 2):
            assert await job_rows.claim(conn, job_id, epoch, now) is None
        assert await job_rows.owned(conn, job_id, 1) is None
        assert not await job_rows.advance(conn, job_id, 1, 0.5, "a ghost", None)
        assert not await job_rows.put_back(conn, job_id, 1)
        before = await job_rows.load(conn, job_id)
        assert before is not None
        assert (before.state, before.epoch, before.progress, before.message) == (
            JobState.RUNNING,
            2,
            0.0,
            "waiting for a worker",
        )
        assert await job_rows.owned(conn, job_id, 2) == before
        assert await job_rows.advance(conn, job_id, 2, 0.5, "alive", None)
        assert await job_rows.put_back(conn, job_id, 2)


async def test_a_stage_is_cancelled_with_its_run(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    parent = await the_job(ann, upload)
    await run(desk, parent["id"])
    async with desk.ctx.db.transaction() as conn:
        row = await job_rows.load(conn, UUID(parent["id"]))
        assert row is not None
        fresh = replace(row, parent_id=row.id, state=JobState.QUEUED, epoch=0, started_at=None)
        stages = [replace(fresh, id=new_id(), type=f"stage {number}") for number in (1, 2)]
        for stage in stages:
            await job_rows.insert(conn, stage)
    await run(desk, str(stages[0].id))
    found = await ann.read(f"uploads/{upload['upload_id']}/status")
    assert found["current_job"]["id"] == str(stages[0].id)  # what is waited for is the stage, not its parent
    answer = await ann.http.post(f"/v1/jobs/{stages[0].id}/cancel")
    assert body(answer)["status"] == "cancelled"
    jobs = (await ann.read(f"jobs?asset_id={upload['asset_id']}"))["items"]
    assert [job["status"] for job in jobs] == ["cancelled"] * 3
    assert (await ann.asset(upload))["status"] == "failed"


async def test_a_job_of_a_run_that_was_replaced_cancels_nothing(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.ingest()
    old = await the_job(ann, upload)
    await ann.http.post(f"/v1/jobs/{old['id']}/cancel")
    await ann.http.post(f"/v1/jobs/{old['id']}/retry")
    await desk.sql("UPDATE jobs SET state = 'running' WHERE id = %(id)s", id=old["id"])
    problem(await ann.http.post(f"/v1/jobs/{old['id']}/cancel"), 409, "job_running")
    assert (await the_job(ann, upload))["status"] == "queued"


async def test_a_job_shows_its_log_and_its_error(desk: Desk) -> None:
    ann = desk.person()
    job = await the_job(ann, await ann.ingest())
    await run(desk, job["id"])
    now = desk.ctx.now()
    async with desk.ctx.db.transaction() as conn:
        assert await job_rows.advance(conn, UUID(job["id"]), 1, 0.5, "half", None)
        assert await job_rows.advance(conn, UUID(job["id"]), 1, 0.25, "less", None)
        assert not await job_rows.advance(conn, UUID(job["id"]), 2, 0.9, "another run's", None)
        for number in range(205):
            await job_rows.log(conn, UUID(job["id"]), f"line {number}", now, retry=number == 0)
        row = await job_rows.load(conn, UUID(job["id"]), lock=True)
        assert row is not None
        failure = {"code": "x", "message": "It broke.", "at": 3}
        await job_rows.finish(conn, row, JobState.FAILED, now, "broken", failure)
    found = await ann.read(f"jobs/{job['id']}")
    assert (found["progress"], found["message"], found["retries"]) == (0.5, "broken", 1)
    assert found["error"] == {"code": "x", "message": "It broke.", "details": {"at": 3}}
    assert [line["text"] for line in found["log"]] == [f"line {number}" for number in range(5, 205)]
    assert found["started_at"] <= found["finished_at"]


# --- lists ------------------------------------------------------------------------------------------------------------
