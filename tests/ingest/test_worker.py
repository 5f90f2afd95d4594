"""Finalize as it runs in production: a worker process on a database of its own, so that no other test's work is done."""

from __future__ import annotations

import asyncio
import hashlib
import os
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from rushes.config import Settings
from rushes.plan import MIN_PART
from tests.ingest.equipment import TWO_PARTS, Desk, Person, body, crc, open_desk, problem, some_bytes
from tests.pipeline.equipment import database_apart

DATA = some_bytes(TWO_PARTS, seed=4)
WAIT = 30  # seconds that `complete` waits: more than it ever takes here


@pytest.fixture(scope="module")
def apart(settings: Settings) -> Iterator[Settings]:
    """Settings with a migrated database, and places in storage, of their own on the same servers."""
    with database_apart(settings) as found:
        yield found


@pytest.fixture(scope="module")
def worker(apart: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[bytes]]:
    assert apart.database_url is not None
    assert apart.storage_secret_key is not None
    assert apart.token_secret is not None
    directory = tmp_path_factory.mktemp("worker")
    environment = {
        "RUSHES_DATA_DIR": str(directory),
        "RUSHES_DATABASE_URL": apart.database_url.get_secret_value(),
        "RUSHES_BUCKET_INCOMING": apart.bucket_incoming,
        "RUSHES_BUCKET_ORIGINALS": apart.bucket_originals,
        "RUSHES_BUCKET_RENDITIONS": apart.bucket_renditions,
        "RUSHES_STORAGE_ENDPOINT": apart.storage_endpoint or "",
        "RUSHES_STORAGE_ACCESS_KEY": apart.storage_access_key or "",
        "RUSHES_STORAGE_SECRET_KEY": apart.storage_secret_key.get_secret_value(),
        "RUSHES_TOKEN_SECRET": apart.token_secret.get_secret_value(),
        "RUSHES_WORKER_JOBS": "1",
    }
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUSHES_")}
    with (Path(directory) / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rushes", "worker"], env=kept | environment, stdout=log, stderr=subprocess.STDOUT
        )
        try:
            yield process
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
async def at_work(apart: Settings, worker: subprocess.Popen[bytes]) -> AsyncIterator[Desk]:
    async with open_desk(apart, wait=WAIT) as opened:
        yield opened
    assert worker.poll() is None  # nothing that happened here made it fall


async def eventually(person: Person, upload: dict[str, Any], *states: str) -> dict[str, Any]:
    """The status, once the asset is in one of these states."""
    for _ in range(400):
        found = await person.read(f"uploads/{upload['upload_id']}/status")
        if found["processing_state"] in states:
            return found
        await asyncio.sleep(0.05)
    raise AssertionError(f"never {states}: {found}")


async def test_a_hundred_completes_at_once_give_one_asset(at_work: Desk) -> None:
    ann = at_work.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    done = await ann.send(upload, DATA)
    answers = await asyncio.gather(*(ann.complete(upload, done, checksum=crc(DATA)) for _ in range(100)))
    assert Counter(answer.status_code for answer in answers) == {200: 100}
    assert {body(answer)["asset_id"] for answer in answers} == {upload["asset_id"]}
    assert await at_work.enqueued(f"finalize-{upload['upload_id']}%") == [f"finalize-{upload['upload_id']}-1"]
    jobs = (await ann.read(f"jobs?asset_id={upload['asset_id']}"))["items"]
    runs = [job["id"] for job in jobs if job["type"] == "process"]
    assert len(runs) == 1
    assert await at_work.enqueued("process-%") == [f"process-{runs[0]}"]
    assert len((await ann.read("assets"))["items"]) == 1
    assert await at_work.quota(ann.who) == (len(DATA), 0, 0)
    events = Counter(await at_work.events(upload["upload_id"]))
    assert [events[type_] for type_ in ("upload_finalizing", "upload_completed", "processing_queued")] == [1, 1, 1]


async def test_what_is_no_film_ends_as_failed_and_is_kept(at_work: Desk) -> None:
    ann = at_work.person()
    upload = await ann.begin(1_000)
    data = some_bytes(1_000)
    assert (await ann.complete(upload, await ann.send(upload, data))).status_code == 200
    found = await eventually(ann, upload, "failed", "published")
    assert (found["status"], found["upload_state"]) == ("failed", "ingested")
    assert found["problem"]["message"]
    asset = await ann.asset(upload)
    assert (await at_work.web.get(asset["original_url"])).content == data
    assert asset["published_at"] is None
    for _ in range(400):  # it is computed all the same
        if (asset := await ann.asset(upload))["sha256"] is not None:
            break
        await asyncio.sleep(0.05)
    assert asset["sha256"] == hashlib.sha256(data).hexdigest()
    assert asset["status"] == "failed"


async def test_completes_without_a_part_name_it_whoever_waits(at_work: Desk) -> None:
    ann = at_work.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    done = await ann.send(upload, DATA, [1])
    await ann.grants(upload, DATA, [2])
    answers = await asyncio.gather(*(ann.complete(upload, done) for _ in range(10)))
    for answer in answers:
        assert problem(answer, 409, "parts_missing") == {"missing": [2], "missing_count": 1}
    assert (await ann.complete(upload, await ann.send(upload, DATA, [2]))).status_code == 200


async def test_a_deleted_asset_leaves_nothing_in_storage(at_work: Desk) -> None:
    ann = at_work.person()
    upload = await ann.begin(1_000)
    await ann.complete(upload, await ann.send(upload, some_bytes(1_000)))
    bucket, key, _ = await at_work.in_storage(upload)
    assert await at_work.ctx.storage.s3.head(bucket, key) is not None
    assert (await ann.http.delete(f"/v1/assets/{upload['asset_id']}")).status_code == 204
    await gone(at_work, bucket, key)
    assert await at_work.quota(ann.who) == (0, 0, 0)


async def test_an_aborted_upload_leaves_nothing_in_storage(at_work: Desk) -> None:
    ann = at_work.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    await ann.send(upload, DATA, [1])
    bucket, key, _ = await at_work.in_storage(upload)
    assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    await gone(at_work, bucket, key)


async def gone(desk: Desk, bucket: str, key: str) -> None:
    """Wait until storage has neither the object nor an open upload of it."""
    s3 = desk.ctx.storage.s3
    for _ in range(400):
        left = [found async for found in s3.list_multipart_uploads(bucket, key)]
        if not left and await s3.head(bucket, key) is None:
            return
        await asyncio.sleep(0.05)
    raise AssertionError(f"storage still has {key}: {left}")
