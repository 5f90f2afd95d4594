"""Many tasks on one engine: who is served, what ends, and that nothing is left behind."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rushes.client import Client, Limits, Stopped
from rushes.client.actions import Action, End, Put, Room, Wait, Work
from rushes.client.api import Uploads
from rushes.client.calls import ONCE
from rushes.client.engine import Engine
from rushes.client.session import Session
from rushes.client.source import LocalFile
from rushes.client.transfer import Begun, Transfer
from rushes.errors import Invalid, Unavailable
from rushes.plan import PartPlan
from rushes.wire import BeginUpload
from tests.client.equipment import TOKEN, Fault, Site
from tests.client.sessions import grant_of

MIB = 1 << 20
HUGE = 1 << 40
HASTY = Limits(parallel=4, backoff=0.02, look_every=0.02)
MakeFile = Callable[..., Path]


class Puts:
    """A task of `parts` parts, each of which holds its line until the test lets one go."""

    def __init__(self, size: int, parts: int, *, parallel: int | None = None) -> None:
        self.size, self.parallel = size, parallel
        self.left = parts
        self.under_way = self.done = 0
        self.lock = threading.Lock()
        self.gate = threading.Semaphore(0)
        self.stopped = threading.Event()
        self.finished = 0
        self.outcome: BaseException | None = None
        self.crash: BaseException | None = None

    def next(self, now: float, room: Room) -> Action:
        if self.left and room.line:
            with self.lock:
                self.left -= 1
                self.under_way += 1
            return Put(1, 0, grant_of(1), fresh=False)
        return Wait(None) if self.left or self.under_way else End(None)

    def act(self, action: Work) -> None:
        while not self.gate.acquire(timeout=0.02):
            if self.stopped.is_set():
                raise Stopped("stopped", "Stopped.")
        if self.crash is not None:
            raise self.crash
        with self.lock:
            self.under_way -= 1
            self.done += 1

    def stop(self) -> None:
        self.stopped.set()

    def finish(self) -> None:
        self.finished += 1
        if self.left or self.under_way:
            self.outcome = Stopped("stopped", "Stopped.")


@pytest.fixture
def engine() -> Iterator[Engine]:
    made = Engine(Limits(parallel=4))
    yield made
    made.close()
    assert not threads()


def threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("rushes-part") and thread.is_alive()]


def soon(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 10
    while not true():
        assert time.monotonic() < until, "it never came to pass"
        time.sleep(0.002)


def test_a_small_file_does_not_wait_behind_a_huge_one(engine: Engine) -> None:
    huge = Puts(HUGE, 100)
    engine.add(huge)
    soon(lambda: huge.under_way == 4)
    small = [Puts(MIB, 1) for _ in range(6)]
    handles = [engine.add(task) for task in small]
    for task in small:
        huge.gate.release()
        task.gate.release()
    soon(lambda: all(handle.done for handle in handles))
    assert huge.done < 10


def test_a_huge_file_keeps_half_of_the_lines_while_small_ones_pour_through(engine: Engine) -> None:
    huge = Puts(HUGE, 1000)
    engine.add(huge)
    soon(lambda: huge.under_way == 4)
    small = [Puts(MIB, 1) for _ in range(30)]
    handles = [engine.add(task) for task in small]
    for count in range(2):
        huge.gate.release()
        soon(lambda count=count: sum(task.under_way for task in small) == count + 1)  # type: ignore[misc]
    assert huge.under_way == 2
    for task in small:
        task.gate.release()
        soon(lambda: huge.under_way >= 2)
    soon(lambda: all(handle.done for handle in handles))
    soon(lambda: huge.under_way == 4)


def test_lines_that_are_borrowed_are_half_of_them_while_others_want_the_rest(engine: Engine) -> None:
    borrower, huge = Puts(0, 1), Puts(HUGE, 1000)
    engine.add(borrower)
    soon(lambda: borrower.under_way == 1)
    assert engine.borrow(3) == 3, "all that is left"
    engine.add(huge)
    engine.give_back(3)
    soon(lambda: huge.under_way == 3)
    assert engine.borrow(5) == 0
    huge.gate.release()
    soon(lambda: huge.done == 1)
    assert huge.under_way == 2, "one is kept free"
    assert engine.borrow(5) == 1
    huge.gate.release()
    soon(lambda: huge.done == 2)
    assert engine.borrow(5) == 1
    huge.gate.release()
    soon(lambda: huge.done == 3 and huge.under_way == 1)
    assert engine.borrow(5) == 0, "half of them are lent"
    engine.give_back(2)
    engine.borrow(0)
    soon(lambda: huge.under_way == 3)


def test_what_others_leave_may_be_borrowed_the_next_time(engine: Engine) -> None:
    for size in (0, HUGE):
        waiting = Puts(size, 0)
        waiting.under_way = 1  # for its server, say: it has nothing to send
        engine.add(waiting)
    soon(lambda: len(threads()) > 0)
    assert engine.borrow(4) == 2
    assert engine.borrow(2) == 2, "nobody has taken them"
    engine.give_back(4)


def test_large_files_share_the_lines(engine: Engine) -> None:
    tasks = [Puts(HUGE, 8) for _ in range(2)]
    for task in tasks:
        engine.add(task)
    soon(lambda: sum(task.under_way for task in tasks) == 4)
    for _ in range(4):
        done = sum(task.done for task in tasks)
        max(tasks, key=lambda task: task.under_way).gate.release()
        soon(lambda done=done: sum(task.done for task in tasks) > done)  # type: ignore[misc]
        soon(lambda: sum(task.under_way for task in tasks) == 4)
    assert [task.under_way for task in tasks] == [2, 2]


def test_small_files_go_in_the_order_in_which_they_came(engine: Engine) -> None:
    tasks = [Puts(MIB, 2) for _ in range(5)]
    for task in tasks:
        engine.add(task)
    soon(lambda: sum(task.under_way for task in tasks) == 4)
    assert [task.under_way for task in tasks] == [2, 2, 0, 0, 0]


def test_who_has_nothing_to_do_is_left_alone(engine: Engine) -> None:
    """Of dozens of small files under way each outcome concerns one: to ask all of them each time cost most of all."""
    asked = 0

    class Waiting(Puts):
        def next(self, now: float, room: Room) -> Action:
            nonlocal asked
            asked += 1
            return super().next(now, room)

    waiting = [Waiting(MIB, 1) for _ in range(3)]
    for task in waiting:
        engine.add(task)
    soon(lambda: sum(task.under_way for task in waiting) == 3)
    busy = Puts(MIB, 500)
    began, asked = time.monotonic(), 0
    handle = engine.add(busy)
    busy.gate.release(500)
    assert handle.wait(10)
    # Once each as the line is taken for the first time, and once a second, which is as often as it is made sure of.
    assert asked <= len(waiting) * (3 + time.monotonic() - began)


def test_a_task_may_insist_on_more_lines(engine: Engine) -> None:
    task = Puts(HUGE, 20, parallel=9)
    engine.add(task)
    soon(lambda: task.under_way == 9)


def test_what_waits_is_not_begun_and_can_be_stopped(engine: Engine) -> None:
    first = [Puts(HUGE, 5) for _ in range(4)]
    for task in first:
        engine.add(task)
    waiting = Puts(HUGE, 5)
    handle = engine.add(waiting)
    assert not handle.wait(0.05)
    assert waiting.under_way == 0
    handle.cancel()
    with pytest.raises(Stopped):
        handle.wait(5)
    assert waiting.finished == 1


def test_close_stops_all_and_takes_no_more() -> None:
    engine = Engine(Limits(parallel=4))
    handles = [engine.add(Puts(HUGE, 5)) for _ in range(8)]
    engine.close()
    for handle in handles:
        with pytest.raises(Stopped):
            handle.wait(0)
    with pytest.raises(Stopped):
        engine.add(Puts(1, 1))
    assert not threads()


def test_threads_go_when_there_is_nothing_to_do_and_come_again(engine: Engine) -> None:
    for _ in range(3):
        task = Puts(MIB, 2)
        handle = engine.add(task)
        task.gate.release(2)
        assert handle.wait(5)
        soon(lambda: not threads())


def test_a_crash_is_raised_where_it_is_waited_for(engine: Engine) -> None:
    bad, good = Puts(HUGE, 5), Puts(HUGE, 2)
    bad.crash = ZeroDivisionError("a bug")
    handle, other = engine.add(bad), engine.add(good)
    bad.gate.release()
    good.gate.release(2)
    with pytest.raises(ZeroDivisionError):
        handle.wait(5)
    assert other.wait(5)
    assert bad.finished == 1


def test_no_more_threads_than_work(engine: Engine) -> None:
    tasks = [Puts(MIB, 1) for _ in range(500)]
    handles = [engine.add(task) for task in tasks]
    for task in tasks:
        task.gate.release()
    most = 0
    for handle in handles:
        most = max(most, len(threads()))
        assert handle.wait(10)
    assert most <= 4 + 16 + 2  # lines, last words, one that looks and one that starts


# --- uploads ----------------------------------------------------------------------------------------------------------


def prepared(client: Client, site: Site, path: Path, tries: list[float]) -> Transfer:
    """An upload that begins in the engine, as many do beside each other."""

    def prepare() -> Begun:
        tries.append(time.monotonic())
        file = LocalFile(path)
        begun = Uploads(client._caller.but(patience=ONCE)).begin(_begin(path), path.name)
        plan = PartPlan(file.size, begun.part_size, begun.part_count)
        return Begun(file, begun.upload_id, Session(plan, HASTY), client._caller.bearing(begun.token))

    return Transfer(client.engine, client._transport, path.stat().st_size, prepare=prepare, limits=HASTY)


def _begin(path: Path) -> BeginUpload:
    return BeginUpload(filename=path.name, size=path.stat().st_size)


def test_many_files_go_beside_each_other(site: Site, make_file: MakeFile) -> None:
    site.pace = 0.05
    with Client(site.url, TOKEN, limits=HASTY) as client:
        paths = [make_file(1000 + n, f"{n}.mov") for n in range(40)]
        handles = [client.engine.add(prepared(client, site, path, [])) for path in paths]
        for handle in handles:
            assert handle.wait(20)
    assert {upload.state for upload in site.uploads.values()} == {"ingested"}
    assert site.peak == 4


def test_a_server_that_is_away_at_begin_is_waited_for(site: Site, make_file: MakeFile) -> None:
    site.faults = [Fault("begin", 503, "unavailable", headers={"Retry-After": "0"}) for _ in range(5)]
    with Client(site.url, TOKEN, limits=HASTY) as client:
        tries: list[float] = []
        transfer = prepared(client, site, make_file(10), tries)
        assert client.engine.add(transfer).wait(20)
    assert len(tries) == 6
    assert site.only().state == "ingested"


def test_a_file_that_cannot_be_begun_says_why(site: Site, tmp_path: Path) -> None:
    ended: list[BaseException | None] = []

    def prepare() -> Begun:
        LocalFile(tmp_path / "gone")
        raise AssertionError("there is no such file")

    with Client(site.url, TOKEN) as client:
        transfer = Transfer(client.engine, client._transport, 10, prepare=prepare, on_end=ended.append)
        with pytest.raises(Invalid, match="no file"):
            client.engine.add(transfer).wait(5)
    assert isinstance(ended[0], Invalid)


def test_a_server_that_stays_away_is_given_up(site: Site) -> None:
    def prepare() -> Begun:
        raise Unavailable("network_refused", "No server answers.")

    hasty = Limits(backoff=0.001, pause_after=0.05)
    with Client(site.url, TOKEN) as client:
        transfer = Transfer(client.engine, client._transport, 10, prepare=prepare, limits=hasty)
        with pytest.raises(Unavailable, match="No server answers") as caught:
            client.engine.add(transfer).wait(5)
        assert caught.value.code == "no_progress"
        assert transfer.progress().retries > 3


def test_a_rate_limit_holds_and_can_change_while_it_runs(site: Site, make_file: MakeFile) -> None:
    with Client(site.url, TOKEN, limits=HASTY) as client:
        client.engine.rate.set(4 * MIB)
        path = make_file(24 * MIB)
        file = LocalFile(path)
        begun = client.uploads.begin(_begin(path), "key")
        session = Session(PartPlan(file.size, begun.part_size, begun.part_count), HASTY)
        upload = Begun(file, begun.upload_id, session, client._caller.bearing(begun.token))
        transfer = Transfer(client.engine, client._transport, file.size, begun=upload, limits=HASTY)
        started = time.monotonic()
        handle = client.engine.add(transfer)
        assert not handle.wait(2)
        assert transfer.sent <= 4 * MIB * (time.monotonic() - started + 0.3)
        client.engine.rate.set(None)
        assert handle.wait(20)
        assert time.monotonic() - started < 5.5, "the limit was taken away"


@pytest.mark.parametrize(("memory", "most"), [(0, 1), (7 * MIB, 2), (96 * MIB, 32), (1 << 40, 32)])
def test_lines_are_bounded_by_memory(memory: int, most: int) -> None:
    assert Limits(memory=memory).most_lines == most
