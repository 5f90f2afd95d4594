"""A watched folder against the test server: what is finished comes through whole, once, whatever happens beside it."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import replace
from pathlib import Path

from rushes.checksum import crc64nvme
from rushes.client import Journal, Tally, Wishes
from tests.client.equipment import Fault, Site, Upload
from tests.client.watching import PART, SETTLE, Watcher, slow, states, stored


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
