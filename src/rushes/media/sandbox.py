"""The worker's half of the sandbox: what this machine offers, and running one tool or task inside.

Two modes. `namespaces`: an own network, process table and root directory of bind mounts; ffmpeg reads its source over
HTTP on its own loopback, whose listening socket is passed out to the worker. `inherited`, where namespaces are
denied: only tasks of `inside` run, reading over an inherited socketpair, with Landlock for the files and seccomp
without socket() for the network. Landlock and seccomp are laid over the first mode too where the kernel has them.
There is no third mode.

No tool runs as uid 0. A root worker uses root's rights to build the namespaces and the child then becomes nobody. The
bind mounts show Python and ffmpeg at their own paths even below a directory that nobody may not enter (root's home);
in the inherited mode tasks import their libraries before they become nobody. (Keeping uid 0 without capabilities
inside a user namespace would read such paths too, but the kernel still lets that uid write sysctls and signal root's
processes: worse than a few mounts.)
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import signal
import socket
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from rushes.errors import Misconfigured, Problem, Rejected, Unavailable
from rushes.media.child import Child, environment, package_root, receive, started, watch
from rushes.media.feed import Feed, HttpFeed, PairFeed
from rushes.media.limits import Limits
from rushes.media.source import FileSource, Source
from rushes.tasks import put_down

Mode = Literal["namespaces", "inherited"]
SOURCE_URL = "http://127.0.0.1:8000/source"

_NOBODY = 65534
_START_SECONDS = 30.0
_MEMORY_WORDS = ("Cannot allocate memory", "MemoryError", "bad_alloc", "malloc of size")


@dataclass(frozen=True)
class Sandbox:
    """What `detect` found this machine to offer; made once and handed to everything that runs a tool."""

    mode: Mode
    user_namespace: bool  # the namespaces hang on a user namespace; else they are made with root's rights
    drop: bool  # the worker is root and its tools become nobody
    landlock_abi: int  # 0: none
    seccomp: bool
    denied: str = ""  # why the better mode cannot be had, for the operator

    @property
    def tools(self) -> bool:
        """Whether programs such as ffmpeg can run, not only tasks."""
        return self.mode == "namespaces"

    def describe(self) -> dict[str, Any]:
        """For `rushes doctor`: JSON values."""
        return {
            "mode": self.mode,
            "user_namespace": self.user_namespace,
            "runs_as": "nobody" if self.drop else f"uid {os.getuid()}",
            "landlock_abi": self.landlock_abi,
            "seccomp": self.seccomp,
            "ffmpeg": self.tools,
            "denied": self.denied,
        }


@dataclass(frozen=True)
class Ended:
    """How a tool ended by itself with exit code 0, and what it used."""

    cpu_seconds: float
    memory: int  # peak resident bytes
    log: str
    result: dict[str, Any] = field(default_factory=dict)


async def detect(mode: Mode | None = None) -> Sandbox:
    """Try the modes, best first (or only `mode`), by really starting a child in each. Takes about 0.1 s.

    Raises Misconfigured when none can be had: media is never decoded bare.
    """
    drop = os.geteuid() == 0 and _mapped(_NOBODY)
    denied: list[str] = []
    candidates: tuple[Mode, ...] = (mode,) if mode else ("namespaces", "inherited")
    for candidate in candidates:
        sandbox = Sandbox(
            candidate,
            user_namespace=not drop and candidate == "namespaces",
            drop=drop,
            landlock_abi=0,
            seccomp=False,
            denied="; ".join(denied),
        )
        try:
            found = await _probe(sandbox)
        except Problem as problem:
            denied.append(f"{candidate}: {problem.details.get('reason', problem.message)}")
            continue
        if candidate == "inherited" and not (found.landlock_abi and found.seccomp):
            denied.append(f"inherited: needs Landlock (ABI {found.landlock_abi}) and seccomp ({found.seccomp})")
            continue
        return found
    raise Misconfigured(
        "no_sandbox",
        "Media tools cannot be confined on this machine, so none is run. "
        "Allow unprivileged user namespaces, or use a kernel with Landlock and seccomp. " + "; ".join(denied),
        tried=denied,
    )


async def _probe(sandbox: Sandbox) -> Sandbox:
    """Ask a child of this mode for Landlock and seccomp, then run ffmpeg, or a task with PyAV, under all that it
    found.
    """
    with tempfile.TemporaryDirectory(prefix="rushes-probe-") as name:
        job_dir = Path(name)
        offered = (await run_task(sandbox, "offer", {}, None, job_dir, Limits())).result
        full = replace(sandbox, landlock_abi=int(offered["landlock_abi"]), seccomp=bool(offered["seccomp"]))
        await run_task(full, "measure", {"files": []}, None, job_dir, Limits())
        if full.tools:
            nothing = job_dir / "nothing"
            nothing.touch()
            await run_tool(
                full, [ffmpeg(), "-hide_banner", "-version"], FileSource(nothing), job_dir, Limits(), _ignore
            )
        return full


def _ignore(_: str) -> None:
    """For a tool whose words do not matter."""


def ffmpeg() -> str:
    """The path of imageio-ffmpeg's binary, links resolved. Raises Misconfigured when it is not installed."""
    try:
        import imageio_ffmpeg  # noqa: PLC0415 - only a worker has rushes[media]

        return str(Path(imageio_ffmpeg.get_ffmpeg_exe()).resolve())
    except (ImportError, RuntimeError) as error:
        raise Misconfigured("media_not_installed", "FFmpeg is missing. Install rushes[media].") from error


