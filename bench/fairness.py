"""Whether one tenant's many files delay another's one, and what it costs to look for work.

    python -m bench.fairness [--files 200] [--tenants 1000]

A real PostgreSQL, SeaweedFS, API and one worker; every file is a small picture, uploaded and finalized for real.

1. Idle: what the worker and PostgreSQL do when there is nothing to do and nobody is known; again at the end.
2. One tenant uploads `--files`; while they are processed, others upload one each: how long until a worker began with it.
3. `--tenants` tenants have one job each queued, all at once, which does no more than read the file for its digest, so that
   looking for work and going on from stage to stage is most of what it costs: how long it takes, and at what cost.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg
from pydantic import SecretStr

from bench import processes
from rushes import main as roles
from rushes.client import Client
from rushes.client.journal import Journal
from rushes.config import Settings
from rushes.embedded import seaweed
from rushes.ingest import tokens
from rushes.model import Principal, Role
from tests.pipeline.equipment import ingest_without_worker, picture

OTHERS = 7
SETTLED = 65.0  # seconds: the engine looks for schedules every second in its first minute
IDLE = 20.0
PATIENCE = 600.0


@dataclass(frozen=True, slots=True)
class Site:
    settings: Settings
    api: str
    database: int  # pid
    log: Path

    def rows(self, query: str, *args: object) -> list[tuple[object, ...]]:
        assert self.settings.database_url is not None
        with psycopg.connect(self.settings.database_url.get_secret_value(), autocommit=True) as conn:
            return conn.execute(query.encode(), args).fetchall()

    def transactions(self) -> int:
        """So far, as the server has counted: each connection's once a second."""
        ((count,),) = self.rows(
            "SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = current_database()"
        )
        assert isinstance(count, int)
        return count

    def until_all_done(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while self.rows("SELECT 1 FROM assets WHERE state IN ('pending', 'processing') LIMIT 1"):
            assert time.monotonic() < deadline, "not all was processed"
            time.sleep(0.5)
        assert self.rows("SELECT state, count(*) FROM assets WHERE state <> 'published' GROUP BY 1") == []


@dataclass(frozen=True, slots=True)
class Cost:
    seconds: float
    transactions: float  # a second
    worker: float  # cores
    database: float


class Meter:
    """From here to `read`; the question about the beginning is not counted."""

    def __init__(self, site: Site, worker: int) -> None:
        self._site, self._worker = site, worker
        self._transactions = site.transactions()
        self._cpu = processes.cpu(worker), processes.cpu(site.database)
        self._began = time.monotonic()

    def read(self) -> Cost:
        seconds = time.monotonic() - self._began
        worker = processes.cpu(self._worker) - self._cpu[0]
        database = processes.cpu(self._site.database) - self._cpu[1]
        made = self._site.transactions() - self._transactions - 1
        return Cost(seconds, made / seconds, worker / seconds, database / seconds)


@contextmanager
def stack(directory: Path) -> Iterator[Site]:
    log = directory / "log"
    with ExitStack() as opened:
        store = opened.enter_context(seaweed.running(directory / "store"))
        settings, database = opened.enter_context(
            processes.database(
                directory / "database",
                store.endpoint,
                storage_access_key=store.access_key,
                storage_secret_key=SecretStr(store.secret_key),
                storage_profile="seaweedfs",
            )
        )
        url, _ = opened.enter_context(processes.api(settings, log))
        yield Site(settings, url, database, log)


def idle(site: Site, worker: int, began: float) -> Cost:
    time.sleep(max(2.0, began + SETTLED - time.monotonic()))
    meter = Meter(site, worker)
    time.sleep(IDLE)
    return meter.read()


def one_beside_many(site: Site, folder: Path, files: int) -> list[tuple[float, float]]:
    """(seconds until a stage of it ran, until it was published) of each of the others, from its being ingested."""
    pictures = []
    for seed in range(files + OTHERS):
        path = folder / f"{seed}.png"
        path.write_bytes(picture(seed))
        pictures.append(path)
    with client(site, "many", Journal(folder / "journal")) as many:
        for outcome in many.upload_many(pictures[:files]):
            assert outcome.error is None, outcome.error
    for number, path in enumerate(pictures[files:]):
        with client(site, f"one-{number}") as one:
            one.upload(path)
        ((left,),) = site.rows("SELECT count(*) FROM assets WHERE tenant = 'many' AND state = 'processing'")
        print(f"one of another tenant, while {left} of many are not published yet", flush=True)
        time.sleep(3)
    site.until_all_done()
    found = site.rows(
        """SELECT extract(epoch FROM min(s.started_at) - r.created_at)::float8,
        extract(epoch FROM a.published_at - r.created_at)::float8
        FROM assets a JOIN jobs r ON r.id = a.job_id JOIN jobs s ON s.parent_id = r.id WHERE a.tenant LIKE 'one-%%'
        GROUP BY a.id, r.id"""
    )
    return [(float(str(begun)), float(str(published))) for begun, published in found]


def client(site: Site, tenant: str, journal: Journal | None = None) -> Client:
    who = Principal(tenant, "sid", Role.CREATOR, "studio")
    return Client(site.api, tokens.mint_for(site.settings, who, timedelta(hours=1), datetime.now(UTC)), journal=journal)


async def queue_one_each(site: Site, tenants: int) -> None:
    places = asyncio.Semaphore(8)

    async def one(number: int) -> None:
        async with places:
            who = Principal(f"tenant-{number}", "sid", Role.CREATOR, "studio")
            await ingest_without_worker(context, who, picture(number), "a.png")

    async with roles.open_context(site.settings) as context:
        await asyncio.gather(*map(one, range(tenants)))
    site.rows("""UPDATE jobs SET arguments = '{"stages": ["digest"]}' WHERE state = 'queued' RETURNING 1""")


def shown(name: str, cost: Cost) -> None:
    print(f"| {name} | {cost.seconds:.1f} | {cost.transactions:.0f} | {cost.worker:.3f} | {cost.database:.3f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=200)
    parser.add_argument("--tenants", type=int, default=1_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="rushes-fairness-") as name, stack(Path(name)) as site:
        folder = Path(name) / "files"
        folder.mkdir()
        with processes.worker(site.settings, site.log) as worker:
            nobody = idle(site, worker, time.monotonic())
            others = one_beside_many(site, folder, args.files)
        asyncio.run(queue_one_each(site, args.tenants))
        with processes.worker(site.settings, site.log) as worker:
            began = time.monotonic()
            meter = Meter(site, worker)
            site.until_all_done()
            drained = meter.read()
            everybody = idle(site, worker, began)
    print(f"\n{OTHERS} tenants with one file each, beside one with {args.files}:")
    for what, seconds in (("a stage of it ran", [a for a, _ in others]), ("it was published", [b for _, b in others])):
        print(f"{what} {statistics.median(seconds):.2f} s after it was ingested (median; slowest {max(seconds):.2f})")
    print("\n| | seconds | transactions/s | worker, cores | PostgreSQL, cores |\n|---|---|---|---|---|")
    shown("idle, no tenants", nobody)
    shown(f"{args.tenants:,} tenants with one job each, until all are done", drained)
    shown(f"idle, {args.tenants:,} tenants known", everybody)


if __name__ == "__main__":
    main()
