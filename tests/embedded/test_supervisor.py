"""Children that crash, hang, ignore and outlive: small real programs under the real supervisor."""

from __future__ import annotations

import io
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from rushes.embedded import children
from rushes.embedded.children import Child, bare_environment
from rushes.embedded.log import Log
from rushes.embedded.signals import Requests
from rushes.embedded.supervisor import Supervisor
from rushes.errors import Unavailable

from .equipment import gone, until

Kept = tuple[Supervisor, io.StringIO, Requests]


@pytest.fixture
def kept() -> Iterator[Kept]:
    """A supervisor, what it logs, and the requests that it heeds; nothing of it is left after the test."""
    out, requests = io.StringIO(), Requests()
    supervisor = Supervisor(Log(out), requests, first_pause=0.1)
    yield supervisor, out, requests
    supervisor.stop()


def python(tmp_path: Path, name: str, code: str, **more: Any) -> Child:
    return Child(name=name, argv=(sys.executable, "-c", code), cwd=tmp_path, env=bare_environment(tmp_path), **more)


def written(path: Path) -> Callable[[], bool]:
    return lambda: path.exists() and path.read_text() != ""


def watch_until(supervisor: Supervisor, requests: Requests, look: Callable[[], bool], seconds: float = 15) -> None:
    """Let the supervisor watch, in this thread, until `look` is true."""
    found: list[bool] = []

    def wait() -> None:
        try:
            found.append(until(look, seconds))
        finally:
            requests.count += 1

    waiter = threading.Thread(target=wait)
    waiter.start()
    supervisor.watch()
    waiter.join()
    assert found


def test_a_child_that_never_starts_is_told_with_its_last_words(tmp_path: Path, kept: Kept) -> None:
    supervisor, out, _ = kept
    code = "print('one'); print('the licence has run out'); raise SystemExit(4)"
    child = python(tmp_path, "broken", code, ready=lambda: False, ready_seconds=20)
    with pytest.raises(Unavailable, match=r"broken did not start\. Its last words:\n  one\n  the licence has run out"):
        supervisor.start([child])
    assert out.getvalue().count("broken    the licence has run out") == 4
    assert "ended with code 4; starting it again in 0.2 s" in out.getvalue()


