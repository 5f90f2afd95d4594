"""One clip and one stack for all tests of this folder; tests that kill the supervisor start their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.equipment import Site, site

MAKE_CLIP = Path(__file__).parents[2] / "scripts" / "make_clip.py"


@pytest.fixture(scope="session")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1080p clip with picture detail and sound, of at least four parts of 5 MiB."""
    path = tmp_path_factory.mktemp("clip") / "clip one.mp4"
    subprocess.run([sys.executable, MAKE_CLIP, path, "--seconds", "12", "--megabytes", "22"], check=True, timeout=240)
    return path


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("a stack") / "data dir") as running:
        yield running
