"""Uploads over bad lines. Behind the first tests is a real stack, whose store is reached through a line; behind the others
the strict test server."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from rushes.client import Client, Limits, Progress, UploadResult
from rushes.client.curl import CurlTransport
from rushes.client.http import Transport
from rushes.client.plain import PlainTransport
from rushes.errors import Unavailable
from tests.client.equipment import TOKEN
from tests.client.equipment import Site as Strict
from tests.client.gate import gate
from tests.client.line import Line
from tests.e2e.equipment import Site, free_port, sha256
from tests.e2e.equipment import site as up

MIB = 1 << 20
PART = 5 * MIB
KINDS = (CurlTransport, PlainTransport)
MakeFile = Callable[..., Path]


def hasty() -> Transport:
    return CurlTransport(connect_seconds=2, stall_seconds=1.5, reply_seconds=10)


@dataclass
class Town:
    """A stack; its store is reached by clients through `line` alone."""

    stack: Site
    line: Line

    def way_of(self, result: UploadResult) -> set[object]:
        return {row[0] for row in self.stack.rows("SELECT way FROM parts WHERE upload_id = %s", result.upload_id)}

    def whole(self, result: UploadResult, path: Path) -> None:
        """Ingested; and what storage holds is what the file holds, by the digest of a worker that read it."""
        ((state, size),) = self.stack.rows("SELECT state, size FROM uploads WHERE id = %s", result.upload_id)
        assert (state, size) == ("ingested", path.stat().st_size)
        until = time.monotonic() + 60
        while (asset := self.stack.client.assets.get(result.asset_id)).sha256 is None:
            assert time.monotonic() < until, "no worker read it"
            time.sleep(0.1)
        assert asset.sha256 == sha256(path)


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Town]:
    port = free_port()
    endpoint = f"http://127.0.0.1:{port}"
    with (
        up(tmp_path_factory.mktemp("town") / "data", storage_public_endpoint=endpoint) as stack,
        Line(stack.running.environment["RUSHES_STORAGE_ENDPOINT"], port=port, seed=4) as line,
    ):
        yield Town(stack, line)


@pytest.fixture(autouse=True)
def fair(request: pytest.FixtureRequest) -> None:
    if "town" in request.fixturenames:
        request.getfixturevalue("town").line.clear()


def test_a_store_that_cannot_be_reached_is_gone_around_at_once(town: Town, make_file: MakeFile) -> None:
    path = make_file(6 * PART + 1)
    town.line.weather(refuses=True)
    seen: list[bool] = []
    with Client(town.stack.running.api_url, town.stack.token) as client:
        started = time.monotonic()
        result = client.upload(path, part_size=PART, on_progress=lambda progress: seen.append(progress.relayed))
    assert True in seen
    assert town.way_of(result) == {"relayed"}
    assert time.monotonic() - started < 20
    town.whole(result, path)


def test_a_store_that_goes_silent_in_the_middle_is_gone_around(town: Town, make_file: MakeFile) -> None:
    path = make_file(10 * PART)
    town.line.weather(rate=15e6)

    def goes_silent(progress: Progress) -> None:
        if progress.parts_held >= 2:
            town.line.weather(hole=True)

    with Client(town.stack.running.api_url, town.stack.token, transport=hasty()) as client:
        result = client.upload(path, part_size=PART, on_progress=goes_silent)
    assert town.way_of(result) == {"direct", "relayed"}
    town.whole(result, path)


def test_a_page_in_place_of_the_store_is_not_its_answer(
    tmp_path_factory: pytest.TempPathFactory, town: Town, make_file: MakeFile
) -> None:
    path = make_file(3 * PART)
    upstream = town.line.upstream
    with gate(upstream) as between:
        between.page = 403
        town.line.upstream = between.url
        try:
            with Client(town.stack.running.api_url, town.stack.token) as client:
                result = client.upload(path, part_size=PART)
        finally:
            town.line.upstream = upstream
    assert between.refused >= 2
    assert town.way_of(result) == {"relayed"}


def test_a_gate_before_the_api_gets_slices(town: Town, make_file: MakeFile) -> None:
    path = make_file(3 * 12 * MIB + 5)
    town.line.weather(refuses=True)
    with gate(town.stack.running.api_url) as between:
        between.most = 2 * MIB
        with Client(between.url, town.stack.token) as client:
            result = client.upload(path, part_size=12 * MIB)
    assert between.refused >= 1
    assert max(between.passed) == MIB
    assert town.way_of(result) == {"relayed"}
    assert result.sent < 1.15 * path.stat().st_size
    town.whole(result, path)


def test_an_upload_survives_the_store_being_away_and_back(town: Town, make_file: MakeFile) -> None:
    """Both ways: what is refused goes by relay; when the API is refused as well, both are tried until one is back."""
    path = make_file(12 * PART)
    town.line.weather(rate=30e6)
    with (
        Line(town.stack.running.api_url, seed=5) as api,
        Client(api.url, town.stack.token, transport=hasty()) as client,
    ):

        def all_away() -> None:
            for each in (town.line, api):
                each.weather(refuses=True)
                each.cut()

        timers = [
            threading.Timer(0.5, all_away),
            threading.Timer(2.0, api.clear),
            threading.Timer(2.5, town.line.clear),
        ]
        for timer in timers:
            timer.start()
        result = client.upload(path, part_size=PART)
        for timer in timers:
            timer.join()
    town.whole(result, path)


# --- the strict server behind a line ----------------------------------------------------------------------------------


@pytest.fixture
def line(site: Strict) -> Iterator[Line]:
    with Line(site.url, seed=9) as made:
        site.url = made.url  # grants lead through it too
        yield made


def test_a_capped_line_is_filled(site: Strict, line: Line, make_file: MakeFile) -> None:
    """40 Mbit/s: 100 MB take 20 s at the least. Here a quarter of it, with the time to begin and end."""
    line.weather(rate=5e6)
    path = make_file(25_000_000)
    started = time.monotonic()
    with Client(line.url, TOKEN) as client:
        client.upload(path)
    assert time.monotonic() - started < 25 / 5 / 0.9 + 0.5


def test_a_line_that_limits_each_connection_gets_more_of_them(site: Strict, line: Line, make_file: MakeFile) -> None:
    line.weather(rate_each=1.5e6)
    path = make_file(42_000_000)
    with Client(line.url, TOKEN) as client:
        client.upload(path)
    assert site.peak >= 6
    assert site.only().state == "ingested"


@pytest.mark.parametrize("kind", KINDS)
def test_resets_cost_little(
    site: Strict, line: Line, make_file: MakeFile, kind: type[CurlTransport | PlainTransport]
) -> None:
    line.weather(resets=0.01)
    path = make_file(200 * MIB)
    with Client(line.url, TOKEN, transport=kind(), limits=Limits(backoff=0.05)) as client:
        result = client.upload(path)
    assert line.resets >= 1
    assert line.up <= 1.15 * result.size
    assert site.only().state == "ingested"


def test_a_part_that_falls_silent_last_is_sent_a_second_time(site: Strict, line: Line, make_file: MakeFile) -> None:
    """Long before it would be cut for its silence."""
    line.weather(rate=20e6)
    path = make_file(8 * PART)
    with Client(line.url, TOKEN, limits=Limits(parallel=4)) as client:
        client.check()
        line.doom("silence", after=2 * MIB, times=1)
        started = time.monotonic()
        result = client.upload(path, part_size=PART)
    assert time.monotonic() - started < 15
    assert result.sent <= 9 * PART
    assert site.only().state == "ingested"


def test_a_part_without_progress_is_cut_and_sent_on_a_new_connection(
    site: Strict, line: Line, make_file: MakeFile
) -> None:
    line.doom("silence", after=MIB, times=2)
    path = make_file(4 * PART)
    with Client(line.url, TOKEN, transport=hasty(), limits=Limits(hedge_share=0.0, backoff=0.05)) as client:
        client.upload(path, part_size=PART)
    assert site.only().state == "ingested"
    assert any(len(ports) > 1 for ports in site.connections.values())


def test_nothing_is_killed_for_being_slow(site: Strict, line: Line, make_file: MakeFile) -> None:
    """Each part takes several times as long as silence may last."""
    line.weather(rate=3e6)
    path = make_file(3 * PART)
    with Client(line.url, TOKEN, transport=hasty()) as client:
        result = client.upload(path, part_size=PART)
    assert result.sent == path.stat().st_size


def test_an_upload_that_nothing_moves_pauses_itself_and_goes_on_later(
    site: Strict, line: Line, make_file: MakeFile
) -> None:
    path = make_file(6 * PART)
    limits = Limits(backoff=0.05, backoff_most=0.2, pause_after=3.0)

    def away(_number: int) -> None:
        if len(site.only().stored) >= 2:
            line.weather(refuses=True)
            line.cut()

    site.before_put = away
    with Client(line.url, TOKEN, transport=hasty(), limits=limits) as client:
        with pytest.raises(Unavailable, match="paused") as caught:
            client.upload(path, part_size=PART)
        assert caught.value.code == "no_progress"
        assert str(caught.value.details["reason"]).startswith("network_")
        site.before_put = None
        line.clear()
        result = client.resume(site.only().id, path)
    assert result.sent < 5 * PART
    assert site.only().state == "ingested"