def test_a_child_that_is_never_ready_is_given_up_and_ended(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    supervisor = Supervisor(Log(io.StringIO()), clock=lambda: time.monotonic() + (60 if written(pid)() else 0))
    code = f"import os, time; open({str(pid)!r}, 'w').write(str(os.getpid())); time.sleep(60)"
    with pytest.raises(Unavailable, match="slow did not start"):
        supervisor.start([python(tmp_path, "slow", code, ready=lambda: False, ready_seconds=60)])
    assert not psutil.pid_exists(int(pid.read_text()))


@pytest.mark.parametrize("missing", ["program", "directory"])
def test_what_cannot_be_started_is_explained(tmp_path: Path, kept: Kept, missing: str) -> None:
    supervisor, _, _ = kept
    place = tmp_path / "nowhere" if missing == "directory" else tmp_path
    child = Child(name="absent", argv=("/no/such/program",), cwd=place, env={}, ready=lambda: False, ready_seconds=5)
    with pytest.raises(Unavailable, match=r"cannot run /no/such/program: No such file|cannot be started in .*nowhere"):
        supervisor.start([child])


def test_a_child_that_dies_is_started_again_ever_more_slowly(tmp_path: Path, kept: Kept) -> None:
    supervisor, out, requests = kept
    starts = tmp_path / "starts"
    code = f"open({str(starts)!r}, 'a').write('x')\nimport time; time.sleep(0.15); raise SystemExit(7)"
    supervisor.start([python(tmp_path, "weak", code), python(tmp_path, "strong", "import time; time.sleep(60)")])
    strong = supervisor.pids()["strong"]
    watch_until(supervisor, requests, lambda: starts.exists() and len(starts.read_text()) >= 3)
    for pause in ("0.1", "0.2"):
        assert f"weak      WARNING: ended with code 7; starting it again in {pause} s" in out.getvalue()
    assert supervisor.pids()["strong"] == strong


def test_a_restart_that_fails_is_tried_again(tmp_path: Path, kept: Kept) -> None:
    supervisor, out, requests = kept
    trouble = iter([None, OSError(28, "No space left on device"), None])

    def before() -> None:
        if error := next(trouble, None):
            raise error

    supervisor.start([python(tmp_path, "server", "import time; time.sleep(60)", before=before)])
    first = supervisor.pids()["server"]
    os.kill(first, signal.SIGKILL)
    watch_until(supervisor, requests, lambda: supervisor.pids().get("server", first) != first)
    assert "ERROR: [Errno 28] No space left on device; trying again in 0.2 s" in out.getvalue()


def test_a_task_runs_once_before_the_next_stage(tmp_path: Path, kept: Kept) -> None:
    supervisor, _, _ = kept
    done = tmp_path / "done"
    task = python(tmp_path, "task", f"import time; time.sleep(0.2); open({str(done)!r}, 'a').write('x')", once=True)
    assert supervisor.start([task])
    assert done.read_text() == "x"
    assert supervisor.start([python(tmp_path, "server", "import time; time.sleep(60)")])
    assert list(supervisor.pids()) == ["server"]
    supervisor.stop()
    assert done.read_text() == "x"


def test_stages_stop_in_reverse_order(tmp_path: Path, kept: Kept) -> None:
    supervisor, _, _ = kept
    ends = tmp_path / "ends"

    def server(name: str) -> Child:
        up = tmp_path / f"{name}.up"
        code = (
            "import signal, sys, time\n"
            f"def end(*_): time.sleep(0.1); open({str(ends)!r}, 'a').write({name!r} + ' '); sys.exit(0)\n"
            f"signal.signal(signal.SIGTERM, end); open({str(up)!r}, 'w').write('up'); time.sleep(60)"
        )
        return python(tmp_path, name, code, ready=written(up))

    for name in ("database", "api"):
        supervisor.start([server(name)])
    pids = supervisor.pids().values()
    supervisor.stop()
    assert ends.read_text() == "api database "
    assert not [pid for pid in pids if psutil.pid_exists(pid)]


STUBBORN = (
    "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nopen({up!r}, 'w').write('up')\ntime.sleep(60)"
)


def test_a_child_that_will_not_stop_is_killed_after_its_grace(tmp_path: Path) -> None:
    """On a clock that stands at 0 until it is asked to stop, then at 19.9 once, then at 20."""
    out, up, alive = io.StringIO(), tmp_path / "up", []
    times = iter([0.0, 19.9])

    def clock() -> float:
        if "stopping" not in pids:
            return 0.0
        now = next(times, 20.0)
        alive.append(psutil.pid_exists(pids["stopping"]))
        return now

    pids: dict[str, int] = {}
    supervisor = Supervisor(Log(out), clock=clock)
    child = python(tmp_path, "stubborn", STUBBORN.format(up=str(up)), ready=written(up), stop_seconds=20)
    supervisor.start([child])
    pids["stopping"] = supervisor.pids()["stubborn"]
    supervisor.stop()
    assert alive == [True, True, True]
    assert not psutil.pid_exists(pids["stopping"])
    assert "did not stop within 20 s: killing it" in out.getvalue()


def test_asking_twice_makes_haste(tmp_path: Path, kept: Kept) -> None:
    supervisor, out, requests = kept
    up = tmp_path / "up"
    child = python(tmp_path, "stubborn", STUBBORN.format(up=str(up)), ready=written(up), stop_seconds=60)
    supervisor.start([child])
    with requests.listening():
        os.kill(os.getpid(), signal.SIGTERM)
        supervisor.watch()
        threading.Timer(0.3, os.kill, [os.getpid(), signal.SIGINT]).start()
        begun = time.monotonic()
        supervisor.stop()
    assert time.monotonic() - begun < 50, "it was not waited for as long as for one request"
    assert "asked again: stopping at once" in out.getvalue()


def test_what_a_child_started_ends_with_it(tmp_path: Path, kept: Kept) -> None:
    supervisor, _, _ = kept
    pid = tmp_path / "pid"
    code = (
        "import subprocess, time\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        f"open({str(pid)!r}, 'w').write(str(child.pid)); time.sleep(60)"
    )
    supervisor.start([python(tmp_path, "parent", code, ready=written(pid))])
    grandchild = psutil.Process(int(pid.read_text()))
    supervisor.stop()
    assert gone([grandchild])


def test_signals_are_restored(kept: Kept) -> None:
    _, _, requests = kept
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCHLD)
    before = [signal.getsignal(number) for number in numbers]
    with requests.listening():
        assert [signal.getsignal(number) for number in numbers] != before
        begun = time.monotonic()
        subprocess.run(["true"], check=True)
        requests.sleep(60)
        assert time.monotonic() - begun < 50, "the death of a child wakes it"
    assert [signal.getsignal(number) for number in numbers] == before


