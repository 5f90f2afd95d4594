"""`rushes upload` and the commands around it, as processes that are stopped, killed, paused and started again."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from rushes.checksum import crc64nvme
from rushes.cli import exits
from rushes.client import Journal
from tests.cli.conftest import Rushes
from tests.cli.terminal import on_a_terminal
from tests.client.equipment import TOKEN, Fault, Site, asset_json

PART = 5 << 20
COUNT = 4


@pytest.fixture
def film(tmp_path: Path) -> Path:
    path = tmp_path / "film.mov"
    path.write_bytes(random.Random(9).randbytes(COUNT * PART))
    return path


@pytest.fixture
def trip(tmp_path: Path) -> Path:
    for name in ("a.mov", "day 1/b.mov", "day 1/c.mov", "day 2/d.mov"):
        (tmp_path / "trip" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "trip" / name).write_bytes(name.encode() * 50)
    return tmp_path / "trip"


def told(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


class Held:
    """The site stores one part, and keeps the next ones waiting until they are let go."""

    def __init__(self, site: Site) -> None:
        self.reached, self._go = threading.Event(), threading.Event()
        self._site = site
        site.before_put = self._before

    def _before(self, _number: int) -> None:
        if self._site.only().stored:
            self.reached.set()
            self._go.wait(60)

    def let_go(self) -> None:
        self._go.set()


@contextmanager
def uploading(
    site: Site, environment: dict[str, str], at: tuple[str, ...], *arguments: object
) -> Iterator[tuple[subprocess.Popen[str], Held]]:
    """A process that is in the middle of its upload."""
    held = Held(site)
    command = [
        sys.executable,
        "-m",
        "rushes",
        "upload",
        *map(str, arguments),
        *at,
        "--part-size",
        "5MiB",
        "--concurrency",
        "1",
    ]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            assert held.reached.wait(30)
            yield process, held
        finally:
            held.let_go()
            site.before_put = None


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = process.communicate(timeout=30)
    return process.returncode, out + (err or "")


# --- a file -----------------------------------------------------------------------------------------------------------


def test_a_file_goes_up_and_nothing_is_pending(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path
) -> None:
    done = rushes_here("upload", clip, *at, "--tag", "night", "--project", "dune", "--metadata", "k=v")
    assert done.returncode == exits.OK, done.stderr
    upload = site.only()
    assert f"clip one.mov is uploaded and verified: 1 kB in 0:00. rushes status {upload.asset_id}" in done.stdout
    assert upload.begin is not None
    assert upload.begin.title is not None
    assert (upload.begin.title.title, upload.begin.title.tags, upload.begin.title.project_id) == (
        "clip one", ["night"], "dune"
    )  # fmt: skip
    assert upload.begin.source is not None
    assert upload.begin.source.endswith(f":{clip}")
    assert rushes_here("pending").stdout == "Nothing is pending.\n"


def test_quiet_is_silent_unless_it_fails(rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path) -> None:
    done = rushes_here("upload", clip, *at, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (exits.OK, "", "")
    site.faults = [Fault("put", 400, "InvalidRequest")]
    done = rushes_here("upload", clip, *at, "-q", "--anew")
    assert (done.returncode, done.stdout) == (exits.REFUSED, "")
    assert "InvalidRequest" in done.stderr


def test_checksums_and_part_size_reach_the_server(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path
) -> None:
    done = rushes_here("upload", film, *at, "--checksum", "md5", "--part-size", "6MiB", "--concurrency", "2")
    assert done.returncode == exits.OK, done.stderr
    assert site.only().declared[0].startswith("md5:")
    assert site.only().plan.part_size == 6 << 20
    assert site.peak <= 2


@pytest.mark.parametrize(
    "options",
    [["--checksum", "crc7"], ["--part-size", "big"], ["--limit-rate", "fast"], ["--limit-rate", "0"]],
)
def test_options_that_cannot_be(rushes_here: Rushes, at: tuple[str, ...], clip: Path, options: list[str]) -> None:
    assert rushes_here("upload", clip, *at, *options).returncode == exits.USAGE


def test_a_state_directory_that_takes_nothing(rushes_here: Rushes, at: tuple[str, ...], clip: Path) -> None:
    done = rushes_here("upload", clip, *at, RUSHES_STATE_DIR=str(clip / "below"))
    assert done.returncode == exits.UNAVAILABLE
    assert "RUSHES_STATE_DIR" in done.stderr


# --- stopped, and gone on with ----------------------------------------------------------------------------------------


def test_ctrl_c_pending_resume(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    with uploading(site, environment, at, film) as (process, _):
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert code == exits.INTERRUPTED
    assert "Nothing is lost for 14 days" in said
    (row,) = told(rushes_here("pending", "--json"))
    assert (row["file"], row["size"], row["held"], row["state"]) == (str(film), COUNT * PART, PART, "begun")
    assert row["stopped"]["code"] == "stopped"
    assert row["upload_id"] == str(site.only().id)
    line = rushes_here("pending").stdout.splitlines()[1]
    assert line.startswith(str(film))
    assert "25%" in line
    done = rushes_here("resume", *at)
    assert done.returncode == exits.OK, done.stderr
    assert " MB of it before" in done.stdout
    assert site.only().crc == crc64nvme(film.read_bytes())
    assert rushes_here("resume", *at).stdout == "Nothing is pending.\n"


def test_a_second_ctrl_c_waits_for_nothing(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    site.faults = [Fault("ask", way="answer", status=503)]
    with uploading(site, environment, at, film) as (process, _):
        process.send_signal(signal.SIGINT)
        time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        code, said = ended(process)
    assert code == exits.INTERRUPTED
    assert "Traceback" not in said
    assert rushes_here("upload", film, *at).returncode == exits.OK
    assert len(site.uploads) == 1


def test_pause_from_another_terminal(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    with uploading(site, environment, at, film) as (process, _):
        (row,) = told(rushes_here("pending", "--json"))
        assert (row["state"], row["pid"]) == ("uploading", process.pid)
        assert f"being uploaded by process {process.pid}" in rushes_here("pending").stdout
        done = rushes_here("pause", film)
        assert done.stdout == f"Paused: {film} (process {process.pid})\n"
        code, said = ended(process)
    assert code == exits.PAUSED
    assert "rushes resume" in said
    assert told(rushes_here("pending", "--json"))[0]["state"] == "paused"
    assert rushes_here("pause", "--all").stdout == "Nothing is being uploaded.\n"
    assert rushes_here("pause").returncode == exits.USAGE
    assert rushes_here("resume", film, *at).returncode == exits.OK
    assert site.only().crc == crc64nvme(film.read_bytes())


def test_a_pause_that_nobody_heard_does_not_strike_the_next(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    with uploading(site, environment, at, film) as (process, _):
        process.send_signal(signal.SIGSTOP)
        with subprocess.Popen(
            [sys.executable, "-m", "rushes", "pause", "--all"], env=environment, stdout=subprocess.PIPE, text=True
        ) as pausing:
            with Journal(Path(environment["XDG_STATE_HOME"]) / "rushes") as journal:
                while not journal.pause_asked():
                    time.sleep(0.05)
            process.kill()
            out, _ = pausing.communicate(timeout=30)
    assert "Paused" in out
    assert rushes_here("upload", film, *at).returncode == exits.OK


@pytest.mark.parametrize("name", ["film.mov", "", "id"])
def test_cancel_by_file_folder_and_id(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str], name: str
) -> None:
    with uploading(site, environment, at, film) as (process, _):
        process.kill()
    meant = site.only().id if name == "id" else film.parent / name
    done = rushes_here("cancel", meant, *at)
    assert (done.returncode, done.stdout) == (exits.OK, f"Cancelled: {film}\n")
    assert site.only().state == "aborted"
    assert rushes_here("pending").stdout == "Nothing is pending.\n"
    assert film.exists()
    assert rushes_here("cancel", film, *at).returncode == exits.REFUSED


def test_cancel_leaves_alone_what_somebody_is_at(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    with uploading(site, environment, at, film) as (process, held):
        done = rushes_here("cancel", film, *at)
        assert done.returncode == exits.REFUSED
        assert f"process {process.pid}" in done.stderr
        held.let_go()
        assert ended(process)[0] == exits.OK


def test_what_is_forgotten_needs_no_server(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    with uploading(site, environment, at, film) as (process, _):
        process.kill()
    assert rushes_here("cancel", film, "--forget").stdout == f"Forgotten: {film}\n"
    assert site.only().state == "uploading"
    assert rushes_here("pending").stdout == "Nothing is pending.\n"


def test_a_changed_file_is_refused_until_anew(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    with uploading(site, environment, at, film) as (process, _):
        process.kill()
    os.truncate(film, PART)
    done = rushes_here("upload", film, *at)
    assert done.returncode == exits.REFUSED
    assert "cut short" in done.stderr
    assert "rushes upload --anew" in done.stderr
    assert "cut short" in rushes_here("pending").stdout
    assert rushes_here("upload", film, *at, "--anew").returncode == exits.OK
    assert [upload.state for upload in site.uploads.values()] == ["aborted", "ingested"]


def test_the_second_of_two_says_who_does_it(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    with uploading(site, environment, at, film) as (process, held):
        done = rushes_here("upload", film, *at)
        assert done.returncode == exits.OK
        assert f"process {process.pid}, since " in done.stdout
        (row,) = told(rushes_here("upload", film, *at, "--json"))
        assert (row["state"], row["ok"], row["error"]["code"]) == ("elsewhere", True, "upload_elsewhere")
        following = subprocess.Popen(
            [sys.executable, "-m", "rushes", "upload", film, *at, "--follow"],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        with following:
            assert following.stdout is not None
            assert "Waiting for it" in following.stdout.readline()
            site.asset_statuses = [{"status": "published", "processing_state": "published"}]
            site.assets[site.only().asset_id] = asset_json(site.only(), "published")
            held.let_go()
            assert ended(process)[0] == exits.OK
            assert ended(following)[0] == exits.OK
    assert len(site.uploads) == 1


# --- many files -------------------------------------------------------------------------------------------------------


def test_a_folder_with_its_structure_and_what_was_left_out(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], trip: Path
) -> None:
    (trip / ".DS_Store").write_bytes(b"x")
    (trip / "empty.mov").touch()
    done = rushes_here("upload", trip, *at, "--title", "Trip")
    assert done.returncode == exits.OK, done.stderr
    assert "Left out 2 files" in done.stdout
    assert "empty.mov is empty" in done.stdout
    assert "4 files uploaded and verified: 1.9 kB." in done.stdout
    begun = [upload.begin for upload in site.uploads.values() if upload.begin is not None]
    assert {one.relative_path for one in begun} == {
        "trip/a.mov", "trip/day 1/b.mov", "trip/day 1/c.mov", "trip/day 2/d.mov"
    }  # fmt: skip
    assert {one.title_id for one in begun} == set(site.titles)
    assert len(site.titles) == 1


def test_failures_of_a_folder_are_listed_and_tried_again(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], trip: Path
) -> None:
    site.faults = [Fault("put", 400, "InvalidRequest"), Fault("put", 400, "InvalidRequest")]
    done = rushes_here("upload", trip, *at, "--title", "Trip", "--json")
    assert done.returncode == exits.REFUSED
    rows = told(done)
    assert sorted(row["state"] for row in rows) == ["done", "done", "failed", "failed"]
    failed = {row["file"] for row in rows if not row["ok"]}
    assert "2 of 4 files failed:" in done.stderr
    assert all(f"  {name}: " in done.stderr for name in failed)
    assert "rushes resume" in done.stderr
    assert {row["file"] for row in told(rushes_here("pending", "--json"))} == failed
    again = told(rushes_here("resume", *at, "--json"))
    assert {row["file"] for row in again} == failed
    assert all(row["ok"] for row in again)
    assert rushes_here("pending").stdout == "Nothing is pending.\n"
    assert len(site.titles) == 1


def test_patterns_and_files_that_are_not_there(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], trip: Path
) -> None:
    done = rushes_here("upload", f"{trip}/**/*.mov", trip / "none.mov", f"{trip}/*.mxf", *at)
    assert done.returncode == exits.USAGE
    assert "2 of 6 files failed:" in done.stdout
    assert "Nothing here matches" in done.stdout
    assert sum(upload.state == "ingested" for upload in site.uploads.values()) == 4


def test_a_dumb_terminal_gets_lines(environment: dict[str, str], at: tuple[str, ...], site: Site, trip: Path) -> None:
    code, shown = on_a_terminal("upload", trip, *at, environment=environment, term="dumb")
    assert code == exits.OK
    assert "4 files uploaded and verified" in shown
    assert "\x1b" not in shown


def test_many_files_have_one_view_on_a_terminal(
    site: Site, at: tuple[str, ...], trip: Path, environment: dict[str, str]
) -> None:
    site.pace = 0.5
    code, shown = on_a_terminal("upload", trip, *at, environment=environment | {"COLUMNS": "120"})
    assert code == exits.OK
    for text in ("4 files", "━", "0 of 4 files", "4 files uploaded and verified"):
        assert text in shown


def test_what_belongs_to_another_server_is_left_alone(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], film: Path, environment: dict[str, str]
) -> None:
    from tests.client.served import serving

    with uploading(site, environment, at, film) as (process, _):
        process.kill()
    with serving() as other:
        there = ("--server", other.url, "--token", TOKEN)
        done = rushes_here("resume", *there)
        assert (done.returncode, "Left alone: 1 file" in done.stdout) == (exits.OK, True)
        assert rushes_here("resume", film, *there).returncode == exits.REFUSED
        assert other.uploads == {}
    moved = ("--server", site.url.replace("127.0.0.1", "localhost"), "--token", TOKEN)
    assert rushes_here("resume", *moved).returncode == exits.OK, "the same server at another address"
    assert site.only().state == "ingested"
