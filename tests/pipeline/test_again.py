"""Processing again: some stages, what an older recipe made, what a failed run had left; and what waits for a person."""

from __future__ import annotations

from typing import Any

import pytest

from rushes.errors import Conflict, NotFound, Unavailable
from rushes.ingest import process, reprocess
from rushes.ingest.context import Context
from rushes.ingest.reprocess import Wish
from rushes.media.sandbox import detect
from rushes.model import AssetState, JobFilter, JobState, Principal, Role, Upload
from rushes.pipeline.process import run_process
from rushes.pipeline.stages import run_stage
from rushes.pipeline.work import Bench
from tests.pipeline.equipment import ingest_without_worker, picture, rows, settled, with_storage

WHO = Principal("again", "ada", Role.OPERATOR, "studio")


@pytest.fixture(scope="module")
async def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    scratch = tmp_path_factory.mktemp("bench")
    scratch.chmod(0o711)  # as a worker's own directory: the sandbox's user goes through it
    return Bench(scratch, await detect())


async def drive(ctx: Context, bench: Bench, upload: Upload) -> list[str]:
    """Do what workers do with the asset's run until nothing of it waits; the types of the stages, as they were run."""
    ((run_id,),) = await rows(ctx, "SELECT job_id FROM assets WHERE id = %s", upload.asset_id)
    await run_process(ctx, str(run_id))
    done: list[str] = []
    waiting = "SELECT id, type FROM jobs WHERE parent_id = %s AND state = 'queued' ORDER BY id LIMIT 1"
    while found := await rows(ctx, waiting, run_id):
        done.append(found[0][1])
        await run_stage(ctx, bench, str(found[0][0]))
    return done


async def published(ctx: Context, bench: Bench, seed: int) -> Upload:
    upload = await ingest_without_worker(ctx, WHO, picture(seed), "a.png")
    assert sorted(await drive(ctx, bench, upload)) == ["digest", "identify", "images"]
    assert (await settled(ctx, upload.asset_id, 1)).state is AssetState.PUBLISHED
    return upload


async def readable(ctx: Context, upload: Upload) -> list[tuple[Any, ...]]:
    query = """SELECT r.name, r.key FROM renditions r JOIN assets a ON a.published_job_id = r.job_id
        WHERE a.id = %s ORDER BY r.name"""
    return await rows(ctx, query, upload.asset_id)


async def test_one_stage_anew_keeps_what_others_made(alone: Context, bench: Bench) -> None:
    upload = await published(alone, bench, 31)
    await rows(
        alone,
        """INSERT INTO renditions SELECT gen_random_uuid(), asset_id, job_id, 'sprite.jpg', type, content_type, bucket,
        key || '-other', size, width, height, duration, checksum, extra, created_at, 'stills' FROM renditions
        WHERE asset_id = %s LIMIT 1 RETURNING 1""",
        upload.asset_id,
    )
    before = dict(await readable(alone, upload))
    name = next(name for name in before if name != "sprite.jpg")
    job = await reprocess.reprocess(alone, WHO, upload.asset_id, Wish(renditions=(name,), priority=7))
    assert (job.arguments, job.priority) == ({"stages": ["images"]}, 7)
    assert dict(await readable(alone, upload)) == before  # while it is processed
    assert await drive(alone, bench, upload) == ["images"]
    after = dict(await readable(alone, upload))
    assert after.keys() == before.keys()
    assert {name for name in before if after[name] == before[name]} == {"sprite.jpg"}
    assert await rows(alone, "SELECT priority FROM jobs WHERE parent_id = %s", job.id) == [(7,)]


