"""One file in either layout through the whole stack: seconds from the last byte to `ingested`, and CPU-seconds.

Staged parts are copied as they land when each is reported at once; "all at the end" is the same upload with every report
kept for complete. Parts go out four at a time, flat out or as a line of so many MB/s takes them. The parts differ from
each other; their making and sending is not counted, for it is the same in each row.

    python bench/staged.py --gib 1
"""

from __future__ import annotations

import argparse
import http.client
import random
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit
from uuid import UUID

import psutil
import psycopg

from rushes.checksum import crc64nvme, encode
from rushes.client import Client
from rushes.config import Settings
from rushes.embedded import stack
from rushes.embedded.address import Running
from rushes.ingest import tokens
from rushes.model import Layout, Principal, Role
from rushes.wire import BeginUpload, DonePart, Grant, WantedPart

MIB = 1024 * 1024
PART = 64 * MIB
PIECE = MIB
PARALLEL = 4
ROLES = ("weed", "worker", "api", "postgres")


@dataclass
class Row:
    name: str
    line: str
    sending: float
    after: float
    cpu: dict[str, float]

    def __str__(self) -> str:
        cpu = " | ".join(f"{self.cpu[role]:.1f}" for role in ROLES)
        return f"| {self.name} | {self.line} | {self.sending:.1f} | {self.after:.2f} | {cpu} | {sum(self.cpu.values()):.1f} |"


class Line:
    """Lets so many bytes pass a second, all senders together; None lets them all pass."""

    def __init__(self, rate: float | None) -> None:
        self._rate = rate
        self._lock = threading.Lock()
        self._free = time.monotonic()

    def take(self, size: int) -> None:
        if self._rate is None:
            return
        with self._lock:
            self._free = max(self._free, time.monotonic()) + size / self._rate
            due = self._free
        time.sleep(max(0.0, due - time.monotonic()))


def part(number: int, size: int) -> bytes:
    return random.Random(number).randbytes(PIECE) * (size // PIECE)


def put(grant: Grant, line: Line) -> str:
    """Send one part; its ETag."""
    url = urlsplit(grant.url)
    conn = http.client.HTTPConnection(url.netloc, timeout=600)
    body = part(grant.number, grant.length)

    def pieces() -> Iterator[bytes]:
        for at in range(0, len(body), PIECE):
            line.take(PIECE)
            yield body[at : at + PIECE]

    headers = grant.headers | {"Content-Length": str(grant.length)}
    conn.request("PUT", f"{url.path}?{url.query}", body=pieces(), headers=headers)
    answer = conn.getresponse()
    answer.read()
    assert answer.status == 200, answer.status
    conn.close()
    return str(answer.headers["ETag"])


def cpu(running: Running) -> dict[str, float]:
    """CPU-seconds so far by role."""
    found: dict[str, float] = defaultdict(float)
    for process in psutil.Process(running.pid).children(recursive=True):
        try:
            line, times = " ".join(process.cmdline()), process.cpu_times()
        except psutil.Error:
            continue
        role = next((r for r in ROLES if f"rushes {r}" in line or f"/{r}" in line or line.startswith(r)), None)
        if role is not None:
            found[role] += times.user + times.system
    return found


def ingested(running: Running, upload_id: UUID) -> None:
    with psycopg.connect(running.environment["RUSHES_DATABASE_URL"], autocommit=True) as conn:
        while True:
            row = conn.execute("SELECT state FROM uploads WHERE id = %s", [upload_id]).fetchone()
            assert row is not None
            if row[0] == "ingested":
                return
            assert row[0] in {"uploading", "finalizing"}, row[0]
            time.sleep(0.005)


def measure(running: Running, client: Client, layout: Layout, size: int, *, rolling: bool, rate: float | None) -> Row:
    wanted = BeginUpload(filename="bench.mov", content_type="video/quicktime", size=size, part_size=PART, layout=layout)
    begun = client.uploads.begin(wanted, f"{layout}-{rolling}-{rate}-{time.time()}")
    sums = {number: encode(crc64nvme(part(number, PART))) for number in range(1, begun.part_count + 1)}
    line, done = Line(rate), []

    def send(number: int) -> DonePart:
        want = [WantedPart(number=number, checksum=sums[number])]
        grant = client.uploads.grants(begun.upload_id, want, []).grants[0]
        sent = DonePart(number=number, etag=put(grant, line), checksum=sums[number])
        if rolling:
            client.uploads.grants(begun.upload_id, [], [sent])
        return sent

    time.sleep(2)  # what the last upload left to do is done
    before, start = cpu(running), time.monotonic()
    with ThreadPoolExecutor(PARALLEL) as senders:
        done = list(senders.map(send, sums))
    last = time.monotonic()
    client.uploads.complete(begun.upload_id, done, None)
    ingested(running, begun.upload_id)
    end, after = time.monotonic(), cpu(running)
    removed(running, begun.upload_id, layout)
    name = (
        str(layout) if layout is Layout.MULTIPART else f"staged, copied {'as parts land' if rolling else 'at the end'}"
    )
    spent = {role: after[role] - before[role] for role in ROLES}
    return Row(name, "flat out" if rate is None else f"{rate / 1e6:.0f} MB/s", last - start, end - last, spent)


def removed(running: Running, upload_id: UUID, layout: Layout) -> None:
    """Wait until nobody works on the upload any more: the next one is measured alone."""
    query = "SELECT count(*) FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED')"
    with psycopg.connect(running.environment["RUSHES_DATABASE_URL"], autocommit=True) as conn:
        while conn.execute(query).fetchone() != (0,):
            time.sleep(0.1)


@contextmanager
def started(data_dir: Path) -> Iterator[tuple[Running, Client]]:
    with stack.background(Settings(data_dir=data_dir, api_port=18421, complete_wait_seconds=0)) as running:
        who = Principal("local", "bench", Role.OPERATOR, "studio")
        secret = running.environment["RUSHES_TOKEN_SECRET"]
        token = tokens.mint(secret, "rushes", "rushes", who, timedelta(hours=6), datetime.now(UTC))
        with Client(running.api_url, token) as client:
            yield running, client


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--gib", type=float, default=1)
    parser.add_argument("--rates", default="0,100", help="MB/s, separated by commas; 0 is flat out")
    parser.add_argument("--rounds", type=int, default=1)
    options = parser.parse_args()
    size = int(options.gib * 1024**3) // PART * PART
    print(
        "| layout | line | sending, s | last byte to ingested, s | store | worker | API | PostgreSQL | CPU-s in all |"
    )
    print("|---|---|---|---|---|---|---|---|---|")
    with (
        tempfile.TemporaryDirectory(prefix="rushes-staged-") as name,
        started(Path(name) / "stack") as (running, client),
    ):
        for _ in range(options.rounds):
            for rate in [float(text) * 1e6 or None for text in options.rates.split(",")]:
                print(measure(running, client, Layout.MULTIPART, size, rolling=True, rate=rate), flush=True)
                print(measure(running, client, Layout.STAGED, size, rolling=True, rate=rate), flush=True)
                print(measure(running, client, Layout.STAGED, size, rolling=False, rate=rate), flush=True)


if __name__ == "__main__":
    main()
