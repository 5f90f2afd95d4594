"""The processes a bench looks at, each started by itself so that its CPU and memory can be told apart, and the meters."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
from pydantic import SecretStr

from bench.standin import ACCESS_KEY, SECRET_KEY
from rushes import main
from rushes.config import Settings
from rushes.embedded import postgres
from rushes.embedded.stack import environment

ROOT = Path(__file__).parents[1]
SECRET = "a secret for benches alone, long enough for HS256"
READY_SECONDS = 60
STOP_SECONDS = 40


@contextmanager
def program(argv: Sequence[str], env: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process while the block lasts; what it says on stderr goes to `log`."""
    with log.open("ab") as file:
        process = subprocess.Popen(argv, cwd=ROOT, env=os.environ | env, stdout=subprocess.PIPE, stderr=file)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None, "a pipe"
        process.stdout.close()


@contextmanager
def standin(log: Path) -> Iterator[tuple[str, int]]:
    """(address, pid) of a stand-in store."""
    with program([sys.executable, "-m", "bench.standin"], {}, log) as process:
        assert process.stdout is not None, "a pipe"
        yield json.loads(process.stdout.readline())["url"], process.pid


@contextmanager
def database(directory: Path, endpoint: str, **fields: object) -> Iterator[tuple[Settings, int]]:
    """Settings of a migrated database and of the stand-in at `endpoint`; and the database's pid."""
    with postgres.running(directory) as url:
        settings = Settings.model_validate(
            {
                "data_dir": directory,
                "database_url": SecretStr(url),
                "storage_endpoint": endpoint,
                "storage_public_endpoint": endpoint,
                "storage_access_key": ACCESS_KEY,
                "storage_secret_key": SecretStr(SECRET_KEY),
                "token_secret": SecretStr(SECRET),
                "create_buckets": True,
                "log_level": "warning",
            }
            | fields
        )
        main.migrate(settings)
        yield settings, postmaster(url)


def postmaster(url: str) -> int:
    port = int(url.rpartition(":")[2].partition("/")[0])
    for process in psutil.Process().children(recursive=True):
        if process.name() == "postgres" and any(
            listening.laddr.port == port for listening in process.net_connections("tcp") if listening.status == "LISTEN"
        ):
            return process.pid
    raise AssertionError("the database's process is not below this one")


@contextmanager
def api(settings: Settings, log: Path) -> Iterator[tuple[str, int]]:
    """(address, pid) of one API process (granian's main and its one worker)."""
    port = free_port()
    wanted = settings.model_copy(update={"api_port": port, "api_workers": 1})
    wanted.model_fields_set.update({"api_port", "api_workers"})
    with program([sys.executable, "-m", "rushes", "api"], environment(wanted), log) as process:
        url = f"http://127.0.0.1:{port}"
        until_ready(url + "/readyz", process)
        yield url, process.pid


@contextmanager
def worker(settings: Settings, log: Path) -> Iterator[int]:
    with program([sys.executable, "-m", "rushes", "worker"], environment(settings), log) as process:
        yield process.pid


def until_ready(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + READY_SECONDS
    while time.monotonic() < deadline:
        try:
            with urllib.request.urlopen(url, timeout=5):
                return
        except OSError:
            if process.poll() is not None:
                break
            time.sleep(0.05)
    raise SystemExit(f"{url} does not answer")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def family(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def cpu(pid: int) -> float:
    """CPU-seconds of a process, all below it, and all that ended below it."""
    total = 0.0
    for process in family(pid):
        try:
            times = process.cpu_times()
        except psutil.NoSuchProcess:
            continue
        total += times.user + times.system + times.children_user + times.children_system
    return total


def pss(pid: int) -> int:
    """Bytes of memory of a process and all below it, shared pages by their share."""
    total = 0
    for process in family(pid):
        try:
            total += process.memory_full_info().pss
        except psutil.Error:
            continue
    return total


class Watch(threading.Thread):
    """Samples the memory of process trees by role; `first` and `peaks` are bytes of PSS."""

    def __init__(self, roots: Mapping[str, int], pause: float = 0.2) -> None:
        super().__init__(daemon=True)
        self.roots = dict(roots)
        self.first: dict[str, int] = {}
        self.peaks: dict[str, int] = {}
        self._pause = pause
        self._done = threading.Event()

    def run(self) -> None:
        while True:
            for role, pid in list(self.roots.items()):
                size = pss(pid)
                self.first.setdefault(role, size)
                self.peaks[role] = max(self.peaks.get(role, 0), size)
            if self._done.wait(self._pause):
                return

    def end(self) -> None:
        self._done.set()
        self.join()
