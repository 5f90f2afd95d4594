"""Which server a command talks to: the one named, else the stack that runs here, else one started for the occasion."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta

from rushes.cli.local import find_stack, read_settings, stack_token, started_stack
from rushes.client import Client
from rushes.config import Settings
from rushes.errors import Misconfigured, Unauthenticated, Unavailable

TOKEN_LIFETIME = timedelta(days=7)

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Link:
    client: Client
    url: str
    started: bool  # the stack was started for this command, and stops with it


@contextmanager
def connected(
    server: str | None, token: str | None, *, cancel: threading.Event | None = None, say: Say | None = None
) -> Iterator[Link]:
    """A client of the server to talk to; with `say`, a stack may be started, and is told about.

    Raises `Unavailable` when there is no server, `Unauthenticated` without a token for it.
    """
    with ExitStack() as stack:
        url, token, started = _server(server, token, stack, say)
        client = stack.enter_context(Client(url, token, cancel=cancel))
        client.check()
        yield Link(client, url, started)


def _server(server: str | None, token: str | None, stack: ExitStack, say: Say | None) -> tuple[str, str, bool]:
    settings = read_settings()
    if server:
        server = server.rstrip("/").removesuffix("/v1")
        return server, token or _own_token(server, settings), False
    running, started = find_stack(settings), False
    if running is None:
        if say is None:
            raise Unavailable(
                "no_server", "No server is running here: start one with `rushes up`, or name one with --server URL."
            )
        say(f"Starting a local stack in {settings.data_dir}; its log is {settings.data_dir / 'stack.log'}.")
        running, started = stack.enter_context(started_stack(settings)), True
    return running.api_url, token or stack_token(running.environment, TOKEN_LIFETIME), started


def _own_token(server: str, settings: Settings) -> str:
    """A token for a server named without one: possible only when it is the stack that runs here."""
    try:
        running = find_stack(settings)
    except Misconfigured:  # the server is not installed here: then it cannot be ours
        running = None
    if running is not None and running.api_url == server.rstrip("/"):
        return stack_token(running.environment, TOKEN_LIFETIME)
    raise Unauthenticated(
        "token_missing",
        f"No token for {server}: give --token or set RUSHES_TOKEN. `rushes token` on the server makes one.",
    )
