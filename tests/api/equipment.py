"""`rushes api` in processes of its own."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import psutil

from rushes.config import Settings
from rushes.embedded.stack import environment


@dataclass
class Api:
    """A running API: granian's main process, and where it listens."""

    process: subprocess.Popen[bytes]
    port: int
    log: Path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def stop(self, seconds: float = 20) -> float:
        """Ask it to stop; the seconds that took. Nothing of it may be left."""
        children = psutil.Process(self.process.pid).children(recursive=True)
        started = time.monotonic()
        self.process.terminate()
        self.process.wait(seconds)
        took = time.monotonic() - started
        _, left = psutil.wait_procs(children, 5)
        assert left == []
        return took

    def working(self) -> psutil.Process:
        """The process that serves."""
        children = psutil.Process(self.process.pid).children()
        return next(child for child in children if "spawn_main" in " ".join(child.cmdline()) or len(children) == 1)


@contextmanager
def served(settings: Settings, directory: Path, *, port: int | None = None, **changes: object) -> Iterator[Api]:
    """An API with these settings, until the block ends or the test stops it."""
    port = port or free_port()
    settings = settings.model_copy(update={"data_dir": directory, "api_port": port} | changes)
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUSHES_")}
    with (directory / "log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "rushes", "api"],
            env=kept | environment(settings),
            stdout=log,
            stderr=subprocess.STDOUT,
        )
        api = Api(process, port, directory / "log")
        try:
            _wait(api)
            yield api
        finally:
            if process.poll() is None:
                api.stop()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(api: Api) -> None:
    for _ in range(400):
        assert api.process.poll() is None, api.log.read_text()
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", api.port)) == 0:
                return
        time.sleep(0.05)
    raise AssertionError("the API never listened")
