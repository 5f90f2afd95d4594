"""Relays as they are served: real processes, real sockets; senders that stall, lie and leave, pods that die."""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any

import httpx
import psutil
import pytest

from rushes.config import Settings
from rushes.ingest.intake import HURRY_SECONDS
from rushes.model import Principal
from rushes.plan import MIB, MIN_PART
from tests.api.pods import Pod
from tests.api.pods import pods as running
from tests.ingest.equipment import Desk, crc, pieces, somebody

Json = dict[str, Any]
IDLE = 2.0  # seconds that a sender may be silent
RATE = 20_000  # bytes a second it has to reach
HEADER = "x-amz-checksum-crc64nvme"


@pytest.fixture(scope="module")
def who() -> Principal:
    return somebody()


@pytest.fixture(scope="module")
def _pods(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Pod]]:
    """Two pods that lose patience soon, take few relays and have one database connection each."""
    with running(
        settings,
        tmp_path_factory.mktemp("pods"),
        2,
        relay_idle_seconds=IDLE,
        relay_least_rate=RATE,
        relay_most=20,  # of which one creator gets five
        database_pool=1,
        takeover_seconds=2,
        complete_wait_seconds=0,
    ) as found:
        yield found


@pytest.fixture
def pods(_pods: list[Pod]) -> list[Pod]:
    """The same, alive again."""
    for one in _pods:
        one.start()
    return _pods


@pytest.fixture
def http(pods: list[Pod], who: Principal) -> Iterator[httpx.Client]:
    with client(pods[0], who) as opened:
        yield opened


def client(of: Pod, who: Principal) -> httpx.Client:
    headers = {"Authorization": f"Bearer {of.token(who)}"}
    return httpx.Client(base_url=of.url, headers=headers, timeout=60, trust_env=False)


def begin(http: httpx.Client, size: int, **fields: Any) -> Json:
    said = {"filename": "take one.mov", "size": size, "content_type": "video/quicktime"} | fields
    answer = http.post("/v1/uploads", json=said)
    assert answer.status_code == 201, answer.text
    found: Json = answer.json()
    return found


def begin_in_storage(http: httpx.Client, size: int) -> Json:
    """An upload that storage knows of, so that a relay of it needs no other connection than its own."""
    upload = begin(http, size)
    wanted = {"want": [{"number": 1, "checksum": crc(b"of no importance")}]}
    assert http.post(f"/v1/uploads/{upload['upload_id']}/parts", json=wanted).status_code == 200
    return upload


def part_of(upload: Json, number: int = 1) -> str:
    return f"/v1/uploads/{upload['upload_id']}/parts/{number}"


def held(http: httpx.Client, upload: Json) -> list[int]:
    answer = http.get(f"/v1/uploads/{upload['upload_id']}")
    assert answer.status_code == 200
    return [part["number"] for part in answer.json()["parts"]]


def put(http: httpx.Client, path: str, body: bytes, headers: dict[str, str]) -> int:
    return http.put(path, content=body, headers=headers).status_code


def head(of: Pod, who: Principal, path: str, *lines: str) -> bytes:
    """The head of a PUT."""
    first = [f"PUT {path} HTTP/1.1", "Host: api", f"Authorization: Bearer {of.token(who)}"]
    return ("\r\n".join([*first, *lines]) + "\r\n\r\n").encode()


def heard(connection: socket.socket) -> bytes:
    """All that the server says until it hangs up."""
    found = b""
    try:
        while more := connection.recv(65536):
            found += more
    except ConnectionResetError:
        pass
    return found


def to_storage(of: Pod) -> int:
    """Connections that the pod keeps to the store with a body under way: idle ones read nothing and are closed soon."""
    port = int((of.settings.storage_endpoint or "").rpartition(":")[2])
    return sum(
        found.status == psutil.CONN_ESTABLISHED and found.raddr[1:] == (port,)
        for found in of.serving.net_connections("tcp4")
    )


