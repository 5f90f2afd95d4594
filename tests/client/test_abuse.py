"""Uploads to a whole stack over lines that break: whatever happens they end published, with the right bytes, and send little
twice. First single mishaps and the way taken around them, then random abuse.

`make long ROUNDS=200` is the Show; by itself: RUSHES_TEST_ROUNDS=200 pytest tests/client/test_abuse.py
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from rushes.client import Client, Progress, UploadResult
from rushes.client.curl import CurlTransport
from rushes.client.http import Transport
from rushes.client.ways import TRY_AGAIN
from tests.client.abuse import MIB, PART, Yard, abused, make_file, published, yard
from tests.client.gate import gate
from tests.conftest import SEED
from tests.e2e.equipment import sha256

PARTS = (48, 60)  # of 5 MiB
MOST_SENT = 1.15  # of the file's size
ROUNDS_A_YARD = 10  # then a new stack: the embedded store gives space back late


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Yard]]:
    """The yard for the next round."""
    with ExitStack() as stack:
        used = 0
        current: Yard | None = None

        def next_one() -> Yard:
            nonlocal used, current
            if current is None or used >= ROUNDS_A_YARD:
                stack.pop_all().close()
                current = stack.enter_context(yard(tmp_path_factory.mktemp("yard") / "it", SEED))
                used = 0
            used += 1
            return current

        yield next_one


def hasty() -> Transport:
    return CurlTransport(connect_seconds=5, stall_seconds=2, reply_seconds=10)


def sent_through(yard: Yard, path: Path, url: str | None = None, **wanted: Any) -> tuple[UploadResult, int]:
    """What an upload came to, and how many of its parts went by relay."""
    try:
        with Client(url or yard.site.running.api_url, yard.token(3600), transport=hasty()) as client:
            result = client.upload(path, part_size=wanted.pop("part_size", PART), **wanted)
    finally:
        yard.store.clear()
    return result, published(yard.site, path.name, sha256(path), path.stat().st_size)


def test_a_store_that_cannot_be_reached_is_gone_around_at_once(ground: Callable[[], Yard], tmp_path: Path) -> None:
    yard, path, seen = ground(), tmp_path / "refused.bin", set[bool]()
    make_file(path, random.Random(1), 7)
    yard.store.weather(refuses=True)
    began = time.monotonic()
    _, relayed = sent_through(yard, path, on_progress=lambda progress: seen.add(progress.relayed))
    assert True in seen
    assert relayed == 7
    assert time.monotonic() - began < TRY_AGAIN


def test_a_store_that_goes_silent_in_the_middle_is_gone_around(ground: Callable[[], Yard], tmp_path: Path) -> None:
    yard, path = ground(), tmp_path / "silent.bin"
    make_file(path, random.Random(2), 10)
    yard.store.weather(rate=10e6)

    def goes_silent(progress: Progress) -> None:
        if progress.parts_held >= 2:
            yard.store.weather(hole=True)

    _, relayed = sent_through(yard, path, on_progress=goes_silent)
    assert 0 < relayed <= 8


def test_a_page_in_place_of_the_store_is_not_its_answer(ground: Callable[[], Yard], tmp_path: Path) -> None:
    yard, path = ground(), tmp_path / "page.bin"
    make_file(path, random.Random(3), 3)
    upstream = yard.store.upstream
    with gate(upstream) as between:
        between.page = 403
        yard.store.upstream = between.url
        yard.store.cut()
        try:
            _, relayed = sent_through(yard, path)
        finally:
            yard.store.upstream = upstream
            yard.store.cut()
    assert between.refused >= 2
    assert relayed == 3


def test_a_gate_before_the_api_gets_slices(ground: Callable[[], Yard], tmp_path: Path) -> None:
    yard, path = ground(), tmp_path / "gate.bin"
    make_file(path, random.Random(4), 7)
    yard.store.weather(refuses=True)
    with gate(yard.site.running.api_url) as between:
        between.most = 2 * MIB
        result, relayed = sent_through(yard, path, between.url, part_size=12 * MIB)
    assert between.refused >= 1
    assert max(between.passed) == MIB
    assert relayed == 3
    assert result.sent < MOST_SENT * path.stat().st_size


def test_an_upload_survives_everything_being_away_and_back(ground: Callable[[], Yard], tmp_path: Path) -> None:
    """What is refused goes by relay; when the API is refused as well, both are tried until one is back."""
    yard, path = ground(), tmp_path / "away.bin"
    make_file(path, random.Random(5), 12)
    yard.store.weather(rate=30e6)
    away = 0.0  # since when

    def goes_and_comes(progress: Progress) -> None:
        nonlocal away
        now = time.monotonic()
        if not away and progress.moving:
            away = now
            for line in (yard.store, yard.api):
                line.weather(refuses=True)
                line.cut()
        if away and now - away > 1.5:
            yard.api.clear()
        if away and now - away > 2.0:
            yard.store.clear()

    try:
        sent_through(yard, path, yard.api.url, on_progress=goes_and_comes)
    finally:
        yard.api.clear()
    assert away


@pytest.mark.timeout(600)
def test_whatever_happens_the_right_bytes_are_published(
    ground: Callable[[], Yard],
    round_: int,
    record_property: Callable[[str, object], None],
    request: pytest.FixtureRequest,
) -> None:
    rng = random.Random(f"{SEED} {round_}")
    try:
        told = abused(ground(), rng, parts=rng.randint(*PARTS), count=rng.randint(1, 4))
        record_property("saw", f"round {round_}: {told}")
        assert told.sent <= MOST_SENT, told
    except Exception as error:
        again = f"RUSHES_TEST_SEED={SEED} RUSHES_TEST_ROUNDS={round_ + 1}"
        error.add_note(f"The same again: {again} pytest '{__file__}::{request.node.name}'")
        raise
