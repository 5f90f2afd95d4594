"""How many lines and how fast, against simulated lines: no threads but where one says so, no I/O."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rushes.client.pace import Bucket, Pace, RateLimit

STEP = 0.25  # seconds between two samples
Capacity = Callable[[int], float]  # lines → bytes a second


def run(pace: Pace, capacity: Capacity, seconds: float, now: float = 0.0, carried: float = 0.0) -> tuple[float, float]:
    """Feeds `pace` for so long; (time, bytes carried) at the end."""
    until = now + seconds
    while now < until:
        now += STEP
        carried += capacity(pace.lines) * STEP
        pace.sample(now, int(carried), busy=True)
    return now, carried


def shared(total: float) -> Capacity:
    return lambda _lines: total


def each(one: float, total: float) -> Capacity:
    return lambda lines: min(lines * one, total)


@given(st.floats(1e4, 1e10))
def test_a_line_that_one_connection_fills_gets_no_more(total: float) -> None:
    pace = Pace(32)
    run(pace, shared(total), 60)
    assert 1 <= pace.lines <= 6


@settings(deadline=None)
@given(st.floats(1e5, 1e8), st.integers(1, 40))
def test_a_line_that_limits_each_connection_is_filled(one: float, enough: int) -> None:
    pace, capacity = Pace(32), each(one, one * enough)
    now, carried = run(pace, capacity, 90)
    _, after = run(pace, capacity, 300, now, carried)
    assert (after - carried) / 300 >= 0.85 * capacity(32)
    assert pace.lines <= max(6, 1.6 * enough)


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 20))
def test_noise_does_not_lead_astray(seed: int, enough: int) -> None:
    rng = random.Random(seed)
    pace = Pace(32)

    def capacity(lines: int) -> float:
        return min(lines, enough) * 1e6 * rng.uniform(0.7, 1.3)

    now, carried = run(pace, capacity, 120)
    _, after = run(pace, capacity, 400, now, carried)
    assert (after - carried) / 400 >= 0.7 * enough * 1e6


@settings(deadline=None)
@given(st.floats(1e5, 1e8), st.integers(1, 32), st.integers(1, 32))
def test_a_line_that_becomes_another_is_followed(one: float, before: int, after: int) -> None:
    pace = Pace(32)
    now, carried = run(pace, each(one, one * before), 200)
    now, carried = run(pace, each(one, one * after), 240, now, carried)
    _, ended = run(pace, each(one, one * after), 100, now, carried)
    assert (ended - carried) / 100 >= 0.7 * one * after


@pytest.mark.parametrize(("seconds", "lines"), [(10, 4), (60, 9)])
def test_who_is_about_to_end_tries_nothing(seconds: int, lines: int) -> None:
    """More lines risk more parts, which has to pay before the end."""
    pace, now, carried, left = Pace(32), 0.0, 0.0, seconds * 4e6
    while now < 10:
        now += STEP
        carried += 1e6 * pace.lines * STEP
        pace.sample(now, int(carried), busy=True, left=left - carried)
    assert pace.lines == lines


@given(st.lists(st.floats(0, 30), max_size=40), st.integers(1, 32))
def test_bounds_hold_whatever_happens(pauses: list[float], most: int) -> None:
    pace, now = Pace(most), 0.0
    for pause in pauses:
        now += pause
        pace.pushed_back(now)
        now, _ = run(pace, each(1e6, 5e7), 10, now)
        assert 1 <= pace.lines <= most


def test_a_store_that_is_too_busy_halves_the_lines_once_a_second() -> None:
    pace = Pace(32)
    now, carried = run(pace, each(1e6, 1e9), 60)
    assert pace.lines == 32
    pace.pushed_back(now)
    pace.pushed_back(now + 0.5)
    assert pace.lines == 16
    pace.pushed_back(now + 1.1)
    assert pace.lines == 8
    now, carried = run(pace, each(1e6, 1e9), 9, now + 1.1, carried)
    assert pace.lines == 8, "calm first"
    run(pace, each(1e6, 1e9), 40, now, carried)
    assert pace.lines == 32


def test_a_fixed_number_is_fixed() -> None:
    pace = Pace(32, fixed=7)
    now, _ = run(pace, each(1e6, 1e9), 60)
    pace.pushed_back(now)
    assert pace.lines == 7


def test_lines_that_lack_work_say_nothing() -> None:
    pace, now = Pace(32), 0.0
    for step in range(1000):
        now += STEP
        pace.sample(now, step * 1000, busy=step % 2 == 0)
    assert pace.lines == 4


# --- the rate ---------------------------------------------------------------------------------------------------------


@given(st.floats(1, 1e9), st.lists(st.tuples(st.integers(1, 1 << 21), st.floats(0, 2)), min_size=1, max_size=200))
def test_never_more_than_the_rate_and_a_moment(rate: float, asked: list[tuple[int, float]]) -> None:
    bucket, now, passed = Bucket(rate, 0.0, 0.0), 0.0, 0
    for most, pause in asked:
        now += pause
        count, seconds = bucket.take(most, now)
        assert (count > 0) != (seconds > 0)
        assert count <= most
        passed += count
        assert passed <= rate * now + max(1.0, rate / 4) + 1


@given(st.floats(1e3, 1e9))
def test_who_always_wants_gets_the_rate(rate: float) -> None:
    bucket, now, passed = Bucket(rate, 0.0, 0.0), 0.0, 0
    while now < 20:
        count, seconds = bucket.take(1 << 21, now)
        passed += count
        now += seconds
    assert passed >= 0.95 * rate * 20


def test_no_rate_lets_all_pass() -> None:
    assert Bucket().take(1 << 21, 5.0) == (1 << 21, 0.0)


def test_a_rate_can_change_while_somebody_waits() -> None:
    limit = RateLimit()
    limit.set(1)
    got: list[int] = []
    thread = threading.Thread(
        target=lambda: got.extend([limit.take(1000, lambda: False), limit.take(1000, lambda: False)])
    )
    thread.start()
    limit.set(None)
    thread.join(5)
    assert got[-1] == 1000


def test_who_is_stopped_waits_no_longer() -> None:
    limit = RateLimit()
    limit.set(0.001)
    started = time.monotonic()
    assert limit.take(1000, lambda: True) == 0
    assert time.monotonic() - started < 1


@pytest.mark.parametrize("rate", [0, -5.0])
def test_the_slowest_rate_is_a_byte_a_second(rate: float) -> None:
    limit = RateLimit()
    limit.set(rate)
    assert limit.rate == 1.0