async def test_only_what_an_older_recipe_made_is_made_anew(alone: Context, bench: Bench) -> None:
    upload = await published(alone, bench, 32)
    await reprocess.reprocess(alone, WHO, upload.asset_id, Wish(outdated=True))
    before = await readable(alone, upload)
    assert await drive(alone, bench, upload) == []
    assert (await settled(alone, upload.asset_id, 1)).state is AssetState.PUBLISHED
    assert await readable(alone, upload) == before
    await rows(alone, "UPDATE renditions SET recipe = 0 WHERE asset_id = %s RETURNING 1", upload.asset_id)
    await reprocess.reprocess(alone, WHO, upload.asset_id, Wish(outdated=True))
    assert await drive(alone, bench, upload) == ["images"]
    assert len(await readable(alone, upload)) == len(before)


async def test_what_cannot_be_made_anew_is_refused(alone: Context, bench: Bench) -> None:
    upload = await ingest_without_worker(alone, WHO, picture(33), "a.png")
    with pytest.raises(Conflict) as early:
        await reprocess.reprocess(alone, WHO, upload.asset_id, Wish(stages=("images",)))
    assert early.value.code == "asset_not_published"
    await drive(alone, bench, upload)
    with pytest.raises(NotFound) as unknown:
        await reprocess.reprocess(alone, WHO, upload.asset_id, Wish(renditions=("nothing.jpg",)))
    assert unknown.value.code == "rendition_not_found"


async def test_a_dead_letter_waits_with_its_log_until_it_is_retried(alone: Context, bench: Bench) -> None:
    """Storage is away each time that a stage is tried; when it is back, only that stage runs."""
    upload = await ingest_without_worker(alone, WHO, picture(34), "a.png")

    async def away(*_: Any, **__: Any) -> Any:
        raise Unavailable("storage_unreachable", "The store is away.")

    once = alone.settings.model_copy(update={"job_attempts": 1})
    hasty = with_storage(alone, put_object=away)
    object.__setattr__(hasty, "settings", once)
    assert "images" in await drive(hasty, bench, upload)
    assert (await settled(alone, upload.asset_id, 1)).state is AssetState.FAILED
    (letter,) = await dead_letters(alone)
    assert (letter.type, letter.state) == ("images", JobState.FAILED)
    assert "The store is away." in letter.log[-1]["text"]
    again = await reprocess.retry_job(alone, WHO, letter.id)
    assert await dead_letters(alone) == []
    assert await drive(alone, bench, upload) == ["images"]
    assert (await settled(alone, upload.asset_id, 1)).published_job_id == again.id
    assert await readable(alone, upload)
    old = await rows(alone, "SELECT type FROM jobs WHERE parent_id = %s", letter.parent_id)
    assert old == [("images",)]  # the stages that had succeeded are the new run's


async def test_a_file_at_fault_is_no_dead_letter(alone: Context, bench: Bench) -> None:
    upload = await ingest_without_worker(alone, WHO, b"no picture at all", "a.png")
    await drive(alone, bench, upload)
    assert (await settled(alone, upload.asset_id, 1)).state is AssetState.FAILED
    assert await dead_letters(alone) == []


async def test_a_higher_priority_moves_what_waits(alone: Context) -> None:
    upload = await ingest_without_worker(alone, WHO, picture(35), "a.png")
    ((run_id,),) = await rows(alone, "SELECT job_id FROM assets WHERE id = %s", upload.asset_id)
    places = "SELECT priority FROM dbos.workflow_status WHERE workflow_uuid = %s"
    ((before,),) = await rows(alone, places, f"process-{run_id}")
    assert (await process.prioritize(alone, WHO, run_id, 50)).priority == 50
    ((after,),) = await rows(alone, places, f"process-{run_id}")
    assert after < before
    await run_process(alone, str(run_id))
    assert {row for (row,) in await rows(alone, "SELECT priority FROM jobs WHERE parent_id = %s", run_id)} == {50}
    await process.cancel_job(alone, WHO, run_id)
    with pytest.raises(Conflict):
        await process.prioritize(alone, WHO, run_id, 1)


async def dead_letters(ctx: Context) -> list[Any]:
    return await process.page(ctx, WHO, JobFilter(dead_letter=True), None, 10)
