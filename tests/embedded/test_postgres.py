"""The embedded PostgreSQL: who may log in, how it keeps data, and what it makes of the leavings of a killed one."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import psycopg
import pytest

from rushes.embedded import ports, postgres, secrets
from rushes.embedded.children import Child, lesser_account
from rushes.embedded.log import Log
from rushes.embedded.postmaster import clear_pid_file
from rushes.embedded.supervisor import Supervisor
from rushes.errors import Misconfigured, Unavailable

from .equipment import listeners

ODD = "p@ss/w:ö'rd\"#?% \\$1"


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory whose password needs every kind of escaping there is."""
    place = tmp_path_factory.mktemp("pg data")
    secrets.load(place)
    kept = json.loads((place / "secrets.json").read_text())
    (place / "secrets.json").write_text(json.dumps({**kept, "database_password": ODD}))
    return place


@pytest.fixture(scope="module")
def url(data: Path) -> Iterator[str]:
    with postgres.running(data) as address:
        yield address


@pytest.fixture(scope="module")
def server(url: str, data: Path) -> psutil.Process:
    with psycopg.connect(url) as connection:
        row = connection.execute("SELECT pg_backend_pid()").fetchone()
        assert row
        parent = psutil.Process(row[0]).parent()
        assert parent
        return parent


def test_it_keeps_data_safely_and_in_unicode(url: str) -> None:
    wanted = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on", "data_checksums": "on"}
    with psycopg.connect(url) as connection:
        found = {name: connection.execute(f"SHOW {name}").fetchone() for name in wanted}
        assert found == {name: (value,) for name, value in wanted.items()}
        query = "SELECT pg_encoding_to_char(encoding), datcollate FROM pg_database WHERE datname = 'rushes'"
        assert connection.execute(query).fetchone() == ("UTF8", "C")
        assert connection.info.server_version // 10000 == 18


def test_its_role_owns_its_database_and_rules_nothing_else(url: str) -> None:
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
        connection.execute("CREATE DATABASE another")
        connection.execute("DROP DATABASE another")
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("COPY (SELECT 1) TO PROGRAM 'cat'")


def test_only_the_password_opens_it(url: str, server: psutil.Process) -> None:
    parts = psycopg.conninfo.conninfo_to_dict(url)
    assert parts["password"] == ODD
    refusals = [("password", "wrong", "authentication failed"), ("user", "postgres", "no pg_hba.conf entry")]
    for name, value, reason in refusals:
        with pytest.raises(psycopg.OperationalError, match=reason):
            psycopg.connect(psycopg.conninfo.make_conninfo(url, **{name: value}))
    with psycopg.connect(url) as connection:
        assert connection.pgconn.used_password
        assert connection.execute("SHOW password_encryption").fetchone() == ("scram-sha-256",)
    assert listeners([server]) == {("127.0.0.1", int(str(parts["port"])))}
    assert [c for c in server.net_connections("unix") if c.laddr] == []


def test_it_is_private_and_never_root(data: Path, server: psutil.Process) -> None:
    assert stat.S_IMODE((data / "postgres").stat().st_mode) == 0o700
    assert server.uids().effective != 0
    assert server.uids().effective == (data / "postgres").stat().st_uid


def starts(child: Child) -> bool:
    supervisor = Supervisor(Log(None))
    try:
        return supervisor.start([child])
    finally:
        supervisor.stop()


@pytest.fixture(scope="module")
def child(tmp_path_factory: pytest.TempPathFactory) -> Child:
    """A server that was made and is not running."""
    place = tmp_path_factory.mktemp("leavings")
    return postgres.prepare(place, ports.assign(place, ["postgres"])["postgres"], "password")


class TestLeavings:
    def pid_file(self, child: Child, pid: int) -> Path:
        file = child.cwd / "postmaster.pid"
        file.write_text(f"{pid}\n/proc/self/cwd\n{int(time.time())}\n1\n\n127.0.0.1\n   12345     99999\nready   \n")
        os.chown(file, child.cwd.stat().st_uid, child.cwd.stat().st_gid)
        return file

    def test_a_pid_that_another_program_has_now(self, child: Child) -> None:
        self.pid_file(child, os.getpid())
        assert starts(child)

    def test_a_pid_of_a_zombie(self, child: Child) -> None:
        with subprocess.Popen([sys.executable, "-c", ""], cwd=child.cwd) as zombie:
            os.waitid(os.P_PID, zombie.pid, os.WEXITED | os.WNOWAIT)
            assert psutil.Process(zombie.pid).status() == psutil.STATUS_ZOMBIE
            self.pid_file(child, zombie.pid)
            assert starts(child)

    def test_a_server_that_still_ends_is_waited_for(self, child: Child) -> None:
        with subprocess.Popen(["sleep", "1"], cwd=child.cwd) as ending:
            self.pid_file(child, ending.pid)
            # Reaped by nobody until the block ends: for the file system it is gone once it is a zombie.
            begun = time.monotonic()
            assert starts(child)
            assert time.monotonic() - begun > 0.8

    def test_a_server_that_does_not_end_is_named(self, child: Child) -> None:
        with subprocess.Popen(["sleep", "60"], cwd=child.cwd) as other:
            file = self.pid_file(child, other.pid)
            try:
                with pytest.raises(Unavailable, match=f"process {other.pid}, still uses"):
                    clear_pid_file(child.cwd, seconds=0.2)
                assert file.exists()
            finally:
                other.kill()

    def test_a_start_that_was_killed_half_way(self, tmp_path: Path) -> None:
        half = tmp_path / "postgres.new"
        half.mkdir()
        (half / "PG_VERSION").write_text("18\n")
        made = postgres.prepare(tmp_path, 22699, "password")
        assert made.cwd == tmp_path / "postgres"
        assert not half.exists()
        assert (made.cwd / "global" / "pg_control").exists()

    def test_the_wrong_password_is_told(self, child: Child) -> None:
        port = next(option for option in child.argv if option.startswith("port=")).partition("=")[2]
        other = postgres.prepare(child.cwd.parent, int(port), "another password")
        with pytest.raises(Misconfigured, match="does not open the database"):
            starts(other)

    def test_data_of_another_version_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "postgres").mkdir()
        (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
        with pytest.raises(Misconfigured, match="holds data of PostgreSQL 16, and this is version 18"):
            postgres.prepare(tmp_path, 22699, "password")
        assert (tmp_path / "postgres" / "PG_VERSION").read_text() == "16\n"


def test_the_owner_of_the_data_runs_the_server(tmp_path: Path) -> None:
    account = lesser_account(tmp_path)
    if os.geteuid() != 0:
        assert account is None
        return
    os.chown(tmp_path, 65534, 65534)
    found = lesser_account(tmp_path)
    assert found is not None
    assert (found.uid, found.name) == (65534, "nobody")
    os.chown(tmp_path, 54321, 54321)
    with pytest.raises(Misconfigured, match="user id 54321"):
        lesser_account(tmp_path)
    os.chown(tmp_path, 0, 0)
