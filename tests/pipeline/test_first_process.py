"""`rushes api` as a container runs it: as process 1, with nobody above it."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import psutil
import pytest

from rushes.config import Settings
from rushes.embedded.stack import environment
from tests.e2e.equipment import free_port


def alone() -> list[str]:
    """What goes before a command that is to be process 1 of a namespace of its own."""
    unshare = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
    if os.geteuid() != 0:
        unshare += ["--user", "--map-root-user"]
    tried = subprocess.run([*unshare, "true"], capture_output=True, text=True, timeout=10, check=False)
    if tried.returncode != 0:
        pytest.fail(f"This machine lets nobody make a PID namespace, so the test cannot be run: {tried.stderr}")
    return unshare


@pytest.fixture
def api(settings: Settings, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The process above the API, and where the API answers."""
    found = settings.model_copy(update={"api_port": free_port(), "data_dir": tmp_path})
    command = [*alone(), sys.executable, "-m", "rushes", "api"]
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(command, env=os.environ | environment(found), stdout=log, stderr=subprocess.STDOUT)
        try:
            yield process, f"http://127.0.0.1:{found.api_port}"
        finally:
            process.kill()  # takes the namespace along
            process.wait()


async def test_it_serves_and_stops_in_good_order(api: tuple[subprocess.Popen[bytes], str]) -> None:
    process, url = api
    async with httpx.AsyncClient(trust_env=False, timeout=5) as http:
        assert await health(http, url, process) == 200
    (first,) = psutil.Process(process.pid).children()
    assert namespace_pid(first) == 1
    served_by = first.children(recursive=True)
    assert served_by
    first.send_signal(signal.SIGTERM)
    assert await asyncio.to_thread(process.wait, 20) == 0
    assert not any(child.is_running() for child in served_by)


async def health(http: httpx.AsyncClient, url: str, process: subprocess.Popen[bytes]) -> int:
    deadline = time.monotonic() + 30
    while True:
        try:
            return (await http.get(f"{url}/healthz")).status_code
        except httpx.TransportError:
            assert process.poll() is None, "the API has ended"
            assert time.monotonic() < deadline, "the API never answers"
        await asyncio.sleep(0.1)


def namespace_pid(process: psutil.Process) -> int:
    """The process's number in the innermost namespace (proc_pid_status(5), NSpid)."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    (line,) = (line for line in status.splitlines() if line.startswith("NSpid:"))
    return int(line.split()[-1])
