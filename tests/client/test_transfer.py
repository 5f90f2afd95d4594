"""Whole uploads over real sockets, against the strict test server, on good days and bad."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest

from rushes.checksum import crc64nvme, encode
from rushes.client import Client, Limits, Progress, Stopped
from rushes.errors import Conflict, Forbidden, Invalid, Problem, Rejected, Unavailable
from rushes.wire import NewTitle
from tests.client.equipment import TOKEN, Fault, Site

MIB = 1 << 20
PART = 5 * MIB  # the smallest part a plan may have
HASTY = Limits(parallel=4, backoff=0.02, look_every=0.02)
MakeFile = Callable[..., Path]


def crc_of(path: Path) -> int:
    return crc64nvme(path.read_bytes())


def whole(site: Site, path: Path) -> None:
    upload = site.only()
    assert upload.state == "ingested"
    assert upload.crc == crc_of(path)


def test_a_small_file_is_one_part(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(1)
    result = client.upload(path)
    whole(site, path)
    assert (result.part_count, result.size, result.sent) == (1, 1, 1)
    assert result.checksum == encode(crc_of(path))


def test_a_large_file_goes_in_parallel_parts(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(9 * PART + 12345)
    site.pace = 0.1
    seen: list[Progress] = []
    result = client.upload(path, part_size=PART, limits=HASTY, on_progress=seen.append)
    whole(site, path)
    assert result.part_count == 10
    assert result.sent == path.stat().st_size == site.bytes_received
    assert site.peak == HASTY.parallel
    last = seen[-1]
    assert (last.held, last.parts_held, last.moving, last.finalizing) == (result.size, 10, 0, True)
    assert [progress.held for progress in seen] == sorted(progress.held for progress in seen)
    assert any(0 < progress.held + progress.moving < result.size for progress in seen)


def test_what_begin_says_travels(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(10, "clip \u00fc.mp4")
    title = NewTitle(title="A title", tags=["one"], metadata={"a": 1})
    client.upload(path, title=title, priority=3, source="card 7", relative_path="day1/clip.mp4")
    begun = site.only().begin
    assert begun is not None
    assert begun.title == title
    assert (begun.filename, begun.content_type, begun.priority) == ("clip \u00fc.mp4", "video/mp4", 3)
    assert (begun.source, begun.relative_path) == ("card 7", "day1/clip.mp4")


def test_a_name_that_is_no_text_is_shown_as_well_as_can_be(site: Site, client: Client, tmp_path: Path) -> None:
    path = tmp_path / os.fsdecode(b"caf\xe9\n.mov")
    path.write_bytes(b"x")
    client.upload(path)
    assert site.only().filename == "caf\ufffd\ufffd.mov"


@pytest.mark.parametrize(
    "fault",
    [
        Fault("put", 503, "SlowDown", number=2),
        Fault("put", 500, "InternalError", number=1),
        Fault("put", 403, "AccessDenied", number=3),
        Fault("put", 404, "NoSuchUpload", number=3),
        Fault("put", 400, "RequestTimeout", number=4),
        Fault("put", way="reset", number=2),
        Fault("put", way="flip", number=1),
        Fault("put", way="no-etag", number=2),
        Fault("put", way="forget", number=4),
        Fault("begin", way="reset"),
        Fault("ask", way="reset"),
        Fault("ask", 503, "unavailable"),
        Fault("ask", 429, "too_many"),
        Fault("complete", way="reset"),
        Fault("complete", 500, "internal"),
        Fault("status", way="reset"),
    ],
    ids=lambda fault: f"{fault.at}-{fault.way}-{fault.status}",
)
def test_one_bad_day_costs_no_byte(site: Site, client: Client, make_file: MakeFile, fault: Fault) -> None:
    path = make_file(3 * PART + 1)
    site.faults, site.looks = [fault], 2
    client.upload(path, part_size=PART, limits=HASTY)
    whole(site, path)
    assert site.faults == []


def test_a_part_that_is_missed_after_the_answer_is_sent_again(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(3 * PART)
    site.looks, site.loses = 2, 2
    result = client.upload(path, part_size=PART, limits=HASTY)
    whole(site, path)
    assert result.sent == 4 * PART


def test_many_bad_days_cost_no_byte(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(11 * PART + 1)
    ways = ("reset", "flip", "no-etag", "forget")
    site.faults = [Fault("put", way=way, number=number) for number in range(1, 13) for way in ways[number % 2 :: 2]]
    site.faults += [Fault("ask", way="reset") for _ in range(5)]
    client.upload(path, part_size=PART, limits=HASTY)
    whole(site, path)


def test_a_failed_part_is_retried_on_a_new_connection(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(2 * PART)
    site.faults = [Fault("put", 503, "SlowDown", number=1)]
    client.upload(path, part_size=PART, limits=HASTY)
    assert len(site.connections[1]) == 2


def test_grants_that_expire_under_way_are_renewed(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(12 * PART)
    site.grant_seconds = 0.4
    site.pace = 0.15
    client.upload(path, part_size=PART, limits=HASTY)
    whole(site, path)


@pytest.mark.parametrize("days", [-400, 400])
def test_the_clients_clock_does_not_matter(site: Site, client: Client, make_file: MakeFile, days: int) -> None:
    path = make_file(PART)
    site.clock_offset = timedelta(days=days)
    client.upload(path)
    whole(site, path)


def test_a_store_that_is_full_is_said(site: Site, client: Client, make_file: MakeFile) -> None:
    site.faults = [Fault("put", 507, "InsufficientStorage") for _ in range(999)]
    with pytest.raises(Unavailable, match="no room") as caught:
        client.upload(make_file(10), limits=Limits(backoff=0.01, pause_after=0.1))
    assert (caught.value.code, caught.value.details["reason"]) == ("no_progress", "storage_full")


def test_a_store_that_refuses_for_good_ends_at_once(site: Site, client: Client, make_file: MakeFile) -> None:
    site.faults = [Fault("put", 400, "InvalidRequest")]
    with pytest.raises(Rejected, match="InvalidRequest"):
        client.upload(make_file(10))
    assert len(site.connections[1]) == 1


def test_grants_that_are_always_refused_end_the_upload(site: Site, client: Client, make_file: MakeFile) -> None:
    site.faults = [Fault("put", 403, "AccessDenied") for _ in range(99)]
    with pytest.raises(Forbidden, match="AccessDenied"):
        client.upload(make_file(10), limits=HASTY)


def test_an_upload_that_was_aborted_elsewhere_ends(site: Site, client: Client, make_file: MakeFile) -> None:
    def abort(_number: int) -> None:
        site.only().state = "aborted"

    site.before_put = abort
    with pytest.raises(Conflict, match="aborted"):
        client.upload(make_file(12 * PART), part_size=PART)


def test_a_server_that_rejects_the_file_says_why(site: Site, client: Client, make_file: MakeFile) -> None:
    site.faults = [Fault("complete", 409, "upload_expired")]
    with pytest.raises(Conflict) as caught:
        client.upload(make_file(10))
    assert caught.value.code == "upload_expired"


# --- the file changes -------------------------------------------------------------------------------------------------


def test_a_file_that_grows_is_not_completed(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(2 * PART)

    def grow(_number: int) -> None:
        with path.open("ab") as writer:
            writer.write(b"more")

    site.before_put = grow
    with pytest.raises(Conflict, match="changed") as caught:
        client.upload(path, part_size=PART)
    assert caught.value.code == "file_changed"
    assert site.only().state == "uploading"


def test_a_file_that_shrinks_is_not_completed(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(12 * PART)
    site.before_put = lambda _number: os.truncate(path, 5 * PART)
    with pytest.raises(Conflict, match="changed"):
        client.upload(path, part_size=PART)
    assert site.only().state == "uploading"


def test_bytes_that_change_between_reading_and_sending_are_noticed_by_storage(
    site: Site, client: Client, make_file: MakeFile
) -> None:
    """Even when size and modification time stay: the checksum is bound to the grant."""
    path = make_file(PART)
    status = path.stat()

    def rewrite() -> None:
        with path.open("r+b") as writer:
            writer.write(b"other bytes")
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))

    original = site.ask

    def ask(upload: object, body: bytes) -> object:
        rewrite()  # the checksum is known, the part not yet sent
        return original(upload, body)  # type: ignore[arg-type]

    site.ask = ask  # type: ignore[method-assign,assignment]
    with pytest.raises(Conflict) as caught:
        client.upload(path)
    assert caught.value.code == "file_changed"
    assert site.only().stored == {}


# --- stopping and going on --------------------------------------------------------------------------------------------


def stopped_midway(site: Site, path: Path, cancel: threading.Event) -> Problem:
    numbers: list[int] = []
    over = threading.Event()

    def stop(number: int) -> bool:
        numbers.append(number)
        if len(numbers) < 4:
            return True
        cancel.set()
        over.wait(90)
        return False  # it was stopped in the middle of this part

    site.before_put = stop
    with Client(site.url, TOKEN, cancel=cancel) as client, pytest.raises(Stopped) as caught:
        client.upload(path, part_size=PART, limits=Limits(parallel=1))
    site.before_put = None
    over.set()
    return caught.value


def test_cancel_stops_quickly_and_politely(site: Site, make_file: MakeFile) -> None:
    cancel, stopped_at = threading.Event(), time.monotonic()
    problem = stopped_midway(site, make_file(8 * PART), cancel)
    assert time.monotonic() - stopped_at < 60, "it does not wait for the answer"
    assert problem.details == {"upload_id": str(site.only().id)}
    assert len(site.only().held) == 3, "parts done are reported before it stops"
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("rushes-part")]


def test_a_stopped_upload_goes_on_where_it_was(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(8 * PART)
    stopped_midway(site, path, threading.Event())
    before = site.bytes_received
    result = client.resume(site.only().id, path)
    whole(site, path)
    assert result.sent == 5 * PART
    assert site.bytes_received - before == 5 * PART


def test_another_file_is_not_mixed_in(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(8 * PART)
    stopped_midway(site, path, threading.Event())
    with pytest.raises(Conflict) as caught:
        client.resume(site.only().id, make_file(8 * PART + 1, "longer"))
    assert caught.value.code == "file_differs"
    with path.open("r+b") as writer:
        writer.write(b"changed")
    with pytest.raises(Conflict) as caught:
        client.resume(site.only().id, path)
    assert caught.value.code == "file_changed"
    assert site.only().state == "uploading"


def test_a_stop_while_the_server_is_silent_is_quick(site: Site, make_file: MakeFile) -> None:
    cancel = threading.Event()
    site.faults = [Fault("put", way="stall", seconds=4)]
    with Client(site.url, TOKEN, cancel=cancel) as client:
        threading.Timer(0.3, cancel.set).start()
        started = time.monotonic()
        with pytest.raises(Stopped):
            client.upload(make_file(10))
        assert time.monotonic() - started < 3


SCRIPT = """
import re, signal, sys
from rushes.client import Client, Limits
signal.signal(signal.SIGINT, signal.default_int_handler)  # whatever shell started the tests
with Client(sys.argv[1], sys.argv[2], limits=Limits(parallel=4)) as client:
    client.upload(sys.argv[3], on_begin=lambda begun: print("begun", flush=True))
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


