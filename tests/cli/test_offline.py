"""`rushes upload` where no server answers yet: what is wished is written down, waits, and begins when the server is there."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from rushes.checksum import crc64nvme
from rushes.cli import exits
from tests.cli.conftest import Rushes
from tests.client.equipment import TOKEN, serving


@pytest.fixture
def port() -> int:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextmanager
def waiting(environment: dict[str, str], port: int, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A command that says that it waits for the server."""
    at = ("--server", f"http://127.0.0.1:{port}", "--token", TOKEN)
    command = [sys.executable, "-m", "rushes", *map(str, arguments), *at]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            said = process.stdout.readline()
            assert f"No server answers at http://127.0.0.1:{port}. Trying again." in said
            yield process
        finally:
            process.kill()


def test_a_file_waits_and_is_listed_until_the_server_is_there(
    rushes_here: Rushes, environment: dict[str, str], port: int, clip: Path
) -> None:
    with waiting(environment, port, "upload", clip, "--title", "Scene 12") as process:
        listed = json.loads(rushes_here("pending", "--json").stdout)
        assert (listed["file"], listed["held"]) == (str(clip), 0)
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == exits.INTERRUPTED
    assert json.loads(rushes_here("pending", "--json").stdout)["file"] == str(clip)
    with waiting(environment, port, "resume") as process, serving(port) as site:
        assert process.wait(60) == exits.OK
        upload = site.only()
    assert (upload.state, upload.crc) == ("ingested", crc64nvme(clip.read_bytes()))
    assert upload.begin is not None
    assert upload.begin.title is not None
    assert upload.begin.title.title == "Scene 12"
    assert rushes_here("pending").stdout == "Nothing is pending.\n"


def test_files_of_one_title_wait_for_it(environment: dict[str, str], port: int, clip: Path, tmp_path: Path) -> None:
    (tmp_path / "other.mov").write_bytes(b"x")
    arguments = ("upload", clip, tmp_path / "other.mov", "--title", "Day 3")
    with waiting(environment, port, *arguments) as process, serving(port) as site:
        assert process.wait(60) == exits.OK
        assert [title["title"] for title in site.titles.values()] == ["Day 3"]
        assert {upload.title_id for upload in site.uploads.values()} == set(site.titles)


def test_a_watch_waits_too(environment: dict[str, str], port: int, tmp_path: Path) -> None:
    (tmp_path / "card").mkdir()
    at = ("--server", f"http://127.0.0.1:{port}", "--token", TOKEN)
    command = [sys.executable, "-m", "rushes", "watch", str(tmp_path / "card"), *at]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert "Watching" in process.stdout.readline()
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == exits.INTERRUPTED
