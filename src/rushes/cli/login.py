"""`rushes login`, `logout` and `whoami`: which servers a person uses, and as whom."""

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated
from urllib.parse import urlsplit

import typer

from rushes.cli import exits, words
from rushes.cli.connect import connected
from rushes.cli.exits import printable
from rushes.cli.options import Json, Server, Token
from rushes.cli.usage import lines
from rushes.client import Client
from rushes.client.calls import check_address
from rushes.client.credentials import Credentials, Login, server_of
from rushes.client.http import LOOPBACK
from rushes.errors import Forbidden, Invalid, NotFound
from rushes.wire import Me, UsageView

Url = Annotated[
    str | None,
    typer.Argument(metavar="URL", show_default=False, help="The server's address. Without it, the last one."),
]


def login(
    url: Url = None,
    token_stdin: Annotated[
        bool, typer.Option("--token-stdin", help="Read the token from stdin, for scripts; else it is asked for.")
    ] = False,
    show: Annotated[bool, typer.Option("--list", help="Show where you are logged in.")] = False,
) -> None:
    """Keep a server and your token for it.

    Other commands need neither then. The token is tried before it is stored, in a file that you alone can read. Several
    servers may be kept; the one of the last login is used when a command names none. Options and environment variables
    go before a login.

    \b
    Examples:
      rushes login https://media.example
      rushes token | rushes login http://127.0.0.1:8420 --token-stdin
      rushes login --list
    """
    credentials = Credentials()
    if show:
        _list(credentials)
        return
    server = _address(url or os.environ.get("RUSHES_SERVER") or credentials.default)
    host = urlsplit(server).hostname
    if server.startswith("http://") and host not in LOOPBACK:
        print(f"rushes: the token travels to {server} without encryption; use https where you can.", file=sys.stderr)
    token = _from_stdin() if token_stdin else _asked_for(server)
    with Client(server, token) as client:
        client.check()
        me = client.me()
    credentials.store(server, Login(token=token, creator=me.creator, tenant=me.tenant, expires_at=me.expires_at))
    print(f"Logged in at {server} as {_who(me)}.")
    print(f"The token {_until(me.expires_at)}; it is kept in {credentials.path}.")


def logout(
    url: Url = None,
    everywhere: Annotated[bool, typer.Option("--all", help="Every server.")] = False,
) -> None:
    """Forget the token for a server.

    \b
    Examples:
      rushes logout                          the server of the last login
      rushes logout https://media.example
      rushes logout --all
    """
    credentials = Credentials()
    chosen = list(credentials.servers()) if everywhere else [url or credentials.default]
    if not chosen:
        print("You are not logged in anywhere.")
    for server in chosen:
        if server is None or not credentials.forget(_address(server)):
            raise NotFound("not_logged_in", f"You are not logged in{'' if server is None else f' at {server}'}.")
        print(f"Logged out of {server_of(_address(server))}.")


def whoami(server: Server = None, token: Token = None, as_json: Json = False) -> None:
    """Show who you are to the server.

    Whom your token speaks for and until when; what you have used of what.

    \b
    Examples:
      rushes whoami
      rushes whoami --server https://media.example --json
    """
    with connected(server, token) as link:
        me = link.client.me()
        try:
            usage: UsageView | None = link.client.usage.get()
        except Forbidden:  # a token for one upload alone
            usage = None
    if as_json:
        told = {"server": link.url, "token_from": link.source, **me.model_dump(mode="json")}
        print(json.dumps(told | {"usage": None if usage is None else usage.model_dump(mode="json")}))
        return
    print(printable(_who(me)))
    for label, text in _facts(me, link.url, link.source):
        print(f"  {label:<18} {printable(text)}")
    for line in lines(usage) if usage is not None else ():
        print(f"  {line}")


def _who(me: Me) -> str:
    return printable(f"{me.creator} of {me.tenant}, {me.role}, plan {me.plan}")


def _facts(me: Me, url: str, source: str) -> Iterator[tuple[str, str]]:
    yield "server", url
    yield "token", f"from {source}, {_until(me.expires_at)}"
    if me.title_id is not None:
        yield "only for", f"the title {me.title_id}"
    if me.upload_id is not None:
        yield "only for", f"the upload {me.upload_id}"


def _until(expires_at: datetime) -> str:
    left = expires_at - datetime.now(UTC)
    if left.total_seconds() <= 0:
        return "has expired"
    soon = words.duration(left.total_seconds()) if left.days < 2 else words.count(left.days, "day")
    return f"is good until {expires_at.astimezone():%Y-%m-%d %H:%M} ({soon})"


def _list(credentials: Credentials) -> None:
    kept = credentials.servers()
    if not kept:
        print("You are not logged in anywhere.")
    for server, login_ in sorted(kept.items()):
        mark = "*" if server == credentials.default else " "
        until = "" if login_.expires_at is None else f", the token {_until(login_.expires_at)}"
        print(printable(f"{mark} {server}  {login_.creator} of {login_.tenant}{until}"))


def _address(text: str | None) -> str:
    """The server that is meant. A bare host name means https, on this machine http."""
    if not text:
        raise Invalid("url_missing", "Which server? Give its address: rushes login https://media.example")
    if "://" not in text:
        host = text.partition("/")[0].partition(":")[0]
        text = f"{'http' if host in LOOPBACK else 'https'}://{text}"
    server = server_of(text)
    check_address(server)
    return server


def _from_stdin() -> str:
    token = sys.stdin.readline().strip()
    if not token:
        raise Invalid("token_missing", "There was no token on stdin.")
    return token


def _asked_for(server: str) -> str:
    if not sys.stdin.isatty():
        raise Invalid("no_terminal", "Nobody is there to ask for the token: pass it with --token-stdin.")
    try:
        token = getpass.getpass(f"Token for {server} (not shown): ").strip()
    except (KeyboardInterrupt, EOFError):
        print(file=sys.stderr)
        raise typer.Exit(exits.INTERRUPTED) from None
    if not token:
        raise Invalid("token_missing", "No token was given.")
    return token