def test_keyboard_interrupt_leaves_a_resumable_upload(site: Site, client: Client, make_file: MakeFile) -> None:
    path = make_file(4 * PART)
    site.pace = 1.0
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT, site.url, TOKEN, path], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "begun\n"
        time.sleep(0.3)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert process.returncode == -signal.SIGINT
    assert "KeyboardInterrupt" in said
    site.pace = 0.0
    client.resume(site.only().id, path)
    whole(site, path)


def test_memory_does_not_grow_with_the_file(site: Site, tmp_path: Path) -> None:
    """Parts of 8 MiB and of 64 MiB; most of the megabytes are Python and its modules."""
    peaks = []
    for size in (64 * MIB, 768 * MIB):
        path = tmp_path / f"{size}"
        with path.open("wb") as writer:
            writer.truncate(size)
        done = subprocess.run(
            [sys.executable, "-c", SCRIPT, site.url, TOKEN, path], capture_output=True, text=True, check=True
        )
        peaks.append(int(done.stdout.split()[-1]))
    assert peaks[1] - peaks[0] < 16, peaks
    assert peaks[1] < 60 + 4 * 3 + 3 + 15, peaks


STOPPED_SCRIPT = """
import re, sys, threading
from rushes.client import Client, Limits, Stopped
cancel = threading.Event()
def stop(progress):
    if progress.parts_held >= 20:
        cancel.set()
with Client(sys.argv[1], sys.argv[2], limits=Limits(parallel=4), cancel=cancel) as client:
    try:
        client.upload(sys.argv[3], on_progress=stop)
    except Stopped:
        pass
print(int(re.search(r"VmHWM:\\s+(\\d+)", open("/proc/self/status").read())[1]) // 1024)
"""


