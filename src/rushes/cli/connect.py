"""Which server a command talks to, and as whom.

The server: the one named (`--server`, RUSHES_SERVER), else that of the last `rushes login`, else the stack that runs here,
else one started for the occasion. The token: the one given (`--token`, RUSHES_TOKEN), else that of the login for this
server, else one signed with the secret of the stack that runs here. `--server local` passes over logins.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from rushes.cli.local import find_stack, read_settings, stack_token, started_stack
from rushes.client import Client
from rushes.client.calls import check_address
from rushes.client.credentials import Credentials
from rushes.config import Settings
from rushes.errors import Misconfigured, Unauthenticated, Unavailable

if TYPE_CHECKING:
    from rushes.embedded.address import Running

TOKEN_LIFETIME = timedelta(days=7)
SILENCE = 2.0  # seconds without a word about what is being waited for
LOCAL = "local"  # as a server's name: the stack that runs here, whoever is logged in elsewhere
GIVEN, LOGIN, STACK = "--token or RUSHES_TOKEN", "rushes login", "the stack that runs here"

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Link:
    client: Client
    url: str
    started: bool  # the stack was started for this command, and stops with it
    source: str = GIVEN  # where the token came from


@dataclass(frozen=True, slots=True)
class _Found:
    url: str
    token: str
    source: str
    started: bool = False


@contextmanager
def connected(
    server: str | None,
    token: str | None,
    *,
    cancel: threading.Event | None = None,
    say: Say | None = None,
    waits: Say | None = None,
) -> Iterator[Link]:
    """A client of the server to talk to; with `say`, a stack may be started, and is told about.

    Raises `Unavailable` when there is no server, `Unauthenticated` without a token for it. Whoever `waits` for a server
    that does not answer gets a client of it all the same, and is told what is waited for when that takes some seconds.
    """
    with ExitStack() as stack:
        found = _found(server, token, stack, say)
        client = stack.enter_context(Client(found.url, found.token, cancel=cancel))
        try:
            with _telling(waits, f"waiting: {found.url} has not answered yet."):
                client.check()
        except Unavailable:
            if waits is None:
                raise
        try:
            yield Link(client, found.url, found.started, found.source)
        except Unauthenticated as error:
            if found.source == LOGIN:
                error.message += f" Log in again: rushes login {found.url}"
            raise


@contextmanager
def _telling(say: Say | None, text: str) -> Iterator[None]:
    """Say something should the block take long."""
    if say is None:
        yield
        return
    timer = threading.Timer(SILENCE, say, (text,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _found(server: str | None, token: str | None, stack: ExitStack, say: Say | None) -> _Found:
    settings, logins = read_settings(), Credentials()
    if not server:
        server = logins.default
    if not server or server == LOCAL:
        return _local(token, settings, stack, say)
    server = server.rstrip("/").removesuffix("/v1")
    check_address(server)
    if token:
        return _Found(server, token, GIVEN)
    if login := logins.find(server):
        return _Found(server, login.token, LOGIN)
    return _Found(server, _own_token(server, settings), STACK)


def _local(token: str | None, settings: Settings, stack: ExitStack, say: Say | None) -> _Found:
    running, started = _running(settings, needed=say is not None), False
    if running is None:
        if say is None:
            raise Unavailable(
                "no_server",
                "No server is known here: log in to one with `rushes login URL`, name one with --server URL, or start "
                "one with `rushes up`.",
            )
        say(f"Starting a local stack in {settings.data_dir}; its log is {settings.data_dir / 'stack.log'}.")
        running, started = stack.enter_context(started_stack(settings)), True
    if token:
        return _Found(running.api_url, token, GIVEN, started)
    return _Found(running.api_url, stack_token(running.environment, TOKEN_LIFETIME), STACK, started)


def _running(settings: Settings, *, needed: bool) -> Running | None:
    """The stack that runs here; without the server's packages there is none, which is an error where one is `needed`."""
    try:
        return find_stack(settings)
    except Misconfigured as error:
        if needed or error.code != "server_extra_missing":
            raise
        return None


def _own_token(server: str, settings: Settings) -> str:
    """A token for a server named without one: possible only when it is the stack that runs here."""
    running = _running(settings, needed=False)
    if running is not None and running.api_url == server.rstrip("/"):
        return stack_token(running.environment, TOKEN_LIFETIME)
    raise Unauthenticated(
        "token_missing",
        f"No token for {server}: log in with `rushes login {server}`, give --token or set RUSHES_TOKEN. `rushes token` "
        "on the server makes one.",
    )
