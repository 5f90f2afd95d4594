"""A watch that was stopped, killed or shut out, and the next one: nothing twice, nothing left behind."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from rushes.checksum import crc64nvme
from rushes.client import Client, Journal, Tally
from rushes.client.aside import Root, move, stamp_of
from rushes.errors import Conflict, Invalid, Problem, Unavailable
from tests.client.equipment import TOKEN, Fault, Site
from tests.client.watching import PART, SETTLE, Watcher, slow, states, stored


def test_a_stop_is_polite_and_the_next_start_goes_on(watcher: Watcher, site: Site, folder: Path) -> None:
    data = os.urandom(3 * PART)
    (folder / "big.mov").write_bytes(data)
    site.pace = 0.3
    watcher.start()
    watcher.until(lambda: site.bytes_received)
    watcher.stop()
    assert watcher.tally == Tally(waiting=1)
    assert (folder / "big.mov").exists()
    site.pace = 0
    assert watcher.once() == Tally(done=1)
    assert stored(site) == {"big.mov": crc64nvme(data)}
    assert states(site) == ["ingested"], "one upload, in two runs"


IN_A_PROCESS = """
import sys
from pathlib import Path
from rushes.client import Client, Journal, Watching
folder = Path(sys.argv[2])
with Journal(Path(sys.argv[3])) as journal, Client(sys.argv[1], "good-token", journal=journal) as client:
    client.watch(Watching(folder, folder / "done", settle=0.2), on_told=lambda told: print(told.kind, flush=True))
"""


@pytest.mark.parametrize("last_word", ["begun", "done"])
def test_kill_9_uploads_nothing_twice(watcher: Watcher, site: Site, folder: Path, last_word: str) -> None:
    data = {f"{n}.mov": os.urandom(PART + n) for n in range(3)}
    for name, content in data.items():
        (folder / name).write_bytes(content)
    site.pace = 0.2
    command = [sys.executable, "-c", IN_A_PROCESS, site.url, str(folder), str(watcher.state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline().strip() != last_word:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
    site.pace = 0
    watcher.once()
    assert stored(site) == {name: crc64nvme(content) for name, content in data.items()}
    assert sorted(path.name for path in (folder / "done").iterdir()) == sorted(data)
    with Journal(watcher.state) as journal:
        assert journal.pending() == []


def test_a_file_taken_away_while_nobody_watched_is_given_up(watcher: Watcher, site: Site, folder: Path) -> None:
    (folder / "gone.mov").write_bytes(os.urandom(2 * PART))
    (folder / "renamed.mov").write_bytes(b"r" * 2 * PART)
    site.pace = 0.3
    watcher.start()
    watcher.until(lambda: len(site.uploads) == 2 and site.bytes_received)
    watcher.stop()
    site.pace = 0
    (folder / "gone.mov").unlink()
    (folder / "renamed.mov").rename(folder / "other name.mov")
    assert watcher.once() == Tally(done=1)
    found = {upload.filename: upload.state for upload in site.uploads.values()}
    assert found == {"gone.mov": "aborted", "other name.mov": "ingested"}


def test_what_could_not_be_given_up_is_by_the_next_start(watcher: Watcher, site: Site, folder: Path) -> None:
    """As after a kill between somebody's taking a file away and the end of its upload."""
    go = slow(site)
    (folder / "gone.mov").write_bytes(os.urandom(1000))
    (folder / "changed.mov").write_bytes(os.urandom(1000))
    watcher.start()
    watcher.until(lambda: site.now_putting == 2)
    site.faults = [Fault("abort", 503, "maintenance") for _ in range(2)]
    (folder / "gone.mov").unlink()
    (folder / "changed.mov").rename(folder / "renamed.mov")
    watcher.until(watcher.heard("renamed"))
    with (folder / "renamed.mov").open("ab") as file:
        file.write(b"y")
    go.set()
    watcher.until(lambda: not site.faults)
    watcher.stop()
    assert {upload.filename: upload.state for upload in site.uploads.values()} | {"renamed.mov": ""} == {
        "gone.mov": "uploading",
        "changed.mov": "uploading",
        "renamed.mov": "",
    }
    watcher.once()
    assert {upload.filename: upload.state for upload in site.uploads.values()} == {
        "gone.mov": "aborted",
        "changed.mov": "aborted",
        "renamed.mov": "ingested",
    }
    with Journal(watcher.state) as journal:
        assert journal.pending() == []


def test_what_could_not_be_given_up_is_as_soon_as_the_server_is_back(
    watcher: Watcher, site: Site, folder: Path
) -> None:
    go = slow(site)
    for name in ("one.mov", "two.mov"):
        (folder / name).write_bytes(os.urandom(1000))
    watcher.watching = replace(watcher.watching, rest=0.05)
    watcher.start()
    watcher.until(lambda: site.now_putting == 2)
    site.faults = [Fault("abort", 503, "maintenance") for _ in range(5)]
    (folder / "one.mov").unlink()
    (folder / "two.mov").unlink()
    with Journal(watcher.state) as journal:  # a stop before the answer has come would leave a row to the next start
        watcher.until(lambda: not site.faults and not journal.pending())
    assert states(site) == ["aborted"] * 2
    go.set()
    watcher.stop()
    assert watcher.kinds().count("gone") == 2


