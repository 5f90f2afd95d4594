"""How slow a sender may be, on a clock that goes on by itself: an hour passes at once, and never longer than it is."""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import AsyncIterator, Coroutine, Sequence
from typing import Any, TypeVar

import pytest

from rushes.errors import Problem
from rushes.ingest.intake import HURRY_SECONDS, Intake, Pace

T = TypeVar("T")
PACE = Pace(idle_seconds=30, least_rate=1_000)


class Skipping(selectors.DefaultSelector):
    """Waits for nothing: the clock is put forward instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "somebody waits for ever"
        self.now += max(timeout, 0.0)
        return super().select(0)


class Clockwork(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = Skipping()
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now


def at_once(work: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=Clockwork) as runner:
        return runner.run(work)


async def sender(script: Sequence[tuple[float, int]]) -> AsyncIterator[bytes]:
    """After so many seconds each, so many bytes."""
    for seconds, size in script:
        await asyncio.sleep(seconds)
        yield bytes(size)


async def outcome(script: Sequence[tuple[float, int]], length: int, *, storage_takes: float = 0) -> str:
    """The problem that a body of `length` bytes ends in, or "whole"."""
    body = Intake(sender(script), length, PACE)
    try:
        async for _ in body.take(length):
            await asyncio.sleep(storage_takes)
    except Problem as problem:
        return f"{problem.code}: {problem.message}"
    return "whole"


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ([(1, 1_000)] * 100, "whole"),
        ([(29, 29_000)] * 10, "whole"),
        ([(1, 999)] * 100, "sender_too_slow: Only 29970 bytes came in 30 seconds"),
        ([(1, 100_000), *[(1, 10)] * 100], "sender_too_slow: Only 300 bytes came in 30 seconds"),
        ([(1, 10)] * 29, "body_short: The body ended"),
        ([(31, 1_000_000)], "sender_too_slow: Nothing came for 30 seconds"),
    ],
)
def test_a_sender_has_to_keep_pace(script: list[tuple[float, int]], found: str) -> None:
    size = sum(size for _, size in script)
    assert at_once(outcome(script, size if found == "whole" else size + 1)).startswith(found)


def test_the_time_that_storage_takes_is_not_the_senders() -> None:
    assert at_once(outcome([(1, 1_000)] * 100, 100_000, storage_takes=3_600)) == "whole"


def test_who_is_told_to_hurry_is_waited_for_no_longer_than_a_moment() -> None:
    async def hurried() -> tuple[str, float]:
        loop = asyncio.get_running_loop()
        body = Intake(sender([(1, 10), (29, 10)]), 20, PACE)
        loop.call_later(5, body.hurry)
        with pytest.raises(Problem) as raised:
            await body.drop(20)
        return raised.value.code, loop.time()

    assert at_once(hurried()) == ("sender_too_slow", 5 + HURRY_SECONDS)
