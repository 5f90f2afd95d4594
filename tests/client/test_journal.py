"""The journal on a real disk, with real processes that are killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rushes.client.claim import Holder
from rushes.client.journal import KEPT, Entry, Journal, Place, State
from rushes.client.journal_file import NAME, state_directory
from rushes.client.source import Identity, LocalFile, difference, sampled, was_touched
from rushes.client.wish import Wish
from rushes.errors import Conflict, Misconfigured, Problem, Unavailable
from rushes.wire import BeginUpload, UploadBegun

HERE = Place("http://here", "acme/ann")
SHORT = ("uploads_pausing", "uploads_left", "uploads_done")  # indexes without what is done, or read to 20,000 at most
IDENTITY = Identity(1000, 17, 4711, 3, "abc")


def wish(path: str | Path, **more: object) -> Wish:
    return Wish(Path(path), BeginUpload.model_validate({"filename": Path(path).name, **more}), ("sha256",))


def begun() -> UploadBegun:
    return UploadBegun.model_validate(
        {
            "upload_id": uuid4(), "asset_id": uuid4(), "title_id": uuid4(), "state": "initiated", "size": 1000,
            "max_size": 1000, "layout": "multipart", "part_size": 100, "part_count": 10,
            "checksum_algorithm": "crc64nvme", "token": "t", "expires_at": datetime.now(UTC) + timedelta(days=14),
        }
    )  # fmt: skip


def on_the_way(journal: Journal, path: str = "/a.mov", identity: Identity = IDENTITY) -> Entry:
    (entry,) = journal.queue(HERE, [wish(path)])
    entry = journal.intend(entry, identity, entry.request.model_copy(update={"size": identity.size}))
    return journal.begun(entry, begun())


def test_everything_told_is_known_to_the_next_process(journal: Journal) -> None:
    entry = on_the_way(journal)
    journal.part_read(entry.id, 3, 2**64 - 1, "//////////8=")
    journal.part_read(entry.id, 3, 2**64 - 2, "//////////4=")
    journal.holds(entry.id, 300)
    journal.stopped(entry, Unavailable("no_progress", "Nothing moved."), held=400)
    with Journal(journal.directory) as other:
        (found,) = other.pending(HERE)
        assert other.parts(entry.id) == {3: (2**64 - 2, "//////////4=")}
    assert (found.path, found.identity, found.plan, found.declare) == (
        Path("/a.mov"),
        IDENTITY,
        entry.plan,
        ("sha256",),
    )
    assert (found.request.filename, found.request.size, found.key) == ("a.mov", 1000, entry.key)
    assert (found.code, found.reason, found.held) == ("no_progress", "Nothing moved.", 400)
    assert found.stopped_at is not None


def test_the_same_path_finds_its_row(journal: Journal) -> None:
    first = on_the_way(journal)
    (again,) = journal.queue(HERE, [wish("/a.mov", title_id=uuid4())])
    assert (again.id, again.key, again.state) == (first.id, first.key, State.BEGUN)
    assert again.request == first.request, "what was begun stays what it is"
    (other,) = journal.queue(Place("http://there", "acme/ann"), [wish("/a.mov")])
    (ben,) = journal.queue(Place("http://here", "acme/ben"), [wish("/a.mov")])
    assert len({first.id, other.id, ben.id}) == 3
    assert [entry.id for entry in journal.elsewhere(other)] == [first.id]
    assert len(journal.pending()) == 3
    assert len(journal.pending(HERE)) == 1


def test_a_new_wish_counts_while_nothing_was_begun(journal: Journal) -> None:
    journal.queue(HERE, [wish("/a.mov")])
    (again,) = journal.queue(HERE, [wish("/a.mov", priority=5)])
    assert again.request.priority == 5


def test_done_files_are_remembered(journal: Journal) -> None:
    one, two = journal.queue(HERE, [wish("/one.mov"), wish("/two.mov")])
    one = journal.begun(journal.intend(one, IDENTITY, one.request), begun())
    journal.part_read(one.id, 1, 1, "x")
    journal.done(journal.stored(one))
    assert [entry.id for entry in journal.pending()] == [two.id]
    assert journal.parts(one.id) == {}
    journal.forget(two)
    (again,) = journal.queue(HERE, [wish("/one.mov")])
    assert (again.id, again.state, again.identity) == (one.id, State.DONE, IDENTITY)
    assert again.plan is not None
    assert again.plan.token is None, "what is done needs no token"


class Clock:
    """Seconds since 1970, as the test says."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        self.now += 0.001
        return self.now


