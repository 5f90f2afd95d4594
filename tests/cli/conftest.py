from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest

from rushes.cli import main
from rushes.client import Client
from rushes.ingest import tokens
from rushes.model import Principal, Role
from tests.client.equipment import TOKEN, Site
from tests.client.served import serving
from tests.e2e import equipment as e2e
from tests.e2e.equipment import Site as Stack

Rushes = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    """As a person has it who never used rushes: nothing of ours, a home and a data directory of their own."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUSHES_")}
    own = {"HOME": str(tmp_path), "XDG_STATE_HOME": str(tmp_path / ".state"), "COLUMNS": "80"}
    return kept | own | {"RUSHES_DATA_DIR": str(tmp_path / "data")}


@pytest.fixture
def rushes(environment: dict[str, str]) -> Rushes:
    """Run the command to its end, with something on its stdin or nothing."""

    def run(*arguments: object, typed: str = "", **env: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "rushes", *map(str, arguments)]
        return subprocess.run(
            command,
            env=environment | env,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
            input=typed,
        )

    return run


@pytest.fixture
def rushes_here(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Rushes:
    """The same in this process, which saves a third of a second."""
    for name in [name for name in os.environ if name.startswith("RUSHES_")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "XDG_STATE_HOME", "RUSHES_DATA_DIR", "COLUMNS"):
        monkeypatch.setenv(name, environment[name])

    def run(*arguments: object, **env: str) -> subprocess.CompletedProcess[str]:
        with monkeypatch.context() as patched:
            for name, value in env.items():
                patched.setenv(name, value)
            with pytest.raises(SystemExit) as ended:
                main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        code = ended.value.code
        return subprocess.CompletedProcess([], code if isinstance(code, int) else 0, said.out, said.err)

    return run


@pytest.fixture
def at(site: Site) -> tuple[str, ...]:
    """Options that name the test server."""
    return ("--server", site.url, "--token", TOKEN)


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip one.mov"
    path.write_bytes(os.urandom(1000))
    return path


@pytest.fixture(scope="session")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A whole stack, for commands that need one; all tests of a run share it."""
    with e2e.site(tmp_path_factory.mktemp("a stack") / "data dir") as running:
        yield running


@pytest.fixture
def signed_in(stack: Stack) -> tuple[str, ...]:
    """Options that name the whole stack."""
    return ("--server", stack.running.api_url, "--token", stack.token)


@dataclass(frozen=True)
class Person:
    """Somebody of a tenant that nobody else is in, at the whole stack."""

    client: Client
    token: str
    options: tuple[str, ...]  # that make a command theirs


@pytest.fixture
def ann(stack: Stack) -> Iterator[Person]:
    bearer = token_of(stack, Principal(f"tenant-{uuid4().hex[:12]}", "ann", Role.CREATOR, "studio"))
    url = stack.running.api_url
    with Client(url, bearer) as client:
        yield Person(client, bearer, ("--server", url, "--token", bearer))


def token_of(stack: Stack, who: Principal, lifetime: timedelta = timedelta(days=30)) -> str:
    secret = stack.running.environment["RUSHES_TOKEN_SECRET"]
    return tokens.mint(secret, "rushes", "rushes", who, lifetime, datetime.now(UTC))
