"""Test equipment: the stack as a process of its own, looked at from outside, and real objects in its store."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar

import botocore.session
import psutil
from botocore.config import Config

from rushes.embedded import address, ports
from rushes.embedded.address import Running

T = TypeVar("T")

with ports.api_port("127.0.0.1", 0, fixed=True) as API_PORT:  # another run of these tests has another
    pass
PROGRAM = Path(__file__).with_name("program.py")


def until(look: Callable[[], T | None], seconds: float = 30, what: str = "it") -> T:
    """What `look` finds, as soon as it finds something."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := look():
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what} did not happen within {seconds} seconds")


class Up:
    """`program.py up` on a data directory. What it prints is in `log`."""

    def __init__(
        self,
        data_dir: Path,
        log: Path,
        *,
        options: Sequence[str] = (),
        python: Sequence[str] = (sys.executable,),
        **env: str,
    ) -> None:
        self.data_dir = data_dir
        self._log = log
        settings = {name: value for name, value in os.environ.items() if not name.startswith("RUSHES_")}
        with log.open("wb") as output:
            self.process = subprocess.Popen(
                [*python, str(PROGRAM), "up", *options],
                env={**settings, "RUSHES_DATA_DIR": str(data_dir), "RUSHES_API_PORT": str(API_PORT), **env},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def log(self) -> str:
        return self._log.read_text("utf-8")

    def ready(self, seconds: float = 60) -> Running:
        def look() -> Running | None:
            assert self.process.poll() is None, self.log
            return address.find(self.data_dir)

        return until(look, seconds, "the stack being ready")

    def children(self) -> list[psutil.Process]:
        """The direct children that have become what they shall be."""
        return [child for child in psutil.Process(self.process.pid).children() if _kind(child)]

    def kinds(self) -> list[str]:
        return sorted(filter(None, map(_kind, psutil.Process(self.process.pid).children())))

    def family(self) -> list[psutil.Process]:
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def end(self, seconds: float = 40) -> int:
        self.process.terminate()
        return self.process.wait(seconds)


def _kind(process: psutil.Process) -> str | None:
    try:
        command = process.cmdline()
    except psutil.NoSuchProcess:
        return None
    if not command or any("launch.py" in part for part in command):
        return None  # gone, or still becoming what it will be
    known = {"api", "worker", "migrate"}
    return command[-1] if command[-1] in known else Path(command[0]).name.removesuffix(":")


@contextmanager
def up(data_dir: Path, log: Path, **options: Any) -> Iterator[Up]:
    """A stack that is gone after the block, whatever happened in it."""
    stack = Up(data_dir, log, **options)
    try:
        yield stack
    except BaseException:
        print(stack.log)  # pytest shows it with the failure
        raise
    finally:
        if stack.process.poll() is None:
            family = stack.family()
            stack.process.kill()
            stack.process.wait()
            psutil.wait_procs(family, timeout=10)
            remove_sockets(data_dir)


def gone(processes: Sequence[psutil.Process], seconds: float = 30) -> bool:
    """Whether all of them end within `seconds`; a zombie that waits for init has ended."""
    return bool(until(lambda: all(ended(process) for process in processes), seconds, f"the end of {processes}"))


def ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def listeners(processes: Sequence[psutil.Process]) -> set[tuple[str, int]]:
    """The addresses on which these processes accept TCP connections; one that ended meanwhile accepts none."""
    connections = []
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            connections += process.net_connections("tcp")
    return {(c.laddr.ip, c.laddr.port) for c in connections if c.status == psutil.CONN_LISTEN}


@contextmanager
def store(reached: Mapping[str, str]) -> Iterator[Any]:
    """A client of the store that these RUSHES_STORAGE_… variables name."""
    client = botocore.session.get_session().create_client(
        "s3",
        endpoint_url=reached["RUSHES_STORAGE_ENDPOINT"],
        aws_access_key_id=reached["RUSHES_STORAGE_ACCESS_KEY"],
        aws_secret_access_key=reached["RUSHES_STORAGE_SECRET_KEY"],
        region_name="us-east-1",
        config=Config(retries={"max_attempts": 1}, connect_timeout=3, read_timeout=15),
    )
    try:
        yield client
    finally:
        client.close()


def sockets_of(data_dir: Path) -> list[Path]:
    """The sockets that weed makes in /tmp for the ports of this data directory, and forgets; another user's are no
    business of this one, who may not even remove them."""
    known = ports.remembered(data_dir).values()
    numbers = [*known, *(number + 10000 for number in known)]  # the admin server's gRPC
    found = [path for number in numbers for path in Path("/tmp").glob(f"seaweedfs-*-grpc-{number}.sock")]  # noqa: S108
    return [path for path in found if path.stat().st_uid == os.geteuid()]


def remove_sockets(data_dir: Path) -> None:
    """What the next start would do, for a data directory that sees none."""
    for path in sockets_of(data_dir):
        path.unlink(missing_ok=True)