def _mapped(uid: int) -> bool:
    """Whether a uid exists in this process's user namespace: in a rootless container nobody may not."""
    ranges = (line.split() for line in Path("/proc/self/uid_map").read_text().splitlines())
    return any(int(first) <= uid < int(first) + int(count) for first, _, count in ranges)


async def run_tool(
    sandbox: Sandbox, argv: list[str], source: Source, job_dir: Path, limits: Limits, on_line: Callable[[str], None]
) -> Ended:
    """Run a program in `job_dir`, its source at `SOURCE_URL`; `on_line` gets each line of its stdout.

    Raises Rejected for a non-zero exit or a limit that struck, Unavailable when it crashed or the source failed; on
    cancellation the whole process group is gone before CancelledError goes on.
    """
    if not sandbox.tools:
        raise Misconfigured("no_namespaces", f"Programs need namespaces, which this machine denies: {sandbox.denied}")
    order = _order(sandbox, job_dir, limits, [argv[0]], {"argv": argv}, listen=True)
    async with started(order, []) as child:
        listener = await _listening(child)
        feed = HttpFeed(source, listener)
        return await _finish(child, feed, limits, on_line)


async def run_task(
    sandbox: Sandbox,
    task: str,
    arguments: dict[str, Any],
    source: Source | None,
    job_dir: Path,
    limits: Limits,
    on_progress: Callable[[float, str], None] | None = None,
    *,
    paths: Sequence[Path] = (),
) -> Ended:
    """Run `rushes.media.inside.<task>`, or another module by its dotted name, in `job_dir`; its result is
    `Ended.result`.

    The task reads its source over a socketpair. `paths` are where to look for modules of other packages. Raises as
    `run_tool` does, and Rejected as the task itself refuses.
    """
    ours, theirs = socket.socketpair()
    arguments = arguments | {"size": source.size if source is not None else 0}
    with theirs:
        found = [*_import_paths(), *map(str, paths)]
        module = task if "." in task else f"rushes.media.inside.{task}"
        work = {"task": module, "arguments": arguments, "feed": theirs.fileno(), "paths": found}
        order = _order(sandbox, job_dir, limits, found, work, listen=False)
        messages = _Messages(on_progress)
        try:
            async with started(order, [theirs.fileno()]) as child:
                theirs.close()
                ours.setblocking(False)
                feed = PairFeed(source, ours) if source is not None else None
                ended = await _finish(child, feed, limits, messages.take)
        finally:
            ours.close()
    return Ended(ended.cpu_seconds, ended.memory, ended.log, messages.outcome())


class _Messages:
    """What a task says on its stdout, one JSON object a line: progress, a result or a refusal. Said by a process that
    may be hostile.
    """

    def __init__(self, on_progress: Callable[[float, str], None] | None) -> None:
        self._on_progress = on_progress
        self._last: dict[str, Any] = {}

    def take(self, line: str) -> None:
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise Unavailable(
                "tool_crashed", "A media tool sent a message that is not one.", log=escape(line.encode()[:200])
            )
        match message.get("progress"):
            case [int() | float() as fraction, str() as text]:
                if self._on_progress is not None:
                    self._on_progress(min(1.0, max(0.0, float(fraction))), text)
            case _:
                self._last = message

    def outcome(self) -> dict[str, Any]:
        match self._last:
            case {"refused": [str() as code, str() as message]}:
                raise Rejected(code, message)
            case {"result": dict() as result}:
                return result
        raise Unavailable("tool_crashed", "A media tool ended without a result.")


def _order(
    sandbox: Sandbox, job_dir: Path, limits: Limits, needed: list[str], work: dict[str, Any], *, listen: bool
) -> dict[str, Any]:
    if sandbox.drop:
        os.chown(job_dir, _NOBODY, _NOBODY)
    return {
        "mode": sandbox.mode,
        "parent": os.getpid(),
        "user_namespace": sandbox.user_namespace,
        "drop": sandbox.drop,
        "landlock": sandbox.landlock_abi > 0,
        "seccomp": sandbox.seccomp,
        "job_dir": str(job_dir.resolve()),
        "readable": _readable(needed),
        "listen": listen,
        "limits": {
            "memory": limits.memory,
            "cpu_seconds": max(1, round(limits.cpu_seconds)),
            "output_bytes": limits.output_bytes,
        },
        "environment": environment(),
        "work": work,
    }