def test_done_files_are_forgotten_in_time_but_not_what_a_folder_still_needs(tmp_path: Path) -> None:
    clock = Clock()
    with Journal(tmp_path, clock=clock) as journal:
        one, two = journal.queue(HERE, [wish("/one.mov"), wish("/two.mov")])
        (other,) = journal.queue(HERE, [wish("/other.mov")])
        clock.now += KEPT  # so long it took
        journal.done(one)
        journal.done(other)

        def remembered_when(*wished: str) -> set[str]:
            journal.queue(HERE, [wish(path) for path in wished])
            found = [journal.of(HERE, Path(path)) for path in ("/one.mov", "/other.mov")]
            return {entry.path.stem for entry in found if entry is not None}

        clock.now += KEPT - 60
        assert remembered_when("/x.mov") == {"one", "other"}
        clock.now += 120
        assert remembered_when("/other.mov") == {"one", "other"}, "not what is wished for now"
        assert remembered_when("/x.mov") == {"one"}, "two.mov is still to be uploaded"
        journal.done(two)
        assert remembered_when("/x.mov") == set()


def test_of_files_that_are_done_the_last_are_remembered(tmp_path: Path) -> None:
    with Journal(tmp_path, clock=Clock(), most=3) as journal:
        for number in range(5):
            journal.done(journal.queue(HERE, [wish(f"/{number}.mov")])[0])
        journal.queue(HERE, [wish("/next.mov")])
        assert [number for number in range(5) if journal.of(HERE, Path(f"/{number}.mov"))] == [2, 3, 4]


def test_no_file_costs_more_because_of_the_others(journal: Journal) -> None:
    """Whatever is asked and written on a file's way finds its rows by an index."""
    one, _ = journal.queue(HERE, [wish("/one.mov"), wish("/two.mov")])
    statements: list[str] = []
    journal._db.set_trace_callback(statements.append)
    assert journal.get(one.id) == one
    assert journal.same_file(one, IDENTITY) is None
    assert journal.elsewhere(one) == []
    one = journal.begun(journal.intend(one, IDENTITY, one.request), begun())
    journal.part_read(one.id, 1, 1, "x")
    assert journal.parts(one.id) == {1: (1, "x")}
    journal.holds(one.id, 1)
    assert journal.pause_asked() == set()
    assert journal.stored(one, keep=False).state is State.DONE
    journal._db.set_trace_callback(None)
    asked = [text for text in statements if text.split()[0] in {"SELECT", "INSERT", "UPDATE", "DELETE"}]
    assert len(asked) == 12
    journal._db.set_trace_callback(lambda text: asked.append(text) if text.startswith(("SELECT", "DELETE")) else None)
    journal.queue(HERE, [wish("/three.mov")])
    journal._db.set_trace_callback(None)
    with closing(sqlite3.connect(journal.directory / NAME)) as db:
        for text in asked:
            how = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {text}")]
            scans = [step for step in how if step.startswith("SCAN") and not step.endswith(SHORT)]
            assert not scans, (text, how)


def test_anew_forgets_what_was_begun(journal: Journal) -> None:
    entry = on_the_way(journal)
    journal.part_read(entry.id, 1, 1, "x")
    fresh = journal.anew(entry)
    assert (fresh.state, fresh.identity, fresh.plan, fresh.held) == (State.QUEUED, None, None, 0)
    assert fresh.key != entry.key
    assert journal.parts(entry.id) == {}


def test_anew_takes_what_is_wished_by_then(journal: Journal) -> None:
    fresh = journal.anew(on_the_way(journal), Wish(Path("/a.mov"), BeginUpload(filename="b.mov"), ("md5",)))
    assert (fresh.request.filename, fresh.request.size, fresh.declare) == ("b.mov", None, ("md5",))


def test_what_was_wished_with_a_token_that_names_nobody_gives_way(journal: Journal) -> None:
    nobody = Place(HERE.server, "")
    (begun_by_nobody,) = journal.queue(nobody, [wish("/begun.mov")])
    journal.intend(begun_by_nobody, IDENTITY, begun_by_nobody.request)
    journal.queue(nobody, [wish("/a.mov"), wish("/b.mov")])
    journal.queue(HERE, [wish("/a.mov"), wish("/begun.mov")])
    assert [entry.path.name for entry in journal.pending(nobody)] == ["begun.mov", "b.mov"]


