"""The launcher: from a fresh interpreter to a confined tool, step by step, on the order of the worker.

    worker ──spawns──▶ launcher ──▶ init (pid 1 of its own process table) ──▶ tool (ffmpeg, or a task of `inside`)

The launcher exists because code between fork and exec is unsafe in a worker with threads. It dies with the worker
(PDEATHSIG), init dies with it, and the tool with init. Where namespaces are denied there is no init. The order comes
as one JSON message on the control socket (SOCK_SEQPACKET); on it go back the listening socket, a setup that failed,
and how the tool ended. Cost: about 35 ms, most of it the interpreter.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
from typing import Any, NoReturn

from rushes.media.jail import landlock, libc, namespaces, seccomp

SETUP_FAILED = 70
_WITHOUT_PICTURES = tuple(f"rushes.media.inside.{task}" for task in ("heard", "measure", "offer", "transcode"))
_CPU_GRACE = 2  # seconds between SIGXCPU and SIGKILL


def main() -> NoReturn:
    control = socket.socket(fileno=int(sys.argv[2]))
    order = json.loads(control.recv(1 << 18))
    _die_with(order["parent"])
    try:
        if order["mode"] == "namespaces":
            _launch_namespaced(control, order)
        _run_and_report(control, order)
    except OSError as error:
        _give_up(control, error)
    os._exit(0)


def _launch_namespaced(control: socket.socket, order: dict[str, Any]) -> NoReturn:
    namespaces.enter(user_namespace=order["user_namespace"])
    if order["listen"]:
        with namespaces.listen() as listener:
            socket.send_fds(control, [b'{"listening": true}'], [listener.fileno()])
    alive, keep = os.pipe()
    child = os.fork()
    if child:
        os.close(alive)
        _kill_on_request(child)
        os.waitpid(child, 0)
        os._exit(0)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.close(keep)
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if select.select([alive], [], [], 0)[0]:  # the launcher died before it could be watched; its pid is 0 from here
        os._exit(SETUP_FAILED)
    try:
        namespaces.build_root(order["job_dir"], order["readable"])
        _run_and_report(control, order)
    except OSError as error:
        _give_up(control, error)
    os._exit(0)


def _run_and_report(control: socket.socket, order: dict[str, Any]) -> None:
    """Fork the tool, wait for it, say how it ended: exit code or signal, CPU seconds, peak resident bytes."""
    parent = os.getpid()
    child = os.fork()
    if not child:
        _become_tool(control, order, parent)
    if order["mode"] != "namespaces":
        _kill_on_request(child)
    os.close(1)
    os.close(2)
    _, status, usage = os.wait4(child, 0)
    ended = {
        "exit": os.WEXITSTATUS(status) if os.WIFEXITED(status) else None,
        "signal": os.WTERMSIG(status) if os.WIFSIGNALED(status) else None,
        "cpu_seconds": usage.ru_utime + usage.ru_stime,
        "memory": usage.ru_maxrss * 1024,
    }
    control.send(json.dumps({"ended": ended}).encode())


def _kill_on_request(child: int) -> None:
    """On SIGTERM kill the child, and live on to wait for it: the launcher's end then means that everything has ended.

    The death of an init waits for that of every process in its table; a worker cannot wait for them itself.
    """
    signal.signal(signal.SIGTERM, lambda *_: os.kill(child, signal.SIGKILL))


def _become_tool(control: socket.socket, order: dict[str, Any], parent: int) -> NoReturn:
    work = order["work"]
    namespaced = order["mode"] == "namespaces"
    try:
        os.chdir(namespaces.JOB if namespaced else order["job_dir"])
        task = _load(work, warm=order["drop"] and not namespaced) if "task" in work else None
        _limit(order["limits"])
        if order["drop"]:
            os.setgroups([])
            os.setresgid(namespaces.NOBODY, namespaces.NOBODY, namespaces.NOBODY)
            os.setresuid(namespaces.NOBODY, namespaces.NOBODY, namespaces.NOBODY)
        _die_with(parent)  # after the change of ids, which clears it
        libc.drop_capabilities()
        libc.prctl(libc.PR_SET_NO_NEW_PRIVS, 1)
        if order["landlock"]:
            landlock.confine(
                order["readable"] + ["/dev/null", "/dev/zero", "/dev/urandom"],
                ["."],
                namespaces.SOURCE_PORT if order["listen"] else None,
            )
        if order["seccomp"]:
            seccomp.confine(network=order["listen"], programs=task is None)
        if task is None:
            os.execve(work["argv"][0], work["argv"], order["environment"])  # noqa: S606 - no shell is the point
    except (OSError, ImportError) as error:
        _give_up(control, error)
    control.close()
    task.main(work["arguments"], work["feed"])
    os._exit(0)


def _load(work: dict[str, Any], *, warm: bool) -> Any:
    """Import the task before the doors close: its libraries may lie where nobody may not look, such as root's home."""
    sys.path[:0] = work["paths"]
    if warm and work["task"] not in _WITHOUT_PICTURES:
        importlib.import_module("rushes.media.inside.warm").warm()
    return importlib.import_module(work["task"])


def _limit(limits: dict[str, int]) -> None:
    cpu = limits["cpu_seconds"]
    for kind, soft, hard in (
        (resource.RLIMIT_AS, limits["memory"], limits["memory"]),
        (resource.RLIMIT_CPU, cpu, cpu + _CPU_GRACE),
        (resource.RLIMIT_FSIZE, limits["output_bytes"], limits["output_bytes"]),
        (resource.RLIMIT_NOFILE, 256, 256),
        (resource.RLIMIT_CORE, 0, 0),
    ):
        ceiling = resource.getrlimit(kind)[1]
        if ceiling != resource.RLIM_INFINITY:
            soft, hard = min(soft, ceiling), min(hard, ceiling)  # noqa: PLW2901 - an operator's own limit stays in force
        resource.setrlimit(kind, (soft, hard))
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _die_with(parent: int) -> None:
    """Be killed when the parent dies; and at once if it already did."""
    libc.prctl(libc.PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(SETUP_FAILED)


def _give_up(control: socket.socket, error: Exception) -> NoReturn:
    try:
        control.send(json.dumps({"failed": f"{type(error).__name__}: {error}"}).encode())
    finally:
        os._exit(SETUP_FAILED)
