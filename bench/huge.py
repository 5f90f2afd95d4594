"""A 5 TB and a 48.8 TiB upload against the stand-in store: real API, PostgreSQL and worker, begin to `ingested`.

    python -m bench.huge

No byte of these files exists: the client sends each part's headers, its Content-Length and a description of its body, eight
bytes repeated, other ones in every part. The stand-in works out from that the CRC64NVME which the signed header claims, and at
Complete the whole object's, by polynomial arithmetic in plain Python (`bench.crc64`); the client and the worker find theirs by
awscrt's combination of the parts'. All three must be one. Everything but the transport of bytes is what a real upload does:
the plan, presigned URLs in batches of 1,000, the ledger, events, the durable finalize.

The media job that follows cannot read such an object, and fails; what is measured ends at `ingested`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from awscrt import checksums

from bench import processes
from bench.sending import Sender, crc_of, encoded
from rushes.config import Settings
from rushes.plan import MAX_PART, MAX_PARTS, MIN_PART

TB, TIB, MIB = 10**12, 1024**4, 1024**2
SIZES = {"5 TB": 5 * TB, "48.8 TiB": 488 * TIB // 10}
SEED = 5


@dataclass(frozen=True, slots=True)
class Scene:
    settings: Settings
    api: str
    store: str
    pids: dict[str, int]  # by role


@contextmanager
def scene(directory: Path) -> Iterator[Scene]:
    """A stand-in store, a database, one API process and one worker."""
    log = directory / "log"
    with (
        processes.standin(log) as (store, store_pid),
        processes.database(directory / "database", store, job_attempts=1, complete_wait_seconds=5) as (
            settings,
            database,
        ),
        processes.api(settings, log) as (api, api_pid),
        processes.worker(settings, log) as worker,
    ):
        roles = {"API": api_pid, "worker": worker, "PostgreSQL": database, "stand-in store": store_pid}
        yield Scene(settings, api, store, roles)


async def send(api: str, store: str, size: int, part_size: int | None = None) -> dict[str, Any]:
    """The client's part, in a process of its own: what it did, and what it found."""
    sender = Sender.to(api, store, lines=8)
    start = time.perf_counter()
    try:
        begun = await sender.session(size, part_size, seed=SEED)
        seconds = time.perf_counter() - start
        asset = await sender.call("asset", "GET", f"/v1/assets/{begun['asset_id']}")
    finally:
        await sender.close()
    return {
        "begun": {name: begun[name] for name in ("upload_id", "asset_id", "part_size", "part_count")},
        "seconds": seconds,
        "calls": sender.seconds,
        "api_bytes": sender.api.sent + sender.api.received,
        "checksum": asset["checksum"]["value"],
        "verification": asset["verification"],
        "own": encoded(whole_crc(size, begun["part_size"], begun["part_count"])),
    }


def whole_crc(size: int, part_size: int, part_count: int) -> int:
    """The client's: awscrt's combination of the parts'."""
    whole = 0
    for number in range(1, part_count + 1):
        length = min(part_size, size - (number - 1) * part_size)
        whole = int(checksums.combine_crc64nvme(whole, crc_of(SEED, number, length), length))
    return whole


def check(settings: Settings, store: str, size: int, told: dict[str, Any]) -> dict[str, Any]:
    """What must hold of a huge upload that was ingested; raises AssertionError. Returns what the store says of it."""
    begun = told["begun"]
    count, part_size = begun["part_count"], begun["part_size"]
    assert 1 <= count <= MAX_PARTS, begun
    assert MIN_PART <= part_size <= MAX_PART, begun
    assert (count - 1) * part_size < size <= count * part_size, begun
    with urllib.request.urlopen(f"{store}/-/uploads", timeout=60) as answer:
        listed = json.load(answer)
    (found,) = [one for one in listed["objects"] if begun["asset_id"] in one["key"]]
    assert (found["size"], found["parts"]) == (size, count), found
    assert found["unbound"] == 0, "every part's length and checksum were signed headers"
    assert told["checksum"] == found["crc64nvme"] == told["own"], (told["checksum"], found["crc64nvme"], told["own"])
    assert told["verification"] == "end_to_end"
    assert settings.database_url is not None, "just made"
    with psycopg.connect(settings.database_url.get_secret_value()) as conn:
        ledger = conn.execute(
            """SELECT count(*), sum(size), count(DISTINCT checksum), count(held_at) FROM parts WHERE upload_id = %s""",
            [begun["upload_id"]],
        ).fetchone()
        events = conn.execute(
            "SELECT count(*) FROM events WHERE upload_id = %s AND type = 'part_completed'", [begun["upload_id"]]
        ).fetchone()
    assert ledger == (count, size, count, count), ledger
    assert events == (count,), events
    return dict(found)


def run(name: str, size: int, scene: Scene) -> None:
    before = {role: processes.cpu(pid) for role, pid in scene.pids.items()}
    watch = processes.Watch(scene.pids)
    watch.start()
    argv = [sys.executable, "-m", "bench.huge", "--send", str(size), scene.api, scene.store]
    client = subprocess.Popen(argv, stdout=subprocess.PIPE, cwd=processes.ROOT, env=os.environ)
    watch.roots["client"] = client.pid
    output, _ = client.communicate()
    watch.end()
    if client.returncode != 0:
        raise SystemExit("the client failed")
    told = json.loads(output)
    spent = {role: processes.cpu(pid) - before[role] for role, pid in scene.pids.items()} | {"client": told["cpu"]}
    found = check(scene.settings, scene.store, size, told)
    begun, grants = told["begun"], told["calls"]["grant"]
    print(f"\n### {name}: {size:,} bytes")
    print(f"{begun['part_count']:,} parts of {begun['part_size'] / MIB:g} MiB; ingested after {told['seconds']:.1f} s;")
    print(f"{len(grants)} grant requests in {sum(grants):.2f} s, the slowest {max(grants):.2f} s;")
    print(f"complete {told['calls']['complete'][0]:.2f} s; {told['api_bytes'] / 1e6:.2f} MB through the API;")
    print(f"CRC64NVME {told['checksum']} (worker) = {found['crc64nvme']} (stand-in) = {told['own']} (client)\n")
    print("| process | CPU-s | PSS before, MiB | peak, MiB |\n|---|---|---|---|")
    for role, peak in watch.peaks.items():
        print(f"| {role} | {spent[role]:.1f} | {watch.first[role] / MIB:.0f} | {peak / MIB:.0f} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--send", nargs=3, metavar=("SIZE", "API", "STORE"), help="the client's part alone")
    args = parser.parse_args()
    if args.send:
        size, api, store = args.send
        told = asyncio.run(send(api, store, int(size)))
        print(json.dumps(told | {"cpu": time.process_time()}))
        return
    with tempfile.TemporaryDirectory(prefix="rushes-huge-") as name, scene(Path(name)) as running:
        for title, size in SIZES.items():
            run(title, size, running)


if __name__ == "__main__":
    main()
