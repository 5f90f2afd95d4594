"""Tasks that do not hear the first cancellation are ended all the same."""

from __future__ import annotations

import asyncio
from contextlib import suppress

import pytest

from rushes.tasks import put_down


async def deaf(times: int, heard: list[str]) -> None:
    """Goes on after as many cancellations, as `asyncio.wait_for` lets a task do that has just got what it waited for."""
    for _ in range(times):
        with suppress(asyncio.CancelledError):
            await asyncio.Event().wait()
        heard.append("a cancellation")
    await asyncio.Event().wait()


async def broken() -> None:
    raise ValueError


@pytest.mark.parametrize("times", [0, 1, 2])
async def test_a_task_is_cancelled_until_it_ends(times: int) -> None:
    heard: list[str] = []
    tasks = [asyncio.create_task(deaf(times, heard)), asyncio.create_task(deaf(0, []))]
    await asyncio.sleep(0)
    async with asyncio.timeout(60):
        await put_down(tasks)
    assert all(task.cancelled() for task in tasks)
    assert len(heard) == times


async def test_what_ended_in_an_error_has_ended() -> None:
    task = asyncio.create_task(broken())
    await asyncio.wait({task})
    await put_down([task])
    await put_down([])


async def test_to_be_cancelled_meanwhile_does_not_shorten_the_wait() -> None:
    inner = asyncio.create_task(deaf(1, []))
    await asyncio.sleep(0)
    outer = asyncio.create_task(put_down([inner]))
    await asyncio.sleep(0)
    outer.cancel()
    async with asyncio.timeout(60):
        with pytest.raises(asyncio.CancelledError):
            await outer
    assert inner.cancelled()
