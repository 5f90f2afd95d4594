"""Uploads by the journal against the test server: begun, killed, changed, moved, shared between processes."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import xxhash

from rushes.client import Client, JobState, Journal, Limits, Overall, Wishes
from rushes.client.journal import State
from rushes.client.owner import owner_of
from rushes.client.source import LocalFile
from rushes.model import Layout
from tests.client.equipment import TOKEN, Fault, Site
from tests.client.killed import COUNT, FEW, PART, killed_at, one, process, whole
from tests.client.served import serving

# --- going on ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_the_same_call_goes_on_after_whatever_ended_it(
    site: Site, client: Client, journal: Journal, clip: Path, number: int
) -> None:
    killed_at(site, journal, clip, number=number)
    (entry,) = client.pending()
    assert entry.plan is not None
    assert set(journal.parts(entry.id)) >= set(site.only().stored)
    outcome = one(client.upload_many([clip], FEW))
    assert outcome.state is JobState.DONE, outcome.error
    whole(site, clip)
    assert len(site.uploads) == 1, "nothing was reserved twice"
    assert outcome.result is not None
    assert outcome.result.sent <= 3 * PART
    assert site.only().declared == [f"sha256:{hashlib.sha256(clip.read_bytes()).hexdigest()}"]
    assert client.pending() == []


def test_everything_pending_goes_on(site: Site, client: Client, journal: Journal, clip: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.mov"
    other.write_bytes(b"other")
    killed_at(site, journal, clip)
    site.faults = [Fault("put", 400, "InvalidRequest")]
    failed = one(client.upload_many([other]))
    assert failed.state is JobState.FAILED
    assert {entry.path.name: entry.code for entry in client.pending()} == {
        "clip.mov": None,
        "other.mov": "part_refused",
    }
    assert {outcome.state for outcome in client.resume_pending()} == {JobState.DONE}
    assert client.pending() == []


def test_a_kill_between_begin_and_its_reply_reserves_nothing_twice(
    site: Site, client: Client, journal: Journal, clip: Path
) -> None:
    reached, begin = threading.Event(), site.begin

    def slow(body: bytes, key: str) -> dict[str, object]:
        told = begin(body, key)
        reached.set()
        time.sleep(1)
        return told

    site.begin = slow  # type: ignore[method-assign]
    with process(site, journal, clip) as running:
        assert reached.wait(30)
        running.kill()
        running.communicate(timeout=20)
    (entry,) = client.pending()
    assert entry.state is State.INTENDED
    assert one(client.upload_many([clip], FEW)).state is JobState.DONE
    assert len(site.uploads) == 1


def test_a_kill_right_before_the_end(site: Site, client: Client, journal: Journal, clip: Path) -> None:
    reached, complete = threading.Event(), site.complete

    def slow(*given: object) -> object:
        told = complete(*given)  # type: ignore[arg-type]
        reached.set()
        time.sleep(1)
        return told

    site.complete = slow  # type: ignore[method-assign,assignment]
    with process(site, journal, clip) as running:
        assert reached.wait(30)
        running.kill()
        running.communicate(timeout=20)
    before = site.bytes_received
    assert one(client.upload_many([clip], FEW)).state is JobState.DONE
    assert site.bytes_received == before
    assert len(site.uploads) == 1
    assert client.pending() == []


def test_held_parts_are_compared_beside_sending_and_before_completing(
    site: Site, client: Client, journal: Journal, clip: Path
) -> None:
    killed_at(site, journal, clip, at=5)
    seen: list[Overall] = []
    site.pace = 0.1
    outcome = one(client.upload_many([clip], FEW, limits=Limits(parallel=1), on_progress=seen.append))
    assert outcome.state is JobState.DONE
    assert seen[0].size == COUNT * PART
    assert outcome.result is not None
    assert outcome.result.checksum, "every part was read"


def test_another_token_of_the_same_person_goes_on(site: Site, journal: Journal, clip: Path) -> None:
    killed_at(site, journal, clip)
    with Client(site.url, "expired-token", journal=journal) as late:
        outcome = one(late.upload_many([clip], FEW))
    assert outcome.state is JobState.DONE, "the upload has a token of its own"
    whole(site, clip)


def test_the_same_server_at_another_address_goes_on(site: Site, journal: Journal, clip: Path) -> None:
    killed_at(site, journal, clip)
    with Client(site.url.replace("127.0.0.1", "localhost"), TOKEN, journal=journal) as moved:
        assert one(moved.upload_many([clip], FEW)).state is JobState.DONE
    assert len(site.uploads) == 1
    assert journal.pending() == []


def test_another_server_gets_an_upload_of_its_own(site: Site, journal: Journal, clip: Path) -> None:
    killed_at(site, journal, clip)
    with serving() as there, Client(there.url, TOKEN, journal=journal) as client:
        assert one(client.upload_many([clip], FEW)).state is JobState.DONE
        whole(there, clip)
    assert len(journal.pending()) == 1, "the other one is still to go on"


@pytest.mark.parametrize("state", ["expired", "aborted", "rejected"])
def test_what_ended_over_there_begins_anew_and_says_so(
    site: Site, client: Client, journal: Journal, clip: Path, state: str
) -> None:
    killed_at(site, journal, clip)
    site.only().state = state
    outcome = one(client.upload_many([clip], FEW))
    assert outcome.state is JobState.DONE
    assert f"is {state}" in outcome.notices[0]
    assert len(site.uploads) == 2
    whole(site, clip)


def test_a_server_that_forgot_gets_a_new_one(site: Site, client: Client, journal: Journal, clip: Path) -> None:
    killed_at(site, journal, clip)
    site.uploads.clear()
    site.keys.clear()
    outcome = one(client.upload_many([clip], FEW))
    assert outcome.state is JobState.DONE
    assert "does not know" in outcome.notices[0]


def test_a_renamed_file_and_a_hard_link_are_the_same_file(
    site: Site, client: Client, journal: Journal, clip: Path, tmp_path: Path
) -> None:
    killed_at(site, journal, clip)
    clip.rename(tmp_path / "renamed.mov")
    assert one(client.upload_many([tmp_path / "renamed.mov"], FEW)).state is JobState.DONE
    assert len(site.uploads) == 1
    assert client.pending() == []


def test_another_file_that_only_looks_the_same_gets_an_upload_of_its_own(
    site: Site, client: Client, journal: Journal, clip: Path
) -> None:
    """Inodes are numbered on each disk: the same number, size and content may be a copy's."""
    killed_at(site, journal, clip)
    (entry,) = client.pending()
    other = clip.with_name("other.mov")
    other.write_bytes(clip.read_bytes())
    with LocalFile(other) as file:
        journal.touched(entry, file.identify())
    assert one(client.upload_many([other], FEW)).state is JobState.DONE
    assert [upload.state for upload in site.uploads.values()] == ["uploading", "ingested"]
    assert [entry.path for entry in client.pending()] == [clip]


