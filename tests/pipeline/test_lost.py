"""Jobs whose workflow the engine has lost: a sweep starts them anew, once, and workers end them as if nothing had been."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from rushes import main
from rushes.config import Settings
from rushes.ingest.context import Context
from rushes.ingest.reclaimed import Kind
from rushes.ingest.sweep import sweep_now
from rushes.model import AssetState, Principal, Role
from rushes.pipeline.process import run_process
from tests.ingest.leftovers import at
from tests.pipeline.equipment import claimed, database_apart, ingest_without_worker, picture, rows, settled, worker

WHO = Principal("lost", "lola", Role.OPERATOR, "studio")
LATER = timedelta(minutes=11)
FORGET = "DELETE FROM dbos.workflow_status WHERE workflow_uuid = ANY(%s) RETURNING 1"
GIVE_UP = "UPDATE dbos.workflow_status SET status = 'ERROR' WHERE workflow_uuid = ANY(%s) RETURNING 1"


async def restarted(ctx: Context, later: timedelta, *, dry: bool = False) -> int:
    report = await sweep_now(at(ctx, later), dry=dry)
    assert report.problems == {}
    return report.of_kind(Kind.RESTARTED).count


async def waiting(ctx: Context, *jobs: UUID) -> set[str]:
    """The ids of the workflows that wait for these jobs."""
    query = "SELECT workflow_uuid FROM dbos.workflow_status WHERE status = 'ENQUEUED' AND workflow_uuid LIKE ANY(%s)"
    return {id_ for (id_,) in await rows(ctx, query, [f"%-{job}%" for job in jobs])}


async def test_a_lost_run_and_lost_stages_are_started_anew_and_published(settings: Settings) -> None:
    with database_apart(settings) as found:
        async with main.open_context(found) as ctx:
            first, second = [await ingest_without_worker(ctx, WHO, picture(seed), "a.png") for seed in (51, 52)]
            query = "SELECT job_id FROM assets WHERE id = %s"
            ((begun,), (queued,)) = [(await rows(ctx, query, each.asset_id))[0] for each in (first, second)]
            assert await run_process(ctx, str(begun)) == "running"
            stages = {
                type_: id_ for id_, type_ in await rows(ctx, "SELECT id, type FROM jobs WHERE parent_id = %s", begun)
            }
            assert stages.keys() == {"identify", "digest"}
            lost = [f"stage-{stages['identify']}", f"process-{queued}", f"process-{begun}"]
            assert len(await rows(ctx, FORGET, lost[:1])) == 1
            assert len(await rows(ctx, GIVE_UP, lost[1:])) == 2

            assert await restarted(ctx, LATER / 2) == 0, "jobs are looked at that are too young"
            assert await restarted(ctx, LATER, dry=True) == 2
            assert await waiting(ctx, stages["identify"], queued, begun) == set()
            assert await restarted(ctx, LATER) == 2
            new = await waiting(ctx, stages["identify"], queued, begun)
            assert {id_[: len("stage-") + 36] for id_ in new if id_.startswith("stage")} == {
                f"stage-{stages['identify']}"
            }
            assert len(new) == 2, "the run whose stages go on is left to them"
            assert await restarted(ctx, 2 * LATER) == 0, "what was started anew waits for a worker"

            async with worker(found):
                for upload in (first, second):
                    asset = await settled(ctx, upload.asset_id)
                    assert asset.state is AssetState.PUBLISHED, asset.problem
            assert await rows(ctx, "SELECT 1 FROM jobs WHERE state <> 'succeeded'") == []
            assert await rows(ctx, "SELECT type FROM jobs GROUP BY asset_id, type HAVING count(*) > 1") == []
            assert await restarted(ctx, 4 * LATER) == 0


async def test_a_run_that_nobody_decided_on_any_more_goes_on(alone: Context) -> None:
    """All its stages have ended; a deleted workflow of a stage that runs counts as a death of its worker."""
    upload = await ingest_without_worker(alone, WHO, picture(53), "a.png")
    run, stage = await claimed(alone, upload.asset_id, "identify")
    await rows(alone, FORGET, [f"process-{run.job.id}"])
    assert await restarted(alone, LATER) >= 1
    (again,) = await waiting(alone, stage.job.id)
    assert again.startswith(f"stage-{stage.job.id}-")
    assert await waiting(alone, run.job.id) == set()

    await rows(alone, "UPDATE jobs SET state = 'succeeded' WHERE id = %s RETURNING 1", stage.job.id)
    await rows(alone, FORGET, [again])
    await restarted(alone, LATER)
    (decides,) = await waiting(alone, run.job.id)
    assert decides.startswith(f"process-{run.job.id}-")
    assert await run_process(alone, str(run.job.id)) == "running"
    added = await rows(alone, "SELECT type FROM jobs WHERE parent_id = %s AND state = 'queued'", run.job.id)
    assert "digest" in {type_ for (type_,) in added}