class TestLaunch:
    def launch(self, parent: int, account: str, *command: str) -> subprocess.CompletedProcess[str]:
        arguments = [sys.executable, "-I", "-S", str(children.LAUNCHER), str(parent), "9", account, *command]
        return subprocess.run(arguments, capture_output=True, text=True, check=False)

    def test_it_becomes_the_program_with_ordinary_signals(self) -> None:
        done = self.launch(os.getpid(), "-", "/bin/sh", "-c", "echo $0 $$; grep SigIgn /proc/self/status", "me")
        assert done.returncode == 0
        ignored = int(done.stdout.splitlines()[1].split()[1], 16)
        ordinary = (signal.SIGPIPE, signal.SIGXFSZ, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)
        assert [number for number in ordinary if ignored >> (number - 1) & 1] == []

    def test_it_does_not_run_for_a_parent_that_is_gone(self) -> None:
        done = self.launch(1, "-", "/bin/echo", "alive")
        assert (done.returncode, done.stdout) == (125, "")

    @pytest.mark.skipif(os.geteuid() == 0, reason="root may become anyone")
    def test_it_says_when_it_may_not_become_someone(self) -> None:
        assert self.launch(os.getpid(), "0:0", "/bin/true").returncode == 126

    @pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
    def test_the_tie_holds_after_a_change_of_user(self, tmp_path: Path) -> None:
        code = (
            "import sys, time; from pathlib import Path; from rushes.embedded.children import Account, spawn\n"
            "child = spawn(['/bin/sleep', '60'], cwd=Path('/'), env={}, account=Account('nobody', 65534, 65534))\n"
            "print(child.pid, flush=True); time.sleep(60)"
        )
        with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as parent:
            assert parent.stdout
            child = psutil.Process(int(parent.stdout.readline()))
            until(lambda: child.name() == "sleep", what="the launch")
            assert child.uids().effective == 65534
            assert os.getgroups() is not None
            parent.kill()
        assert gone([child])


def test_children_belong_to_the_main_thread(tmp_path: Path) -> None:
    caught: list[BaseException] = []

    def attempt() -> None:
        try:
            children.spawn(["/bin/true"], cwd=tmp_path, env={})
        except RuntimeError as error:
            caught.append(error)

    thread = threading.Thread(target=attempt)
    thread.start()
    thread.join()
    assert "main thread" in str(caught[0])


def test_a_command_that_hangs_or_fails_is_told(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"sleep did not end within 0\.3 seconds"):
        children.call(["/bin/sleep", "60"], cwd=tmp_path, env={}, seconds=0.3)
    with pytest.raises(Unavailable, match="sh ended with code 3: out of paper"):
        children.call(["/bin/sh", "-c", "echo out of paper; exit 3"], cwd=tmp_path, env={})
    assert children.call(["/bin/cat"], cwd=tmp_path, env={}, text="said\n") == "said"