def test_a_symbolic_link_is_the_file_it_leads_to(
    site: Site, client: Client, journal: Journal, clip: Path, tmp_path: Path
) -> None:
    (tmp_path / "link.mov").symlink_to(clip)
    killed_at(site, journal, tmp_path / "link.mov")
    assert one(client.upload_many([clip], FEW)).state is JobState.DONE
    assert len(site.uploads) == 1


def test_checksums_of_the_whole_file_are_computed_on_the_way(site: Site, client: Client, clip: Path) -> None:
    wishes = Wishes(part_size=PART, checksum=["sha256", "xxh128", "md5:" + "0" * 32])
    outcome = one(client.upload_many([clip], wishes))
    assert outcome.state is JobState.DONE, outcome.error
    data, upload = clip.read_bytes(), site.only()
    assert upload.declared == [
        f"sha256:{hashlib.sha256(data).hexdigest()}", f"xxh128:{xxhash.xxh3_128(data).hexdigest()}"
    ]  # fmt: skip
    assert upload.begin is not None
    assert upload.begin.checksum == ["md5:" + "0" * 32]


# --- a file that was uploaded before ----------------------------------------------------------------------------------


def test_a_kill_after_the_end_uploads_nothing_twice(site: Site, client: Client, journal: Journal, clip: Path) -> None:
    """The process has noted that all is done, and dies before it can say so."""
    with process(site, journal, clip) as running:
        while (row := journal.of(client.uploader.place, clip)) is None or row.state is not State.DONE:
            time.sleep(0.002)
        running.kill()
        running.communicate(timeout=20)
    requests = len(site.requests)
    outcome = one(client.upload_many([clip], FEW))
    assert outcome.state is JobState.DONE
    assert outcome.notices == (f"It was uploaded before (asset {site.only().asset_id}); --anew uploads it again.",)
    assert outcome.result is not None
    assert (outcome.result.asset_id, outcome.result.sent) == (site.only().asset_id, 0)
    assert len(site.requests) == requests + 1
    assert client.pending() == []


