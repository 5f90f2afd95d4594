"""What stands still for a while: a process inside a transaction, and PostgreSQL under a worker that is told to stop."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from pathlib import Path
from uuid import UUID

import psutil
from pydantic import SecretStr

from rushes import main
from rushes.config import Settings
from rushes.embedded import postgres
from rushes.embedded.stack import environment
from rushes.ingest.context import Context
from rushes.ingest.process import cancel_job
from rushes.model import AssetState
from rushes.pipeline.queues import QUEUES
from rushes.pipeline.runs import claim
from tests.conftest import OPERATOR
from tests.pipeline.equipment import database_apart, ingest_without_worker, picture, rows, started, until

FREEZE = """
import asyncio, os, signal, sys
from uuid import UUID
from rushes import main
from rushes.config import Settings
from rushes.pipeline.runs import Replaced, claim

async def go():
    async with main.open_context(Settings()) as ctx:
        own = await claim(ctx, UUID(sys.argv[1]))
        try:
            async with own.fenced() as conn:
                print("frozen", flush=True)
                os.kill(os.getpid(), signal.SIGSTOP)
                await conn.execute("UPDATE jobs SET message = 'written by a ghost' WHERE id = %s", [own.job.id])
        except Exception as error:
            print(type(error).__name__, flush=True)
        try:
            async with own.fenced():
                print("owner", flush=True)
        except Replaced as error:
            print(type(error).__name__, flush=True)

asyncio.run(go())
"""
STOPPED = 27.0  # seconds; 20 to leave in good order, and what leaving at once takes on a busy machine


@asynccontextmanager
async def frozen(settings: Settings, job_id: UUID) -> AsyncIterator[asyncio.subprocess.Process]:
    """A process that owns the job and stands still inside a fenced transaction."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-c",
        FREEZE,
        str(job_id),
        env=os.environ | environment(settings),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"frozen\n"
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


async def test_a_process_frozen_in_a_transaction_does_not_block_its_successor(apart: Settings, alone: Context) -> None:
    upload = await ingest_without_worker(alone, OPERATOR, picture(3), "a.png")
    ((job_id,),) = await rows(alone, "SELECT job_id FROM assets WHERE id = %s", upload.asset_id)
    async with frozen(apart, job_id) as process:
        async with asyncio.timeout(apart.takeover_seconds):
            successor = await claim(alone, job_id)
        assert successor is not None
        await cancel_job(alone, OPERATOR, job_id)
        before = await rows(alone, "SELECT message, state, epoch FROM jobs WHERE id = %s", job_id)
        process.send_signal(signal.SIGCONT)
        said, _ = await process.communicate()
        assert said.decode().split()[1:] == ["Replaced"]
        assert await rows(alone, "SELECT message, state, epoch FROM jobs WHERE id = %s", job_id) == before


async def test_a_process_that_nobody_replaced_goes_on_when_it_wakes(apart: Settings, alone: Context) -> None:
    """The transaction is lost, and is one that may be tried again; the job is not."""
    upload = await ingest_without_worker(alone, OPERATOR, picture(4), "a.png")
    ((job_id,),) = await rows(alone, "SELECT job_id FROM assets WHERE id = %s", upload.asset_id)

    async def ended() -> bool:
        idle = "SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
        return not await rows(alone, idle)

    async with frozen(apart, job_id) as process:
        await until(ended, apart.takeover_seconds, "the server keeps the frozen transaction")
        process.send_signal(signal.SIGCONT)
        said, _ = await process.communicate()
    assert said.decode().split() == ["Unavailable", "owner"]


async def test_workers_stop_in_time_while_the_database_stands_still(
    settings: Settings, tmp_path: Path, clip: bytes
) -> None:
    """A busy worker and an idle one, of two databases on one server."""
    with postgres.running(tmp_path / "pg") as url:
        server = settings.model_copy(update={"database_url": SecretStr(url), "takeover_seconds": 15.0})
        with database_apart(server) as busy, database_apart(server) as idle:
            async with main.open_context(busy) as ctx, AsyncExitStack() as stack:
                upload = await ingest_without_worker(ctx, OPERATOR, clip, "a.mp4")
                workers = [await stack.enter_async_context(started(one)) for one in (idle, busy)]
                await until(lambda: encoding(ctx, upload.asset_id), 90, "no transcode under way")
                async with main.open_context(idle) as other:
                    await until(lambda: at_work(other), 90, "the idle worker is not ready")
                family = stack.enter_context(standing_still(tmp_path))
                assert len(family) > 5, "the server and its processes"
                begun = time.monotonic()
                for process in workers:
                    process.terminate()
                async with asyncio.timeout(STOPPED):
                    codes = await asyncio.gather(*(process.wait() for process in workers))
                assert set(codes) <= {0, main.EX_TEMPFAIL}, codes
                assert time.monotonic() - begun < STOPPED
            async with main.open_context(busy) as ctx:
                states = await rows(ctx, "SELECT state FROM jobs UNION SELECT state FROM assets")
                assert not {"failed", "cancelled"} & {state for (state,) in states}
                assert (AssetState.PROCESSING,) in states


async def at_work(ctx: Context) -> bool:
    """The queue that a worker gets to know last is known."""
    return bool(await rows(ctx, "SELECT 1 FROM dbos.queues WHERE name = %s", QUEUES[-1].name))


async def encoding(ctx: Context, asset_id: UUID) -> bool:
    found = await rows(
        ctx, "SELECT 1 FROM jobs WHERE asset_id = %s AND type = 'encode' AND state = 'running'", asset_id
    )
    return bool(found)


@contextmanager
def standing_still(directory: Path) -> Iterator[list[psutil.Process]]:
    """Every process of the PostgreSQL below the directory, stopped while the block lasts."""
    (pid_file,) = directory.rglob("postmaster.pid")
    main_process = psutil.Process(int(pid_file.read_text().split()[0]))
    main_process.suspend()
    family = [main_process, *main_process.children(recursive=True)]
    for process in family[1:]:
        with suppress(psutil.NoSuchProcess):  # one that was at its end as its server was stopped
            process.suspend()
    try:
        yield family
    finally:
        for process in family:
            with suppress(psutil.NoSuchProcess):
                process.resume()