def _readable(needed: list[str]) -> list[str]:
    """System libraries, Python's own library and what this run needs; each at the path it is known by and at its real
    one.
    """
    base = Path(sys.base_prefix)
    paths = ["/usr", "/lib", "/lib64", "/etc/ld.so.cache", str(base / "lib"), sysconfig.get_path("stdlib"), *needed]
    real = [str(Path(path).resolve()) for path in paths]
    return sorted({*paths, *real})


def _import_paths() -> list[str]:
    """Where the tasks' libraries and this package lie, found without importing any of them."""
    found = [Path(package_root())]
    for name in ("av", "PIL", "numpy", "pillow_heif", "rawpy"):
        spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None:
            raise Misconfigured("media_not_installed", f"The Python package {name} is missing. Install rushes[media].")
        found.append(Path(spec.origin).parents[1])
    return list(dict.fromkeys(str(path) for path in found))


async def _listening(child: Child) -> socket.socket:
    message, handles = await receive(child, _START_SECONDS)
    if message.get("listening") and len(handles) == 1:
        return socket.socket(fileno=handles[0])
    for handle in handles:
        os.close(handle)
    raise _setup_failed(child, message)


async def _finish(child: Child, feed: Feed | None, limits: Limits, on_line: Callable[[str], None]) -> Ended:
    """Wait for the tool's end, the source's failure or the time limit, whichever comes first, and judge it."""
    work = asyncio.ensure_future(watch(child, on_line))
    waiting: set[asyncio.Future[Any]] = {work} if feed is None else {work, feed.failure}
    try:
        done, _ = await asyncio.wait(waiting, timeout=limits.wall_seconds, return_when=asyncio.FIRST_COMPLETED)
        if feed is not None and feed.failure.done():
            raise _source_failed(feed.failure.result())
        if not done:
            raise _too_much("wall_limit", f"{limits.wall_seconds:.0f} seconds", escape(child.log))
        return _judge(child, work.result(), limits)
    finally:
        await put_down([work])
        if feed is not None:
            await feed.close()


def _judge(child: Child, message: dict[str, Any], limits: Limits) -> Ended:
    ended = message.get("ended")
    if not isinstance(ended, dict):
        raise _setup_failed(child, message)
    log = escape(child.log)
    code, killer, cpu = ended["exit"], ended["signal"], float(ended["cpu_seconds"])
    if code == 0:
        return Ended(cpu, int(ended["memory"]), log)
    if killer == signal.SIGXCPU or (killer == signal.SIGKILL and cpu >= limits.cpu_seconds):
        raise _too_much("cpu_limit", f"{limits.cpu_seconds:.0f} CPU seconds", log)
    if killer == signal.SIGXFSZ or "File too large" in log:
        raise _too_much("output_limit", f"{limits.output_bytes} bytes for one file", log)
    if any(word in log for word in _MEMORY_WORDS):
        raise _too_much("memory_limit", f"{limits.memory} bytes of memory", log)
    if killer:
        raise Unavailable("tool_crashed", f"A media tool was ended by {signal.Signals(killer).name}.", log=log)
    if code == _TASK_BROKE:
        raise Unavailable("tool_crashed", "A media tool broke down.", log=log)
    raise Rejected(
        "undecodable", "This file cannot be decoded: it is damaged, or of a kind that is not known.", log=log
    )


def _too_much(code: str, allowed: str, log: str) -> Rejected:
    return Rejected(code, f"Processing this file needed more than is allowed: {allowed}.", log=log)


_TASK_BROKE = 71  # see inside/talk.py


def _setup_failed(child: Child, message: dict[str, Any]) -> Unavailable:
    reason = str(message.get("failed", "the launcher died"))
    return Unavailable(
        "sandbox_failed", f"The media sandbox could not be set up: {reason}", reason=reason, log=escape(child.log)
    )


def _source_failed(error: BaseException) -> Problem:
    if isinstance(error, Problem):
        return error
    problem = Unavailable("source_unreadable", f"The file could not be read while it was processed: {error}")
    problem.__cause__ = error
    return problem


def escape(log: bytes | bytearray) -> str:
    """A tool's words made safe for logs and pages: printable text and line breaks; the rest as \\x escapes."""
    text = bytes(log).decode("utf-8", "backslashreplace").replace("\r", "\n")
    return "".join(c if c.isprintable() or c == "\n" else f"\\x{ord(c):02x}" for c in text)
