"""What every store's script hands out, and the little that all of them need."""

from __future__ import annotations

import http.client
import signal
import socket
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from rushes.embedded.children import spawn

ROOT = Path(__file__).parents[2] / ".stores"  # programs that were fetched, kept between runs


class Absent(Exception):
    """The store cannot be had on this machine; the reason is for a person."""


@dataclass(frozen=True)
class Served:
    """A store that answers S3 at `endpoint`."""

    name: str
    version: str
    endpoint: str
    access_key: str
    secret_key: str


def free_ports(count: int) -> list[int]:
    """Distinct ports that are free now."""
    with ExitStack() as stack:
        held = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in held]


class Programs:
    """Server processes of one store: their output goes to files, they end with the block, and with this process."""

    def __init__(self, directory: Path, env: Mapping[str, str]) -> None:
        self._directory = directory
        self._env = env
        self._running: list[tuple[Path, subprocess.Popen[bytes]]] = []

    def start(self, name: str, command: Sequence[str]) -> None:
        log = self._directory / f"{name}.log"
        with log.open("ab") as output:
            process = spawn(
                command, cwd=self._directory, env=dict(self._env), death_signal=signal.SIGKILL, stdout=output.fileno()
            )
        self._running.append((log, process))

    def wait_for(self, port: int, seconds: float) -> None:
        """Until HTTP is answered at `port`; raises with the logs' ends when a program ends or time runs out."""
        deadline = time.monotonic() + seconds
        while not _answers(port):
            ended = [log for log, process in self._running if process.poll() is not None]
            if ended or time.monotonic() > deadline:
                tails = "\n".join(f"{log.name}: {log.read_text(errors='replace')[-2000:]}" for log, _ in self._running)
                raise Absent(f"it did not start: {tails}")
            time.sleep(0.1)

    def stop(self) -> None:
        for _, process in reversed(self._running):
            process.terminate()
        for _, process in self._running:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status < 500
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
