"""What the store enforces is found out once for all processes, kept, and found out again when it is old."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from uuid import uuid4

import httpx
import pytest

from rushes import main
from rushes.config import Settings
from rushes.db import stores
from rushes.errors import Unavailable
from rushes.ingest import capabilities
from rushes.ingest.context import Context
from rushes.storage import ensure_bucket
from tests.pipeline.equipment import until
from tests.storage.forwarding import forwarding


@asynccontextmanager
async def apart(settings: Settings, **changes: object) -> AsyncIterator[Context]:
    """A context whose store nobody has looked at yet: its originals lie in a bucket of their own."""
    fresh = settings.model_copy(update={"bucket_originals": f"capable-{uuid4().hex[:12]}"} | changes)
    async with main.open_context(fresh) as ctx:
        yield ctx


@pytest.fixture
async def fresh(settings: Settings) -> AsyncIterator[Context]:
    async with apart(settings) as ctx:
        await ensure_bucket(ctx.storage.s3, ctx.storage.originals.bucket)
        yield ctx


async def row_of(ctx: Context) -> stores.StoreRow | None:
    async with ctx.db.transaction() as conn:
        return await stores.get(conn, capabilities.place_of(ctx))


async def probed_at(ctx: Context) -> datetime:
    found = await capabilities.kept(ctx)
    assert found is not None
    return found.probed_at


async def test_of_many_processes_that_start_one_probes(fresh: Context) -> None:
    async with AsyncExitStack() as stack:
        others = [await stack.enter_async_context(main.open_context(fresh.settings)) for _ in range(5)]
        outcomes = await asyncio.gather(*(capabilities.refresh(ctx) for ctx in others))
    assert sum(outcomes) == 1
    first = await probed_at(fresh)
    assert await capabilities.refresh(fresh)  # somebody who comes later finds it done
    assert await probed_at(fresh) == first
    assert (await capabilities.capabilities_of(fresh)).part_algorithms[0] == "crc64nvme"


async def test_what_is_a_day_old_or_from_another_release_is_probed_anew(fresh: Context) -> None:
    found = await capabilities.probe_now(fresh)
    place = capabilities.place_of(fresh)
    for old in (fresh.now() - capabilities.FRESH, fresh.now()):
        shape = found.to_json()
        if abs(fresh.now() - old) < timedelta(hours=1):
            del shape["copies"]
        async with fresh.db.transaction() as conn:
            await stores.keep(conn, place, shape, old)
        assert await capabilities.refresh(fresh)
        assert await probed_at(fresh) > old
    async with fresh.db.transaction() as conn:  # the clock of another process may be ahead of ours
        await stores.keep(conn, place, found.to_json(), fresh.now() + timedelta(minutes=5))
    ahead = await probed_at(fresh)
    assert await capabilities.refresh(fresh)
    assert await probed_at(fresh) == ahead


async def test_the_claim_of_a_process_that_died_ends_by_itself(fresh: Context) -> None:
    now, place = fresh.now(), capabilities.place_of(fresh)
    for age, outcome in ((capabilities.CLAIM / 2, False), (capabilities.CLAIM * 2, True)):
        async with fresh.db.transaction() as conn:
            await conn.execute("DELETE FROM stores WHERE place = %s", [place])
            assert await stores.claim(conn, place, now - age, seen=None, free_before=now)
        assert await capabilities.refresh(fresh) is outcome


async def test_asking_costs_no_query_for_a_minute(fresh: Context) -> None:
    found = await capabilities.capabilities_of(fresh)
    async with fresh.db.transaction() as conn:
        other = replace(found, enforces_crc64nvme=False)
        await stores.keep(conn, capabilities.place_of(fresh), other.to_json(), fresh.now())
    assert await capabilities.capabilities_of(fresh) == found
    assert fresh.storage.remembered is not None
    fresh.storage.remembered = (found, fresh.storage.remembered[1] - capabilities.REMEMBERED)
    assert await capabilities.capabilities_of(fresh) == other


async def test_asked_by_many_before_anything_is_known_it_is_probed_once(fresh: Context) -> None:
    found = await asyncio.gather(*(capabilities.capabilities_of(fresh) for _ in range(20)))
    first = await probed_at(fresh)
    assert all(each == found[0] for each in found)  # the clock skew differs from probe to probe
    assert await probed_at(fresh) == first


async def test_a_store_that_is_away_is_probed_when_it_is_back(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        port = reserved.getsockname()[1]
    away = {"storage_endpoint": f"http://127.0.0.1:{port}", "storage_public_endpoint": None}
    async with apart(settings, bucket_originals=settings.bucket_originals, **away) as ctx:
        with pytest.raises(Unavailable):
            await capabilities.refresh(ctx)
        row = await row_of(ctx)
        assert row == stores.StoreRow(None, None)
        watching = asyncio.create_task(capabilities.keep_fresh(ctx, first=0.01, longest=0.1))
        try:
            async with forwarding(str(settings.storage_endpoint), port):
                await until(lambda: capabilities.kept(ctx), 30, "the store was not probed")
        finally:
            watching.cancel()


async def test_an_api_knows_its_store_without_being_asked(settings: Settings) -> None:
    async with apart(settings) as ctx:
        await ensure_bucket(ctx.storage.s3, ctx.storage.originals.bucket)
        application = main.app(ctx.settings)
        async with application.router.lifespan_context(application):
            transport = httpx.ASGITransport(app=application)
            async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
                assert (await http.get("/healthz")).status_code == 200
            await until(lambda: capabilities.kept(ctx), 30, "the store was not probed")
