"""1,000 uploads of three parts open at once, two API processes, every sender killed: none lost, and how long requests take.

    python -m bench.many [--count 1000]

Real bytes (11 MiB a file) into a real SeaweedFS, PostgreSQL, two API processes and a worker. Eight sender processes, 125 uploads
each; every request goes to an API process drawn at random, over whatever connection is free.

1. Every upload is begun and brought to a place of its own: begun only, granted, one part in storage but not reported, one
   reported, all parts in storage.
2. When all are open at once (counted in the database), each sender sends half of a part of some, and the Complete of others,
   without waiting for an answer: and is killed by SIGKILL.
3. Fresh processes, which know the upload ids and can see the files again, read what is held, compare checksums, send what is
   missing, complete, and compare the asset's checksum with the file's.

Any 5xx ends the run as failed, and so does an upload that is not ingested once, quota sums that are not exact, or a pod of more
than 400 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
from awscrt import checksums
from pydantic import SecretStr

from bench import processes
from bench.httpd import Reply, Wire, target_of
from bench.sending import encoded
from rushes.config import Settings
from rushes.embedded import seaweed
from rushes.ingest import tokens
from rushes.model import Principal, Role

Json = dict[str, Any]

MIB = 1024**2
PART = 5 * MIB
SENDERS, LINES = 8, 6  # processes; requests of each at the same time
POD_LIMIT = 400_000_000  # bytes
STAGES = ("begun", "granted", "sent", "reported", "whole")  # where an upload is when its sender is killed
BASE = random.Random(20_261_121).randbytes(2 * PART)


def size_of(seed: int) -> int:
    return 11 * MIB + seed


def part_of(seed: int, number: int) -> bytes:
    """Part `number` of the file with this seed; no two parts are alike."""
    length = min(PART, size_of(seed) - (number - 1) * PART)
    head = struct.pack("<QQ", seed, number)
    start = (seed * 4_099 + number) % PART
    return head + BASE[start : start + length - len(head)]


def checksum_of(data: bytes) -> str:
    return encoded(int(checksums.crc64nvme(data)))


class Lost(Exception):
    """An answer that must not be."""


@dataclass(slots=True)
class Uploader:
    """One sender process: a few lines to each API process and to the store."""

    pods: Sequence[str]
    bearer: str
    chance: random.Random
    times: dict[str, list[float]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    free: dict[str, list[Wire]] = field(default_factory=dict)

    async def ask(self, name: str, method: str, path: str, body: Json | None = None) -> Reply:
        """A request to an API process drawn at random. Raises `Lost` for a 5xx."""
        headers = {"Authorization": f"Bearer {self.bearer}", "Content-Type": "application/json"}
        if name == "begin":
            headers["Idempotency-Key"] = f"{self.chance.random()}"
        data = b"" if body is None else json.dumps(body).encode()
        reply = await self.over(name, self.chance.choice(self.pods), method, path, headers, data)
        if reply.status >= 500:
            raise Lost(f"{name}: {reply.status} {reply.data[:300]!r}")
        return reply

    async def over(self, name: str, server: str, method: str, path: str, headers: dict[str, str], data: bytes) -> Reply:
        free = self.free.setdefault(server, [])
        start = time.perf_counter()
        while free:  # a line that was idle may have been closed meanwhile; every client sends such a request again
            wire = free.pop()
            try:
                reply = await wire.request(method, path, headers, data)
            except (ConnectionError, asyncio.IncompleteReadError):
                wire.drop()
                self.statuses["idle line closed"] = self.statuses.get("idle line closed", 0) + 1
            else:
                break
        else:
            wire = Wire(server)
            reply = await wire.request(method, path, headers, data)
        self.times.setdefault(name, []).append(time.perf_counter() - start)
        key = f"{name} {reply.status}"
        self.statuses[key] = self.statuses.get(key, 0) + 1
        free.append(wire)
        return reply

    async def begin(self, seed: int) -> Json:
        fields = {"filename": f"reel {seed}.mov", "size": size_of(seed), "content_type": "video/quicktime"}
        reply = await self.ask("begin", "POST", "/v1/uploads", fields | {"part_size": PART})
        return found(reply, 201) | {"seed": seed}

    async def grants(self, upload_id: str, seed: int, numbers: Sequence[int], done: Sequence[Json] = ()) -> list[Json]:
        want = [{"number": number, "checksum": checksum_of(part_of(seed, number))} for number in numbers]
        reply = await self.ask("grant", "POST", f"/v1/uploads/{upload_id}/parts", {"want": want, "done": list(done)})
        granted = found(reply, 200)["grants"]
        assert isinstance(granted, list), "as the API says"
        return granted

    async def put(self, seed: int, grant: Json) -> Json:
        server, target = origin_of(grant["url"]), target_of(grant["url"])
        data = part_of(seed, grant["number"])
        reply = await self.over("put (storage)", server, "PUT", target, grant["headers"], data)
        if reply.status != 200:
            raise Lost(f"put: {reply.status} {reply.data[:300]!r}")
        return {"number": grant["number"], "etag": reply.headers["etag"], "checksum": checksum_of(data)}

    # --- before the kill ----------------------------------------------------------------------------------------------

    async def bring(self, seed: int) -> Json:
        """Begin an upload and bring it where its sender will be killed; what is left hanging is in the answer."""
        begun, stage = await self.begin(seed), STAGES[seed % len(STAGES)]
        upload_id, left = begun["upload_id"], {"upload_id": begun["upload_id"], "seed": seed, "stage": stage}
        if stage == "begun":
            return left
        numbers = range(1, begun["part_count"] + 1)
        grants = await self.grants(upload_id, seed, numbers)
        done = []
        if stage != "granted":
            done = [await self.put(seed, grant) for grant in (grants if stage == "whole" else grants[:1])]
        if stage == "reported":
            await self.grants(upload_id, seed, [], done)
        return left | {"grants": grants[len(done) :], "done": done}

    async def leave_hanging(self, left: Json) -> None:
        """Half a part, or a Complete nobody waits for."""
        if left["stage"] == "whole":
            body = json.dumps({"done": left["done"]}).encode()
            headers = {"Authorization": f"Bearer {self.bearer}", "Content-Type": "application/json"}
            wire = Wire(self.chance.choice(self.pods))
            await wire.send("POST", f"/v1/uploads/{left['upload_id']}/complete", headers, body, upto=len(body))
        elif left.get("grants"):
            grant = left["grants"][0]
            data = part_of(left["seed"], grant["number"])
            wire = Wire(origin_of(grant["url"]))
            await wire.send("PUT", target_of(grant["url"]), grant["headers"], data, upto=len(data) // 2)

    # --- after it -----------------------------------------------------------------------------------------------------

    async def resume(self, upload_id: str) -> None:
        """Bring an upload to its end, knowing its id and having the file. Raises `Lost` when that cannot be."""
        view = found(await self.ask("read", "GET", f"/v1/uploads/{upload_id}"), 200)
        seed = int(view["filename"].split()[1].split(".")[0])
        sums = {number: checksum_of(part_of(seed, number)) for number in range(1, view["part_count"] + 1)}
        if view["state"] in {"initiated", "uploading"}:
            held = {part["number"]: part["checksum"] for part in view["parts"]}
            wrong = [number for number, checksum in held.items() if sums[number] != checksum]
            if wrong:
                raise Lost(f"{upload_id} holds parts of another file: {wrong}")
            missing = [number for number in sums if number not in held]
            grants = await self.grants(upload_id, seed, missing) if missing else []
            done = [await self.put(seed, grant) for grant in grants]
            reply = await self.ask("complete", "POST", f"/v1/uploads/{upload_id}/complete", {"done": done})
            if reply.status not in {200, 202}:
                raise Lost(f"complete: {reply.status} {reply.data[:300]!r}")
        status = await self.verdict(upload_id)
        asset = found(await self.ask("asset", "GET", f"/v1/assets/{status['asset_id']}"), 200)
        whole = checksum_of(b"".join(part_of(seed, number) for number in sums))
        if (
            status["upload_state"] != "ingested"
            or asset["checksum"]["value"] != whole
            or asset["size"] != size_of(seed)
        ):
            raise Lost(f"{upload_id}: {status} {asset}")

    async def verdict(self, upload_id: str) -> Json:
        deadline = time.monotonic() + 300
        while True:
            status = found(await self.ask("status", "GET", f"/v1/uploads/{upload_id}/status"), 200)
            if status["upload_state"] != "finalizing" or time.monotonic() > deadline:
                return status
            await asyncio.sleep(0.5)


def found(reply: Reply, status: int) -> Json:
    if reply.status != status:
        raise Lost(f"{reply.status} {reply.data[:300]!r}")
    body = reply.json()
    assert isinstance(body, dict), "every answer is an object"
    return body


def origin_of(url: str) -> str:
    return "/".join(url.split("/", 3)[:3])


async def each(things: Sequence[Any], one: Callable[[Any], Awaitable[Any]]) -> list[Any]:
    """`one` of every thing, LINES of them at a time; the results in no order."""
    waiting, results = list(things), []

    async def work() -> None:
        while waiting:
            results.append(await one(waiting.pop()))

    await asyncio.gather(*(work() for _ in range(LINES)))
    return results


async def send(order: Json) -> None:
    """A sender process's life; it talks to the one who started it in lines of JSON."""
    uploader = Uploader(order["pods"], order["token"], random.Random(order["chance"]))
    if "ids" in order:
        await each(order["ids"], uploader.resume)
        tell({"times": uploader.times, "statuses": uploader.statuses})
        return
    left = await each(order["seeds"], uploader.bring)
    tell({"ids": [one["upload_id"] for one in left], "times": uploader.times, "statuses": uploader.statuses})
    await asyncio.to_thread(sys.stdin.readline)  # all uploads of all senders are open
    await each(left, uploader.leave_hanging)
    tell({"hanging": True})
    await asyncio.sleep(3600)  # to be killed


