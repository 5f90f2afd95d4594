"""`rushes ingest` and its neighbours against the test server; the real stack is the end-to-end tests' matter."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from rushes.checksum import crc64nvme, encode
from rushes.cli import exits, words
from tests.cli.conftest import Rushes
from tests.cli.terminal import on_a_terminal
from tests.client.equipment import Fault, Site, Upload, asset_json

PUBLISHED = [{"status": "ingested"}, {"status": "processing"}, {"status": "published", "processing_state": "published"}]


@pytest.fixture
def publishing(site: Site) -> Site:
    """The server processes whatever comes."""
    site.asset_statuses = [*PUBLISHED]
    status = site.status

    def remember(upload: Upload) -> dict[str, Any]:
        site.assets[upload.asset_id] = asset_json(upload, "published")
        return status(upload)

    site.status = remember  # type: ignore[method-assign]
    return site


def test_what_came_out_is_shown(rushes_here: Rushes, publishing: Site, at: tuple[str, ...], clip: Path) -> None:
    done = rushes_here("ingest", clip, *at)
    assert done.returncode == 0, done.stderr
    for text in (
        "clip one.mov is published", "QuickTime / MOV", "h264 High, 1920 x 1080, 25 fps", "aac, stereo, 48000 Hz",
        "crc64nvme rosUhgp5mIg=", "ab" * 32, "end to end", "proxy-720p.mp4 (proxy, 1280 x 720, 0:12, 5.56 MB)",
        "clip one.mov: processing",
    ):  # fmt: skip
        assert text in done.stdout
    assert f"http://store/proxy?X-Amz-Signature={200 * 'f'}" in done.stdout.split(), "a link must not be wrapped"
    assert "\x1b" not in done.stdout
    assert publishing.only().crc == crc64nvme(clip.read_bytes())


def test_how_it_is_uploaded_is_chosen_as_for_upload(
    rushes_here: Rushes, publishing: Site, at: tuple[str, ...], tmp_path: Path
) -> None:
    film = tmp_path / "film.mov"
    film.write_bytes(os.urandom(11 << 20))
    options = ("--checksum", "md5", "--part-size", "6MiB", "--limit-rate", "100M")
    done = rushes_here("ingest", film, *at, *options)
    assert done.returncode == exits.OK, done.stderr
    assert publishing.only().declared[0].startswith("md5:")
    assert publishing.only().plan.part_size == 6 << 20
    assert rushes_here("ingest", film, *at, "--limit-rate", "0").returncode == exits.USAGE


def test_json_is_one_object_a_file(
    rushes_here: Rushes, publishing: Site, at: tuple[str, ...], clip: Path, tmp_path: Path
) -> None:
    done = rushes_here("ingest", clip, tmp_path / "none.mov", *at, "--json")
    told = [json.loads(line) for line in done.stdout.splitlines()]
    assert {Path(one["file"]).name: one["ok"] for one in told} == {"clip one.mov": True, "none.mov": False}
    good = next(one for one in told if one["ok"])
    assert good["asset"]["state"] == "published"
    assert good["checksum"] == encode(crc64nvme(clip.read_bytes()))
    assert good["upload_id"] == str(publishing.only().id)
    assert next(one for one in told if not one["ok"])["error"]["code"] == "file_missing"
    assert "1 of 2 files failed" in done.stderr
    assert done.returncode == exits.USAGE


def test_every_file_is_tried_and_failures_are_listed(
    rushes_here: Rushes, publishing: Site, at: tuple[str, ...], clip: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.mov"
    other.write_bytes(b"other")
    publishing.faults = [Fault("put", 400, "InvalidRequest")]
    done = rushes_here("ingest", clip, other, *at, "--title", "Both")
    assert done.returncode == exits.REFUSED
    assert "1 of 2 files failed" in done.stdout
    for path in (clip, other):  # they go at the same time: it may have struck either
        assert (f"  {path}: " in done.stdout) is not (f"{path.name} is published" in done.stdout)
    first, second = publishing.uploads.values()
    assert first.begin is not None
    assert second.begin is not None
    ((title_id, title),) = publishing.titles.items()
    assert title["title"] == "Both"
    assert first.begin.title_id == second.begin.title_id == title_id, "one title for all"


def test_everything_said_about_the_title_travels(
    rushes_here: Rushes, publishing: Site, at: tuple[str, ...], clip: Path
) -> None:
    options = ["--title", "T", "--description", "D", "--genre", "G", "--tag", "a", "--tag", "b", "--project", "P"]
    done = rushes_here("ingest", clip, *at, *options, "--release-date", "2026-11-21", "--metadata", "k=v=w")
    assert done.returncode == 0, done.stderr
    begun = publishing.only().begin
    assert begun is not None
    assert begun.title is not None
    assert begun.title.model_dump(mode="json") == {
        "title": "T", "description": "D", "genre": "G", "tags": ["a", "b"], "release_date": "2026-11-21",
        "project_id": "P", "metadata": {"k": "v=w"},
    }  # fmt: skip


def test_what_is_waited_for_is_said(rushes_here: Rushes, publishing: Site, at: tuple[str, ...], clip: Path) -> None:
    publishing.faults = [Fault("put", 507, "InsufficientStorage", {"Retry-After": "1"})]
    done = rushes_here("ingest", clip, *at)
    assert done.returncode == 0, done.stderr
    assert (
        "waiting: The object store has no room left (InsufficientStorage: made to fail). Trying again." in done.stdout
    )


def test_media_that_cannot_be_processed(rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path) -> None:
    site.asset_statuses = [{"status": "failed", "problem": {"code": "undecodable", "message": "This is no video."}}]
    done = rushes_here("ingest", clip, *at)
    assert done.returncode == exits.REFUSED
    assert "rushes: This is no video." in done.stderr


def test_bars_on_a_terminal(publishing: Site, at: tuple[str, ...], clip: Path, environment: dict[str, str]) -> None:
    publishing.pace = 0.5
    code, shown = on_a_terminal("ingest", clip, *at, environment=environment | {"COLUMNS": "100"})
    assert code == exits.OK
    assert "━" in shown
    assert "is published" in shown


def stopped(
    command: list[str], environment: dict[str, str], site: Site, wait: float = 0.3
) -> subprocess.CompletedProcess[str]:
    """Ctrl-C once the first part is on its way."""
    reached = threading.Event()

    def slow(_number: int) -> None:
        reached.set()
        time.sleep(1)

    site.before_put = slow
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert reached.wait(20)
        time.sleep(wait)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
    site.before_put = None
    return subprocess.CompletedProcess(command, process.returncode, out, err)


def test_ctrl_c_says_how_to_go_on_and_that_works(
    rushes_here: Rushes, publishing: Site, at: tuple[str, ...], clip: Path, environment: dict[str, str]
) -> None:
    done = stopped([sys.executable, "-m", "rushes", "ingest", str(clip), *at], environment, publishing)
    assert done.returncode == exits.INTERRUPTED
    assert "Nothing is lost for 14 days: the same command goes on where it was" in done.stdout
    assert "Traceback" not in done.stderr
    again = rushes_here("ingest", clip, *at)
    assert again.returncode == 0, again.stderr
    assert publishing.only().crc == crc64nvme(clip.read_bytes())


def test_ctrl_c_while_processing_says_that_nothing_is_lost(
    site: Site, at: tuple[str, ...], clip: Path, environment: dict[str, str]
) -> None:
    site.asset_statuses = [{"status": "processing"}]
    command = [sys.executable, "-m", "rushes", "ingest", str(clip), *at]
    with subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while "processing" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        out, _ = process.communicate(timeout=20)
    assert process.returncode == exits.INTERRUPTED
    assert f"rushes status {site.only().asset_id}" in out


# --- the neighbours ---------------------------------------------------------------------------------------------------


def test_checksum_of_parts_and_whole(rushes_here: Rushes, tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"123456789" + os.urandom(12 << 20))
    data = path.read_bytes()
    told = json.loads(rushes_here("checksum", path, "--parts", "2", "--json").stdout)
    size = told["part_size"]
    assert [part["length"] for part in told["parts"]] == [size, len(data) - size]
    assert [part["crc64nvme"] for part in told["parts"]] == [
        encode(crc64nvme(data[:size])), encode(crc64nvme(data[size:]))
    ]  # fmt: skip
    assert told["crc64nvme"] == encode(crc64nvme(data))
    plain = rushes_here("checksum", path, "--part-size", 5 << 20).stdout
    assert len(plain.splitlines()) == 1 + 3 + 3
    assert subprocess.run(["sha256sum", path], capture_output=True, text=True, check=True).stdout[:64] in plain


def test_checksum_of_the_check_value(rushes_here: Rushes, tmp_path: Path) -> None:
    (tmp_path / "nine").write_bytes(b"123456789")
    assert "rosUhgp5mIg=" in rushes_here("checksum", tmp_path / "nine", "--parts", "1").stdout


def test_uploads_are_listed_shown_and_cancelled(
    rushes_here: Rushes, site: Site, at: tuple[str, ...], clip: Path
) -> None:
    assert rushes_here("ls", *at).stdout == "No uploads yet.\n"
    site.faults = [Fault("put", 400, "InvalidRequest")]
    rushes_here("ingest", clip, *at)
    upload_id = str(site.only().id)
    assert rushes_here("ls", *at).stdout.splitlines()[1].split()[:3] == [upload_id, "uploading", "1"]  # no asset yet
    assert json.loads(rushes_here("ls", *at, "--json").stdout)["id"] == upload_id
    assert "is uploading (0 B of 1 kB held)" in rushes_here("status", upload_id, *at).stdout
    assert json.loads(rushes_here("status", upload_id, *at, "--json").stdout)["upload_state"] == "uploading"
    assert "Cancelled" in rushes_here("cancel", upload_id, *at).stdout
    assert site.only().state == "aborted"


def test_the_status_of_a_published_asset_is_the_asset(
    rushes_here: Rushes, publishing: Site, at: tuple[str, ...], clip: Path
) -> None:
    rushes_here("ingest", clip, *at)
    assert rushes_here("ls", *at).stdout.splitlines()[1].split()[1:3] == ["ingested", "published"]
    for id_ in (publishing.only().id, publishing.only().asset_id):
        assert "clip one.mov is published" in rushes_here("status", id_, *at).stdout


def test_an_unknown_id(rushes_here: Rushes, site: Site, at: tuple[str, ...]) -> None:
    done = rushes_here("status", "0190a0a0-0000-7000-8000-000000000000", *at)
    assert (done.returncode, "no such" in done.stderr) == (exits.REFUSED, True)


def test_a_token_verifies(rushes_here: Rushes) -> None:
    import jwt

    secret = "s" * 40
    done = rushes_here("token", "--creator", "ann", "--role", "operator", "--days", "2", RUSHES_TOKEN_SECRET=secret)
    claims = jwt.decode(done.stdout.strip(), secret, algorithms=["HS256"], audience="rushes", issuer="rushes")
    assert (claims["sub"], claims["tenant"], claims["role"], claims["plan"]) == ("ann", "local", "operator", "studio")
    assert abs(claims["exp"] - claims["iat"] - 2 * 86_400) < 2
    assert rushes_here("token").returncode == exits.REFUSED
    assert rushes_here("token", "--plan", "gold", RUSHES_TOKEN_SECRET=secret).returncode == exits.USAGE


def test_help(rushes_here: Rushes) -> None:
    bare = rushes_here()
    assert bare.returncode == 0
    for text in ("Examples:", "rushes upload scene-12.mov", "Exit codes:", "130"):
        assert text in bare.stdout
    assert rushes_here("ingest", "--help").returncode == 0


def test_version(rushes_here: Rushes) -> None:
    import rushes as package

    assert rushes_here("version").stdout == package.__version__ + "\n"


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (999, "999 B"),
        (1000, "1 kB"),
        (999_499, "999 kB"),
        (999_600, "1 MB"),
        (12_345_678, "12.3 MB"),
        (6.4e12, "6.4 TB"),
    ],
)
def test_sizes(count: float, text: str) -> None:
    assert words.size(count) == text


@pytest.mark.parametrize(("seconds", "text"), [(7, "0:07"), (750, "12:30"), (3723, "1:02:03"), (4e5, "5 days")])
def test_durations(seconds: float, text: str) -> None:
    assert words.duration(seconds) == text
