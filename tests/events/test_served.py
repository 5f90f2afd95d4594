"""Event streams as they are served: granian in processes of its own, followed by the client and by bare sockets."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path

import psutil
import psycopg
import pytest

from rushes.client import Client, Stopped
from rushes.client.aio import AsyncClient
from rushes.config import Settings
from rushes.errors import Conflict, Invalid, NotFound, Problem, Unauthenticated
from rushes.ingest import tokens
from rushes.model import Principal
from rushes.wire import Event
from tests.api.equipment import Api, free_port, served
from tests.events.equipment import url_of
from tests.ingest.equipment import Desk, somebody


@pytest.fixture(scope="module")
def api(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with served(
        settings, tmp_path_factory.mktemp("api"), event_heartbeat_seconds=0.5, event_stall_seconds=2
    ) as running:
        yield running


def token(settings: Settings, who: Principal, seconds: float = 600) -> str:
    return tokens.mint_for(settings, who, timedelta(seconds=seconds), datetime.now(UTC))


class Listener:
    """Somebody who follows events in a thread of its own."""

    def __init__(self, url: str, bearer: str, **what: object) -> None:
        self.cancel = threading.Event()
        self.heard: list[Event] = []
        self.error: Problem | None = None
        self._fresh: queue.Queue[None] = queue.Queue()
        self._client = Client(url, bearer, cancel=self.cancel)
        self._thread = threading.Thread(target=self._listen, args=(what,))
        self._thread.start()

    def _listen(self, what: dict[str, object]) -> None:
        try:
            for event in self._client.events(**what):  # type: ignore[arg-type] # as the test wrote it
                self.heard.append(event)
                self._fresh.put(None)
        except Problem as error:
            self.error = error
        self._fresh.put(None)

    def until(self, count: int, seconds: float = 30) -> list[str]:
        """The types heard, once there are so many."""
        deadline = time.monotonic() + seconds
        while len(self.heard) < count:
            assert self.error is None, self.error
            self._fresh.get(timeout=max(0.01, deadline - time.monotonic()))
        return [event.type for event in self.heard]

    def close(self) -> None:
        self.cancel.set()
        self._thread.join(10)
        assert not self._thread.is_alive()
        self._client.close()


def tell(settings: Settings, who: Principal, *names: str, size: int = 0) -> None:
    """Events of these types, each in a transaction of its own."""
    with psycopg.connect(url_of(settings), autocommit=True) as conn, conn.cursor() as cursor:
        cursor.executemany(
            """INSERT INTO events (tenant, creator, type, data, created_at)
            VALUES (%s, %s, %s, jsonb_build_object('filler', repeat('x', %s)), now())""",
            [[who.tenant, who.creator, name, size] for name in names],
        )


def settle(url: str, bearer: str) -> str:
    """A place in the order of events that is now."""
    with Client(url, bearer) as client:
        streamed = client._caller.stream("v1/events", headers={}, quiet_seconds=20)
        text = b""
        for chunk in streamed:
            text += chunk
            if b"\nid: " in text and text.endswith(b"\n\n"):
                break
        return text.decode().rpartition("\nid: ")[2].strip()


async def test_the_events_of_an_upload_from_begin_to_the_end(desk: Desk, settings: Settings, api: Api) -> None:
    ann = desk.person()
    bearer = token(settings, ann.who)
    upload = await ann.begin()
    listener = await asyncio.to_thread(Listener, api.url, bearer, upload_id=upload["upload_id"])
    try:
        assert await asyncio.to_thread(listener.until, 1) == ["upload_started"]
        assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
        assert await asyncio.to_thread(listener.until, 2) == ["upload_started", "upload_aborted"]
    finally:
        await asyncio.to_thread(listener.close)
    assert isinstance(listener.error, Stopped)
    first = listener.heard[0]
    assert (str(first.upload_id), str(first.asset_id), str(first.title_id), first.creator) == (
        upload["upload_id"],
        upload["asset_id"],
        upload["title_id"],
        ann.who.creator,
    )
    assert first.data["size"] == 1_000

    def again() -> list[str]:
        with Client(api.url, bearer) as client:
            what = {"upload_id": upload["upload_id"], "follow": False}
            return [event.type for event in client.events(after=first.id, **what)]

    assert await asyncio.to_thread(again) == ["upload_aborted"]


async def test_events_in_a_loop_of_asyncio(settings: Settings, api: Api) -> None:
    ann = somebody()
    bearer = token(settings, ann)
    async with AsyncClient(api.url, bearer) as client:
        place = await client.call(settle, api.url, bearer)
        await client.call(tell, settings, ann, "one", "two", "three")
        assert [event.type async for event in client.events(after=place, follow=False)] == ["one", "two", "three"]
        heard = []
        async for event in client.events(after=place):
            heard.append(event.type)
            if event.type == "two":
                break
        assert heard == ["one", "two"]

        async def listen() -> None:
            async for event in client.events(after=place):
                if event.type == "three":
                    told.set()

        told, listening = asyncio.Event(), asyncio.create_task(listen())
        await asyncio.wait_for(told.wait(), 20)
        listening.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asyncio.wait_for(listening, 5)


def test_what_is_told_while_nobody_listens_is_heard_later(settings: Settings, api: Api) -> None:
    ann = somebody()
    bearer = token(settings, ann)
    place = settle(api.url, bearer)
    tell(settings, ann, *(f"event_{number}" for number in range(250)))
    with Client(api.url, bearer) as client:
        assert [event.type for event in client.events(after=place, follow=False)] == [f"event_{n}" for n in range(250)]
        assert list(client.events(follow=False)) == [], "without a place it starts now"
        assert len(list(client.events(after="0-0", follow=False))) == 250


@pytest.mark.parametrize(
    ("what", "error", "code"),
    [
        ({"after": "yesterday"}, Invalid, "cursor_invalid"),
        ({"after": f"{2**62}-1"}, Conflict, "cursor_unknown"),
        ({"upload_id": "0190a000-0000-7000-8000-000000000000"}, NotFound, "upload_not_found"),
        ({"asset_id": "0190a000-0000-7000-8000-000000000000"}, NotFound, "asset_not_found"),
    ],
)
def test_what_cannot_be_followed(
    settings: Settings, api: Api, what: dict[str, object], error: type[Problem], code: str
) -> None:
    with Client(api.url, token(settings, somebody())) as client, pytest.raises(error) as refused:
        next(client.events(**what))  # type: ignore[arg-type]
    assert refused.value.code == code


def test_a_stream_ends_with_its_token(settings: Settings, api: Api) -> None:
    """Its reader comes back with the token and is told that it has expired."""
    at = datetime.now(UTC) - tokens.LEEWAY  # the clock is trusted to half a minute
    bearer = tokens.mint_for(settings, somebody(), timedelta(seconds=1.5), at)
    listener = Listener(api.url, bearer)
    listener._thread.join(20)
    assert isinstance(listener.error, Unauthenticated)
    listener.close()


def test_signs_of_life_and_headers(settings: Settings, api: Api) -> None:
    with _ask(api, token(settings, somebody())) as connection:
        text = b""
        while text.count(b": up to date") < 3:
            more = connection.recv(65536)
            assert more
            text += more
    head, _, _ = text.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    assert lines[0] == b"http/1.1 200 ok"
    assert b"content-type: text/event-stream; charset=utf-8" in lines
    assert b"cache-control: no-store" in lines
    assert b"x-accel-buffering: no" in lines
    assert b"access-control-allow-origin: *" in lines
    assert not [line for line in lines if line.startswith(b"content-length")]
    assert b"retry: " in text


def _ask(api: Api, bearer: str, *headers: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", api.port), timeout=20)
    lines = [
        "GET /v1/events HTTP/1.1",
        "Host: api",
        "Origin: https://page",
        f"Authorization: Bearer {bearer}",
        *headers,
    ]
    connection.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
    return connection


def _until(condition: Callable[[], bool], seconds: float, what: str) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


def test_a_reader_that_is_stuck_is_cut_off_and_costs_little(settings: Settings, api: Api) -> None:
    """It asks for 30 MB of events and takes none of them; the process stays small, and then it hangs up on it."""
    ann = somebody()
    tell(settings, ann, *(f"event_{number}" for number in range(1_500)), size=20_000)
    process = api.working()
    before = process.memory_info().rss
    connections = [_ask(api, token(settings, ann), "Last-Event-ID: 0-0") for _ in range(3)]
    try:
        _until(lambda: api.log.read_text().count("is cut off") >= 3, 60, "one of them is never cut off")
        assert process.memory_info().rss - before < 60e6
        for connection in connections:
            taken = 0
            while more := connection.recv(1 << 20):  # what had been sent before, and then the end
                taken += len(more)
            assert taken < 25e6
    finally:
        for connection in connections:
            connection.close()
    with Client(api.url, token(settings, ann)) as client:
        first = list(islice(client.events(after="0-0", follow=False), 120))
    assert [event.type for event in first] == [f"event_{number}" for number in range(120)]


def test_a_reader_that_hangs_up_is_forgotten(settings: Settings, api: Api) -> None:
    process = api.working()

    def held() -> int:
        found = process.net_connections("tcp")
        return len([one for one in found if one.laddr.port == api.port and one.status != psutil.CONN_LISTEN])

    _until(lambda: held() == 0, 20, "connections of earlier tests stay open")
    connections = [_ask(api, token(settings, somebody())) for _ in range(30)]
    for connection in connections:
        assert connection.recv(100)
    assert held() == 30
    for connection in connections:
        connection.close()
    _until(lambda: held() == 0, 20, "connections stay open")


def test_a_stopping_server_ends_its_streams_and_readers_go_on_elsewhere(settings: Settings, tmp_path: Path) -> None:
    """One pod stops, another takes its address, and a writer never rests: nothing is lost or repeated."""
    ann = somebody()
    bearer = token(settings, ann)
    port = free_port()
    names = [f"event_{number}" for number in range(400)]
    listeners: list[Listener] = []

    def write() -> None:
        """Goes on while nobody hears it, but not far."""
        with psycopg.connect(url_of(settings), autocommit=True) as conn:
            for number, name in enumerate(names):
                conn.execute(
                    "INSERT INTO events (tenant, creator, type, created_at) VALUES (%s, %s, %s, now())",
                    [ann.tenant, ann.creator, name],
                )
                _until(lambda ahead=number: ahead - len(listeners[0].heard) < 100, 60, "nobody hears it")  # type: ignore[misc]

    with ExitStack() as stack:
        running = stack.enter_context(served(settings, tmp_path, port=port))
        place = settle(running.url, bearer)
        listeners += [Listener(running.url, bearer, after=place) for _ in range(5)]
        idle = [_ask(running, bearer) for _ in range(20)]
        writing = threading.Thread(target=write)
        writing.start()
        try:
            listeners[0].until(100)
            assert running.stop() < 8, "open streams hold it up until it is killed after 10 seconds"
            assert "refused to gracefully stop" not in running.log.read_text()
            for connection in idle:
                while connection.recv(65536):
                    pass
            running = stack.enter_context(served(settings, tmp_path, port=port))
            for listener in listeners:
                assert listener.until(len(names), 60) == names
        finally:
            for connection in idle:
                connection.close()
            for listener in listeners:
                listener.close()
            writing.join()
        assert running.stop() < 8


def test_the_command_follows_and_ends(settings: Settings, api: Api, tmp_path: Path) -> None:
    ann = somebody()
    tell(settings, ann, "one", "two", "three")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUSHES_")}
    environment = kept | {
        "RUSHES_SERVER": api.url,
        "RUSHES_TOKEN": token(settings, ann),
        "RUSHES_DATA_DIR": str(tmp_path),
    }
    command = [sys.executable, "-m", "rushes", "events"]
    done = subprocess.run([*command, "--json"], env=environment, capture_output=True, text=True, check=True, timeout=60)
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert [one["type"] for one in told] == ["one", "two", "three"]
    following = [*command, "--follow", "--after", told[1]["id"]]
    with subprocess.Popen(following, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline().split()[2] == "three"
        tell(settings, ann, "four")
        assert process.stdout.readline().split()[2] == "four"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 130
