from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rushes.client import Client, Journal, Watching
from tests.client.equipment import TOKEN, Site
from tests.client.killed import COUNT, PART
from tests.client.served import serving
from tests.client.watching import SETTLE, Watcher


@pytest.fixture
def site() -> Iterator[Site]:
    with serving() as running:
        yield running


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Journal(tmp_path / "state") as made:
        yield made


@pytest.fixture
def client(site: Site, journal: Journal) -> Iterator[Client]:
    with Client(site.url, TOKEN, journal=journal) as made:
        yield made


@pytest.fixture
def make_file(tmp_path: Path) -> Callable[..., Path]:
    """A file of random bytes; the same size gives the same bytes."""

    def make(size: int, name: str = "clip.mov") -> Path:
        path = tmp_path / name
        path.write_bytes(random.Random(size).randbytes(size))
        return path

    return make


@pytest.fixture
def clip(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mov"
    path.write_bytes(random.Random(5).randbytes(COUNT * PART))
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "card"
    made.mkdir()
    return made


@pytest.fixture
def watcher(site: Site, folder: Path, tmp_path: Path) -> Iterator[Watcher]:
    watching = Watching(folder, folder / "done", folder / "failed", settle=SETTLE)
    made = Watcher(site, watching, tmp_path / "state")
    yield made
    made.stop()