def test_another_name_of_the_same_file(journal: Journal) -> None:
    first = on_the_way(journal, "/before.mov")
    (second,) = journal.queue(HERE, [wish("/after.mov")])
    found = journal.same_file(second, IDENTITY)
    assert found is not None
    assert found.id == first.id
    assert journal.same_file(second, Identity(1000, 17, 4711, 3, "other content")) is None
    adopted = journal.adopt(second, found)
    assert (adopted.id, adopted.path, adopted.plan) == (first.id, Path("/after.mov"), first.plan)
    assert len(journal.pending()) == 1


def test_names_that_are_no_text(journal: Journal) -> None:
    path = Path(os.fsdecode(b"/odd/\xff\n.mov"))
    journal.queue(HERE, [Wish(path, BeginUpload(filename="odd"))])
    assert journal.pending()[0].path == path


def test_a_cancelled_entry_is_said_to_be_gone(journal: Journal) -> None:
    entry = on_the_way(journal)
    journal.forget(entry)
    with pytest.raises(Conflict) as caught:
        journal.begun(entry, begun())
    assert caught.value.code == "upload_cancelled"


def test_pausing_is_asked_for_and_ends_with_the_stop(journal: Journal) -> None:
    entry = on_the_way(journal)
    with Journal(journal.directory) as other:
        other.ask_pause(other.pending())
    assert journal.pause_asked() == {entry.id}
    journal.stopped(entry, Unavailable("paused", "Paused."))
    assert journal.pause_asked() == set()


# --- the disk ---------------------------------------------------------------------------------------------------------


def test_only_its_owner_may_read_it(journal: Journal) -> None:
    on_the_way(journal)
    assert journal.directory.stat().st_mode & 0o077 == 0
    modes = {path.name: path.stat().st_mode & 0o077 for path in journal.directory.iterdir()}
    assert set(modes.values()) == {0}, modes


def test_where_it_lies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("RUSHES_STATE_DIR", raising=False)
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    assert state_directory() == tmp_path / ".local/state/rushes"
    monkeypatch.setenv("XDG_STATE_HOME", "/states")
    assert state_directory() == Path("/states/rushes")
    monkeypatch.setenv("RUSHES_STATE_DIR", "/mine")
    assert state_directory() == Path("/mine")


def test_a_broken_one_is_put_aside(tmp_path: Path) -> None:
    (tmp_path / NAME).write_bytes(b"this is no database at all" * 100)
    with Journal(tmp_path) as journal:
        on_the_way(journal)
        assert len(journal.pending()) == 1
    assert len(list(tmp_path.glob(f"{NAME}.broken-*"))) == 1


def test_one_that_is_damaged_inside_is_put_aside(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        on_the_way(journal)
    content = (tmp_path / NAME).read_bytes()
    (tmp_path / NAME).write_bytes(content[:4096] + bytes(byte ^ 0x5A for byte in content[4096:]))
    with Journal(tmp_path) as journal:
        assert journal.pending() == []
        on_the_way(journal)
    assert len(list(tmp_path.glob(f"{NAME}.broken-*"))) == 1


def test_directories_are_private_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        Journal(tmp_path / "home" / ".local" / "state").close()
    finally:
        os.umask(before)
    for made in (tmp_path / "home", tmp_path / "home" / ".local" / "state" / "locks"):
        assert stat.S_IMODE(made.stat().st_mode) == 0o700


def test_a_newer_one_is_left_alone(tmp_path: Path) -> None:
    Journal(tmp_path).close()
    db = sqlite3.connect(tmp_path / NAME)
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(Misconfigured) as caught:
        Journal(tmp_path)
    assert caught.value.code == "journal_newer"


def test_what_an_older_one_wrote_is_read(tmp_path: Path) -> None:
    with Journal(tmp_path) as journal:
        on_the_way(journal)
    db = sqlite3.connect(tmp_path / NAME)
    db.execute("""UPDATE uploads SET request = json_set(request, '$.what_nobody_knows_any_more', 1)""")
    db.commit()
    db.close()
    with Journal(tmp_path) as journal:
        assert journal.pending()[0].request.filename == "a.mov"


def test_a_disk_that_takes_nothing_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable) as caught:
        Journal(tmp_path / "file" / "below")
    assert caught.value.code == "journal_unavailable"
    assert "RUSHES_STATE_DIR" in caught.value.message


