"""A watched folder against the test server: what is finished comes through whole, once, whatever happens beside it."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from rushes.checksum import crc64nvme
from rushes.client import Client, Journal, Tally, Told, Watching, Wishes
from rushes.client.aside import Root, move, stamp_of
from rushes.errors import Conflict, Invalid, Problem, Unavailable
from tests.client.equipment import TOKEN, Fault, Site, Upload

SETTLE = 0.3  # seconds
PART = 5 << 20


@dataclass
class Watcher:
    """A watch in a thread of its own, and what it told."""

    site: Site
    watching: Watching
    state: Path
    told: list[Told] = field(default_factory=list)
    tally: Tally | None = None
    error: Problem | None = None
    cancel: threading.Event = field(default_factory=threading.Event)
    thread: threading.Thread | None = None

    def start(self) -> None:
        self.cancel.clear()
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self) -> None:
        with (
            Journal(self.state) as journal,
            Client(self.site.url, TOKEN, cancel=self.cancel, journal=journal) as client,
        ):
            try:
                self.tally = client.watch(self.watching, on_told=self.told.append)
            except Problem as problem:
                self.error = problem

    def stop(self) -> None:
        self.cancel.set()
        if self.thread is not None:
            self.thread.join()

    def once(self) -> Tally:
        with Journal(self.state) as journal, Client(self.site.url, TOKEN, journal=journal) as client:
            return client.watch(self.watching, once=True, on_told=self.told.append)

    def kinds(self) -> list[str]:
        return [told.kind for told in self.told]

    def until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        deadline = time.monotonic() + seconds
        while not condition():
            assert self.error is None, self.error
            assert time.monotonic() < deadline, [told.text for told in self.told]
            time.sleep(0.02)

    def heard(self, kind: str, times: int = 1) -> Callable[[], bool]:
        return lambda: self.kinds().count(kind) >= times


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "card"
    made.mkdir()
    return made


@pytest.fixture
def watcher(site: Site, folder: Path, tmp_path: Path) -> Iterator[Watcher]:
    watching = Watching(folder, folder / "done", folder / "failed", settle=SETTLE)
    made = Watcher(site, watching, tmp_path / "state")
    yield made
    made.stop()


def stored(site: Site) -> dict[str, int | None]:
    """{name: CRC64NVME} of what is ingested."""
    found = [upload for upload in site.uploads.values() if upload.state == "ingested"]
    assert len({upload.filename for upload in found}) == len(found), "nothing twice"
    return {upload.filename: upload.crc for upload in found}


def states(site: Site) -> list[str]:
    return [upload.state for upload in site.uploads.values()]


def slow(site: Site) -> threading.Event:
    """Parts wait for the event that is returned."""
    go = threading.Event()
    site.before_put = lambda _number: (go.wait(60), None)[1]
    return go


def test_finished_files_are_uploaded_and_moved(watcher: Watcher, site: Site, folder: Path) -> None:
    (folder / "day 1" / "b").mkdir(parents=True)
    (folder / "a.mov").write_bytes(b"a" * 1000)
    (folder / "day 1" / "b" / "c.mov").write_bytes(b"c" * 2000)
    (folder / "done").mkdir()
    (folder / "done" / "a.mov").write_bytes(b"an older one")
    assert watcher.once() == Tally(done=2)
    assert stored(site) == {"a.mov": crc64nvme(b"a" * 1000), "c.mov": crc64nvme(b"c" * 2000)}
    assert (folder / "done" / "a (2).mov").read_bytes() == b"a" * 1000
    assert (folder / "done" / "a.mov").read_bytes() == b"an older one"
    assert (folder / "done" / "day 1" / "b" / "c.mov").exists()
    places = {upload.begin.relative_path for upload in site.uploads.values() if upload.begin is not None}
    assert places == {"card/a.mov", "card/day 1/b/c.mov"}
    assert watcher.once() == Tally(), "what is done is not looked at again"


def test_what_is_not_finished_or_not_meant_is_left_alone(watcher: Watcher, site: Site, folder: Path) -> None:
    (folder / "secret").write_bytes(b"x")
    for name in ("a.mov.part", "b.crdownload", ".hidden", "~$c.docx", "Thumbs.db", "d.wav", "e.mov.aria2", "e.mov"):
        (folder / name).write_bytes(b"x")
    (folder / "f.mov").symlink_to(folder / "secret")
    (folder / "empty.mov").touch()
    os.mkfifo(folder / "pipe.mov")
    watcher.watching = replace(watcher.watching, patterns=["*.mov"])
    assert watcher.once() == Tally()
    assert not site.uploads
    (folder / "a.mov.part").rename(folder / "a.mov")
    (folder / "e.mov.aria2").unlink()
    assert watcher.once() == Tally(done=2)
    assert set(stored(site)) == {"a.mov", "e.mov"}


def test_files_may_stay_where_they_are(watcher: Watcher, site: Site, folder: Path) -> None:
    watcher.watching = replace(watcher.watching, done=None, failed=None)
    (folder / "a.mov").write_bytes(b"first")
    (folder / "b.mov").write_bytes(b"b")
    assert watcher.once().done == 2
    assert watcher.once() == Tally(), "after a restart as well"
    (folder / "a.mov").write_bytes(b"second, longer")
    os.utime(folder / "b.mov", ns=(0, 0))
    assert watcher.once().done == 2
    crcs = [upload.crc for upload in site.uploads.values() if upload.filename == "a.mov"]
    assert crcs == [crc64nvme(b"first"), crc64nvme(b"second, longer")]
    assert sorted(path.name for path in folder.iterdir()) == ["a.mov", "b.mov"]


def test_what_stays_may_be_renamed(watcher: Watcher, site: Site, folder: Path) -> None:
    watcher.watching = replace(watcher.watching, done=None, failed=None)
    (folder / "a.mov").write_bytes(b"a")
    watcher.start()
    watcher.until(watcher.heard("done"))
    (folder / "a.mov").rename(folder / "b.mov")
    time.sleep(2 * SETTLE)
    watcher.stop()
    (folder / "b.mov").rename(folder / "c.mov")
    assert watcher.once() == Tally()
    assert watcher.once() == Tally()
    assert states(site) == ["ingested"]


def test_what_is_refused_is_set_aside_with_the_reason(watcher: Watcher, site: Site, folder: Path) -> None:
    (folder / "bad.mov").write_bytes(b"x")
    site.faults = [Fault("begin", 422, "type_not_allowed")]
    assert watcher.once() == Tally(failed=1)
    assert (folder / "failed" / "bad.mov").exists()
    assert (folder / "failed" / "bad.mov.reason.txt").read_text() == "made to fail\n"
    (folder / "good.mov").write_bytes(b"y")
    assert watcher.once() == Tally(done=1)


def test_what_is_refused_and_stays_is_tried_again_when_asked(watcher: Watcher, site: Site, folder: Path) -> None:
    watcher.watching = replace(watcher.watching, done=None, failed=None)
    (folder / "bad.mov").write_bytes(b"x")
    site.faults = [Fault("put", 400, "InvalidRequest")]
    assert watcher.once() == Tally(failed=1)
    assert states(site) == ["aborted"], "nothing is left of it on the server"
    assert watcher.once() == Tally()
    assert "left alone" in watcher.told[-1].text
    assert "InvalidRequest" in watcher.told[-1].text
    watcher.watching = replace(watcher.watching, retry=True)
    assert watcher.once() == Tally(done=1)


def test_a_file_that_grows_is_waited_for(watcher: Watcher, site: Site, folder: Path) -> None:
    watcher.start()
    data = bytearray()
    with (folder / "slow.mov").open("wb", buffering=0) as file:
        for _ in range(12):
            piece = os.urandom(1000)
            data += piece
            file.write(piece)
            time.sleep(SETTLE / 3)
    assert not site.uploads
    watcher.until(watcher.heard("done"))
    assert stored(site) == {"slow.mov": crc64nvme(bytes(data))}


def test_a_file_written_to_meanwhile_is_uploaded_anew_and_whole(watcher: Watcher, site: Site, folder: Path) -> None:
    go = slow(site)
    (folder / "late.mov").write_bytes(b"a" * 1000)
    watcher.start()
    watcher.until(lambda: site.now_putting)
    with (folder / "late.mov").open("ab") as file:
        file.write(b"b" * 1000)
    go.set()
    watcher.until(watcher.heard("done"))
    assert "changed" in watcher.kinds()
    assert stored(site) == {"late.mov": crc64nvme(b"a" * 1000 + b"b" * 1000)}
    assert sorted(states(site)) == ["aborted", "ingested"]


def test_a_file_taken_away_meanwhile_is_given_up(watcher: Watcher, site: Site, folder: Path) -> None:
    go = slow(site)
    (folder / "gone.mov").write_bytes(os.urandom(1000))
    watcher.start()
    watcher.until(lambda: site.now_putting)
    (folder / "gone.mov").unlink()
    watcher.until(watcher.heard("gone"))
    go.set()
    watcher.until(lambda: states(site) == ["aborted"])
    watcher.stop()
    assert watcher.tally == Tally()
    with Journal(watcher.state) as journal:
        assert journal.pending() == []


def renamed_under_way(watcher: Watcher, site: Site, folder: Path) -> threading.Event:
    """`old.mov` is `new.mov` by now; its part waits for the event."""
    go = slow(site)
    (folder / "old.mov").write_bytes(b"x" * 1000)
    watcher.start()
    watcher.until(lambda: site.now_putting)
    (folder / "old.mov").rename(folder / "new.mov")
    watcher.until(watcher.heard("renamed"))
    return go


def test_a_file_renamed_meanwhile_goes_on_under_its_new_name(watcher: Watcher, site: Site, folder: Path) -> None:
    go = renamed_under_way(watcher, site, folder)
    go.set()
    watcher.until(watcher.heard("done"))
    assert (folder / "done" / "new.mov").exists()
    assert set(stored(site)) == {"new.mov"}
    assert states(site) == ["ingested"]


def test_a_file_renamed_meanwhile_then_written_to_leaves_nothing_behind(
    watcher: Watcher, site: Site, folder: Path
) -> None:
    go = renamed_under_way(watcher, site, folder)
    with (folder / "new.mov").open("ab") as file:
        file.write(b"y" * 1000)
    go.set()
    watcher.until(watcher.heard("done"))
    assert "changed" in watcher.kinds()
    assert stored(site) == {"new.mov": crc64nvme(b"x" * 1000 + b"y" * 1000)}
    assert sorted(states(site)) == ["aborted", "ingested"]
    watcher.stop()
    with Journal(watcher.state) as journal:
        assert journal.pending() == []


def test_files_that_change_names_with_each_other_meanwhile(watcher: Watcher, site: Site, folder: Path) -> None:
    go = slow(site)
    for name in ("a", "b"):
        (folder / f"{name}.mov").write_bytes(name.encode() * 1000)
    watcher.start()
    watcher.until(lambda: site.now_putting == 2)
    (folder / "a.mov").rename(folder / ".c")
    (folder / "b.mov").rename(folder / "a.mov")
    (folder / ".c").rename(folder / "b.mov")
    watcher.until(lambda: watcher.kinds().count("renamed") + watcher.kinds().count("gone") >= 2)
    go.set()
    watcher.until(lambda: len(list((folder / "done").glob("*"))) == 2)
    assert stored(site) == {"a.mov": crc64nvme(b"b" * 1000), "b.mov": crc64nvme(b"a" * 1000)}
    assert (folder / "done" / "a.mov").read_bytes() == b"b" * 1000


def test_another_file_that_takes_the_name_is_uploaded_too(watcher: Watcher, site: Site, folder: Path) -> None:
    go = slow(site)
    (folder / "take.mov").write_bytes(b"one" * 1000)
    watcher.start()
    watcher.until(lambda: site.now_putting)
    (folder / "other").write_bytes(b"two" * 1001)
    (folder / "other").replace(folder / "take.mov")
    watcher.until(watcher.heard("gone"))
    go.set()
    watcher.until(watcher.heard("done"))
    assert stored(site) == {"take.mov": crc64nvme(b"two" * 1001)}


def test_another_file_that_takes_the_name_waits_for_the_end_of_the_first(
    watcher: Watcher, site: Site, folder: Path
) -> None:
    """The first one's last word takes longer than the second needs to be finished: its row is not the second's yet."""
    one, two, ask = os.urandom(PART + 1000), os.urandom(2000), site.ask
    site.before_put = lambda number: None if number == 1 else False

    def slowly(upload: Upload, body: bytes) -> dict[str, object]:
        if upload.plan.size == len(one):
            time.sleep(4 * SETTLE)
        return ask(upload, body)

    watcher.watching = replace(watcher.watching, wishes=Wishes(part_size=PART))
    (folder / "take.mov").write_bytes(one)
    watcher.start()
    watcher.until(lambda: site.uploads and site.only().stored)
    site.ask = slowly  # type: ignore[method-assign]
    (folder / "other").write_bytes(two)
    (folder / "other").replace(folder / "take.mov")
    watcher.until(watcher.heard("done"))
    assert [kind for kind in watcher.kinds() if kind != "watching"] == ["begun", "gone", "begun", "done"]
    assert stored(site) == {"take.mov": crc64nvme(two)}
    assert sorted(states(site)) == ["aborted", "ingested"]


def test_a_drive_that_is_away_takes_nothing_away(watcher: Watcher, site: Site, folder: Path) -> None:
    go = slow(site)
    (folder / "a.mov").write_bytes(b"a" * 1000)
    watcher.start()
    watcher.until(lambda: site.now_putting)
    folder.rename(folder.with_name("elsewhere"))
    watcher.until(watcher.heard("away"))
    folder.mkdir()  # as an empty mount point
    time.sleep(3 * SETTLE)
    folder.rmdir()
    folder.with_name("elsewhere").rename(folder)
    watcher.until(watcher.heard("back"))
    assert "gone" not in watcher.kinds()
    go.set()
    watcher.until(watcher.heard("done"))
    assert states(site) == ["ingested"]


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
