"""Sessions begun, granted (50 parts) and completed per CPU-second, ours beside Companion's and botocore's client.

    make bench-core        or: python -m bench.core [--sessions 60] [--runs 5]

All talk to the same stand-in store (`bench.standin`), which checks signature, length and checksum headers of every call and
keeps no bytes; parts are sent there with their bodies described, by the client. What is measured is the CPU of the process
that a client asks: our API, Companion's node, a Python program with botocore. Worker (which only finalizes here) and database
are shown apart: the others have neither, keep no session and verify nothing. Runs take turns, so that a busy machine slows all
of them alike.
Companion needs node and npm (see `bench.node`); without them its rows are left out.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import Connection

from bench import node, processes, traffic
from bench.httpd import Wire, target_of
from bench.sending import Sender, block

MIB = 1024**2
PARTS, PART = 50, 64 * MIB
AT_ONCE = 8
BATCH_ROUTE, AS_UPPY = "Companion, its batch route", "Companion, a request a part (Uppy)"


@dataclass
class Contender:
    """`run(count)` does that many sessions; `pids` are the processes whose CPU counts, by role."""

    name: str
    run: Callable[[int], Awaitable[dict[str, float] | None]]
    pids: dict[str, int]
    settle: Callable[[], None] = lambda: None
    spent: dict[str, list[float]] = field(default_factory=dict)  # CPU-seconds a session, by role
    peaks: dict[str, int] = field(default_factory=dict)

    async def once(self, count: int, *, counted: bool) -> None:
        watch = processes.Watch(self.pids)
        watch.start()
        before = {role: processes.cpu(pid) for role, pid in self.pids.items()}
        told = await self.run(count)
        spent = {role: processes.cpu(pid) - before[role] for role, pid in self.pids.items() if role not in BEHIND}
        await asyncio.to_thread(self.settle)
        spent |= {role: processes.cpu(pid) - before[role] for role, pid in self.pids.items() if role in BEHIND}
        watch.end()
        for role, peak in watch.peaks.items():
            self.peaks[role] = max(peak, self.peaks.get(role, 0))
        if counted:
            for role, seconds in (told or spent).items():
                self.spent.setdefault(role, []).append(seconds / count)


BEHIND = ("worker", "database")  # these go on after the reply


async def at_once(count: int, one: Callable[[int, int], Awaitable[None]]) -> None:
    """`one(line, session)` for every session, AT_ONCE of them at a time."""
    waiting = list(range(count))

    async def work(line: int) -> None:
        while waiting:
            await one(line, waiting.pop())

    await asyncio.gather(*(work(line) for line in range(AT_ONCE)))


# --- ours -------------------------------------------------------------------------------------------------------------


def ours(api: str, store: str, pids: dict[str, int], conn: Connection[tuple[object, ...]]) -> Contender:
    async def run(count: int) -> None:
        senders = [Sender.to(api, store) for _ in range(AT_ONCE)]

        async def one(line: int, session: int) -> None:
            await senders[line].session(PARTS * PART)

        await at_once(count, one)
        for sender in senders:
            await sender.close()

    return Contender("rushes", run, pids, settle=lambda: until_idle(conn))


def without_media(conn: Connection[tuple[object, ...]]) -> None:
    """What is measured ends with finalize: the media jobs that would follow, and could read nothing, never start."""
    conn.execute(
        """CREATE FUNCTION without_media() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN IF NEW.name = 'process' THEN NEW.status := 'CANCELLED'; END IF; RETURN NEW; END $$"""
    )
    conn.execute(
        """CREATE TRIGGER without_media BEFORE INSERT ON dbos.workflow_status
        FOR EACH ROW EXECUTE FUNCTION without_media()"""
    )


def until_idle(conn: Connection[tuple[object, ...]]) -> None:
    """Wait until the worker has nothing to do: what follows an upload is of that upload's run."""
    query = "SELECT 1 FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED') LIMIT 1"
    while conn.execute(query).fetchone():
        time.sleep(0.1)


# --- Companion --------------------------------------------------------------------------------------------------------


