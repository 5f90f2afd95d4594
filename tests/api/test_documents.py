"""Documents keep up with the code: docs/seeds.md has a row for every endpoint, setting, event and state; ARCHITECTURE.md
names every folder, and no file that is not there."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from rushes import main
from rushes.config import Settings
from rushes.events import moves
from rushes.model import AssetState, JobState, UploadState

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "rushes"
TEXT = (ROOT / "docs" / "seeds.md").read_text()
BY_CLIENTS = {"RUSHES_SERVER", "RUSHES_TOKEN"}  # read by the command line, which has no settings


def section(title: str) -> str:
    """The page's text under a heading."""
    found = re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL)
    assert found is not None, title
    return found[1]


def named(text: str) -> set[str]:
    """Every word that stands between backquotes."""
    return {word for quoted in re.findall(r"`([^`]+)`", text) for word in re.findall(r"\w+", quoted)}


def paths(text: str) -> set[str]:
    """Addresses, whatever their variables are called."""
    return {re.sub(r"\{\w+\}", "{}", path) for path in re.findall(r"/[\w/{}]+(?:\.\w+)?", text)}


def appended() -> Iterator[str]:
    """The event types that our code appends by name."""
    for file in SOURCE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("events.append"):
                yield from (ast.literal_eval(each) for each in node.args[1:2] if isinstance(each, ast.Constant))


def test_every_setting_has_its_row() -> None:
    settings = {f"RUSHES_{name.upper()}" for name in Settings.model_fields}
    rows = set(re.findall(r"RUSHES_[A-Z_]*[A-Z]", TEXT)) - BY_CLIENTS
    assert rows - settings == set(), "no such setting"
    assert settings - rows == set()


def test_every_endpoint_has_its_row(settings: Settings) -> None:
    served = {re.sub(r"\{\w+\}", "{}", path) for path in main.app(settings).openapi()["paths"]}
    rows = paths(section("Endpoints and calls"))
    assert served - rows == set()
    assert {path for path in rows if path.startswith("/v1/")} - served == set(), "no such endpoint"


def test_every_event_has_its_row() -> None:
    types = set(appended()) | set(moves.JOB.values())
    assert {"part_completed", "upload_verifying"} <= types
    types |= {type_ for told in (*moves.UPLOAD.values(), *moves.ASSET.values()) for type_ in told}
    assert types - named(section("Events")) == set()


@pytest.mark.parametrize("states", [UploadState, AssetState, JobState])
def test_every_state_has_its_row(states: type[UploadState | AssetState | JobState]) -> None:
    assert {state.value for state in states} - named(section("States")) == set()


def test_every_folder_is_described_and_no_file_that_is_gone() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    files = {path.name for top in ("src", "bench", "tests", "scripts") for path in (ROOT / top).rglob("*.py")}
    assert {name.rpartition("/")[2] for name in re.findall(r"`([\w/]+\.py)`", text)} - files == set()
    assert [
        name
        for name in re.findall(r"`([a-z]+/[\w/]+\.py)`", text)
        if not ((SOURCE / name).exists() or (ROOT / name).exists())
    ] == []
    folders = {path.parent.name for path in SOURCE.glob("*/*.py")}
    assert {name for name in folders if not re.search(rf"\*\*[^*]*\b{name}/", text)} == set()
