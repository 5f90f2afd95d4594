"""Uploads over bad lines, to the strict test server. Those to a whole stack are in `test_abuse`."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rushes.client import Client, Limits, Progress, Stopped
from rushes.client.curl import CurlTransport
from rushes.client.http import Transport
from rushes.client.plain import PlainTransport
from rushes.errors import Unavailable
from tests.client.equipment import TOKEN, Site
from tests.client.line import Line

MIB = 1 << 20
PART = 5 * MIB
KINDS = (CurlTransport, PlainTransport)
MakeFile = Callable[..., Path]


def hasty() -> Transport:
    return CurlTransport(connect_seconds=5, stall_seconds=2, reply_seconds=10)


@pytest.fixture
def line(site: Site) -> Iterator[Line]:
    with Line(site.url, seed=9) as made:
        site.url = made.url  # grants lead through it too
        yield made


def test_a_capped_line_is_filled(site: Site, line: Line, make_file: MakeFile) -> None:
    """100 Mbit/s for two seconds. How full exactly is for the bench to say, on a machine that does nothing else."""
    line.weather(rate=12.5e6)
    path = make_file(25_000_000)
    started = time.monotonic()
    with Client(line.url, TOKEN) as client:
        client.upload(path)
    assert time.monotonic() - started < 2 * 2


def test_a_line_that_limits_each_connection_gets_more_of_them(site: Site, line: Line, tmp_path: Path) -> None:
    line.weather(rate_each=1.5e6)
    path, cancel = tmp_path / "long.mov", threading.Event()
    with path.open("wb") as writer:
        writer.truncate(200 * MIB)

    def enough(_: Progress) -> None:
        if site.peak >= 6:
            cancel.set()

    with Client(line.url, TOKEN) as client, pytest.raises(Stopped):
        client.upload(path, on_progress=enough, cancel=cancel)


@pytest.mark.parametrize("kind", KINDS)
def test_resets_cost_little(
    site: Site, line: Line, make_file: MakeFile, kind: type[CurlTransport | PlainTransport]
) -> None:
    line.weather(resets=0.01)
    path = make_file(200 * MIB)
    with Client(line.url, TOKEN, transport=kind(), limits=Limits(backoff=0.05)) as client:
        result = client.upload(path)
    assert line.resets >= 1
    assert line.up <= 1.15 * result.size
    assert site.only().state == "ingested"


def test_a_part_that_falls_silent_last_is_sent_a_second_time(site: Site, line: Line, make_file: MakeFile) -> None:
    """Long before it would be cut for its silence."""
    line.weather(rate=40e6)
    path = make_file(8 * PART)
    with Client(line.url, TOKEN, transport=CurlTransport(stall_seconds=60), limits=Limits(parallel=4)) as client:
        client.check()
        line.doom("silence", after=2 * MIB, times=1)
        started = time.monotonic()
        result = client.upload(path, part_size=PART)
    assert time.monotonic() - started < 60
    assert result.sent <= 9 * PART
    assert site.only().state == "ingested"


def test_a_part_without_progress_is_cut_and_sent_on_a_new_connection(
    site: Site, line: Line, make_file: MakeFile
) -> None:
    line.doom("silence", after=MIB, times=2)
    path = make_file(4 * PART)
    with Client(line.url, TOKEN, transport=hasty(), limits=Limits(hedge_share=0.0, backoff=0.05)) as client:
        client.upload(path, part_size=PART)
    assert site.only().state == "ingested"
    assert any(len(ports) > 1 for ports in site.connections.values())


def test_nothing_is_killed_for_being_slow(site: Site, line: Line, make_file: MakeFile) -> None:
    """Each part takes several times as long as silence may last."""
    line.weather(rate=4e6)
    path = make_file(3 * PART)
    with Client(line.url, TOKEN, transport=hasty()) as client:
        result = client.upload(path, part_size=PART)
    assert result.sent == path.stat().st_size


def test_an_upload_that_nothing_moves_pauses_itself_and_goes_on_later(
    site: Site, line: Line, make_file: MakeFile
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
    with Client(line.url, TOKEN, limits=Limits(hedge_share=0.0)) as later:
        result = later.resume(site.only().id, path)
    assert result.sent <= 4 * PART
    assert site.only().state == "ingested"
