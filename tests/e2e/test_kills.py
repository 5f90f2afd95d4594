"""kill -9 of anything, anywhere: after each the same asset is published, and nothing is left lying about."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import UUID

import psutil
import psycopg
import pytest

from rushes.client import UploadResult
from rushes.wire import UploadBegun
from tests.e2e.equipment import Site, alive, command_of, names, sha256, site, until

MIB = 1024 * 1024
PUBLISHED = 200.0  # seconds; takeover and a transcode on two busy cores


def transcoding(stack: Site, asset_id: UUID, least: float = 0.2) -> str | None:
    """What a person would read of the running transcode, once it is `least` done."""
    job = stack.job(asset_id, "encode")
    if job is None or job.status != "running" or job.progress < least:
        return None
    return f"stage {job.type} at {job.progress:.0%}: {job.message}"


def wait_for_transcode(stack: Site, asset_id: UUID) -> str:
    found: list[str] = []

    def look() -> bool:
        found.extend(filter(None, [transcoding(stack, asset_id)]))
        return bool(found)

    until(look, 90, "no transcode under way")
    return found[0]


def check_published(stack: Site, result: UploadResult, clip: Path) -> None:
    asset = stack.client.wait(result.asset_id, timeout=PUBLISHED)
    assert asset.sha256 == sha256(clip)
    assert {"hls-360p.mp4", "hls-720p.mp4", "hls-1080p.mp4", "hls-audio.mp4", "proxy-720p.mp4"} <= names(asset)
    assert stack.rows("SELECT 1 FROM jobs WHERE state IN ('queued', 'running')") == []
    assert stack.rows("SELECT 1 FROM dbos.workflow_status WHERE status IN ('PENDING', 'ENQUEUED')") == []
    assert stack.rows("SELECT count(*) FROM assets WHERE upload_id = %s", result.upload_id) == [(1,)]
    published = stack.rows(
        "SELECT count(*) FROM events WHERE asset_id = %s AND type = 'asset_published'", result.asset_id
    )
    assert published == [(1,)]


def upload(stack: Site, clip: Path, **options: Any) -> UploadResult:
    return stack.client.upload(clip, part_size=5 * MIB, **options)


def test_worker_killed_in_mid_transcode(
    stack: Site, clip: Path, record_property: Callable[[str, object], None], round_: int
) -> None:
    result = upload(stack, clip)
    where = wait_for_transcode(stack, result.asset_id)
    worker = stack.child("worker")
    tools = worker.children(recursive=True)
    worker.kill()
    record_property("saw", f"worker killed in {where}, with {len(tools)} processes below it")
    until(lambda: not alive([worker, *tools]), 30, f"these outlived the worker: {alive([worker, *tools])}")
    check_published(stack, result, clip)
    job = stack.job(result.asset_id, "encode")
    assert job is not None
    assert job.retries >= 1


def test_frozen_worker_is_replaced_and_changes_nothing_when_it_wakes(stack: Site, clip: Path, round_: int) -> None:
    result = upload(stack, clip)
    wait_for_transcode(stack, result.asset_id)
    frozen = stack.child("worker")
    first = stack.job(result.asset_id, "encode")
    frozen.send_signal(signal.SIGSTOP)
    with spare_worker(stack):
        check_published(stack, result, clip)
        before = stack.rows(
            "SELECT name, key, checksum FROM renditions WHERE asset_id = %s ORDER BY name", result.asset_id
        )
        epochs = stack.rows(
            "SELECT id, epoch, state, finished_at FROM jobs WHERE asset_id = %s ORDER BY id", result.asset_id
        )
        frozen.send_signal(signal.SIGCONT)
        until(lambda: not _tools(frozen), 30, "the woken worker's tools go on")
        asset = stack.client.assets.get(result.asset_id)
        after = stack.rows(
            "SELECT name, key, checksum FROM renditions WHERE asset_id = %s ORDER BY name", result.asset_id
        )
        assert (asset.state, after) == ("published", before)
        assert epochs == stack.rows(
            "SELECT id, epoch, state, finished_at FROM jobs WHERE asset_id = %s ORDER BY id", result.asset_id
        )
    assert first is not None


def _tools(worker: psutil.Process) -> list[psutil.Process]:
    try:
        below = worker.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return [child for child in below if "ffmpeg" in " ".join(command_of(child))]


def spare_worker(stack: Site) -> Any:
    """A second worker beside the stack's own, for as long as the block lasts."""
    import os
    import subprocess
    import sys
    from contextlib import contextmanager

    @contextmanager
    def running() -> Any:
        env = os.environ | dict(stack.running.environment)
        process = subprocess.Popen([sys.executable, "-m", "rushes", "worker"], env=env)
        try:
            yield process
        finally:
            process.terminate()
            assert process.wait(30) == 0

    return running()


