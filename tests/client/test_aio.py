"""The client for asyncio: the same uploads, in a loop that never waits."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from inspect import isasyncgenfunction, iscoroutinefunction, signature
from itertools import count
from pathlib import Path
from uuid import uuid4

import pytest

from rushes.client import Client, Progress, Stopped, aio
from rushes.client import api as nouns
from rushes.client.aio import AsyncClient
from rushes.client.limits import Limits
from rushes.errors import Invalid, NotFound
from tests.client.equipment import TOKEN, Fault, Site

MIB = 1 << 20
PART = 5 * MIB
MakeFile = Callable[..., Path]


@pytest.fixture
async def client(site: Site) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(site.url, TOKEN, limits=Limits(parallel=4)) as made:
        yield made


async def test_it_uploads_and_tells_of_progress_in_the_loop(
    site: Site, client: AsyncClient, make_file: MakeFile
) -> None:
    told: list[tuple[Progress, threading.Thread]] = []
    path = make_file(3 * PART)
    result = await client.upload(
        path, part_size=PART, on_progress=lambda progress: told.append((progress, threading.current_thread()))
    )
    await asyncio.sleep(0)
    assert result.size == 3 * PART
    assert site.only().state == "ingested"
    assert told[-1][0].held == 3 * PART
    assert {thread for _, thread in told} == {threading.main_thread()}


async def test_many_uploads_share_one_engine_and_the_loop_stays_free(
    site: Site, client: AsyncClient, make_file: MakeFile
) -> None:
    site.pace = 0.02
    paths = [make_file(1000 + number, f"{number}.mov") for number in range(30)]
    longest, before = 0.0, time.perf_counter()

    async def beat() -> None:
        nonlocal longest, before
        while True:
            await asyncio.sleep(0.005)
            longest, before = max(longest, time.perf_counter() - before), time.perf_counter()

    beating = asyncio.create_task(beat())
    results = await asyncio.gather(*(client.upload(path) for path in paths))
    beating.cancel()
    assert len({result.upload_id for result in results}) == 30
    assert site.peak <= 4, "lines are those of the engine, not those of the calls"
    assert longest < 1, "a busy machine is slow; a loop that waits for an upload is slower"


async def test_a_cancelled_upload_stops_politely_and_goes_on_later(
    site: Site, client: AsyncClient, make_file: MakeFile
) -> None:
    path, stopped = make_file(8 * PART), threading.Event()
    fourth, begun = asyncio.Event(), count(1)
    loop = asyncio.get_running_loop()

    def hold(_: int) -> bool:
        if next(begun) < 4:  # in the order in which they were read, which is not quite that of their numbers
            return True
        loop.call_soon_threadsafe(fourth.set)
        stopped.wait(30)
        return False  # it was stopped in the middle of this part

    site.before_put = hold
    task = asyncio.create_task(client.upload(path, part_size=PART, limits=Limits(parallel=1)))
    await fourth.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert len(site.only().held) == 3, "reported before the task ended"
    stopped.set()
    site.before_put = None
    result = await client.resume(site.only().id, path)
    assert result.sent == 5 * PART
    assert site.only().state == "ingested"


async def test_closing_stops_what_waits(site: Site, make_file: MakeFile) -> None:
    async with AsyncClient(site.url, TOKEN) as client:
        result = await client.upload(make_file(10))
        site.asset_statuses = [{"status": "processing"}]
        waiting = asyncio.create_task(client.wait(result.asset_id, every=30))
        await asyncio.sleep(0.1)
        started = time.monotonic()
    with pytest.raises(Stopped):
        await waiting
    assert time.monotonic() - started < 5


async def test_an_event_of_ones_own_stops_one_call_alone(site: Site, client: AsyncClient, make_file: MakeFile) -> None:
    site.faults = [Fault("put", way="stall", seconds=4)]
    cancel = threading.Event()
    threading.Timer(0.3, cancel.set).start()
    with pytest.raises(Stopped):
        await client.upload(make_file(10), cancel=cancel)
    await client.upload(make_file(11))


async def test_errors_are_those_of_the_client(client: AsyncClient, tmp_path: Path) -> None:
    with pytest.raises(Invalid) as caught:
        await client.upload(tmp_path / "nothing.mov")
    assert caught.value.code == "file_missing"
    with pytest.raises(NotFound):
        await client.assets.get(uuid4())


async def test_questions_are_answered_while_uploads_wait(site: Site, client: AsyncClient, make_file: MakeFile) -> None:
    done = await client.upload(make_file(10))
    release = threading.Event()

    def hold(_: int) -> None:
        release.wait(10)

    site.before_put = hold
    busy = asyncio.create_task(client.upload(make_file(11)))
    found = await asyncio.wait_for(client.uploads.get(done.upload_id), 5)
    assert found.id == done.upload_id
    listed = [upload.id async for upload in client.uploads.all()]
    assert done.upload_id in listed
    release.set()
    await busy


async def test_closing_twice_is_closing_once() -> None:
    async with AsyncClient("http://127.0.0.1:9", TOKEN) as client:
        await client.close()


def test_nothing_of_the_client_is_missing() -> None:
    """A method that `Client` or one of its nouns gains has to be here as well, with the same parameters."""
    pairs: list[tuple[type, type]] = [(Client, AsyncClient)]
    pairs += [
        (getattr(nouns, name), getattr(aio, f"Async{name}"))
        for name in ("Uploads", "Titles", "Assets", "Jobs", "Usage")
    ]
    for sync, ours in pairs:
        for name, function in vars(sync).items():
            if name.startswith("_") or not callable(function) or name in INSIDE:
                continue
            there = getattr(ours, name, None)
            assert iscoroutinefunction(there) or isasyncgenfunction(there), f"{ours.__name__}.{name}"
            assert set(signature(there).parameters) >= set(signature(function).parameters) - {"cancel"}, name


INSIDE = {"one_title"}  # parts of others that commands use