def test_a_finished_folder_is_not_uploaded_again(site: Site, client: Client, tmp_path: Path) -> None:
    trip, wishes = folder(tmp_path, 12), Wishes(title="The trip")
    client.upload_many([trip], wishes)
    (trip / "day 0" / "new.mov").write_bytes(b"new")
    outcomes = client.upload_many([trip], wishes)
    assert {outcome.state for outcome in outcomes} == {JobState.DONE}
    assert [outcome.path.name for outcome in outcomes if not outcome.notices] == ["new.mov"]
    assert (len(site.uploads), len(site.titles)) == (13, 1)
    assert len(client.upload_many([trip], wishes, anew=True)) == 13
    assert len(site.uploads) == 26


@pytest.mark.parametrize("copied", [False, True])
def test_a_file_that_was_touched_is_uploaded_again_one_that_was_copied_back_is_not(
    site: Site, client: Client, clip: Path, copied: bool
) -> None:
    """Cards and network drives number their files anew, so an inode says nothing."""
    client.upload_many([clip], FEW)
    if copied:
        shutil.copy2(clip, clip.with_suffix(".copy"))
        clip.with_suffix(".copy").replace(clip)
    else:
        clip.touch()
    assert one(client.upload_many([clip], FEW)).state is JobState.DONE
    assert len(site.uploads) == (1 if copied else 2)


@pytest.mark.parametrize(
    ("wishes", "other"),
    [
        (Wishes(title="Other"), "title"),
        (Wishes(layout=Layout.STAGED), "layout"),
        (Wishes(checksum=["md5:" + "0" * 32]), "checksum"),
        (Wishes(part_size=PART, checksum=["sha256"], source="elsewhere"), ""),
    ],
)
def test_what_makes_another_asset_is_uploaded_again(
    site: Site, client: Client, clip: Path, wishes: Wishes, other: str
) -> None:
    client.upload_many([clip])
    before = site.only().asset_id
    (notice,) = one(client.upload_many([clip], wishes)).notices
    assert len(site.uploads) == (2 if other else 1)
    if other:
        assert notice == f"It was uploaded before with another {other} (asset {before}); it is uploaded again."


def test_what_the_server_does_not_have_any_more_is_uploaded_again(site: Site, client: Client, clip: Path) -> None:
    client.upload_many([clip], FEW)
    gone = site.only().asset_id
    site.uploads.clear()
    outcome = one(client.upload_many([clip], FEW))
    assert outcome.notices == (
        f"It was uploaded before (asset {gone}), which is not there any more; it is uploaded again.",
    )
    whole(site, clip)


# --- two at one file --------------------------------------------------------------------------------------------------