def test_what_somebody_else_finished_meanwhile_is_not_uploaded_again(
    watcher: Watcher, site: Site, folder: Path
) -> None:
    data = os.urandom(3 * PART)
    (folder / "big.mov").write_bytes(data)
    site.pace = 0.3
    watcher.start()
    watcher.until(lambda: site.bytes_received)
    watcher.stop()
    site.pace = 0
    with Journal(watcher.state) as journal, Client(site.url, TOKEN, journal=journal) as client:
        assert [outcome.error for outcome in client.resume_pending()] == [None]
        received = site.bytes_received
    assert watcher.once() == Tally(done=1)
    assert (states(site), site.bytes_received) == (["ingested"], received)
    assert (folder / "done" / "big.mov").read_bytes() == data
    with Journal(watcher.state) as journal:
        assert journal.pending() == []


def test_what_is_stored_is_known_though_it_cannot_be_noted(watcher: Watcher, site: Site, folder: Path) -> None:
    (folder / "a.mov").write_bytes(b"a")

    def before(_number: int) -> None:
        _renamed_table("files", "away", watcher)

    site.before_put = before
    with pytest.raises(Unavailable, match="cannot be written down"):
        watcher.once()
    site.before_put = None
    _renamed_table("away", "files", watcher)
    assert watcher.once() == Tally(done=1)
    assert states(site) == ["ingested"]


def _renamed_table(old: str, new: str, watcher: Watcher) -> None:
    with closing(sqlite3.connect(watcher.state / "watch.db", isolation_level=None)) as log:
        log.execute(f"ALTER TABLE {old} RENAME TO {new}")


def test_a_log_that_is_damaged_is_put_aside(watcher: Watcher, folder: Path) -> None:
    watcher.state.mkdir()
    (watcher.state / "watch.db").write_bytes(os.urandom(9000))
    (folder / "a.mov").write_bytes(b"a")
    assert watcher.once() == Tally(done=1)
    assert len(list(watcher.state.glob("watch.db.broken-*"))) == 1


@pytest.mark.parametrize("aside", [True, False])
def test_names_that_are_no_text_are_refused_like_others(
    watcher: Watcher, site: Site, folder: Path, *, aside: bool
) -> None:
    if not aside:
        watcher.watching = replace(watcher.watching, done=None, failed=None)
    name = os.fsdecode(b"take \xff.mov")
    (folder / name).write_bytes(b"x")
    (folder / "failed").mkdir()
    (folder / "failed" / f"{name}.reason.txt").symlink_to(folder / "precious")
    (folder / "precious").touch()
    watcher.watching = replace(watcher.watching, patterns=["*.mov"])
    site.faults = [Fault("begin", 422, "type_not_allowed")]
    assert watcher.once().failed == 1
    assert (folder / "failed" / name).exists() is aside
    assert (folder / "precious").read_bytes() == b"", "no note is written through a link"


def test_one_process_a_folder(watcher: Watcher, folder: Path) -> None:
    watcher.start()
    watcher.until(lambda: watcher.thread is not None and (watcher.state / "locks").exists())
    other = Watcher(watcher.site, watcher.watching, watcher.state)
    watcher.until(
        lambda: any(lock.stat().st_size for lock in (watcher.state / "locks").iterdir())
    )  # it says whose it is
    with pytest.raises(Conflict, match=f"watched already, by process {os.getpid()}"):
        other.once()


def test_a_token_that_is_refused_ends_it(watcher: Watcher, site: Site, folder: Path) -> None:
    (folder / "a.mov").write_bytes(b"a")
    site.faults = [Fault("begin", 401, "token_expired")]
    with pytest.raises(Problem) as told:
        watcher.once()
    assert told.value.code == "token_expired"
    assert watcher.once() == Tally(done=1)


def test_what_grows_for_ever_does_not_keep_once_from_ending(watcher: Watcher, folder: Path) -> None:
    stop = threading.Event()

    (folder / "endless.mov").write_bytes(b"x")

    def grow() -> None:
        with (folder / "endless.mov").open("ab", buffering=0) as file:
            while not stop.wait(SETTLE / 4):
                file.write(b"x")

    growing = threading.Thread(target=grow)
    growing.start()
    try:
        assert watcher.once() == Tally(waiting=1)
    finally:
        stop.set()
        growing.join()


def test_folders_that_cannot_be(watcher: Watcher, folder: Path) -> None:
    for path, code in ((folder / "none", "folder_missing"), (folder / "file", "not_a_folder")):
        (folder / "file").touch()
        watcher.watching = replace(watcher.watching, folder=path)
        with pytest.raises(Invalid) as told:
            watcher.once()
        assert told.value.code == code
    watcher.watching = replace(watcher.watching, folder=folder, done=Path("/proc/rushes done"))
    with pytest.raises(Invalid, match="another drive"):
        watcher.once()


def test_moving_never_takes_the_wrong_file(folder: Path) -> None:
    (folder / "a").write_bytes(b"a")
    stamp = stamp_of(folder / "a")
    assert stamp is not None
    (folder / "b").write_bytes(b"bb")
    (folder / "b").replace(folder / "a")
    with pytest.raises(Conflict, match="another file by now"):
        move(folder / "a", folder / "done" / "a", stamp)
    assert (folder / "a").read_bytes() == b"bb"
    assert stamp_of(folder / "none") is None


def test_a_folder_that_is_not_there_any_more_is_told_from_an_empty_one(folder: Path) -> None:
    root = Root.of(folder)
    assert root.look([], []).files == {}
    folder.rmdir()
    with pytest.raises(Unavailable, match="cannot be read now"):
        root.look([], [])
