"""A child of the supervisor: what it is, and how it is started so that it never outlives this process."""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rushes.errors import Misconfigured, Unavailable

UNABLE = (126, 127)  # the launcher's codes: it may not become the user, it cannot run the program
LAUNCHER = Path(__file__).with_name("launch.py")


@dataclass(frozen=True)
class Account:
    """The user a child runs as."""

    name: str
    uid: int
    gid: int


@dataclass(frozen=True)
class Line:
    """A line of a child's output. `level` is one of debug, info, warning, error."""

    level: str
    text: str


def plain_line(text: str) -> Line:
    return Line("info", text)


def _at_once() -> bool:
    return True


def _nothing() -> None:
    return None


@dataclass(frozen=True, kw_only=True)
class Child:
    """One process of the stack.

    `before` runs before every start and clears what an earlier, killed one left; `after` runs when it has stopped for
    good. `ready` is asked many times a second until it says yes, for `ready_seconds` at most, and must answer within a
    few seconds itself. A child with `once` is ready when it has ended with exit code 0, and is never started again.
    """

    name: str
    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    account: Account | None = None
    before: Callable[[], None] = _nothing
    after: Callable[[], None] = _nothing
    ready: Callable[[], bool] = _at_once
    ready_seconds: float = 60
    once: bool = False
    read_line: Callable[[str], Line] = plain_line
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 20
    hurry_signal: signal.Signals = signal.SIGKILL
    death_signal: signal.Signals = signal.SIGKILL


def spawn(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    account: Account | None = None,
    death_signal: signal.Signals = signal.SIGKILL,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.PIPE,
) -> subprocess.Popen[bytes]:
    """Start a process that gets `death_signal` when this one dies, in a session of its own (Ctrl-C does not reach it).

    The kernel ties it to the *thread* that starts it, so that must be the main one (prctl(2), PR_SET_PDEATHSIG).
    Standard error goes where `stdout` goes. Raises `Unavailable` when the system refuses to start it.
    """
    if threading.current_thread() is not threading.main_thread():
        raise RuntimeError(
            "children are tied to the life of the thread that starts them: call this from the main thread"
        )
    identity = f"{account.uid}:{account.gid}" if account else "-"
    launcher = (sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), str(int(death_signal)), identity)
    try:
        return subprocess.Popen(
            (*launcher, *argv),
            cwd=cwd,
            env=dict(env),
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    except OSError as error:
        what = f"{error.filename}: {error.strerror}"
        raise Unavailable("cannot_start", f"{argv[0]} cannot be started in {cwd}: {what}.") from error


def call(
    argv: Sequence[str],
    *,
    cwd: Path,
    env: Mapping[str, str],
    account: Account | None = None,
    text: str = "",
    seconds: float = 60,
) -> str:
    """The output of a short command with `text` as its input. Raises `Unavailable` when it fails or takes too long."""
    name = Path(argv[0]).name
    with spawn(argv, cwd=cwd, env=env, account=account, stdin=subprocess.PIPE) as process:
        try:
            output, _ = process.communicate(text.encode(), timeout=seconds)
        except subprocess.TimeoutExpired:
            end_group(process)
            raise Unavailable("command_timeout", f"{name} did not end within {seconds:g} seconds.") from None
        except BaseException:
            end_group(process)
            raise
    said = output.decode(errors="replace").strip()
    if process.returncode != 0:
        raise Unavailable("command_failed", f"{name} {ending(process.returncode)}: {said or 'it said nothing'}")
    return said


def end_group(process: subprocess.Popen[bytes]) -> None:
    """SIGKILL the process, if it still runs, and what it left in its session, then reap it."""
    # Not reaped yet, so its number, which is also its group's, cannot belong to anyone else.
    if process.returncode is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def has_ended(process: subprocess.Popen[bytes]) -> bool:
    """Whether it has ended; unlike `poll`, leaves the zombie so that `end_group` can still name its group safely."""
    if process.returncode is not None:
        return True
    try:
        return os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
    except ChildProcessError:
        return process.poll() is not None  # someone else in this process reaped it


def ending(code: int) -> str:
    """How a process ended, for people: `ended with code 1`, `was ended by SIGKILL`."""
    return f"ended with code {code}" if code >= 0 else f"was ended by {signal.Signals(-code).name}"


def bare_environment(home: Path) -> dict[str, str]:
    """What a server needs of the environment, and nothing a person's shell could change its behaviour with."""
    kept = {name: os.environ[name] for name in ("PATH", "TZ", "LD_LIBRARY_PATH") if name in os.environ}
    return {"PATH": os.defpath, "LC_ALL": "C", "HOME": str(home)} | kept


def lesser_account(owned: Path) -> Account | None:
    """The user that a server which refuses to run as root runs as; None for an ordinary user.

    The owner of `owned`, when it exists: a later installed account `postgres` must not lock us out of our own data.
    """
    if os.geteuid() != 0:
        return None
    names = ["postgres", "nobody"]
    if owned.exists() and owned.stat().st_uid != 0:
        uid = owned.stat().st_uid
        try:
            names = [pwd.getpwuid(uid).pw_name]
        except KeyError:
            raise Misconfigured(
                "no_account", f"{owned} belongs to user id {uid}, who has no account on this machine."
            ) from None
    for name in names:
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name, entry.pw_uid, entry.pw_gid)
    raise Misconfigured(
        "no_account", "PostgreSQL does not run as root, and there is no account named postgres or nobody to run it as."
    )