def test_api_killed_between_put_and_complete(stack: Site, clip: Path, round_: int) -> None:
    killed: list[int] = []

    def kill_once(progress: Any) -> None:
        if not killed and progress.held >= clip.stat().st_size * 0.6:
            process = stack.child("api")
            killed.append(process.pid)
            process.kill()

    result = upload(stack, clip, on_progress=kill_once)
    assert killed, "the upload was over before the API could be killed"
    check_published(stack, result, clip)


@pytest.mark.parametrize("name", ["postgres", "weed"])
@pytest.mark.parametrize("when", ["uploading", "transcoding"])
def test_server_killed(stack: Site, clip: Path, name: str, when: str, round_: int) -> None:
    killed: list[psutil.Process] = []

    def kill() -> None:
        if not killed:
            killed.append(stack.child(name))
            killed[0].kill()

    def on_progress(progress: Any) -> None:
        if when == "uploading" and progress.held >= clip.stat().st_size * 0.3:
            kill()

    result = upload(stack, clip, on_progress=on_progress)
    if when == "transcoding":
        wait_for_transcode(stack, result.asset_id)
        kill()
    assert killed, "nothing was killed"
    until(lambda: not alive(killed), 30, "the killed server lives")
    check_published(stack, result, clip)


@pytest.mark.parametrize("when", ["uploading", "transcoding"])
def test_supervisor_killed(tmp_path: Path, clip: Path, when: str, round_: int) -> None:
    """Nothing outlives it, no port stays held, and the next start goes on where this one ended."""
    data = tmp_path / "data"
    begun: list[UploadBegun] = []
    with pytest.raises(KeyboardInterrupt), site(data) as first:
        family = first.processes()
        supervisor = family[0]
        if when == "transcoding":
            result = first.client.upload(clip, part_size=5 * MIB, on_begin=begun.append)
            wait_for_transcode(first, result.asset_id)
            family = first.processes()
            supervisor.kill()
            raise KeyboardInterrupt
        stop = threading.Event()
        first.client.upload(
            clip, part_size=5 * MIB, on_begin=begun.append, on_progress=_kill_at(supervisor, clip, stop)
        )
    until(lambda: not alive(family), 30, f"these outlived the supervisor: {alive(family)}")
    with site(data) as second:
        if when == "uploading":
            second.client.resume(begun[0].upload_id, clip)
        asset = second.client.wait(begun[0].asset_id, timeout=PUBLISHED)
        assert asset.sha256 == sha256(clip)
        assert second.rows("SELECT count(*) FROM assets") == [(1,)]
        family = second.processes()
    until(lambda: not alive(family), 30, "something survived a clean stop")


def _kill_at(supervisor: psutil.Process, clip: Path, stop: threading.Event) -> Callable[[Any], None]:
    def on_progress(progress: Any) -> None:
        if progress.held >= clip.stat().st_size * 0.3 and not stop.is_set():
            stop.set()
            supervisor.kill()
            raise KeyboardInterrupt

    return on_progress


def test_rows_are_whole_after_all_that(stack: Site) -> None:
    """What the constraints cannot say: sums add up and nothing points nowhere."""
    with psycopg.connect(stack.database) as conn:
        stored = conn.execute("SELECT sum(stored), sum(reserved), sum(open_uploads) FROM quotas").fetchone()
        ingested = conn.execute("SELECT sum(size) FROM uploads WHERE state = 'ingested'").fetchone()
        orphans = conn.execute(
            "SELECT count(*) FROM renditions r LEFT JOIN jobs j ON j.id = r.job_id WHERE j.state <> 'succeeded'"
        ).fetchone()
    assert stored is not None
    assert ingested is not None
    assert stored[0] == ingested[0]
    assert tuple(stored[1:]) == (0, 0)
    assert orphans == (0,)
