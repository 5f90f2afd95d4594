"""Small things that a person meets: the version, names that drive terminals, reasons where they belong."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from rushes import __version__
from rushes.cli import exits
from rushes.cli.events import line
from rushes.wire import Event
from tests.cli.conftest import Rushes
from tests.client.equipment import Fault, Site


def test_the_version_by_either_word(rushes_here: Rushes) -> None:
    for word in ("--version", "version"):
        done = rushes_here(word)
        assert (done.returncode, done.stdout.strip()) == (exits.OK, __version__)


def test_reasons_stand_beside_the_files_that_failed(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.mov"
    empty.touch()
    site.faults = [Fault("put", 400, "InvalidRequest")]
    done = rushes_here("ingest", clip, tmp_path / "none.mov", empty, *at)
    lines = done.stdout.splitlines()
    assert "3 of 3 files failed:" in lines
    reasons = {name: next(text for text in lines if text.startswith(f"  {tmp_path / name}: ")) for name in NAMES}
    assert "There is no file" in reasons["none.mov"]
    assert "is empty" in reasons["empty.mov"]
    assert len(set(reasons.values())) == 3


NAMES = ("clip one.mov", "none.mov", "empty.mov")


def test_a_reason_that_all_share_is_given_once(rushes_here: Rushes, clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mov"
    other.write_bytes(b"x")
    done = rushes_here("ingest", clip, other, "--server", "http://127.0.0.1:9", "--token", "t")
    assert len([text for text in done.stderr.splitlines() if text.startswith("rushes: ")]) == 1
    assert "2 of 2 files failed:" in done.stdout
    assert f"  {other}\n" in done.stdout


def test_a_name_that_drives_terminals_is_harmless(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], tmp_path: Path
) -> None:
    path = tmp_path / "a\nforged: 100 %\r\x1b[2J\u202e.mov"
    path.write_bytes(os.urandom(100))
    site.faults = [Fault("put", 400, "InvalidRequest")]
    said = rushes_here("ingest", path, *at)
    everything = said.stdout + said.stderr + rushes_here("ls", *at).stdout
    assert not {"\x1b", "\r", "\u202e"} & set(everything)
    assert not [text for text in everything.splitlines() if text.startswith("forged")]


@pytest.mark.parametrize(
    "env", [{"PYTHONIOENCODING": "ascii"}, {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}]
)
def test_a_terminal_that_knows_few_letters_is_no_hindrance(
    rushes: Rushes, site: Site, at: tuple[str, ...], tmp_path: Path, env: dict[str, str]
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xc3\xbcb\xff.mov"))
    path.write_bytes(b"x")
    site.faults = [Fault("put", 400, "InvalidRequest")]
    done = rushes("upload", path, *at, **env)
    assert done.returncode == exits.REFUSED
    assert "InvalidRequest" in done.stderr
    assert "Something unexpected" not in done.stderr


@pytest.mark.parametrize("command", ["pending", "pause --all", "resume"])
def test_quiet_is_silent(rushes_here: Rushes, command: str) -> None:
    done = rushes_here(*command.split(), "-q")
    assert (done.returncode, done.stdout, done.stderr) == (exits.OK, "", "")


def test_closed_ends_are_no_hindrance(environment: dict[str, str], at: tuple[str, ...], clip: Path) -> None:
    command = f"exec '{sys.executable}' -m rushes upload '{clip}' {' '.join(at)} >&- 2>&-"
    assert subprocess.run(["sh", "-c", command], env=environment, timeout=60, check=False).returncode == exits.OK


@pytest.mark.parametrize("command", ["up", "api", "worker", "migrate", "token"])
def test_a_secret_that_is_too_short_is_refused_at_once(rushes_here: Rushes, command: str) -> None:
    done = rushes_here(command, RUSHES_TOKEN_SECRET="too short")
    assert done.returncode == exits.REFUSED
    assert "RUSHES_TOKEN_SECRET" in done.stderr
    assert "at least 32 bytes" in done.stderr
    assert "too short" not in done.stderr


@pytest.mark.parametrize("command", ["up", "api", "worker", "migrate"])
def test_a_variable_that_is_no_setting_is_told_of_once(rushes: Rushes, tmp_path: Path, command: str) -> None:
    (tmp_path / "data").touch()  # no server starts here
    done = rushes(command, RUSHES_STORAGE_REGON="x", RUSHES_TOKEN_SECRET="s" * 32)
    assert done.returncode != exits.OK
    said = [line for line in (done.stdout + done.stderr).splitlines() if "REGON" in line]
    assert len(said) == 1
    assert "RUSHES_STORAGE_REGON is not a setting of rushes. Did you mean RUSHES_STORAGE_REGION?" in said[0]
    assert "WARNING" in said[0]


def test_an_event_is_one_line() -> None:
    event = Event.model_validate(
        {
            "id": "1-2",
            "type": "upload_started",
            "at": "2026-11-21T15:00:00Z",
            "title_id": None,
            "upload_id": "0190a000-0000-7000-8000-000000000000",
            "asset_id": None,
            "creator": "ann",
            "data": {"size": 5, "filename": "a\nb\x1b.mov", "gone": None, "missing": list(range(1000))},
        }
    )
    text = line(event)
    assert "upload_started" in text
    assert "size=5 filename=a�b�.mov missing=" in text
    assert len(text) < 250
    assert text.isprintable()


@pytest.mark.parametrize(
    "command", [("get",), ("status",), ("rm",), ("titles", "show"), ("ls", "--title"), ("events", "--upload")]
)
def test_what_is_no_id_is_told_so(rushes_here: Rushes, command: tuple[str, ...]) -> None:
    done = rushes_here(*command, "0199")
    assert (done.returncode, "'0199' is no id" in done.stderr, "`rushes ls`" in done.stderr) == (2, True, True)
