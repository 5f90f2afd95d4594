"""A file goes the whole way, on real parts, as a person's own file does."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import urllib.request
import wave
from pathlib import Path

import pytest

from rushes.checksum import crc64nvme, encode
from rushes.errors import OverQuota, Rejected
from rushes.model import Layout
from tests.e2e.equipment import Site, names, sha256, until

MIB = 1024 * 1024


def test_a_clip_is_published_with_everything_that_was_promised(stack: Site, clip: Path) -> None:
    seen: list[str] = []
    result = stack.client.upload(clip, title="First light", part_size=5 * MIB)
    asset = stack.client.wait(result.asset_id, on_status=lambda status: seen.append(status.status), timeout=200)

    assert result.part_count >= 4
    assert asset.sha256 == sha256(clip)
    assert asset.checksum.value == encode(crc64nvme(clip.read_bytes())) == result.checksum
    assert asset.verification == "end_to_end"
    assert asset.kind == "video"
    assert asset.media is not None
    assert {"hls_audio", "proxy", "poster", "sprite", "waveform"} <= {rendition.type for rendition in asset.renditions}
    heights = sorted(r.height for r in asset.renditions if r.type == "hls_video" and r.height)
    assert heights == [360, 720, 1080]
    assert "processing" in seen
    assert seen[-1] == "published"


def test_every_link_works_and_names_its_type(stack: Site, clip: Path) -> None:
    asset = stack.client.assets.page().items[0]
    assert asset.original_url is not None
    for url, size in [(asset.original_url, asset.size), *((r.url, r.size) for r in asset.renditions)]:
        with urllib.request.urlopen(url, timeout=30) as reply:
            body = reply.read()
        assert len(body) == size
    with urllib.request.urlopen(asset.original_url, timeout=30) as reply:
        assert reply.headers["Content-Disposition"].startswith("attachment")
        assert "clip%20one.mp4" in reply.headers["Content-Disposition"]
        assert reply.read() == clip.read_bytes()
    vtt = next(r for r in asset.renditions if r.name.endswith(".vtt"))
    with urllib.request.urlopen(vtt.url, timeout=30) as reply:
        text = reply.read().decode()
        assert reply.headers["Content-Type"].startswith("text/vtt")
    assert text.startswith("WEBVTT")
    assert "#xywh=" in text


def test_jobs_tell_what_was_done(stack: Site) -> None:
    asset = stack.client.assets.page().items[0]
    jobs = {job.type: job for job in stack.client.jobs.page(asset_id=asset.id).items}
    assert set(jobs) == {"process", "identify", "digest", "copy", "encode", "poster", "stills", "sound"}
    assert all(job.status == "succeeded" and job.progress == 1 for job in jobs.values())
    events = [row[0] for row in stack.rows("SELECT type FROM events WHERE asset_id = %s ORDER BY id", asset.id)]
    assert events[0] == "upload_started"
    assert events.count("part_completed") >= 4
    assert events[-1] == "asset_published"


def test_an_undecodable_file_fails_with_a_reason_and_is_kept(stack: Site, tmp_path: Path) -> None:
    path = tmp_path / "holiday.mp4"
    path.write_bytes(b"this is a text that pretends to be a film\n" * 5000)
    result = stack.client.upload(path)
    with pytest.raises(Rejected) as caught:
        stack.client.wait(result.asset_id, timeout=100)
    assert "video" in caught.value.message
    asset = stack.client.assets.get(result.asset_id)
    assert asset.status == "failed"
    assert asset.problem is not None
    assert asset.renditions == []
    assert asset.original_url is not None
    with urllib.request.urlopen(asset.original_url, timeout=30) as reply:
        assert reply.read() == path.read_bytes()


def test_limits_are_set_and_seen_from_the_command_line(stack: Site, clip: Path) -> None:
    """On the stack that runs here, without a word about where it is."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RUSHES_")}
    environment = kept | {"RUSHES_DATA_DIR": str(stack.running.data_dir)}

    def run(*arguments: str) -> str:
        command = [sys.executable, "-m", "rushes", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    told = json.loads(run("usage", "--creators", "--json"))
    assert told["tenant"] == "local"
    assert told["tenant_used"]["stored"] == sum(creator["used"]["stored"] for creator in told["creators"])
    assert "tenant stored" in run("usage")
    try:
        run("tenant", "set", "local", "--stored", "1B")
        with pytest.raises(OverQuota) as refused:
            stack.client.upload(clip)
        assert refused.value.code == "tenant_quota_exceeded"
    finally:
        run("tenant", "set", "local", "--stored", "none")
    assert "any size" in run("tenant", "show", "local")
    assert "local: " in run("tenant", "list")


def test_a_published_asset_can_be_processed_again_and_stays_readable(stack: Site) -> None:
    asset = next(a for a in stack.client.assets.page().items if a.state == "published")
    before = names(asset)
    request = urllib.request.Request(
        f"{stack.running.api_url}/v1/assets/{asset.id}/process",
        method="POST",
        headers={"Authorization": f"Bearer {stack.token}"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        job = json.load(reply)
    assert job["type"] == "process"
    during = stack.client.assets.get(asset.id)
    assert during.state == "processing"
    assert names(during) == before
    again = stack.client.wait(asset.id, timeout=200)
    assert names(again) == before
    assert {r.id for r in again.renditions}.isdisjoint({r.id for r in asset.renditions})


def test_the_doctor_finds_the_running_stack_well(stack: Site) -> None:
    command = [sys.executable, "-m", "rushes", "doctor", "--data-dir", str(stack.running.data_dir)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Parts are sent with CRC64NVME." in done.stdout
    assert "problem" not in done.stdout


def test_a_staged_upload_by_the_same_client(stack: Site, tmp_path: Path) -> None:
    """What the client does with its grants is what it always does. Nothing stays of the parts."""
    path = tmp_path / "noise.wav"
    with wave.open(str(path), "wb") as sound:
        sound.setparams((2, 2, 48_000, 0, "NONE", ""))
        sound.writeframes(random.Random(1).randbytes(12 * MIB))
    size = path.stat().st_size
    result = stack.client.upload(path, part_size=5 * MIB, layout=Layout.STAGED)
    assert stack.client.uploads.get(result.upload_id).layout is Layout.STAGED
    assert (result.part_count, result.sent) == (3, size)
    asset = stack.client.wait(result.asset_id, timeout=100)
    assert (asset.sha256, asset.verification) == (sha256(path), "end_to_end")
    parts = "SELECT count(copied_etag), count(copier) FROM parts WHERE upload_id = %s"
    assert stack.rows(parts, result.upload_id) == [(3, 0)]
    ended = "SELECT status FROM dbos.workflow_status WHERE workflow_uuid = %s"
    until(lambda: stack.rows(ended, f"unstage-{result.upload_id}") == [("SUCCESS",)], 30, "the parts are not removed")