@contextmanager
def companion_process(store: str, log: Path) -> Iterator[tuple[str, int]]:
    env = {"STORE": store, "NODE_ENV": "production", "NODE_NO_WARNINGS": "1"}
    with processes.program(node.companion("server.mjs"), env, log) as process:
        assert process.stdout is not None, "a pipe"
        line = next(line for line in process.stdout if line.startswith(b"{"))
        yield f"http://127.0.0.1:{json.loads(line)['port']}", process.pid


def companion(name: str, url: str, store: str, pid: int, *, batch: bool) -> Contender:
    lines = [(Wire(url), Wire(store)) for _ in range(AT_ONCE)]
    json_type = {"Content-Type": "application/json"}

    async def get(wire: Wire, path: str) -> dict[str, object]:
        reply = await wire.request("GET", path)
        assert reply.status == 200, reply.data[:500]
        found = reply.json()
        assert isinstance(found, dict), "every answer is an object"
        return found

    async def one(line: int, session: int) -> None:
        wire, bytes_ = lines[line]
        wanted = {"filename": "simulated.mov", "type": "video/quicktime", "metadata": {"name": "simulated.mov"}}
        made = await wire.request("POST", "/s3/multipart", json_type, json.dumps(wanted).encode())
        assert made.status == 200, made.data[:500]
        key, path = quote(made.json()["key"]), f"/s3/multipart/{made.json()['uploadId']}"
        numbers = range(1, PARTS + 1)
        if batch:
            answer = await get(wire, f"{path}/batch?key={key}&partNumbers={','.join(map(str, numbers))}")
            signed = answer["presignedUrls"]
            assert isinstance(signed, dict), "as Companion documents it"
            urls = {number: str(signed[str(number)]) for number in numbers}
        else:
            urls = {number: str((await get(wire, f"{path}/{number}?key={key}"))["url"]) for number in numbers}
        parts = []
        for number, address in urls.items():
            put = await bytes_.request("PUT", target_of(address), described=(PART, block(1, number)))
            assert put.status == 200, put.data[:500]
            parts.append({"PartNumber": number, "ETag": put.headers["etag"]})
        body = json.dumps({"parts": parts}).encode()
        done = await wire.request("POST", f"{path}/complete?key={key}", json_type, body)
        assert done.status == 200, done.data[:500]

    async def run(count: int) -> None:
        await at_once(count, one)
        for line in lines:
            for each in line:
                await each.close()

    return Contender(name, run, {"answering": pid})


# --- botocore ---------------------------------------------------------------------------------------------------------


def botocore_client(store: str, process: subprocess.Popen[bytes]) -> Contender:
    async def run(count: int) -> dict[str, float]:
        assert process.stdin is not None
        assert process.stdout is not None, "pipes"
        process.stdin.write(f"{count}\n".encode())
        process.stdin.flush()
        line = await asyncio.to_thread(process.stdout.readline)
        return {"answering": float(line)}

    return Contender("botocore's client", run, {"answering": process.pid})


# --- the table --------------------------------------------------------------------------------------------------------


