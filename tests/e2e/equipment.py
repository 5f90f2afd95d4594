"""A whole stack as a person starts it (`rushes up`), and the means to hurt it."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil
import psycopg

from rushes.client import Client
from rushes.config import Settings
from rushes.embedded import stack
from rushes.embedded.address import Running
from rushes.ingest import tokens
from rushes.model import Principal, Role
from rushes.wire import AssetView, JobView
from tests.embedded.equipment import ended

TAKEOVER = 4.0  # seconds; 15 in production


@dataclass
class Site:
    """A running stack with a client signed in."""

    running: Running
    client: Client
    token: str

    @property
    def database(self) -> str:
        return self.running.environment["RUSHES_DATABASE_URL"]

    def processes(self) -> list[psutil.Process]:
        """The supervisor and everything below it."""
        supervisor = psutil.Process(self.running.pid)
        return [supervisor, *supervisor.children(recursive=True)]

    def child(self, name: str) -> psutil.Process:
        """The supervisor's child of this name: api, worker, postgres or weed."""
        for process in psutil.Process(self.running.pid).children():
            command = command_of(process)
            if command and (Path(command[0]).name == name or command[-3:] == ["-m", "rushes", name]):
                return process
        raise AssertionError(f"the supervisor has no child {name!r}")

    def rows(self, query: str, *args: object) -> list[tuple[object, ...]]:
        with psycopg.connect(self.database) as conn:
            return conn.execute(query.encode(), args).fetchall()

    def job(self, asset_id: object, type_: str) -> JobView | None:
        for job in self.client.jobs.page(asset_id=asset_id).items:  # type: ignore[arg-type]
            if job.type == type_:
                return job
        return None


@contextmanager
def site(data_dir: Path, **settings: object) -> Iterator[Site]:
    """`rushes up` on a data directory, for as long as the block lasts."""
    wanted = Settings(data_dir=data_dir, takeover_seconds=TAKEOVER, api_port=free_port(), **settings)  # type: ignore[arg-type]
    with stack.background(wanted) as running:
        token = sign_in(running)
        with Client(running.api_url, token) as client:
            yield Site(running, client, token)


def sign_in(running: Running) -> str:
    who = Principal("local", "ella", Role.OPERATOR, "studio")
    secret = running.environment["RUSHES_TOKEN_SECRET"]
    return tokens.mint(secret, "rushes", "rushes", who, timedelta(hours=6), datetime.now(UTC))


def until(condition: Callable[[], object], seconds: float, what: str) -> None:
    """Wait until `condition` holds; what else is there to do with a process of its own."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return
        time.sleep(0.05)
    raise AssertionError(f"after {seconds:g} s: {what}")


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def names(asset: AssetView) -> set[str]:
    return {rendition.name for rendition in asset.renditions}


def alive(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that still run: same pid, same start."""
    return [process for process in processes if not ended(process)]


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
