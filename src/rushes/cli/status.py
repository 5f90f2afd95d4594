"""`rushes status`: how one upload or asset is doing, once or until it is over."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Annotated
from uuid import UUID

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.text import Text

from rushes.cli import asset as asset_page
from rushes.cli import words
from rushes.cli.connect import connected
from rushes.cli.exits import printable
from rushes.cli.find import status_of
from rushes.cli.interrupt import interruptible
from rushes.cli.options import Json, Server, Token, an_id
from rushes.cli.view import has_bars, process_words, under_way
from rushes.client import ENDED, Client, Stopped
from rushes.errors import Rejected, Unavailable
from rushes.model import AssetState, OverallStatus, UploadState
from rushes.wire import JobView, StatusView

EVERY = 0.5  # seconds between two looks
LINE_EVERY = 5.0  # seconds between two lines about the same thing, where there is no terminal
PATIENCE = 300.0  # seconds without an answer
SENDING = frozenset({UploadState.INITIATED, UploadState.UPLOADING})


def status(
    id_: Annotated[
        UUID, typer.Argument(parser=an_id, metavar="ID", help="Of an upload or an asset.", show_default=False)
    ],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Until it is published, or over otherwise.")] = False,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show how an upload or an asset is doing.

    Of a published asset, everything that was made.

    \b
    Examples:
      rushes status 0199…
      rushes status 0199… --follow
    """
    cancel = threading.Event()
    console = Console(highlight=False)
    with connected(server, token, cancel=cancel) as link, interruptible(cancel):
        with _telling(console, quiet=as_json or not follow) as told:
            found = _followed(link.client, id_, cancel, told) if follow else status_of(link.client, id_)
        stored = found.upload_state is UploadState.INGESTED and found.status is not OverallStatus.DELETED
        asset = link.client.assets.get(found.asset_id) if stored else None
    if as_json:
        _print_json(found if asset is None else asset)
    elif asset is not None and asset.state in {AssetState.PUBLISHED, AssetState.FAILED}:
        asset_page.show(console, asset)
    else:
        _show(console, found)
    if follow and found.status is not OverallStatus.PUBLISHED:
        raise Rejected(f"ended_{found.status}", f"It ended as {found.status}, not as published.")


def _followed(client: Client, id_: UUID, cancel: threading.Event, told: Callable[[str], None]) -> StatusView:
    """Look until it is over, and tell how it goes. Servers that restart meanwhile are waited for."""
    answered_at = time.monotonic()
    while True:
        try:
            found = status_of(client, id_)
            told(_words(found, under_way(client, found)))
            answered_at = time.monotonic()
            if found.status in ENDED:
                return found
        except Unavailable as error:
            if time.monotonic() - answered_at > PATIENCE:
                raise
            told(f"waiting: {error.message} Trying again.")
        if cancel.wait(EVERY):
            raise Stopped("stopped", "Stopped looking; it goes on by itself.")


@contextmanager
def _telling(console: Console, *, quiet: bool) -> Iterator[Callable[[str], None]]:
    """What shows how it goes: one moving line on a terminal; elsewhere a line for each new stage, and now and then."""
    said, said_at = "", -LINE_EVERY

    def line(text: str) -> None:
        nonlocal said, said_at
        now, stage = time.monotonic(), re.split(r"[ ,:]", text)[0]
        if stage != said or now - said_at >= LINE_EVERY:
            said, said_at = stage, now
            console.print(Text(printable(text)), soft_wrap=True)

    if quiet:
        yield lambda _text: None
    elif has_bars(console):
        with console.status("looking") as spinner:
            yield lambda text: spinner.update(Text(printable(text)))
    else:
        yield line


def _words(found: StatusView, jobs: Sequence[JobView]) -> str:
    return f"{found.status}, {_held(found)}" if found.upload_state in SENDING else process_words(found, jobs)


def _held(found: StatusView) -> str:
    of = "" if found.size is None else f" of {words.size(found.size)}"
    return f"{words.size(found.held.bytes)}{of} held"


def _show(console: Console, found: StatusView) -> None:
    console.print(Text(f"asset {found.asset_id} is {found.status} ({_held(found)})"), soft_wrap=True)
    if found.current_job is not None:
        job = found.current_job
        console.print(Text(f"  {job.type} {job.status} {job.progress:.0%} {printable(job.message)}"), soft_wrap=True)
    if found.problem is not None:
        console.print(Text(f"  {printable(found.problem.message)}"), soft_wrap=True)


def _print_json(message: BaseModel) -> None:
    print(json.dumps(message.model_dump(mode="json")), flush=True)