def until(condition: Callable[[], object], what: str, seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


# --- pods -------------------------------------------------------------------------------------------------------------


def test_five_relays_at_once_cost_little_memory(pods: list[Pod], who: Principal, http: httpx.Client) -> None:
    data = random.Random(7).randbytes(MIB) * 64
    upload = begin(http, 5 * len(data), part_size=len(data))
    rss = pods[0].serving.memory_info().rss
    peak, done = [rss], threading.Event()

    def watch() -> None:
        while not done.wait(0.05):
            peak.append(pods[0].serving.memory_info().rss)

    def send(number: int) -> int:
        with client(pods[0], who) as own:
            return own.put(part_of(upload, number), content=data).status_code

    watching = threading.Thread(target=watch)
    watching.start()
    with ThreadPoolExecutor(5) as pool:
        statuses = list(pool.map(send, range(1, 6)))
    done.set()
    watching.join()
    assert statuses == [200] * 5
    assert max(peak) - rss < 100 * MIB, f"{(max(peak) - rss) / MIB:.0f} MiB"
    assert held(http, upload) == [1, 2, 3, 4, 5]


def kill_later(of: Pod, seconds: float) -> threading.Timer:
    timer = threading.Timer(seconds, of.kill)
    timer.start()
    return timer


def persistently(ask: Callable[[], httpx.Response]) -> httpx.Response:
    """The answer, once there is a pod to give one that is not "later"."""
    for _ in range(400):
        try:
            answer = ask()
        except httpx.TransportError:
            time.sleep(0.05)
            continue
        if answer.status_code != 503:
            return answer
        time.sleep(0.05)
    raise AssertionError("no pod has an answer")


async def completed(desk: Desk, http: httpx.Client, upload: Json, data: bytes) -> None:
    """The upload completes, and its object is `data`."""
    answer = persistently(lambda: http.post(f"/v1/uploads/{upload['upload_id']}/complete", json={}))
    assert answer.status_code == 202, answer.text
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    bucket, key, _ = await desk.in_storage(upload)
    assert b"".join([chunk async for chunk in desk.ctx.storage.s3.get_range(bucket, key)]) == data
    assert await desk.sql("SELECT 1 FROM slices WHERE upload_id = %(id)s", id=upload["upload_id"]) == []


@pytest.mark.parametrize("sliced", [False, True])
async def test_a_pod_killed_in_the_middle_loses_nothing_acknowledged(
    desk: Desk, pods: list[Pod], who: Principal, http: httpx.Client, sliced: bool, round_: int
) -> None:
    data = random.randbytes(2 * MIN_PART)
    upload = begin(http, len(data), part_size=MIN_PART)
    first, second = pieces(data)
    headers = {HEADER: crc(first)}
    lines = [f"{HEADER}: {crc(first)}"]
    if sliced:
        where = {"Content-Range": f"bytes 0-{2 * MIB - 1}/{MIN_PART}"}
        assert put(http, part_of(upload), first[: 2 * MIB], headers | where) == 202
        lines.append(f"Content-Range: bytes {2 * MIB}-{MIN_PART - 1}/{MIN_PART}")
    body = first[2 * MIB :] if sliced else first
    before = to_storage(pods[0])
    with pods[0].connect() as connection:
        connection.sendall(head(pods[0], who, part_of(upload), f"Content-Length: {len(body)}", *lines))
        connection.sendall(body[: random.randrange(MIB, len(body))])
        until(lambda: to_storage(pods[0]) > before, "the relay never began")
        pods[0].kill()
        assert heard(connection) == b""
    with client(pods[1], who) as other:
        assert other.put(part_of(upload, 2), content=second, headers={HEADER: crc(second)}).status_code == 200
        assert held(other, upload) == [2]
        view = other.get(part_of(upload)).json()
        assert view["received"] == ([[0, 2 * MIB - 1]] if sliced else [])
        where = {"Content-Range": f"bytes {2 * MIB}-{MIN_PART - 1}/{MIN_PART}"} if sliced else {}
        assert other.put(part_of(upload), content=body, headers=headers | where).status_code == 200
        await completed(desk, other, upload, data)


@pytest.mark.parametrize("claim", [True, False])
async def test_a_pod_killed_while_it_puts_a_part_together(
    desk: Desk, pods: list[Pod], who: Principal, http: httpx.Client, claim: bool, round_: int
) -> None:
    part = random.randbytes(8 * MIB)
    upload = begin(http, len(part))
    headers = {HEADER: crc(part)} if claim else {}

    def send(to: httpx.Client, first: int) -> httpx.Response:
        where = {"Content-Range": f"bytes {first}-{first + 2 * MIB - 1}/{len(part)}"}
        return to.put(part_of(upload), content=part[first : first + 2 * MIB], headers=headers | where)

    for first in range(0, 6 * MIB, 2 * MIB):
        assert send(http, first).status_code == 202
    timer = kill_later(pods[0], random.uniform(0.0, 0.15))
    with suppress(httpx.TransportError):  # the pod may be killed before it can answer
        send(http, 6 * MIB)
    timer.join()
    with client(pods[1], who) as other:
        assert send(other, 6 * MIB).status_code in {200, 202}
        await completed(desk, other, upload, part)


async def test_a_file_goes_on_at_whichever_pod_lives(desk: Desk, pods: list[Pod], who: Principal, round_: int) -> None:
    """What Google's clients do: after every cut they ask what is held; here of pods that take turns dying."""
    data = random.randbytes(30 * MIB + 12_345)
    size, at, cuts = len(data), 0, 0
    with client(pods[0], who) as one, client(pods[1], who) as two:
        upload = begin(one, size)
        address, question = f"/v1/uploads/{upload['upload_id']}/content", {"Content-Range": f"bytes */{size}"}
        while at < size:
            pod, http = (pods[0], one) if cuts % 2 == 0 else (pods[1], two)
            timer = kill_later(pod, random.uniform(0.05, 0.4)) if cuts < 2 else None
            with suppress(httpx.TransportError):
                http.put(address, content=data[at:], headers={"Content-Range": f"bytes {at}-{size - 1}/{size}"})
            if timer is not None:
                timer.join()
                cuts += 1
            asked = persistently(partial((two if pod is pods[0] else one).put, address, headers=question))
            assert asked.status_code in {202, 308}, asked.text
            at = size if asked.status_code == 202 else _behind(asked)
        await completed(desk, two, upload, data)


def _behind(answer: httpx.Response) -> int:
    """The first byte that is not held."""
    found = answer.headers.get("range")
    return 0 if found is None else int(found.rpartition("-")[2]) + 1


# --- senders ----------------------------------------------------------------------------------------------------------


def test_a_stuck_sender_is_cut_off_and_holds_nothing_meanwhile(
    pods: list[Pod], who: Principal, http: httpx.Client
) -> None:
    upload = begin_in_storage(http, MIN_PART)
    before = to_storage(pods[0])
    stuck = [pods[0].connect() for _ in range(5)]
    for connection in stuck:
        connection.sendall(head(pods[0], who, part_of(upload), f"Content-Length: {MIN_PART}") + bytes(100_000))
    until(lambda: to_storage(pods[0]) >= before + 5, "the relays never began")
    assert held(http, upload) == []  # with a pool of one connection, none is kept
    busy = http.put(part_of(upload), content=bytes(MIN_PART))
    assert (busy.status_code, busy.json()["code"], busy.headers["retry-after"]) == (503, "relay_busy", "2")
    other = head(pods[0], somebody(), part_of(upload), f"Content-Length: {MIN_PART}", "Connection: close")
    with pods[0].connect() as connection:  # whoever else comes is not kept out
        connection.sendall(other + bytes(MIN_PART))
        assert heard(connection).startswith(b"HTTP/1.1 404 ")
    for connection in stuck:
        with connection:
            answer = heard(connection)
        assert answer.startswith(b"HTTP/1.1 408 ")
        assert b"sender_too_slow" in answer
        assert f"Nothing came for {IDLE:g} seconds".encode() in answer
    until(lambda: to_storage(pods[0]) <= before, "storage is still connected")
    assert held(http, upload) == []
    assert http.put(part_of(upload), content=bytes(MIN_PART)).status_code == 200


def test_a_sender_that_trickles_is_cut_off(pods: list[Pod], who: Principal, http: httpx.Client) -> None:
    upload = begin(http, MIN_PART)
    with pods[0].connect() as connection:
        connection.sendall(head(pods[0], who, part_of(upload), f"Content-Length: {MIN_PART}"))
        connection.settimeout(0.2)
        answer = b""
        for _ in range(100):
            try:
                connection.sendall(b"x" * 1_000)
                answer = connection.recv(65536)
                break
            except TimeoutError:
                continue
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert b"sender_too_slow" in answer
    assert held(http, upload) == []


def test_a_sender_that_leaves_changes_nothing(pods: list[Pod], who: Principal, http: httpx.Client) -> None:
    upload = begin_in_storage(http, MIN_PART)
    where = f"Content-Range: bytes 0-{2 * MIB - 1}/{MIN_PART}"
    for lines, path in (
        ((f"Content-Length: {MIN_PART}",), part_of(upload)),
        ((f"Content-Length: {2 * MIB}", where), part_of(upload)),
        ((f"Content-Length: {MIN_PART}",), f"/v1/uploads/{upload['upload_id']}/content"),
    ):
        before = to_storage(pods[0])
        with pods[0].connect() as connection:
            connection.sendall(head(pods[0], who, path, *lines) + bytes(MIB))
            until(lambda low=before: to_storage(pods[0]) > low, "the relay never began")  # type: ignore[misc]
        until(lambda low=before: to_storage(pods[0]) <= low, "storage is still connected")  # type: ignore[misc]
    assert held(http, upload) == []
    assert http.get(part_of(upload)).json()["received"] == []
    assert http.put(part_of(upload), content=bytes(MIN_PART)).status_code == 200


@pytest.mark.parametrize(
    ("lines", "status", "code"),
    [
        (("Transfer-Encoding: chunked",), b"411", b"length_missing"),
        (("Content-Length: 6",), b"413", b"body_too_large"),
        (("Content-Length: 4",), b"400", b"length_wrong"),
        ((f"Content-Length: {10**15}",), b"413", b"body_too_large"),
        ((f"Content-Length: {10**30}",), b"400", b""),
        (("Content-Length: -1",), b"400", b""),
        (("Content-Length: 5", "Content-Length: 6"), b"400", b""),
        (("Content-Length: 5", "Content-Range: bytes 0-4/6"), b"400", b"range_invalid"),
        (("Content-Length: 5", f"Content-Range: bytes {'9' * 500}-1/5"), b"400", b"range_invalid"),
        (("Content-Length: 5", f"{HEADER}: {'A' * 10_000}"), b"422", b"checksum_invalid"),
        (("Content-Length: 5", f"X-Much: {'A' * 1_000_000}"), b"431", b""),
    ],
)
def test_a_head_that_lies_is_answered_in_clear_words(
    pods: list[Pod], who: Principal, http: httpx.Client, lines: tuple[str, ...], status: bytes, code: bytes
) -> None:
    upload = begin(http, 5)
    with pods[0].connect() as connection:
        connection.sendall(head(pods[0], who, part_of(upload), "Connection: close", *lines))
        answer = heard(connection)
    assert answer.startswith(b"HTTP/1.1 " + status), answer[:400]
    assert code in answer
    assert held(http, upload) == []


def test_a_pod_that_is_told_to_stop_waits_for_no_stuck_sender(
    settings: Settings, who: Principal, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with running(settings, tmp_path_factory.mktemp("stops")) as (one,), client(one, who) as http:
        upload = begin(http, MIN_PART)
        with one.connect() as stuck:
            stuck.sendall(head(one, who, part_of(upload), f"Content-Length: {MIN_PART}") + bytes(MIB))
            until(lambda: to_storage(one) > 0, "the relay never began")
            one.process.terminate()
            answer = heard(stuck)
            assert answer.startswith(b"HTTP/1.1 408 ")
            assert f"Nothing came for {HURRY_SECONDS:g} seconds".encode() in answer
            one.process.wait(60)
