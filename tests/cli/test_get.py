"""`rushes get` against a whole stack: what was published comes back byte by byte."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from rushes.cli import exits
from rushes.wire import AssetView
from tests.cli.conftest import Rushes
from tests.client.shelf import shelved
from tests.e2e.equipment import Site as Stack
from tests.e2e.equipment import sha256


@pytest.fixture(scope="module")
def published(stack: Stack, tiny_clip: Path) -> AssetView:
    return stack.client.wait(stack.client.upload(tiny_clip).asset_id, timeout=200)


def test_original_and_renditions_come_back(
    rushes_here: Rushes, signed_in: tuple[str, ...], published: AssetView, tiny_clip: Path, tmp_path: Path
) -> None:
    done = rushes_here("get", published.upload_id, "-o", tmp_path, *signed_in)
    assert done.returncode == exits.OK, done.stderr
    assert f"{tmp_path / 'tiny.mp4'}: " in done.stdout
    assert f"verified, crc64nvme {published.checksum.value}" in done.stdout
    assert sha256(tmp_path / "tiny.mp4") == sha256(tiny_clip) == published.sha256
    assert "is here already" in rushes_here("get", published.id, "-o", tmp_path, *signed_in).stdout
    for rendition in published.renditions:
        told = json.loads(
            rushes_here("get", published.id, "--rendition", rendition.name, "-o", tmp_path, *signed_in, "--json").stdout
        )
        assert told["path"] == str(tmp_path / f"tiny-{rendition.name}")
        assert Path(told["path"]).stat().st_size == rendition.size == told["received"]
        assert told["verified"] == [f"crc64nvme {rendition.checksum}"]
    told = json.loads(
        rushes_here("get", published.id, "--sha256", "-o", tmp_path / "again", *signed_in, "--json").stdout
    )
    assert told["verified"][1] == f"sha256 {published.sha256}"
    assert rushes_here("get", published.id, "-q", "-o", tmp_path / "other", *signed_in).stdout == ""


def test_what_cannot_be_got_is_said(
    rushes_here: Rushes, signed_in: tuple[str, ...], published: AssetView, tmp_path: Path
) -> None:
    (tmp_path / "tiny.mp4").write_text("mine")
    for arguments, code, said in (
        ([uuid4()], exits.REFUSED, "rushes ls"),
        ([published.id, "--rendition", "none"], exits.REFUSED, "There are:"),
        ([published.id, "-o", tmp_path], exits.REFUSED, "--force"),
        ([published.id, "-o", tmp_path / "a" / "b"], exits.USAGE, "no folder"),
        ([published.id, "-o", "-"], exits.USAGE, "stdout"),
        ([published.id, "--original", "--rendition", "x"], exits.USAGE, "not both"),
    ):
        done = rushes_here("get", *arguments, *signed_in)
        assert (done.returncode, said in done.stderr) == (code, True), done.stderr
    assert (tmp_path / "tiny.mp4").read_text() == "mine"


def test_an_upload_that_is_not_finished_has_nothing_to_get(
    rushes_here: Rushes, signed_in: tuple[str, ...], stack: Stack, tmp_path: Path
) -> None:
    from rushes.wire import BeginUpload

    begun = stack.client.uploads.begin(BeginUpload(filename="later.mov", size=1000), str(uuid4()))
    done = rushes_here("get", begun.asset_id, "-o", tmp_path, *signed_in)
    assert (done.returncode, "not stored yet" in done.stderr) == (exits.REFUSED, True)


def test_ctrl_c_keeps_what_came_and_the_same_command_goes_on(
    rushes_here: Rushes, environment: dict[str, str], tmp_path: Path
) -> None:
    data = bytes(range(256)) * 40_000
    with shelved(data) as shelf:
        at = ("--server", shelf.url, "--token", "t")
        shelf.pace = 0.03
        shelf.id = UUID(int=7)
        command = [sys.executable, "-m", "rushes", "get", str(shelf.id), "-o", str(tmp_path), *at]
        with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
            while shelf.sent < len(data) // 3:
                assert process.poll() is None
                time.sleep(0.02)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        assert process.returncode == exits.INTERRUPTED
        assert "keeps what came" in said
        shelf.pace = 0
        done = rushes_here("get", shelf.id, "-o", tmp_path, *at)
        assert done.returncode == exits.OK, done.stderr
        assert "of it from before" in done.stdout
        assert (tmp_path / "scene 12.mov").read_bytes() == data
