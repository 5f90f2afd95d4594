"""Two installations that are pointed at one place: the second begins nothing there, and says why."""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from rushes import main
from rushes.config import Settings
from rushes.errors import Unavailable
from rushes.ingest import begin, doctor, ownership
from rushes.ingest.context import Context
from rushes.model import Upload
from rushes.storage import read_mark
from rushes.wire import BeginUpload
from tests.ingest.equipment import TWO_PARTS, body, problem, somebody
from tests.ingest.leftovers import apart, desk_apart
from tests.pipeline.equipment import until
from tests.storage.forwarding import forwarding

PLACES = ("bucket_incoming", "bucket_originals", "bucket_renditions")


async def marked(ctx: Context) -> bool:
    return all([await read_mark(ctx.storage.s3, place) is not None for place in ctx.storage.places])


async def began(ctx: Context) -> Upload:
    wanted = BeginUpload(filename="a.mov", size=TWO_PARTS)
    upload, _ = await begin.begin(ctx, somebody(), wanted, idempotency_key=None, origin="test")
    return upload


async def owners(ctx: Context) -> list[str]:
    """How `rushes doctor` judges our places."""
    found = await doctor.storage(ctx.settings, ctx.storage, ctx, fix=False, anew=False)
    return [finding.level for finding in found if finding.topic == "owner"]


@asynccontextmanager
async def claiming(ctx: Context) -> AsyncIterator[None]:
    task = asyncio.create_task(ownership.keep_claimed(ctx, first=0.01, longest=0.1))
    try:
        yield
    finally:
        task.cancel()


async def test_an_api_that_is_pointed_at_a_place_of_anothers_begins_nothing(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    async with desk_apart(settings) as first:
        await until(lambda: marked(first.ctx), 30, "the places were not marked when the API started")
        assert await owners(first.ctx) == ["ok"] * 3
        assert (await first.person().begin())["state"] == "initiated"
        logging.getLogger(ownership.__name__).addHandler(caplog.handler)  # the root has lost it to the servers' logging
        same = {name: getattr(first.settings, name) for name in PLACES}
        async with desk_apart(settings, **same) as second:

            async def refused() -> bool:
                return second.ctx.storage.foreign is not None

            await until(refused, 30, "the other's mark was not seen")
            wanted = {"filename": "a.mov", "size": TWO_PARTS}
            answer = await second.person().http.post("/v1/uploads", json=wanted)
            problem(answer, 503, "place_shared")
            assert "Retry-After" in answer.headers
            assert "Tell the operator; `rushes doctor` says what to do." in body(answer)["detail"]
            assert second.ctx.storage.originals.bucket not in answer.text  # which is the operator's to know
            assert await second.sql("SELECT 1 FROM uploads") == []
            assert await owners(second.ctx) == ["problem"] * 3
        logging.getLogger(ownership.__name__).removeHandler(caplog.handler)
        told = [record for record in caplog.records if record.name == ownership.__name__]
        assert [record.levelno for record in told] == [logging.ERROR]
        assert "Another rushes installation uses" in told[0].getMessage()


async def test_a_place_that_was_freed_is_used(settings: Settings) -> None:
    with apart(settings) as found:
        async with main.open_context(found) as ctx:
            place = ctx.storage.renditions
            key = f"{place.prefix}rushes-installation"
            await ctx.storage.s3.put_object(place.bucket, key, b"another", size=7)
            async with claiming(ctx):

                async def refused() -> bool:
                    return ctx.storage.foreign == place

                await until(refused, 30, "the other's mark was not seen")
                with pytest.raises(Unavailable) as raised:
                    await began(ctx)
                assert raised.value.code == "place_shared"
                await ctx.storage.s3.delete_objects(place.bucket, [key])

                async def free() -> bool:
                    return ctx.storage.foreign is None

                await until(free, 30, "the place that was freed is still refused")
                await began(ctx)


async def test_while_storage_is_away_uploads_begin_and_the_place_is_claimed_when_it_is_back(settings: Settings) -> None:
    with apart(settings) as found:
        with socket.create_server(("127.0.0.1", 0)) as reserved:
            port = reserved.getsockname()[1]
        away = found.model_copy(update={"storage_endpoint": f"http://127.0.0.1:{port}"})
        async with main.open_context(away) as ctx, main.open_context(found) as here, claiming(ctx):
            assert ctx.storage.foreign is None
            ownership.check_known(ctx)
            async with forwarding(str(settings.storage_endpoint), port):
                await until(lambda: marked(here), 30, "the places were not marked")
