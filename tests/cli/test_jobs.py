"""`play`, `process` and `jobs` against a whole stack: what a person types, and sees."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from rushes.cli import exits
from rushes.client import Client
from rushes.errors import Rejected
from rushes.model import Principal, Role
from rushes.wire import AssetView
from tests.cli.conftest import Person, Rushes, token_of
from tests.e2e.equipment import Site as Stack
from tests.pipeline.equipment import picture

STRANGER = Principal("strangers", "sam", Role.OPERATOR, "studio")


@pytest.fixture
def as_ann(ann: Person, rushes_here: Rushes) -> Rushes:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        return rushes_here(*arguments, *ann.options)

    return run


def uploaded(client: Client, path: Path, data: bytes) -> AssetView:
    path.write_bytes(data)
    return client.wait(client.upload(path).asset_id, timeout=120)


def rows(done: subprocess.CompletedProcess[str]) -> list[dict[str, object]]:
    assert done.returncode == exits.OK, done.stderr
    return [json.loads(row) for row in done.stdout.splitlines()]


def test_a_link_is_printed_that_plays(as_ann: Rushes, ann: Person, tiny_clip: Path) -> None:
    asset = ann.client.wait(ann.client.upload(tiny_clip).asset_id, timeout=240)
    for id_ in (asset.id, asset.upload_id):
        shown = as_ann("play", id_, "--seconds", "600")
        assert (shown.returncode, shown.stderr) == (exits.OK, "")
        url = shown.stdout.rstrip("\n")
        assert urlsplit(url).path.endswith(f"/{asset.id}/master.m3u8")
        assert httpx.get(url, timeout=20).text.startswith("#EXTM3U")
    [told] = rows(as_ann("play", asset.id, "--json"))
    assert {"url", "token", "expires_at"} <= told.keys()


def test_what_cannot_be_played_is_said(as_ann: Rushes, ann: Person, tmp_path: Path) -> None:
    asset = uploaded(ann.client, tmp_path / "still.png", picture(1))
    shown = as_ann("play", asset.id)
    assert (shown.returncode, shown.stdout) == (exits.REFUSED, "")
    assert "There is nothing to play of this asset" in shown.stderr
    absent = as_ann("play", uuid4())
    assert absent.returncode == exits.REFUSED
    assert "There is no such upload or asset" in absent.stderr
    for wrong in (("play", "no-id"), ("play", asset.id, "--seconds", "5"), ("play",)):
        assert as_ann(*wrong).returncode == exits.USAGE


def test_an_asset_is_processed_again_and_its_jobs_are_listed(as_ann: Rushes, ann: Person, tmp_path: Path) -> None:
    asset = uploaded(ann.client, tmp_path / "a.png", picture(2))
    [told] = rows(as_ann("process", asset.upload_id, "--stage", "images", "--json"))
    assert (told["type"], told["asset_id"]) == ("process", str(asset.id))
    ann.client.wait(asset.id, timeout=120)
    listed = as_ann("jobs", "ls", "--asset", asset.id)
    types = [row.split()[1] for row in listed.stdout.splitlines()]
    assert types[:2] == ["images", "process"], "the newest first"
    assert sorted(types) == ["digest", "identify", "images", "images", "process", "process"]
    assert all("succeeded  100%" in row for row in listed.stdout.splitlines())
    assert [row["type"] for row in rows(as_ann("jobs", "ls", "--type", "digest", "--json"))] == ["digest"]
    assert as_ann("jobs", "ls", "--dead").stdout == as_ann("jobs", "ls", "--status", "failed").stdout == ""
    shown = as_ann("jobs", "show", told["id"])
    assert (shown.returncode, shown.stdout.split()[:2]) == (exits.OK, [told["id"], "process"])

    again = as_ann("process", asset.id, "--rendition", "poster-64.jpg")
    assert again.returncode == exits.REFUSED
    assert "This asset has no rendition 'poster-64.jpg'." in again.stderr
    unknown = as_ann("process", asset.id, "--stage", "sharpen")
    assert unknown.returncode == exits.USAGE
    assert "--stage 'sharpen' cannot be used. There are identify, digest, poster" in " ".join(unknown.stderr.split())
    assert as_ann("process", asset.id, "--outdated", "-q").stdout == ""


def test_a_failed_job_shows_why_and_is_run_again(as_ann: Rushes, ann: Person, tmp_path: Path) -> None:
    path = tmp_path / "cut off.png"
    path.write_bytes(picture(4)[:3000])
    asset_id = ann.client.upload(path).asset_id
    with pytest.raises(Rejected, match="damaged or cut off"):
        ann.client.wait(asset_id, timeout=120)
    failed, run = rows(as_ann("jobs", "ls", "--asset", asset_id, "--status", "failed", "--json"))
    assert (failed["type"], run["type"]) == ("images", "process")
    shown = as_ann("jobs", "show", failed["id"]).stdout.splitlines()
    assert shown[0].split()[:3] == [failed["id"], "images", "failed"]
    assert shown[-1].startswith("  truncated: This picture is damaged or cut off")
    [again] = rows(as_ann("jobs", "retry", failed["id"], "--json"))
    assert (again["type"], again["id"] != failed["id"]) == ("process", True)
    with pytest.raises(Rejected):
        ann.client.wait(asset_id, timeout=120)
    late = (("cancel", (), "there is nothing to cancel"), ("priority", ("50",), "nothing of it waits"))
    for command, more, said in late:
        done = as_ann("jobs", command, again["id"], *more)
        assert (done.returncode, said in done.stderr) == (exits.REFUSED, True), done.stderr
    assert as_ann("jobs", "priority", again["id"], "500").returncode == exits.USAGE


def test_others_jobs_are_not_there(
    as_ann: Rushes, ann: Person, stack: Stack, rushes_here: Rushes, tmp_path: Path
) -> None:
    asset = uploaded(ann.client, tmp_path / "a.png", picture(3))
    job = ann.client.jobs.page(asset_id=asset.id).items[0]
    stranger = ("--server", stack.running.api_url, "--token", token_of(stack, STRANGER))
    for command in ("show", "retry", "cancel"):
        done = rushes_here("jobs", command, job.id, *stranger)
        assert (done.returncode, "There is no such job." in done.stderr) == (exits.REFUSED, True)
    assert rushes_here("jobs", "ls", *stranger).stdout == ""
    assert rushes_here("process", asset.id, *stranger).returncode == exits.REFUSED
    assert as_ann("jobs", "show", job.id).returncode == exits.OK