KILLED = """
import sys
from pathlib import Path
from rushes.client.journal import Journal
from tests.client.test_journal import on_the_way
journal = Journal(Path(sys.argv[1]))
entry = on_the_way(journal)
for number in range(1, 100_000):
    journal.part_read(entry.id, number, number, str(number))
    print(number, flush=True)
"""


def test_kill_9_loses_nothing_that_was_told(tmp_path: Path, round_: int) -> None:
    command = [sys.executable, "-c", KILLED, str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for _ in range(20 + 7 * round_):
            last = int(process.stdout.readline())
        process.kill()
    with Journal(tmp_path) as journal:
        (entry,) = journal.pending()
        parts = journal.parts(entry.id)
        assert set(range(1, last + 1)) <= set(parts)
        assert parts[last] == (last, str(last))


def test_many_processes_and_threads_write_at_once(tmp_path: Path) -> None:
    def work(index: int) -> None:
        with Journal(tmp_path) as journal:
            for turn in range(20):
                entry = on_the_way(journal, f"/{index}-{turn}.mov")
                journal.part_read(entry.id, 1, 1, "x")

    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(work, index) for index in range(8)]:
            done.result()
    with Journal(tmp_path) as journal:
        assert len(journal.pending()) == 160


def test_what_is_written_together_is_one_transaction(journal: Journal) -> None:
    told: list[Problem | None] = []
    entries = [on_the_way(journal, f"/{index}.mov") for index in range(3)]
    with Journal(journal.directory) as other:
        with journal.together():
            for entry in entries:
                journal.stored(entry)
                journal.afterwards(told.append)
            assert {entry.state for entry in other.pending()} == {State.BEGUN}
            assert told == []
        assert {entry.state for entry in other.pending()} == {State.STORED}
    assert told == [None] * 3
    journal.afterwards(told.append)
    assert told == [None] * 4, "alone it is at once"


def test_what_could_not_be_written_together_is_told_to_all(journal: Journal) -> None:
    told: list[Problem | None] = []
    entries = [on_the_way(journal, f"/{index}.mov") for index in range(3)]
    pages = journal._db.execute("PRAGMA page_count").fetchone()[0]
    journal._db.execute(f"PRAGMA max_page_count = {pages}")
    with journal.together():
        for entry in entries:
            journal.afterwards(told.append)
            with suppress(Unavailable):
                for number in range(1, 500):
                    journal.part_read(entry.id, number, 1, "x" * 100)
    with pytest.raises(Unavailable), journal.together():
        journal.part_read(entries[0].id, 1, 1, "x" * 4_000_000)
    journal._db.execute("PRAGMA max_page_count = 1000000")
    written = [len(journal.parts(entry.id)) for entry in entries]
    lost = [isinstance(problem, Unavailable) for problem in told]
    assert lost == [True] * 3 if not any(written) else lost == [False] * 3, "all of it, or nothing and that is told"
    journal.part_read(entries[0].id, 1, 1, "x")


# --- claims -----------------------------------------------------------------------------------------------------------

CLAIMING = """
import sys, time
from pathlib import Path
from rushes.client.journal import Journal
from tests.client.test_journal import HERE, IDENTITY
with Journal(Path(sys.argv[1])) as journal, journal.claim(HERE, IDENTITY, Path("/a.mov")):
    print("claimed", flush=True)
    time.sleep(60)
"""