async def compare(contenders: list[Contender], sessions: int, runs: int) -> None:
    for contender in contenders:
        await contender.once(max(10, sessions // 4), counted=False)
    for _ in range(runs):
        for contender in contenders:
            await contender.once(sessions, counted=True)
    taken = {contender.name: statistics.median(contender.spent["answering"]) for contender in contenders}
    print(f"\n{PARTS} parts a session, {sessions} sessions a run, medians of {runs} alternating runs\n")
    print(
        "| | CPU-ms a session | sessions a CPU-second | against Companion as Uppy uses it | against its batch route "
        "| peak PSS, MiB |"
    )
    print("|---|---|---|---|---|---|")
    for contender in contenders:
        seconds = taken[contender.name]
        peak = contender.peaks["answering"] / MIB
        ratios = " | ".join(
            f"{taken[peer] / seconds:.2f} ×" if peer in taken else "–" for peer in (AS_UPPY, BATCH_ROUTE)
        )
        print(f"| {contender.name} | {seconds * 1000:.2f} | {1 / seconds:.1f} | {ratios} | {peak:.0f} |")
        for role in BEHIND:
            if role in contender.spent:
                behind = statistics.median(contender.spent[role])
                print(
                    f"| … its {role} | {behind * 1000:.2f} | {1 / behind:.1f} | | | {contender.peaks[role] / MIB:.0f} |"
                )


async def long_session(api: str, store: str, pids: dict[str, int]) -> None:
    """9,999 parts of 5 MiB, begin to ingested."""
    sender, watch = Sender.to(api, store, lines=8), processes.Watch(pids)
    watch.start()
    before = {role: processes.cpu(pid) for role, pid in pids.items()}
    start = time.perf_counter()
    await sender.session(9_999 * 5 * MIB, 5 * MIB, seed=2)
    seconds = time.perf_counter() - start
    watch.end()
    spent = {role: processes.cpu(pid) - before[role] for role, pid in pids.items()}
    print(f"\n9,999 parts, begin to ingested: {seconds:.1f} s, of which the API took:")
    for name, times in sender.seconds.items():
        print(f"  {name}: {len(times)} calls, {sum(times):.3f} s, slowest {max(times):.3f} s")
    print(
        f"  through the API: {(sender.api.sent + sender.api.received) / 1e6:.2f} MB of {9_999 * 5 * MIB / 1e9:.1f} GB"
    )
    print("| | CPU-s | PSS before, MiB | peak, MiB |\n|---|---|---|---|")
    for role in pids:
        print(f"| {role} | {spent[role]:.2f} | {watch.first[role] / MIB:.0f} | {watch.peaks[role] / MIB:.0f} |")
    await sender.close()


@dataclass
class Scene:
    """All that runs while we measure."""

    store: str
    api: str
    pids: dict[str, int]
    conn: Connection[tuple[object, ...]]
    peers: list[Contender]


def staged(stack: ExitStack, directory: Path, *, alone: bool) -> Scene:
    log = directory / "log"
    store, _ = stack.enter_context(processes.standin(log))
    settings, database = stack.enter_context(
        processes.database(directory / "database", store, job_attempts=1, complete_wait_seconds=20)
    )
    api, api_pid = stack.enter_context(processes.api(settings, log))
    pids = {"answering": api_pid, "worker": stack.enter_context(processes.worker(settings, log)), "database": database}
    assert settings.database_url is not None, "just made"
    conn = stack.enter_context(psycopg.connect(settings.database_url.get_secret_value(), autocommit=True))
    without_media(conn)
    peers: list[Contender] = []
    if not alone:
        make_bucket(store)
        if node.available():
            url, pid = stack.enter_context(companion_process(store, log))
            peers += [
                companion(AS_UPPY, url, store, pid, batch=False),
                companion(BATCH_ROUTE, url, store, pid, batch=True),
            ]
        else:
            print(node.ABSENT)
        peers.append(botocore_client(store, stack.enter_context(peer_process(store, log))))
    return Scene(store, api, pids, conn, peers)


async def measure(scene: Scene, sessions: int, runs: int, directory: Path) -> None:
    await compare([ours(scene.api, scene.store, scene.pids, scene.conn), *scene.peers], sessions, runs)
    await long_session(scene.api, scene.store, scene.pids)
    await asyncio.to_thread(until_idle, scene.conn)
    await traffic.show(scene.api, scene.store, directory)


@contextmanager
def peer_process(store: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("ab") as file:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.botocore_peer", store],
            cwd=processes.ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=file,
            env=os.environ | {"BOTO_DISABLE_CRT": "true"},
        )
    with process:
        yield process
        assert process.stdin is not None, "a pipe"
        process.stdin.close()


def make_bucket(store: str) -> None:
    from bench.botocore_peer import client_of  # noqa: PLC0415 - it loads botocore

    client_of(store).create_bucket(Bucket="companion")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sessions", type=int, default=60)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--alone", action="store_true", help="without the peers")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rushes-bench-") as name, ExitStack() as stack:
        scene = staged(stack, Path(name), alone=args.alone)
        asyncio.run(measure(scene, args.sessions, args.runs, Path(name)))


if __name__ == "__main__":
    main()
