"""Uploads finalized without a worker, and workers started by hand: what happens between the two is the test's."""

from __future__ import annotations

import asyncio
import io
import os
import random
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from copy import copy
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import psycopg
from PIL import Image
from psycopg import sql
from pydantic import SecretStr

from rushes import checksum, main
from rushes.config import Settings
from rushes.db import assets, jobs
from rushes.embedded.stack import environment
from rushes.ingest import begin, complete, finalize, grant, process
from rushes.ingest.context import Context
from rushes.model import Asset, AssetState, Json, Principal, Upload
from rushes.pipeline import process as runs
from rushes.pipeline.runs import Ownership, claim
from rushes.plan import eager_part_size
from rushes.storage import S3
from rushes.wire import BeginUpload, CompleteUpload, DonePart, GrantRequest, WantedPart

PLACES = ("bucket_incoming", "bucket_originals", "bucket_renditions")


async def send(
    ctx: Context, who: Principal, data: bytes, filename: str, **fields: Any
) -> tuple[Upload, CompleteUpload]:
    """Begin, grant and put; returns the upload and what completes it."""
    wanted = {"filename": filename, "size": len(data), "part_size": eager_part_size(len(data))} | fields
    upload, _ = await begin.begin(
        ctx,
        who,
        BeginUpload(**wanted),
        idempotency_key=None,
        origin="test",
    )
    pieces = [data[at : at + upload.part_size] for at in range(0, len(data), upload.part_size)]
    sums = [checksum.encode(checksum.crc64nvme(piece)) for piece in pieces]
    want = [WantedPart(number=number, checksum=crc) for number, crc in enumerate(sums, 1)]
    reply = await grant.grant(ctx, who, upload.id, GrantRequest(want=want))
    done = []
    async with httpx.AsyncClient(timeout=60) as http:
        for granted, piece, crc in zip(reply.grants, pieces, sums, strict=True):
            answer = await http.put(granted.url, content=piece, headers=granted.headers)
            assert answer.status_code == 200, answer.text
            done.append(DonePart(number=granted.number, etag=answer.headers["ETag"], checksum=crc))
    return upload, CompleteUpload(done=done)


async def ingest_without_worker(ctx: Context, who: Principal, data: bytes, filename: str) -> Upload:
    """An upload that is whole in storage, its processing queued; every step of finalizing was run here."""
    upload, request = await send(ctx, who, data, filename)
    assert not await complete.start(ctx, who, upload.id, request)
    assert await finalize.reconcile(ctx, upload.id, 1) == "ready"
    assert await finalize.assemble(ctx, upload.id, 1) == "whole"
    await finalize.settle(ctx, upload.id, 1)
    return upload


@asynccontextmanager
async def worker(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """`rushes worker` as a process of its own; it must stop in good order."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "rushes", "worker", env=os.environ | environment(settings)
    )
    try:
        yield process
    finally:
        process.terminate()
        assert await asyncio.wait_for(process.wait(), 30) == 0


@asynccontextmanager
async def started(settings: Settings) -> AsyncIterator[asyncio.subprocess.Process]:
    """A worker that is ready, and whose end is the test's affair."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "rushes",
        "worker",
        env=os.environ | environment(settings),
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    try:
        while b"is ready" not in (line := await process.stderr.readline()):
            assert line, "the worker ended before it was ready"
        reading = asyncio.create_task(process.stderr.read())
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await reading


async def settled(ctx: Context, asset_id: UUID, seconds: float = 280) -> Asset:
    """The asset once it is published or failed."""
    async with asyncio.timeout(seconds):
        while True:
            async with ctx.db.transaction() as conn:
                asset = await assets.load(conn, asset_id)
            assert asset is not None
            if asset.state in {AssetState.PUBLISHED, AssetState.FAILED}:
                return asset
            await asyncio.sleep(0.1)


async def until(condition: Callable[[], Awaitable[object]], seconds: float, what: str) -> None:
    """Wait until `condition` holds: other processes bring it about."""
    deadline = asyncio.get_running_loop().time() + seconds
    while not await condition():
        assert asyncio.get_running_loop().time() < deadline, f"after {seconds:g} s: {what}"
        await asyncio.sleep(0.05)


def picture(seed: int) -> bytes:
    """A small PNG: the least that is processed in every kind of step but the video's."""
    image = Image.frombytes("RGB", (64, 48), random.Random(seed).randbytes(64 * 48 * 3))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


@contextmanager
def empty_database(settings: Settings) -> Iterator[Settings]:
    """Settings with a database of their own on the same server, without tables; it goes at the end."""
    assert settings.database_url is not None
    server = settings.database_url.get_secret_value()
    name = f"apart_{uuid4().hex[:8]}"
    with psycopg.connect(server, autocommit=True) as conn:
        conn.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    try:
        yield settings.model_copy(update={"database_url": SecretStr(f"{server.rpartition('/')[0]}/{name}")})
    finally:
        with psycopg.connect(server, autocommit=True) as conn:
            # Not FORCE: it is refused while autovacuum, which is not ours to end, happens to look at the database.
            end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s AND usename = current_user"
            conn.execute(end, [name])
            conn.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))


