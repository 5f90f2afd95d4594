"""What many files and huge ones cost: 5,000 of them, and 300 GB."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rushes.cli import exits
from tests.cli.conftest import Rushes
from tests.client.equipment import Fault, Site
from tests.conftest import ROUNDS

GB = 10**9
FILES = 5_000 if ROUNDS >= 20 else 250


def told(text: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in text.splitlines()]


def test_a_folder_of_thousands(rushes_here: Rushes, site: Site, at: tuple[str, ...], tmp_path: Path) -> None:
    """One view, one summary; three failures among them are listed, and tried again by `resume`."""
    for index in range(FILES):
        path = tmp_path / "shoot" / f"roll {index // 500}" / f"{index:04}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(2_000))
    site.faults = [Fault("put", 400, "InvalidRequest") for _ in range(3)]
    done = rushes_here("upload", tmp_path / "shoot", *at)
    assert done.returncode == exits.REFUSED
    assert f"3 of {FILES} files failed:" in done.stdout
    assert f"{FILES - 3:,} files uploaded and verified" in done.stdout
    assert len(done.stdout.splitlines()) < 60, "one view, not a line a file"
    failed = {row["file"] for row in told(rushes_here("pending", "--json").stdout)}
    assert len(failed) == 3
    assert all(f"  {name}: " in done.stdout for name in failed)
    before = len(site.requests)
    again = rushes_here("resume", *at)
    assert again.returncode == exits.OK, again.stderr
    assert "3 files uploaded and verified" in again.stdout
    assert len(site.requests) - before < 40, "nothing is asked about those that are done"
    assert rushes_here("pending").stdout == "Nothing is pending.\n"
    assert len({upload.begin.relative_path for upload in site.uploads.values() if upload.begin}) == FILES


@pytest.fixture
def huge(tmp_path: Path) -> Path:
    """300 GB, sparse, with blocks spread over it that say where they are."""
    path = tmp_path / "huge.mxf"
    with path.open("wb") as writer:
        writer.truncate(300 * GB)
        for offset in range(0, 300 * GB, GB):
            writer.seek(offset)
            writer.write(f"block at {offset}".encode().ljust(4096, b"."))
    return path


def peak_megabytes(pid: int) -> int:
    found = re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) // 1024


def until(condition: Callable[[], object], what: str) -> float:
    began = time.monotonic()
    while not condition():
        assert time.monotonic() - began < 60, what
        time.sleep(0.02)
    return time.monotonic() - began


def test_300_gb_start_pause_and_resume_in_seconds(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], huge: Path, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "rushes", "upload", str(huge), *at, "--concurrency", "4"]
    parts = 0
    for ending in ("pause", "kill", "pause"):
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as process:
            wanted = parts + 6
            took = until(lambda: site.uploads and len(site.only().stored) >= wanted, "no part comes")  # noqa: B023
            assert took < 15, f"the next parts took {took:.1f} s"
            peak = peak_megabytes(process.pid)
            assert peak < 160, f"{peak} MB"
            began = time.monotonic()
            if ending == "pause":
                assert rushes_here("pause", huge).returncode == exits.OK
                code = process.wait(20)
                assert code == exits.PAUSED
            else:
                process.send_signal(signal.SIGKILL)
            assert time.monotonic() - began < 5
        parts = len(site.only().stored)
    (row,) = told(rushes_here("pending", "--json").stdout)
    assert row["size"] == 300 * GB
    assert row["held"] > 15 * site.only().plan.part_size
    assert len(site.uploads) == 1
    assert "Cancelled" in rushes_here("cancel", huge, *at).stdout
