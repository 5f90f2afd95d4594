"""`rushes events`: what happens, a line an event."""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Annotated, Any
from uuid import UUID

import typer

from rushes.cli import exits
from rushes.cli.connect import connected
from rushes.cli.interrupt import interruptible
from rushes.cli.options import Json, Server, Token, an_id
from rushes.client import Client, Stopped
from rushes.wire import Event

START = "0-0"  # before the first event
LONGEST = 80  # characters shown of one fact


def events(
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what happens, until Ctrl-C.")] = False,
    upload: Annotated[
        UUID | None,
        typer.Option(parser=an_id, metavar="ID", help="Only of this upload and its asset.", show_default=False),
    ] = None,
    after: Annotated[
        str | None, typer.Option(metavar="EVENT_ID", help="Only what came after this event.", show_default=False)
    ] = None,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show what happened to uploads and assets, the oldest first.

    With --follow what happens from now on; of one upload, everything since it began. Restarts of the server lose nothing.

    \b
    Examples:
      rushes events
      rushes events --follow --json
      rushes events --upload 0199…
    """
    cancel = threading.Event()
    with connected(server, token, cancel=cancel) as link, interruptible(cancel):
        try:
            for event in _chosen(link.client, upload, after, follow=follow):
                print(json.dumps(event.model_dump(mode="json")) if as_json else line(event), flush=True)
        except Stopped:
            raise typer.Exit(exits.INTERRUPTED) from None
        except BrokenPipeError:  # whoever read has enough, as `head` has
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _chosen(client: Client, upload: UUID | None, after: str | None, *, follow: bool) -> Iterator[Event]:
    if after is None and upload is None and not follow:
        after = START
    return client.events(upload_id=upload, after=after, follow=follow)


def line(event: Event) -> str:
    """2026-11-21 15:32:29  upload_completed  0199…  size=1000 seconds=1.2"""
    about = event.upload_id or event.asset_id or event.title_id or ""
    facts = " ".join(f"{name}={_short(value)}" for name, value in event.data.items() if value is not None)
    at = event.at.astimezone()
    return exits.one_line(f"{at:%Y-%m-%d %H:%M:%S}  {event.type:<20}  {about}  {facts}".rstrip())


def _short(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    if " " in text:
        text = json.dumps(text, ensure_ascii=False) if isinstance(value, str) else text
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"