def test_memory_is_what_was_said_for_a_file_of_300_gb(site: Site, tmp_path: Path) -> None:
    """4,471 parts of 64 MiB, of which some are sent. 3 MB for each line, 3 MB for the ledger; the rest is Python."""
    path = tmp_path / "huge"
    with path.open("wb") as writer:
        writer.truncate(300 * 10**9)
    done = subprocess.run(
        [sys.executable, "-c", STOPPED_SCRIPT, site.url, TOKEN, path], capture_output=True, text=True, check=True
    )
    assert len(site.only().held) >= 20
    assert int(done.stdout.split()[-1]) < 60 + 4 * 3 + 3 + 15


# --- waiting ----------------------------------------------------------------------------------------------------------


def test_wait_returns_the_published_asset(site: Site, client: Client, make_file: MakeFile) -> None:
    result = client.upload(make_file(10))
    site.asset_statuses = [{"status": "processing"}, {"status": "processing"}, {"status": "published"}]
    site.assets[result.asset_id] = asset(site, "published")
    seen: list[str] = []
    found = client.wait(result.asset_id, on_status=lambda status: seen.append(status.status), every=0.01)
    assert seen == ["processing", "processing", "published"]
    assert found.id == result.asset_id


def test_wait_raises_what_processing_ended_with(site: Site, client: Client, make_file: MakeFile) -> None:
    result = client.upload(make_file(10))
    failure = {"code": "undecodable", "message": "This is no video.", "details": {}}
    site.asset_statuses = [{"status": "failed", "problem": failure}]
    with pytest.raises(Rejected, match="no video") as caught:
        client.wait(result.asset_id)
    assert caught.value.code == "undecodable"
    site.asset_statuses = [{"status": "quarantined"}]
    with pytest.raises(Rejected, match="quarantined"):
        client.wait(result.asset_id)


def test_wait_ends_at_its_timeout(site: Site, client: Client, make_file: MakeFile) -> None:
    result = client.upload(make_file(10))
    site.asset_statuses = [{"status": "processing"}]
    with pytest.raises(Unavailable) as caught:
        client.wait(result.asset_id, timeout=0.1, every=0.02)
    assert caught.value.code == "wait_timeout"


def asset(site: Site, state: str) -> dict[str, object]:
    from tests.client.equipment import asset_json

    return asset_json(site.only(), state)


def test_a_directory_is_refused_before_anything_is_sent(site: Site, client: Client, tmp_path: Path) -> None:
    with pytest.raises(Invalid):
        client.upload(tmp_path)
    assert site.requests == []


def test_the_client_needs_nothing_of_the_server() -> None:
    code = (
        "import sys, rushes.client; print([m for m in sys.modules if m in ('fastapi','psycopg','dbos','rushes.api')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
