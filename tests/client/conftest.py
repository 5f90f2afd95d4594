from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rushes.client import Client, Journal
from tests.client.equipment import TOKEN, Site, serving


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