def test_one_process_a_file_until_it_dies(journal: Journal) -> None:
    entry = on_the_way(journal)
    command = [sys.executable, "-c", CLAIMING, str(journal.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        with pytest.raises(Conflict) as caught, journal.claim(HERE, IDENTITY, Path("/a.mov")):
            raise AssertionError
        assert caught.value.code == "upload_elsewhere"
        assert caught.value.details["pid"] == process.pid
        assert f"process {process.pid}, since 20" in caught.value.message
        holder = journal.holder(entry)
        assert isinstance(holder, Holder)
        assert holder.pid == process.pid
        process.send_signal(signal.SIGKILL)
    assert journal.holder(entry) is None
    with journal.claim(HERE, IDENTITY, Path("/a.mov")):
        assert journal.holder(entry) is not None
    assert list((journal.directory / "locks").iterdir()) == [], "locks leave nothing behind"


SEATED = CLAIMING.replace(
    "journal.claim(HERE, IDENTITY, Path(", "journal.claim(HERE, IDENTITY, seat=journal.seat(), path=Path("
)


def test_one_seat_has_many_claims_until_its_process_dies(journal: Journal) -> None:
    entry, locks = on_the_way(journal), journal.directory / "locks"
    command = [sys.executable, "-c", SEATED, str(journal.directory)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "claimed\n"
        seat = journal.seat()
        for how in (None, seat):
            with pytest.raises(Conflict) as caught, journal.claim(HERE, IDENTITY, Path("/a.mov"), how):
                raise AssertionError
            assert caught.value.details["pid"] == process.pid
        process.send_signal(signal.SIGKILL)
    assert journal.holder(entry) is None
    with (
        journal.claim(HERE, IDENTITY, Path("/a.mov"), seat),
        journal.claim(HERE, Identity(1000, 17, 4712, 3), Path("/b.mov"), seat),
    ):
        seat.close()
        held = journal.holder(entry)
        assert held is not None
        assert held.pid == os.getpid()
        with pytest.raises(Conflict), journal.claim(HERE, IDENTITY, Path("/a.mov")):
            raise AssertionError
    journal.seat().close()  # which takes away the seat of who was killed
    assert list(locks.iterdir()) == []


def test_another_file_or_server_is_another_claim(journal: Journal) -> None:
    with (
        journal.claim(HERE, IDENTITY, Path("/a.mov")),
        journal.claim(HERE, Identity(1000, 17, 4712, 3), Path("/b.mov")),
        journal.claim(Place("http://there", "acme/ann"), IDENTITY, Path("/a.mov")),
    ):
        assert len(list((journal.directory / "locks").iterdir())) == 3


def test_of_many_who_claim_one_has_it(tmp_path: Path) -> None:
    inside, most, claimed = 0, 0, 0
    guard = threading.Lock()

    def work() -> None:
        nonlocal inside, most, claimed
        with Journal(tmp_path) as journal:
            for _ in range(50):
                try:
                    with journal.claim(HERE, IDENTITY, Path("/a.mov")):
                        with guard:
                            inside, claimed = inside + 1, claimed + 1
                            most = max(most, inside)
                        with guard:
                            inside -= 1
                except Conflict:
                    continue

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert claimed > 0


# --- identity ---------------------------------------------------------------------------------------------------------


def test_what_makes_it_another_file() -> None:
    assert difference(IDENTITY, IDENTITY) is None
    assert "grown" in (difference(IDENTITY, Identity(1001, 17, 4711, 3, "abd")) or "")
    assert "cut short" in (difference(IDENTITY, Identity(999, 17, 4711, 3, "abd")) or "")
    assert "written to" in (difference(IDENTITY, Identity(1000, 18, 4711, 3, "abd")) or "")
    assert "took its place" in (difference(IDENTITY, Identity(1000, 17, 4712, 3, "abd")) or "")
    for touched in (Identity(1000, 18, 4711, 3, "abc"), Identity(1000, 17, 4712, 3, "abc")):
        assert difference(IDENTITY, touched) is None
        assert was_touched(IDENTITY, touched)
    assert not was_touched(IDENTITY, Identity(1000, 17, 4711, 99, "abc")), "devices are numbered anew at every boot"


@given(size=st.integers(1, 2**40))
def test_samples_lie_in_the_file_and_at_both_its_ends(size: int) -> None:
    places = sampled(size)
    assert all(offset >= 0 and length > 0 and offset + length <= size for offset, length in places)
    assert places[0][0] == 0
    assert sum(places[-1]) == size
    assert sum(length for _, length in places) <= 256 << 10


def test_the_sample_is_of_the_content(tmp_path: Path) -> None:
    path = tmp_path / "clip.mov"
    path.write_bytes(bytes(1 << 20))
    with LocalFile(path) as file:
        before = file.identify()
    os.utime(path, ns=(1, 1))
    with LocalFile(path) as file:
        touched = file.identify()
    assert before.sample == touched.sample
    with path.open("r+b") as writer:
        writer.seek(-1, os.SEEK_END)
        writer.write(b"x")
    with LocalFile(path) as file:
        assert file.identify().sample != before.sample
