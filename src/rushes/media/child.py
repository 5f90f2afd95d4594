"""The launcher's process as the worker sees it: started with an order, listened to, and surely gone at the end."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rushes.errors import Unavailable

_LINE_LIMIT = 1024 * 1024  # bytes of one message of a tool
_LOG_TAIL = 8 * 1024  # bytes of a tool's stderr that are kept
_KILL_SECONDS = 3.0
_BOOT = "import sys; sys.path.insert(0, sys.argv[1]); from rushes.media.jail.launch import main; main()"


@dataclass
class Child:
    process: asyncio.subprocess.Process
    control: socket.socket
    log: bytearray = field(default_factory=bytearray)
    ended: bool = False  # it said how, so nothing is left to be killed


@contextlib.asynccontextmanager
async def started(order: dict[str, Any], inherited: list[int]) -> AsyncIterator[Child]:
    """A launcher with its order sent. On the way out, whatever the way, its process group is dead and reaped."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    with ours, theirs:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-I", "-S", "-c", _BOOT, package_root(), str(theirs.fileno()),
            stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
            pass_fds=[theirs.fileno(), *inherited], start_new_session=True, cwd="/", env=environment(),
        )  # fmt: skip
        child = Child(process, ours)
        try:
            theirs.close()
            with contextlib.suppress(ConnectionError):  # it died already; what it did not say tells so
                await asyncio.get_running_loop().sock_sendall(ours, json.dumps(order).encode())
            yield child
        finally:
            await _kill(process, ended=child.ended)


async def _kill(process: asyncio.subprocess.Process, *, ended: bool) -> None:
    """Kill all that the launcher started and wait until it is gone; a second cancellation does not shorten the wait."""
    drained = asyncio.ensure_future(process.communicate())
    if process.returncode is None and not ended:
        with contextlib.suppress(ProcessLookupError):
            # The launcher kills the rest, waits for it, and ends. Not by process.terminate(), which may reap it
            # behind asyncio's back.
            os.kill(process.pid, signal.SIGTERM)
    harder = asyncio.get_running_loop().call_later(_KILL_SECONDS, _kill_group, process)
    cancelled: asyncio.CancelledError | None = None
    while not drained.done():
        try:
            await asyncio.shield(drained)
        except asyncio.CancelledError as error:
            cancelled = error
    harder.cancel()
    if cancelled is not None:
        raise cancelled


def _kill_group(process: asyncio.subprocess.Process) -> None:
    """For a launcher that did not do as it was asked."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


async def receive(child: Child, seconds: float | None) -> tuple[dict[str, Any], list[int]]:
    """The next message on the control socket and the handles that came with it; {} at its end."""
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(child.control, ready.set)
    try:
        async with asyncio.timeout(seconds):
            await ready.wait()
    except TimeoutError:
        raise Unavailable("sandbox_slow", f"The media sandbox did not start within {seconds:.0f} s.") from None
    finally:
        loop.remove_reader(child.control)
    try:
        data, handles, _, _ = socket.recv_fds(child.control, 65536, 4)
    except ConnectionError:
        data, handles = b"", []
    return (json.loads(data) if data else {}), handles


async def watch(child: Child, on_line: Callable[[str], None]) -> dict[str, Any]:
    """Read stdout and stderr to their ends, then how the tool ended."""
    stdout, stderr = child.process.stdout, child.process.stderr
    assert stdout is not None and stderr is not None  # noqa: PT018 - both were asked for as pipes
    tail = asyncio.ensure_future(_keep_tail(stderr, child.log))
    try:
        async with contextlib.aclosing(_lines(stdout)) as lines:
            async for line in lines:
                on_line(line)
        await tail
    finally:
        tail.cancel()
    message, _ = await receive(child, None)
    child.ended = "ended" in message
    return message


async def _keep_tail(stream: asyncio.StreamReader, log: bytearray) -> None:
    while chunk := await stream.read(65536):
        log += chunk
        del log[:-_LOG_TAIL]


async def _lines(stream: asyncio.StreamReader) -> AsyncGenerator[str, None]:
    rest = b""
    while chunk := await stream.read(65536):
        *lines, rest = (rest + chunk).split(b"\n")
        for line in lines:
            yield line.decode("utf-8", "replace")
        if len(rest) > _LINE_LIMIT:
            raise Unavailable("tool_crashed", "A media tool sent a message without end.")
    if rest:
        yield rest.decode("utf-8", "replace")


def environment() -> dict[str, str]:
    return {
        "LANG": "C.UTF-8",
        "HOME": "/nonexistent",
        "TMPDIR": ".",
        "OPENBLAS_NUM_THREADS": "1",
        "MALLOC_ARENA_MAX": "4",  # an arena a thread would use up the address space on machines with many cores
        "PYTHONDONTWRITEBYTECODE": "1",
    }


def package_root() -> str:
    return str(Path(__file__).resolve().parents[2])