@contextmanager
def busy(site: Site, journal: Journal, path: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that is in the middle of uploading `path`, and goes on afterwards."""
    reached, go_on = threading.Event(), threading.Event()

    def before(_part: int) -> None:
        if site.only().stored:
            reached.set()
            go_on.wait(30)

    site.before_put = before
    with process(site, journal, path) as running:
        assert reached.wait(30)
        try:
            yield running
        finally:
            go_on.set()
            site.before_put = None


@pytest.mark.parametrize("hard_link", [False, True])
def test_two_processes_on_one_file_do_not_fight(
    site: Site, client: Client, journal: Journal, clip: Path, *, hard_link: bool
) -> None:
    path = clip
    if hard_link:
        path = clip.with_name("link.mov")
        os.link(clip, path)
    with busy(site, journal, clip) as running:
        outcome = one(client.upload_many([path], FEW))
        assert outcome.state is JobState.ELSEWHERE
        assert f"process {running.pid}" in str(outcome.error)
    assert running.stdout is not None
    whole(site, clip)
    assert len(site.uploads) == 1


def test_a_pause_asked_for_by_another_process(site: Site, client: Client, journal: Journal, clip: Path) -> None:
    site.pace = 0.5
    with process(site, journal, clip) as running:
        while not (pending := client.pending()) or pending[0].state is not State.BEGUN:
            time.sleep(0.05)
        journal.ask_pause(pending)
        out, _ = running.communicate(timeout=20)
    assert out.startswith("paused Paused; `rushes resume`")
    (entry,) = client.pending()
    assert entry.code == "paused"
    site.pace = 0
    assert one(client.resume_pending()).state is JobState.DONE
    whole(site, clip)


# --- many files -------------------------------------------------------------------------------------------------------


def folder(root: Path, count: int) -> Path:
    trip = root / "trip"
    for index in range(count):
        (trip / f"day {index % 3}").mkdir(parents=True, exist_ok=True)
        (trip / f"day {index % 3}" / f"{index}.mov").write_bytes(f"file {index}".encode() * 100)
    return trip


def test_a_folder_goes_up_with_its_structure_and_a_title_for_all(site: Site, client: Client, tmp_path: Path) -> None:
    trip = folder(tmp_path, 30)
    (trip / ".hidden").write_bytes(b"x")
    seen: list[Overall] = []
    outcomes = client.upload_many([trip], on_progress=seen.append)
    assert sorted(outcome.state for outcome in outcomes) == [JobState.DONE] * 30 + [JobState.SKIPPED]
    places = {upload.begin.relative_path for upload in site.uploads.values() if upload.begin is not None}
    assert places == {f"trip/day {index % 3}/{index}.mov" for index in range(30)}
    assert (seen[-1].files, seen[-1].done, seen[-1].held) == (30, 30, seen[-1].size)
    assert client.pending() == []


def test_failures_are_told_kept_and_tried_again(site: Site, client: Client, tmp_path: Path) -> None:
    trip = folder(tmp_path, 20)
    site.faults = [Fault("begin", 402, "over_quota"), Fault("put", 400, "InvalidRequest"), Fault("put", 400, "Odd")]
    outcomes = client.upload_many([trip])
    failed = [outcome for outcome in outcomes if outcome.state is JobState.FAILED]
    assert len(failed) == 3
    assert {entry.path for entry in client.pending()} == {outcome.path for outcome in failed}
    assert {outcome.state for outcome in client.resume_pending()} == {JobState.DONE}
    assert client.pending() == []
    assert sum(upload.state == "ingested" for upload in site.uploads.values()) == 20


def test_done_before_and_forgotten_before_it_is_looked_at(
    site: Site, client: Client, journal: Journal, clip: Path
) -> None:
    assert one(client.upload_many([clip])).state is JobState.DONE
    with client.engine.lock:  # nobody looks at a file yet
        (job,) = client.uploader.add([Wishes().of(clip)])
        journal.forget(job.entry)
    assert job.ended.wait(20)
    assert (job.state, job.notices) == (JobState.DONE, [])
    assert sum(upload.state == "ingested" for upload in site.uploads.values()) == 2


def test_a_folder_goes_on_where_it_was_killed(site: Site, client: Client, journal: Journal, tmp_path: Path) -> None:
    trip = folder(tmp_path, 30)
    site.pace = 0.05
    with process(site, journal, trip) as running:
        while sum(upload.state == "ingested" for upload in list(site.uploads.values())) < 10:
            time.sleep(0.01)
        running.kill()
        running.communicate(timeout=20)
    site.pace = 0
    outcomes = client.upload_many([trip])
    assert {outcome.state for outcome in outcomes} == {JobState.DONE}
    assert sum(upload.state == "ingested" for upload in site.uploads.values()) == 30
    names = [upload.filename for upload in site.uploads.values()]
    assert len(names) == len(set(names)), "no file has two uploads"
    assert any("uploaded before" in notice for outcome in outcomes for notice in outcome.notices)
    assert client.pending() == []


def test_whose_uploads_they_are() -> None:
    import jwt

    def token(**claims: object) -> str:
        return jwt.encode({"iss": "rushes", "tenant": "acme", "sub": "ann", **claims}, "s" * 40)

    assert owner_of(token(exp=1)) == owner_of(token(exp=2)) == "rushes/acme/ann"
    assert owner_of(token(sub="ben")) != owner_of(token())
    assert owner_of("no-token") == owner_of("a.b.c") == owner_of("..") == ""