def tell(words: Json) -> None:
    print(json.dumps(words), flush=True)


# --- the one who starts and kills them --------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Site:
    settings: Settings
    pods: dict[str, int]  # address → pid

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        assert self.settings.database_url is not None, "a site has a database"
        with psycopg.connect(self.settings.database_url.get_secret_value()) as conn:
            return conn.execute(query.encode()).fetchall()


@dataclass(slots=True)
class Outcome:
    times: dict[str, list[float]] = field(default_factory=dict)
    statuses: dict[str, int] = field(default_factory=dict)
    peaks: dict[str, int] = field(default_factory=dict)
    open_at_once: int = 0
    seconds: float = 0.0

    def add(self, told: Json) -> None:
        for name, times in told["times"].items():
            self.times.setdefault(name, []).extend(times)
        for name, count in told["statuses"].items():
            self.statuses[name] = self.statuses.get(name, 0) + count


@contextmanager
def senders(orders: Sequence[Json]) -> Iterator[list[subprocess.Popen[bytes]]]:
    started: list[subprocess.Popen[bytes]] = []
    try:
        for order in orders:
            process = subprocess.Popen(
                [sys.executable, "-m", "bench.many", "--send"],
                cwd=processes.ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
            started.append(process)
            say(process, json.dumps(order))
        yield started
    finally:
        for process in started:
            process.kill()
            process.communicate()


def say(process: subprocess.Popen[bytes], line: str) -> None:
    assert process.stdin is not None, "a pipe"
    process.stdin.write(line.encode() + b"\n")
    process.stdin.flush()


def heard(process: subprocess.Popen[bytes]) -> Json:
    assert process.stdout is not None, "a pipe"
    line = process.stdout.readline()
    if not line:
        raise Lost("a sender ended before its time; its last words are above")
    told = json.loads(line)
    assert isinstance(told, dict), "as `tell` writes"
    return told


def run(site: Site, count: int, number_of_senders: int = SENDERS) -> Outcome:
    """All of it; raises `Lost` or AssertionError when something was lost."""
    outcome, start = Outcome(), time.monotonic()
    watch = processes.Watch(site.pods)
    watch.start()
    shares = [list(range(first, count, number_of_senders)) for first in range(number_of_senders)]
    orders = [
        {"pods": list(site.pods), "token": token_of(site.settings, index), "chance": index, "seeds": seeds}
        for index, seeds in enumerate(shares)
    ]
    with senders(orders) as first:
        ids = []
        for process in first:
            told = heard(process)
            outcome.add(told)
            ids.append(told["ids"])
        ((outcome.open_at_once,),) = site.rows("SELECT count(*) FROM uploads WHERE state IN ('initiated', 'uploading')")
        assert outcome.open_at_once == count == len({one for share in ids for one in share})
        for process in first:
            say(process, "")
        for process in first:
            heard(process)
    # They were killed in the middle of parts and completes. What comes now has the ids and the files.
    orders = [
        {name: value for name, value in order.items() if name != "seeds"} | {"ids": share, "chance": 1_000 + index}
        for index, (order, share) in enumerate(zip(orders, ids, strict=True))
    ]
    with senders(orders) as second:
        for process in second:
            outcome.add(heard(process))
    outcome.seconds = time.monotonic() - start
    watch.end()
    outcome.peaks = watch.peaks
    check(site, count, outcome)
    return outcome


def check(site: Site, count: int, outcome: Outcome) -> None:
    total = sum(size_of(seed) for seed in range(count))
    ((ingested, held, assets),) = site.rows(
        """SELECT count(*) FILTER (WHERE state = 'ingested'), sum(held_bytes), count(DISTINCT asset_id) FROM uploads"""
    )
    assert (ingested, held, assets) == (count, total, count)
    assert site.rows("SELECT sum(stored), sum(reserved), sum(open_uploads) FROM quotas") == [(total, 0, 0)]
    assert site.rows("SELECT count(*) FROM events WHERE type = 'upload_completed'") == [(count,)]
    assert not [name for name in outcome.statuses if name.rpartition(" ")[2].startswith("5")], outcome.statuses
    assert all(peak < POD_LIMIT for peak in outcome.peaks.values()), outcome.peaks


def token_of(settings: Settings, index: int) -> str:
    who = Principal("bench", f"creator-{index}", Role.CREATOR, "studio")
    return tokens.mint_for(settings, who, timedelta(hours=6), datetime.now(UTC))


@contextmanager
def site(directory: Path) -> Iterator[Site]:
    log = directory / "log"
    with ExitStack() as stack:
        store = stack.enter_context(seaweed.running(directory / "store"))
        settings, _ = stack.enter_context(
            processes.database(
                directory / "database",
                store.endpoint,
                storage_access_key=store.access_key,
                storage_secret_key=SecretStr(store.secret_key),
                storage_profile="seaweedfs",
                job_attempts=1,
            )
        )
        pods = dict(stack.enter_context(processes.api(settings, log)) for _ in range(2))
        stack.enter_context(processes.worker(settings, log))
        yield Site(settings, pods)


def show(count: int, outcome: Outcome) -> None:
    print(f"\n{count:,} uploads, {outcome.open_at_once:,} open at once, all killed and resumed, all ingested: ", end="")
    print(f"{outcome.seconds:.0f} s\n\n| request | count | p50, ms | p95 | p99 | longest |\n|---|---|---|---|---|---|")
    for name, times in sorted(outcome.times.items()):
        cuts = statistics.quantiles(times, n=100, method="inclusive")
        row = [cuts[49], cuts[94], cuts[98], max(times)]
        print(f"| {name} | {len(times):,} | " + " | ".join(f"{value * 1000:,.0f}" for value in row) + " |")
    print(f"\nanswers: {', '.join(f'{name}: {number:,}' for name, number in sorted(outcome.statuses.items()))}")
    print(f"peak PSS of the API processes: {', '.join(f'{peak / MIB:.0f} MiB' for peak in outcome.peaks.values())}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=1_000)
    parser.add_argument("--send", action="store_true", help="be a sender: orders come on stdin")
    args = parser.parse_args()
    if args.send:
        order = json.loads(sys.stdin.readline())
        asyncio.run(send(order))
        return
    with tempfile.TemporaryDirectory(prefix="rushes-many-") as name, site(Path(name)) as running:
        show(args.count, run(running, args.count))


if __name__ == "__main__":
    main()
