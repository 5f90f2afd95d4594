"""Downloads over a real server that misbehaves: the file that gets its name is the one that is stored, or there is none."""

from __future__ import annotations

import hashlib
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rushes.client import Client, Downloaded, DownloadProgress, Stopped
from rushes.client.partfile import PartFile, safe_name
from rushes.errors import Conflict, Invalid, Misconfigured, NotFound, Problem, Rejected, Unavailable
from tests.client.shelf import Shelf, shelved
from tests.conftest import ROUNDS

MIB = 1 << 20
DATA = random.Random(1).randbytes(10 * MIB + 12_345)  # of 2 MiB blocks, the last one short


@pytest.fixture
def shelf() -> Iterator[Shelf]:
    with shelved(DATA) as running:
        yield running


@pytest.fixture
def client(shelf: Shelf) -> Iterator[Client]:
    with Client(shelf.url, "a-token") as made:
        yield made


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_file_comes_in_ranges_and_is_verified(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    seen: list[DownloadProgress] = []
    shelf.pace = 0.005
    done = client.download(shelf.id, tmp_path, on_progress=seen.append)
    assert done.path == tmp_path / "scene 12.mov"
    assert done.path.read_bytes() == DATA
    assert done.verified == (f"crc64nvme {shelf.checksum}",)
    assert (done.received, done.resumed) == (len(DATA), 0)
    assert len(shelf.gets) == 11
    assert names(tmp_path) == {"scene 12.mov"}
    held = [progress.held for progress in seen]
    assert held == sorted(held)
    assert held[-1] == len(DATA)


def test_one_byte(tmp_path: Path) -> None:
    with shelved(b"x") as shelf, Client(shelf.url, "t") as client:
        assert client.download(shelf.id, tmp_path / "one").path.read_bytes() == b"x"


@pytest.mark.parametrize(
    "faults",
    [
        ["cut", "reset", "503", "cut"],
        ["404"],  # a store that is not sure of itself
        ["flip"],  # found at the end; then everything comes once more
        ["cut"] * 6,
    ],
)
def test_faults_are_got_over(client: Client, shelf: Shelf, tmp_path: Path, faults: list[str]) -> None:
    shelf.faults = [*faults]
    done = client.download(shelf.id, tmp_path)
    assert done.path.read_bytes() == DATA
    assert names(tmp_path) == {"scene 12.mov"}
    assert not shelf.faults
    if "flip" not in faults:
        assert done.received == len(DATA), "what came before a cut is kept"


def test_links_are_renewed_as_they_expire(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    shelf.link_gets = 3
    assert client.download(shelf.id, tmp_path).path.read_bytes() == DATA
    assert shelf.asked >= 2


@pytest.mark.parametrize(
    ("faults", "kind", "code"),
    [
        (["flip", *[""] * 10, "flip"], Rejected, "download_corrupt"),
        (["whole"], Misconfigured, "ranges_refused"),
        (["", "etag"], Conflict, "download_changed"),
        (["other"], Conflict, "download_changed"),
        (["404"] * 10, Rejected, "link_refused"),
    ],
)
def test_what_cannot_be_right_never_gets_the_name(
    client: Client, shelf: Shelf, tmp_path: Path, faults: list[str], kind: type[Problem], code: str
) -> None:
    shelf.faults = faults
    with pytest.raises(kind) as told:
        client.download(shelf.id, tmp_path, parallel=1)
    assert told.value.code == code
    assert "scene 12.mov" not in names(tmp_path)


def test_an_asset_that_is_deleted_meanwhile_is_said(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    def gone(_progress: DownloadProgress) -> None:
        shelf.gone = True

    shelf.pace = 0.02
    with pytest.raises(NotFound, match="no such asset"):
        client.download(shelf.id, tmp_path, on_progress=gone, parallel=1)


def test_a_rendition_made_anew_meanwhile_is_said(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    shelf.renditions["proxy.mp4"] = DATA
    shelf.link_gets = 2

    def anew(_progress: DownloadProgress) -> None:
        shelf.renditions["proxy.mp4"] = DATA[::-1]

    shelf.pace = 0.02
    with pytest.raises(Conflict, match="made anew"):
        client.download(shelf.id, tmp_path, rendition="proxy.mp4", on_progress=anew, parallel=1)
    done = client.download(shelf.id, tmp_path, rendition="proxy.mp4")
    assert done.path.name == "scene 12-proxy.mp4"
    assert done.path.read_bytes() == DATA[::-1]
    with pytest.raises(NotFound, match=r"There are: proxy\.mp4"):
        client.download(shelf.id, tmp_path, rendition="poster.jpg")


def test_a_stopped_download_goes_on(shelf: Shelf, tmp_path: Path) -> None:
    cancel = threading.Event()
    shelf.pace = 0.01

    def stop(progress: DownloadProgress) -> None:
        if progress.held > 3 * MIB:
            cancel.set()

    with Client(shelf.url, "t", cancel=cancel) as client, pytest.raises(Stopped, match=r"\.part keeps what came"):
        client.download(shelf.id, tmp_path, on_progress=stop)
    assert names(tmp_path) == {"scene 12.mov.part", "scene 12.mov.part.journal"}
    shelf.pace = 0
    with Client(shelf.url, "t") as client:
        done = client.download(shelf.id, tmp_path)
    assert done.path.read_bytes() == DATA
    assert done.received + done.resumed == len(DATA)


IN_A_PROCESS = """
import sys
from pathlib import Path
from uuid import UUID
from rushes.client import Client
with Client(sys.argv[1], "t") as client:
    client.download(UUID(sys.argv[2]), Path(sys.argv[3]))
"""


@pytest.mark.parametrize("time_", range(max(1, ROUNDS // 4)))
def test_kill_9_loses_less_than_the_blocks_under_way(shelf: Shelf, tmp_path: Path, time_: int) -> None:
    shelf.pace = 0.01
    arguments = [sys.executable, "-c", IN_A_PROCESS, shelf.url, str(shelf.id), str(tmp_path)]
    for kills in range(1, 100):
        process = subprocess.Popen(arguments)
        before, more = shelf.sent, random.randint(2 * MIB, 6 * MIB)
        while shelf.sent < before + more and process.poll() is None:
            time.sleep(0.01)
        if process.poll() is not None:
            break
        process.send_signal(signal.SIGKILL)
        process.wait()
        if kills == 1:  # as a power cut may leave it: a block that was noted and never came to the disk
            _damage(tmp_path)
    assert process.returncode == 0
    assert (tmp_path / "scene 12.mov").read_bytes() == DATA
    assert names(tmp_path) == {"scene 12.mov"}
    assert shelf.sent < len(DATA) + kills * 4 * 2 * MIB + 4 * MIB


def _damage(folder: Path) -> None:
    journal = folder / "scene 12.mov.part.journal"
    lines = journal.read_bytes().split(b"\n")
    if len(lines) > 2:
        with (folder / "scene 12.mov.part").open("r+b") as part:
            part.seek(int(lines[1].split()[0]) * 2 * MIB + 7)
            part.write(b"damage")
    with journal.open("ab") as file:
        file.write(b"4 AAAA")  # cut in mid-line


def test_another_file_of_that_name_is_never_replaced(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    mine = tmp_path / "scene 12.mov"
    mine.write_text("mine")
    with pytest.raises(Conflict, match="--force"):
        client.download(shelf.id, tmp_path)
    assert mine.read_text() == "mine"
    mine.unlink()
    mine.symlink_to(tmp_path / "nowhere")
    with pytest.raises(Conflict):
        client.download(shelf.id, tmp_path)
    assert client.download(shelf.id, tmp_path, force=True).path.read_bytes() == DATA
    assert not mine.is_symlink()
    sent = shelf.sent
    again = client.download(shelf.id, tmp_path)
    assert (again.received, again.resumed, shelf.sent) == (0, len(DATA), sent), "it is there, and right"
    mine.write_bytes(DATA[:-1] + b"x")
    with pytest.raises(Conflict):
        client.download(shelf.id, tmp_path)


def test_a_name_taken_while_the_bytes_came_stays_whose_it_is(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    def take(_progress: DownloadProgress) -> None:
        (tmp_path / "scene 12.mov").write_text("mine")

    shelf.pace = 0.02
    with pytest.raises(Conflict, match="exists already"):
        client.download(shelf.id, tmp_path, on_progress=take)
    assert (tmp_path / "scene 12.mov").read_text() == "mine"
    assert client.download(shelf.id, tmp_path, force=True).resumed == len(DATA), "and nothing has to come twice"


def test_two_processes_do_not_fight_over_one_file(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    shelf.pace = 0.02
    first: list[Downloaded] = []
    thread = threading.Thread(target=lambda: first.append(client.download(shelf.id, tmp_path)))
    thread.start()
    while not shelf.sent:
        time.sleep(0.01)
    with pytest.raises(Conflict, match="Another process"):
        client.download(shelf.id, tmp_path)
    thread.join()
    assert first[0].path.read_bytes() == DATA
    assert shelf.sent == len(DATA)


def test_the_sha_256_may_be_compared_too(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    shelf.sha256 = hashlib.sha256(DATA).hexdigest()
    done = client.download(shelf.id, tmp_path, sha256=True)
    assert done.verified == (f"crc64nvme {shelf.checksum}", f"sha256 {shelf.sha256}")
    assert client.download(shelf.id, tmp_path, sha256=True).received == 0
    shelf.sha256 = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(Conflict, match="exists already"):
        client.download(shelf.id, tmp_path, sha256=True)
    with pytest.raises(Rejected, match="twice"):
        client.download(shelf.id, tmp_path / "again", sha256=True)
    assert names(tmp_path) == {"scene 12.mov"}


def test_an_asset_without_a_checksum_says_so(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    shelf.checksum = None
    assert client.download(shelf.id, tmp_path).verified == ()


def test_a_rate_may_be_set_while_it_comes(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    started = time.monotonic()
    client.engine.rate.set(4 * MIB)

    def faster(progress: DownloadProgress) -> None:
        if progress.held > 2 * MIB:
            client.engine.rate.set(None)

    assert client.download(shelf.id, tmp_path, on_progress=faster).path.read_bytes() == DATA
    assert time.monotonic() - started > 0.4, "the first two MiB took half a second"


def test_a_slow_download_stops_at_once(shelf: Shelf, tmp_path: Path) -> None:
    cancel = threading.Event()
    with Client(shelf.url, "t") as client, pytest.raises(Stopped):
        client.engine.rate.set(1)
        client.download(shelf.id, tmp_path, on_progress=lambda _: cancel.set(), cancel=cancel)


def test_a_kill_between_the_name_and_the_end_leaves_no_way_to_harm_the_file(
    client: Client, shelf: Shelf, tmp_path: Path
) -> None:
    mine = client.download(shelf.id, tmp_path).path
    os.link(mine, tmp_path / "scene 12.mov.part")  # the name was given, the other not yet taken away
    with PartFile(mine, {"another": "one"}, 5) as part:
        part.write(b"other", 0)
    assert mine.read_bytes() == DATA


def test_places_that_cannot_be(client: Client, shelf: Shelf, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no folder"):
        client.download(shelf.id, tmp_path / "none" / "file")
    (tmp_path / "elsewhere").write_text("precious")
    (tmp_path / "x.part").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Invalid, match="cannot be written"):
        client.download(shelf.id, tmp_path / "x")
    assert (tmp_path / "elsewhere").read_text() == "precious"
    (tmp_path / "folder" / "scene 12.mov").mkdir(parents=True)
    with pytest.raises(Invalid, match="is a folder"):
        client.download(shelf.id, tmp_path / "folder", force=True)
    assert not shelf.sent
    with pytest.raises(Unavailable, match="room"):
        PartFile(tmp_path / "huge", {}, 1 << 60)


@pytest.mark.parametrize(
    ("given", "safe"),
    [
        ("scene 12.mov", "scene 12.mov"),
        ("../../etc/passwd", "passwd"),
        ("C:\\films\\take.mov", "take.mov"),
        (".bashrc", "_bashrc"),
        ("-rf", "_rf"),
        ("..", "otherwise"),
        ("", "otherwise"),
        ("a\nb\x1b[2J\u202e.mov", "a_b_[2J_.mov"),
        ("nul\0.mov", "nul_.mov"),
        ("Übung.mov", "Übung.mov"),
        ("what?.mov", "what_.mov"),
    ],
)
def test_names_are_made_safe(given: str, safe: str) -> None:
    assert safe_name(given, "otherwise") == safe


def test_long_names_keep_their_endings(tmp_path: Path) -> None:
    for name in ("x" * 300 + ".mov", "ü" * 300 + ".mov", "." * 300, "x" * 300):
        short = safe_name(name, "otherwise")
        assert len(os.fsencode(short)) <= 242
        (tmp_path / f"{short}.part.journal").touch()
    assert safe_name("x" * 300 + ".mov", "o").endswith("x.mov")
