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
from rushes.client import Client, Journal, Limits
from rushes.client.transfer import Opening
from rushes.errors import Unavailable
from tests.cli.conftest import Rushes
from tests.client.equipment import TOKEN
from tests.client.served import serving


@pytest.fixture
def port() -> int:
    """Where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def heard(process: subprocess.Popen[str], text: str) -> None:
    """Read what it says until it says this."""
    assert process.stdout is not None
    said: list[str] = []
    while text not in (line := process.stdout.readline()):
        assert line, f"it ended, and had said {said}"
        said.append(line)


@contextmanager
def waiting(environment: dict[str, str], port: int, *arguments: object) -> Iterator[subprocess.Popen[str]]:
    """A command that says that it waits for the server."""
    at = ("--server", f"http://127.0.0.1:{port}", "--token", TOKEN)
    command = [sys.executable, "-m", "rushes", *map(str, arguments), *at]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            heard(process, f"No server answers at http://127.0.0.1:{port}. Trying again.")
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
        heard(process, "Watching")
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == exits.INTERRUPTED


def test_who_does_not_answer_at_once_is_told_of(environment: dict[str, str], clip: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:  # takes connections, and never says a word
        url = f"http://127.0.0.1:{mute.getsockname()[1]}"
        command = [sys.executable, "-m", "rushes", "upload", str(clip), "--server", url, "--token", TOKEN]
        with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
            heard(process, f"waiting: {url} has not answered yet.")
            process.kill()


@pytest.mark.parametrize("count", [1, 2])
def test_a_server_that_was_never_reached_is_given_up_for_now(port: int, clip: Path, tmp_path: Path, count: int) -> None:
    paths = [clip, tmp_path / "other.mov"][:count]
    (tmp_path / "other.mov").write_bytes(b"x")
    limits = Limits(reach_after=0.2, backoff=0.05)
    with (
        Journal(tmp_path / "state") as journal,
        Client(f"http://127.0.0.1:{port}", TOKEN, limits=limits, journal=journal) as client,
    ):
        for outcome in client.upload_many(paths):
            assert isinstance(outcome.error, Unavailable)
            assert outcome.error.code == "server_unreached"
            assert f"No server answers at http://127.0.0.1:{port}. It was tried for 0 seconds." in str(outcome.error)
        assert [entry.code for entry in client.pending()] == ["server_unreached"] * count
        with serving(port) as site:
            assert {outcome.error for outcome in client.resume_pending()} == {None}
            assert len(site.uploads) == count


@pytest.mark.parametrize(
    ("reached", "seconds", "code"), [(True, 300.0, "no_progress"), (False, 60.0, "server_unreached")]
)
def test_a_server_that_has_answered_is_waited_for_longer(*, reached: bool, seconds: float, code: str) -> None:
    passed = 0.0
    opening = Opening(Limits(), unanswered=lambda: 0.0 if reached else passed)
    for passed in (0.0, seconds - 1, seconds):
        assert opening.end is None
        opening.failed(Unavailable("network_refused", "No server answers."), 1000.0 + passed, 0.0)
    assert opening.end is not None
    assert opening.end.problem is not None
    assert opening.end.problem.code == code