@contextmanager
def database_apart(settings: Settings) -> Iterator[Settings]:
    """Settings with a migrated database of their own on the same server, where no other test leaves or takes work.

    Places of their own as well, in buckets that others use: one that another installation has marked is refused.
    """
    token = uuid4().hex[:8]
    places = {name: f"{getattr(settings, name)}/{token}" for name in PLACES}
    with empty_database(settings.model_copy(update=places | {"create_buckets": False})) as found:
        main.migrate(found)
        yield found


async def rows(ctx: Context, query: str, *args: object) -> list[tuple[Any, ...]]:
    async with ctx.db.transaction() as conn:
        cursor = await conn.execute(query.encode(), args)
        return await cursor.fetchall()


async def add_stage(ctx: Context, run: Ownership, stage: str) -> UUID:
    """A stage of the run, or the one that is there."""
    async with run.fenced() as conn:
        return await process.add_job(conn, process.queued_job(run.job, stage, ctx.now()), ctx.now())


async def end_run(run: Ownership, problem: Json | None = None) -> None:
    """Publish the run as it is, or fail it with a problem, as the end of a stage would. Raises `Replaced`."""
    async with run.fenced() as conn:
        asset, job = await assets.load(conn, run.job.asset_id), await jobs.load(conn, run.job.id)
        assert asset is not None
        assert job is not None
        if problem is None:
            await runs.publish(run.ctx, conn, asset, job, [], run.ctx.now())
        else:
            await runs.fail(conn, asset, job, run.ctx.now(), problem)


async def claimed(ctx: Context, asset_id: UUID, *stages: str) -> list[Ownership]:
    """The asset's current run and these stages of it, all owned by the test."""
    ((job_id,),) = await rows(ctx, "SELECT job_id FROM assets WHERE id = %s", asset_id)
    run = await claim(ctx, job_id)
    assert run is not None
    owned = [run]
    for stage in stages:
        found = await claim(ctx, await add_stage(ctx, run, stage))
        assert found is not None
        owned.append(found)
    return owned


class Answering:
    """The real S3 client, but for the calls that a test answers itself. `real` is the client behind it."""

    def __init__(self, real: S3, **instead: Callable[..., object]) -> None:
        self.real = real
        self._instead = instead

    def __getattr__(self, name: str) -> Any:
        return self._instead.get(name) or getattr(self.real, name)


def with_storage(ctx: Context, **instead: Callable[..., object]) -> Context:
    """The context, its storage client's calls of these names answered by the test."""
    storage = copy(ctx.storage)
    storage.s3 = Answering(ctx.storage.s3, **instead)  # type: ignore[assignment] # the same but for what is replaced
    return replace(ctx, storage=storage)
