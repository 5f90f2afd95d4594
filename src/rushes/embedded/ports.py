"""Ports for the servers inside: free ones, remembered in `ports.json` so that addresses stay the same."""

from __future__ import annotations

import errno
import itertools
import json
import random
import socket
from collections.abc import Callable, Collection, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path

from rushes.embedded.files import write_private
from rushes.errors import Misconfigured, Unavailable

NAME = "ports.json"
# Below what Linux hands out to outgoing connections (32768 and up), even for weed's admin server, which listens on
# its port plus 10000 as well: a port freed by a crash is still free when the server comes back.
RANGE = range(10240, 22752)
# New ports come from one block: of two stacks that start for the first time in the same second, before either listens,
# one in 782 pairs chooses the same, where single ports at random would make it one in 100.
BLOCK = 16

LONGEST_NAME = 108  # of a Unix socket, bytes (unix(7))

Usable = Callable[[int], bool]


def is_free(port: int, host: str = "") -> bool:
    """Whether a server could listen on `port` of `host` now; on every address of the machine by default."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # Connections that still close (TIME_WAIT) do not hinder a server, so they must not hinder the probe.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise Misconfigured(
                "address_unusable", f"Nothing can listen on {host or 'this machine'}, port {port}: {error.strerror}."
            ) from error
        return True


def remembered(directory: Path) -> dict[str, int]:
    """The ports of the last start; empty when there are none, or none that can be read."""
    try:
        kept = json.loads((directory / NAME).read_text("utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    return {name: port for name, port in kept.items() if isinstance(port, int)} if isinstance(kept, dict) else {}


def assign(directory: Path, names: Collection[str], usable: Usable = is_free) -> dict[str, int]:
    """A different usable port for each of `names`: the one of last time, else any. Written to `directory`."""
    kept = remembered(directory)
    others = {port for name, port in kept.items() if name not in set(names)}
    fresh = _candidates()
    assigned: dict[str, int] = {}
    for name in names:
        taken = others | set(assigned.values())
        port = kept.get(name)
        assigned[name] = port if port is not None and port not in taken and usable(port) else _any(fresh, taken, usable)
    if kept | assigned != kept:
        write_private(directory / NAME, json.dumps(kept | assigned, indent=1) + "\n")
    return assigned


def _candidates() -> Iterator[int]:
    """Every port once, beginning with a block at random."""
    # Of the system's chance: two processes that were seeded alike (tests that run side by side) must differ here.
    begin = random.SystemRandom().randrange(0, len(RANGE), BLOCK)
    return itertools.chain(RANGE[begin:], RANGE[:begin])


def _any(candidates: Iterator[int], taken: set[int], usable: Usable) -> int:
    for port in candidates:
        if port not in taken and usable(port):
            return port
    raise Unavailable("no_free_port", f"Every port from {RANGE.start} to {RANGE.stop - 1} of this machine is taken.")


@contextmanager
def api_port(host: str, wanted: int, *, fixed: bool) -> Iterator[int]:
    """The port the API shall listen on: `wanted`, or, unless that is `fixed`, the next free one. 0 asks for any.

    It is this stack's while the block lasts: between the choice and the API's first `listen` lie the seconds that the
    servers take to start, in which another stack would choose the same. Raises `Unavailable` when there is none.
    """
    with ExitStack() as reserved:
        yield _choose_api_port(host, wanted, fixed=fixed, usable=partial(_reserve, reserved, host))


def _choose_api_port(host: str, wanted: int, *, fixed: bool, usable: Usable) -> int:
    if wanted == 0:
        return _any(_candidates(), set(), usable)
    if usable(wanted):
        return wanted
    if fixed:
        raise Unavailable(
            "port_taken", f"Port {wanted} of {host} is already in use: stop what listens there, or choose another port."
        )
    for port in range(wanted + 1, min(wanted + 1000, 65536)):
        if usable(port):
            return port
    raise Unavailable("no_free_port", f"No port from {wanted} to {min(wanted + 999, 65535)} of {host} is free.")


def _reserve(reserved: ExitStack, host: str, port: int) -> bool:
    """Take the port among the stacks of this machine until `reserved` is closed; False when it is not to be had.

    The reservation is the name of an abstract Unix socket: seen by every user, in the network namespace that the port
    belongs to, and gone with the process however it ends. The port itself cannot be bound for the API to share.
    """
    with ExitStack() as kept:
        claim = kept.enter_context(socket.socket(socket.AF_UNIX))
        try:
            claim.bind(f"\0rushes api {port} {host}".encode()[:LONGEST_NAME])
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise
        if not is_free(port, host):
            return False
        reserved.push(kept.pop_all())
    return True
