"""The whole stack of one data directory: `run` it, or keep one in the `background`.

`run` makes, in order: `lock` (held while it lives), `secrets.json`, `ports.json`, the servers that the settings do not
name already, the schema (`rushes migrate`), the API and the workers, and last `stack.json`, which tells other commands
where all this is. First start 3.5 s, later ones 2.5 s, and what the roles themselves need.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from secrets import token_hex
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from rushes.config import Settings
from rushes.embedded import address, ports, postgres, seaweed, secrets
from rushes.embedded.address import Running
from rushes.embedded.children import Child, Line, end_group, has_ended, plain_line, spawn
from rushes.embedded.files import explained, private_directory
from rushes.embedded.log import Log
from rushes.embedded.probe import answers
from rushes.embedded.secrets import Secrets
from rushes.embedded.signals import Requests
from rushes.embedded.supervisor import Supervisor
from rushes.errors import Unavailable

LEAST_FREE_BYTES = 256_000_000  # a new database with its log, and the first volumes of the store
STOP_SECONDS = 60.0

_PROGRAM = (sys.executable, "-m", "rushes")


@dataclass(frozen=True)
class Roles:
    """The commands of our own roles. `migrate` has to end; the API answers GET /readyz with 200 when it can serve."""

    migrate: tuple[str, ...] = (*_PROGRAM, "migrate")
    api: tuple[str, ...] = (*_PROGRAM, "api")
    worker: tuple[str, ...] = (*_PROGRAM, "worker")


def run(
    settings: Settings,
    *,
    workers: int,
    api_port_fixed: bool,
    log: Log,
    on_ready: Callable[[Running], None],
    roles: Roles | None = None,
) -> None:
    """Run the stack in the foreground until SIGINT, SIGTERM or SIGHUP; return when everything has stopped.

    Main thread only. `on_ready` is called once, when the API answers. With `api_port_fixed` the API takes
    `settings.api_port` or nothing; otherwise the next free port when that one is taken.
    Raises `Conflict` when the data directory is in use, `Misconfigured` or `Unavailable` when something cannot start.
    """
    settings = _anchored(settings)
    data_dir, host, port = settings.data_dir, settings.api_host, settings.api_port
    requests = Requests()
    with explained(data_dir):
        private_directory(data_dir)
        with address.locked(data_dir), requests.listening(), ports.api_port(host, port, fixed=api_port_fixed) as port:
            settings = settings.model_copy(update={"api_port": port})
            supervisor = Supervisor(log, requests)
            try:
                stages, running = _plan(settings, data_dir, workers, log, roles or Roles())
                if all(supervisor.start(stage) for stage in stages):
                    address.publish(running)
                    on_ready(running)
                    supervisor.watch()
            finally:
                address.withdraw(data_dir)
                log.write("info", "rushes", "stopping")
                supervisor.stop()
                log.write("info", "rushes", "stopped")


@contextmanager
def background(
    settings: Settings,
    *,
    command: Sequence[str] = (*_PROGRAM, "up"),
    log_file: Path | None = None,
    ready_seconds: float = 180,
) -> Iterator[Running]:
    """A stack of its own while the block lasts, as a child process that also stops when this one is killed.

    `command` is what calls `run` with these settings; its output goes to `log_file` (default: `stack.log` in the data
    directory). Raises `Unavailable` with the end of that log when it does not start. Main thread only.
    """
    settings = _anchored(settings)
    data_dir = settings.data_dir
    written = (log_file or data_dir / "stack.log").absolute()
    with explained(data_dir):
        private_directory(data_dir)
        output = os.open(written, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        try:
            env = os.environ | environment(settings)
            process = spawn(command, cwd=data_dir, env=env, death_signal=signal.SIGTERM, stdout=output)
        finally:
            os.close(output)
    try:
        yield _await_ready(process, data_dir, written, ready_seconds)
    finally:
        _stop(process)


def environment(settings: Settings) -> dict[str, str]:
    """The variables from which another process reads these very settings: every field that was given a value."""
    values = {name: getattr(settings, name) for name in sorted(settings.model_fields_set)}
    return {f"RUSHES_{name.upper()}": _as_text(value) for name, value in values.items() if value is not None}


def _anchored(settings: Settings) -> Settings:
    """The same settings with absolute paths, since the children work in the data directory."""
    return settings.model_copy(
        update={"data_dir": settings.data_dir.absolute(), "scratch_dir": settings.scratch().absolute()}
    )


def _plan(
    settings: Settings, data_dir: Path, workers: int, log: Log, roles: Roles
) -> tuple[list[list[Child]], Running]:
    """The stages to start, with everything that has to exist before, and what is running when they are."""
    secret = secrets.load(data_dir)
    servers, reached = _servers(settings, data_dir, secret, workers, log)
    if settings.token_secret is None:
        reached["token_secret"] = SecretStr(secret.token_secret)
    settings = settings.model_copy(update=reached)
    log.hide([*secret.hidden(), *_secret_values(settings)])
    env = os.environ | environment(settings) | {"PYTHONUNBUFFERED": "1"}
    host = _near_address(settings.api_host)
    # In the data directory, because `python -m` would import a stray json.py from where the person happens to be.
    role = partial(Child, cwd=data_dir, env=env, read_line=_read_role)
    migrate = role(name="migrate", argv=roles.migrate, once=True, ready_seconds=300)
    instance = token_hex(8)
    ready = partial(answers, host, settings.api_port, "/readyz", instance)
    api = role(name="api", argv=roles.api, env=env | {"RUSHES_INSTANCE": instance}, ready=ready)
    work = [role(name=f"worker{number}", argv=roles.worker) for number in range(1, workers + 1)]
    url_host = f"[{host}]" if ":" in host else host
    running = Running(os.getpid(), f"http://{url_host}:{settings.api_port}", data_dir, environment(settings))
    return [servers, [migrate], [api, *work]], running


def _servers(
    settings: Settings, data_dir: Path, secret: Secrets, workers: int, log: Log
) -> tuple[list[Child], dict[str, object]]:
    """The servers to start, those the settings do not name, and the settings by which they are reached."""
    own_database = settings.database_url is None
    own_storage = settings.storage_endpoint is None and settings.storage_access_key is None
    children: list[Child] = []
    reached: dict[str, object] = {}
    if own_database or own_storage:
        _check_space(data_dir, log)
    if own_database:
        port = ports.assign(data_dir, ["postgres"])["postgres"]
        processes = workers + settings.api_workers
        connections = 50 + processes * (settings.database_pool + 25)  # our pool, the engine's, its listeners
        children.append(postgres.prepare(data_dir, port, secret.database_password, connections=connections))
        reached["database_url"] = SecretStr(postgres.url(port, secret.database_password))
    if own_storage:
        child, store = seaweed.prepare(data_dir, secret)
        children.append(child)
        reached |= {"storage_endpoint": store.endpoint, "storage_access_key": store.access_key}
        reached |= {
            "storage_secret_key": SecretStr(store.secret_key),
            "storage_addressing": "path",
            "storage_profile": "seaweedfs",
        }
        reached |= {"create_buckets": True, "storage_dir": seaweed.data_directory(data_dir)}
        if settings.storage_public_endpoint is None and _is_loopback(settings.api_host):
            reached["storage_public_endpoint"] = store.endpoint  # who reaches the API reaches the store, and only then
    return children, reached


def _check_space(data_dir: Path, log: Log) -> None:
    disk = shutil.disk_usage(data_dir)
    free = f"{disk.free / 1e9:.1f} GB"
    if disk.free < LEAST_FREE_BYTES:
        raise Unavailable("disk_full", f"Only {free} are free on the disk that holds {data_dir}: free some space.")
    if disk.free < disk.total / 100:
        log.write("warning", "rushes", f"less than 1 % of the disk is free ({free}): the store will refuse uploads")


def _secret_values(settings: Settings) -> list[str]:
    values = [value.get_secret_value() for _, value in settings if isinstance(value, SecretStr)]
    # A database URL is told in part by the errors of its driver.
    passwords = [password for value in values if "://" in value and (password := urlsplit(value).password)]
    return [*values, *passwords, *map(unquote, passwords)]


def _as_text(value: object) -> str:
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return json.dumps([item.model_dump(mode="json") if isinstance(item, BaseModel) else item for item in value])
    return str(value)


def _read_role(text: str) -> Line:
    """Our roles' own lines: their time is dropped, since the stack's log has it, and their level is kept."""
    match = re.match(r"\d{4}-\d\d-\d\d [\d:,]+ (DEBUG|INFO|WARNING|ERROR) (.*)", text, re.DOTALL)
    return Line(match[1].lower(), match[2]) if match else plain_line(text)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _near_address(host: str) -> str:
    """The address by which this machine reaches a server that listens on `host`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)  # noqa: S104 - compared, not bound


def _await_ready(process: subprocess.Popen[bytes], data_dir: Path, log_file: Path, seconds: float) -> Running:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        running = address.find(data_dir)
        if running is not None:
            return running  # ours, or that of another command which was faster to start one
        # Ours is in the table of processes until it is reaped, so only another one's number counts.
        if has_ended(process) and address.starter(data_dir) in {None, process.pid}:
            break
        time.sleep(0.05)
    last = "\n".join(log_file.read_text("utf-8", errors="replace").splitlines()[-12:])
    raise Unavailable("stack_failed", f"The stack did not start. The end of {log_file}:\n{last}")


def _stop(process: subprocess.Popen[bytes]) -> None:
    if not has_ended(process):
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            end_group(process)  # its children follow it by PDEATHSIG
    end_group(process)
