"""A file that fits nowhere, through the real API, database and worker, against the stand-in store: `bench/huge.py`, smaller."""

from __future__ import annotations

import asyncio
from pathlib import Path

from bench import huge
from rushes.plan import MAX_PART


def test_terabytes_are_planned_granted_and_finalized_with_the_right_checksum(tmp_path: Path) -> None:
    """400 parts of 5 GiB but the last: what is simulated is the transport of the bytes alone."""
    size = 400 * MAX_PART - 1_234_567
    with huge.scene(tmp_path) as scene:
        told = asyncio.run(huge.send(scene.api, scene.store, size, part_size=MAX_PART))
        found = huge.check(scene.settings, scene.store, size, told)
    assert told["begun"]["part_count"] == 400
    assert found["parts"] == 400
