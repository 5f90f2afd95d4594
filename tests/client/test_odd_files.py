"""Files and disks as they are met in the field: names that are no text, dates in 2500, inodes without end, locks that stick."""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import pytest

from rushes.client import Client, JobState, Journal, Limits, Outcome, Wishes
from rushes.client.claim import SEAT
from rushes.client.journal import Place, State
from rushes.client.source import Identity, signed
from tests.client.equipment import TOKEN, Fault, Site

PART = 5 << 20


def refused_then_changed(site: Site, client: Client, path: Path, *, mtime: float | None = None) -> str:
    """What is said of a file that is another one when its upload goes on, and kept in the journal."""
    path.write_bytes(b"a" * 1000)
    if mtime is not None:
        os.utime(path, (0, mtime))
    site.faults = [Fault("put", 400, "InvalidRequest")]
    assert client.upload_many([path])[0].state is JobState.FAILED
    path.write_bytes(b"b" * 1000)
    if mtime is not None:
        os.utime(path, (0, mtime))
    (outcome,) = client.upload_many([path])
    assert outcome.state is JobState.FAILED
    (entry,) = client.pending()
    assert entry.code == "file_changed", outcome.error
    return str(entry.reason)


def test_reasons_that_name_a_file_of_no_text_are_kept(site: Site, client: Client, tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/take \xff\n.mov"))
    assert "take ?\n.mov is not what was being uploaded" in refused_then_changed(site, client, path)


@pytest.mark.parametrize("year", [10**10, 16 * 10**9, 10**12], ids=["2286", "2477", "33658"])
def test_files_of_a_far_future(site: Site, client: Client, year: int) -> None:
    with tempfile.TemporaryDirectory(dir=_with_long_times()) as folder:
        path = Path(folder) / "a.mov"
        assert "last modified" in refused_then_changed(site, client, path, mtime=year)
        assert client.upload_many([path], anew=True)[0].state is JobState.DONE


def _with_long_times() -> str | None:
    """A file system that keeps times of 64 bits, where there is one; others cut them, which is easier."""
    return "/dev/shm" if Path("/dev/shm").is_dir() else None  # noqa: S108 - a folder of its own is made in it


def test_numbers_of_64_bits_come_back_as_they_were(journal: Journal, tmp_path: Path) -> None:
    identity = Identity(5, signed(2**63 + 1), signed(2**63 + 5), signed(2**64 - 3), "ab")
    (entry,) = journal.queue(Place("s", "o"), [Wishes().of(tmp_path / "a.mov")])
    journal.intend(entry, identity, entry.request.model_copy(update={"size": 5}))
    found = journal.get(entry.id)
    assert found is not None
    assert found.identity == identity
    assert len({signed(number) for number in (0, 5, 2**63 - 1, 2**63, 2**63 + 5, 2**64 - 1)}) == 6


def test_an_end_is_told_whatever_becomes_of_the_lock(
    site: Site, client: Client, journal: Journal, tmp_path: Path
) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(b"x" * 1000)

    def before(_number: int) -> None:
        (lock,) = (path for path in (journal.directory / "locks").iterdir() if not path.name.startswith(SEAT))
        lock.unlink()
        lock.mkdir()  # cannot be taken away as a file

    site.before_put = before
    ended: list[Outcome] = []
    thread = threading.Thread(target=lambda: ended.extend(client.upload_many([path])), daemon=True)
    thread.start()
    thread.join(60)
    assert [outcome.state for outcome in ended] == [JobState.DONE]


def test_a_row_that_somebody_forgets_does_not_stop_its_upload(
    site: Site, client: Client, journal: Journal, tmp_path: Path
) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(os.urandom(3 * PART))

    def before(_number: int) -> None:
        for entry in journal.pending():
            journal.forget(entry)

    site.before_put = before
    (outcome,) = client.upload_many([path], Wishes(part_size=PART), limits=Limits(parallel=1))
    assert outcome.state is JobState.DONE, outcome.error
    assert client.pending() == []


def test_an_upload_token_is_shown_to_its_own_server_only(site: Site, journal: Journal, tmp_path: Path) -> None:
    path = tmp_path / "a.mov"
    path.write_bytes(b"x" * 1000)
    site.faults = [Fault("put", 400, "InvalidRequest")]
    with Client(site.url, TOKEN, journal=journal) as client:
        client.upload_many([path])
    token = site.only().token
    other = site.url.replace("127.0.0.1", "localhost")
    site.bearers.clear()
    site.only().asset_id, real = site.only().id, site.only().asset_id  # it does not know whose upload that is
    with Client(other, TOKEN, journal=journal) as client:
        assert client.uploader.mine() == []
        site.only().asset_id = real
        assert [entry.place.server for entry in client.uploader.mine()] == [other]
    assert token not in site.bearers
    assert [entry.state for entry in journal.pending()] == [State.BEGUN]
