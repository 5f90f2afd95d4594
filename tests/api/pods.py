"""API processes of their own, as many as a test wants, over the run's one database and store."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psutil

from rushes.config import Settings
from rushes.embedded.stack import environment
from rushes.ingest import tokens
from rushes.model import Principal

STOP = 20  # seconds to stop in


class Pod:
    """`rushes api` on a port of its own: granian's main process and the one that serves."""

    def __init__(self, settings: Settings, directory: Path, **changes: object) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = int(probe.getsockname()[1])
        given = settings.model_dump(exclude_unset=True) | changes
        self.settings = Settings(**given | {"api_port": self.port, "data_dir": directory})
        self._log = directory / f"api-{self.port}.log"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "started"
        return self._process

    @property
    def serving(self) -> psutil.Process:
        return psutil.Process(self.process.pid).children()[0]

    @property
    def log(self) -> str:
        return self._log.read_text()

    def token(self, who: Principal, minutes: float = 60) -> str:
        return tokens.mint_for(self.settings, who, timedelta(minutes=minutes), datetime.now(UTC))

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def start(self, *, wait: bool = True) -> None:
        """Start it unless it runs."""
        if self._process is None or self._process.poll() is not None:
            kept = {name: value for name, value in os.environ.items() if not name.startswith("RUSHES_")}
            with self._log.open("ab") as written:
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "rushes", "api"],
                    env=kept | environment(self.settings),
                    stdout=written,
                    stderr=subprocess.STDOUT,
                )
        for _ in range(800 if wait else 0):
            assert self._process.poll() is None, self.log
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.05)
        assert not wait, f"the API never listened: {self.log}"

    def kill(self) -> None:
        """kill -9 of all of it at once; it starts again, as a supervisor would have it."""
        family = [psutil.Process(self.process.pid), *psutil.Process(self.process.pid).children(recursive=True)]
        for member in family:
            member.kill()
        self.process.wait()
        assert psutil.wait_procs(family, STOP)[1] == []
        self.start(wait=False)

    def stop(self) -> None:
        """SIGTERM; nothing of it is left then."""
        running = self.process.poll() is None
        family = psutil.Process(self.process.pid).children(recursive=True) if running else []
        self.process.terminate()
        self.process.wait(STOP)
        assert psutil.wait_procs(family, STOP)[1] == []


@contextmanager
def pods(settings: Settings, directory: Path, count: int = 1, **changes: object) -> Iterator[list[Pod]]:
    """Pods with these settings, for as long as the block lasts."""
    made = [Pod(settings, directory, **changes) for _ in range(count)]
    for one in made:
        one.start(wait=False)
    try:
        for one in made:
            one.start()
        yield made
    finally:
        for one in made:
            one.stop()
