"""A file that changes while its upload waits: refused in words, never mixed; touched or restored, it goes on."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from rushes.client import Client, JobState, Journal
from rushes.errors import Conflict, Problem
from tests.client.equipment import Site
from tests.client.killed import COUNT, FEW, PART, killed_at, one, whole


def write_at(path: Path, offset: int, data: bytes, *, keep_times: bool = False) -> None:
    status = path.stat()
    with path.open("r+b") as writer:
        writer.seek(offset)
        writer.write(data)
    if keep_times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def modified(path: Path) -> None:
    write_at(path, 10, b"modified")


def modified_secretly(path: Path) -> None:
    """In a part that is held, where no sample is taken, and with its times put back."""
    write_at(path, 2 * PART - 100_000, b"modified", keep_times=True)


def truncated(path: Path) -> None:
    os.truncate(path, 3 * PART)


def grown(path: Path) -> None:
    write_at(path, COUNT * PART, b"more")


def replaced(path: Path) -> None:
    status = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(random.Random(6).randbytes(COUNT * PART))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


@pytest.mark.parametrize("change", [modified, modified_secretly, truncated, grown, replaced])
def test_a_file_that_changed_is_refused_in_words_and_never_mixed(
    site: Site, client: Client, journal: Journal, clip: Path, change: Callable[[Path], None]
) -> None:
    killed_at(site, journal, clip)
    change(clip)
    for _ in range(2):  # asking again does not make it right
        outcome = one(client.upload_many([clip], FEW))
        assert outcome.state is JobState.FAILED
        assert isinstance(outcome.error, Conflict)
        assert outcome.error.code == "file_changed"
        assert "--anew" in outcome.error.message
        assert site.only().state == "uploading"
    (entry,) = client.pending()
    assert entry.code == "file_changed"
    again = one(client.upload_many([clip], FEW, anew=True))
    assert again.state is JobState.DONE, again.error
    assert [upload.state for upload in site.uploads.values()] == ["aborted", "ingested"]
    whole(site, clip)


def test_a_change_in_what_was_read_and_not_sent_is_found_every_time(
    site: Site, client: Client, journal: Journal, clip: Path
) -> None:
    killed_at(site, journal, clip, at=2)
    (entry,) = client.pending()
    number = max(set(journal.parts(entry.id)) - set(site.only().stored))
    write_at(clip, number * PART - 100_000, b"modified", keep_times=True)
    for _ in range(3):
        error = one(client.upload_many([clip], FEW)).error
        assert isinstance(error, Conflict)
        assert error.code == "file_changed"


def test_a_change_in_what_was_not_sent_yet_is_no_mixture(
    site: Site, client: Client, journal: Journal, clip: Path
) -> None:
    killed_at(site, journal, clip, at=2)
    write_at(clip, COUNT * PART - 30_000, b"modified")
    outcome = one(client.upload_many([clip], FEW))
    assert outcome.state is JobState.DONE, outcome.error
    assert "touched" in outcome.notices[0]
    whole(site, clip)


def test_a_touched_or_restored_file_goes_on(site: Site, client: Client, journal: Journal, clip: Path) -> None:
    killed_at(site, journal, clip)
    copy = clip.with_suffix(".copy")
    copy.write_bytes(clip.read_bytes())
    copy.replace(clip)
    outcome = one(client.upload_many([clip], FEW))
    assert outcome.state is JobState.DONE
    assert len(site.uploads) == 1
    assert "touched" in outcome.notices[0]


def test_a_file_that_is_gone_stays_pending(site: Site, client: Client, journal: Journal, clip: Path) -> None:
    killed_at(site, journal, clip)
    clip.rename(clip.with_suffix(".away"))
    outcome = one(client.resume_pending())
    assert isinstance(outcome.error, Problem)
    assert outcome.error.code == "file_missing"
    assert len(client.pending()) == 1
    clip.with_suffix(".away").rename(clip)
    assert one(client.resume_pending()).state is JobState.DONE
