"""The wheel, in an environment that holds what the client asks for and nothing else: `pip install rushes`.

The environment is made of the packages that the wheel's metadata names, and those that they name, as they are installed
here: nothing is downloaded, and nothing of the server can be imported by accident.
"""

from __future__ import annotations

import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from importlib.metadata import Distribution, distribution
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
SERVERS = (
    "fastapi",
    "psycopg",
    "dbos",
    "alembic",
    "sqlalchemy",
    "granian",
    "aiobotocore",
    "botocore",
    "jwt",
    "cryptography",
)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", out],
        cwd=ROOT,
        check=True,
        capture_output=True,
    )
    (made,) = out.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The interpreter of an environment with the wheel and what it requires."""
    place = tmp_path_factory.mktemp("environment")
    venv.create(place, symlinks=True)
    (packages,) = place.glob("lib/python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    own = next(packages.glob("rushes-*.dist-info"))
    for found in needed(Distribution.at(own).requires or []):
        for name in top_level(found):
            (packages / name).symlink_to(Path(str(found.locate_file(name))))
    return place / "bin" / "python"


def needed(requires: list[str]) -> Iterator[Distribution]:
    """The installed packages that satisfy these requirements without extras of ours, and theirs in turn."""
    seen: set[str] = set()
    waiting = [Requirement(text) for text in requires]
    while waiting:
        wanted = waiting.pop()
        extras = wanted.extras or {""}
        if wanted.marker is not None and not any(wanted.marker.evaluate({"extra": extra}) for extra in ("", *extras)):
            continue
        if wanted.name.lower() in seen:
            continue
        seen.add(wanted.name.lower())
        found = distribution(wanted.name)
        yield found
        waiting += [Requirement(text) for text in found.requires or []]


def top_level(found: Distribution) -> set[str]:
    files = found.files or []
    return {file.parts[0] for file in files if file.parts[0] not in {"..", "__pycache__"}}


def run(python: Path, *arguments: str, **env: str) -> str:
    done = subprocess.run(
        [python, "-I", *arguments],
        env={"PATH": "/usr/bin:/bin", "HOME": str(python.parent), **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_library_imports_and_knows_nothing_of_the_server(python: Path) -> None:
    code = (
        "import json, sys, rushes.client, rushes.client.aio; print(json.dumps([rushes.__file__, sorted(sys.modules)]))"
    )
    file, modules = json.loads(run(python, "-c", code))
    assert str(python.parents[1]) in file, "the wheel's own, not this source"
    assert not [name for name in modules if name.split(".")[0] in SERVERS]
    assert not [
        name for name in modules if name.startswith(("rushes.api", "rushes.ingest", "rushes.db", "rushes.pipeline"))
    ]


def test_the_wheel_says_that_it_is_typed(python: Path) -> None:
    assert (
        run(python, "-c", "from importlib.resources import files; print((files('rushes') / 'py.typed').is_file())")
        == "True\n"
    )


def test_every_command_of_a_person_helps(python: Path) -> None:
    assert "--part-size" in run(python, "-m", "rushes", "upload", "--help", COLUMNS="200")
    assert "upload" in run(python, "-m", "rushes", "--help", COLUMNS="200")


def test_what_needs_the_server_says_what_to_install(python: Path) -> None:
    done = subprocess.run([python, "-I", "-m", "rushes", "up"], capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 3
    assert "rushes[server,media]" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_client_asks_for_little(python: Path) -> None:
    """A new dependency of the client is a decision, not an accident."""
    (packages,) = python.parents[1].glob("lib/python*/site-packages")
    asked = {Requirement(text).name for text in distribution("rushes").requires or [] if "extra ==" not in text}
    assert asked == {"awscrt", "pycurl", "pydantic", "pydantic-settings", "rich", "typer"}
    assert len(list(packages.glob("*.dist-info"))) < 25
