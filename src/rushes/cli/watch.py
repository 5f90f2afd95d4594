"""`rushes watch`: what is put into a folder is uploaded."""

from __future__ import annotations

import json
import threading
from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.text import Text

from rushes.cli import exits, words
from rushes.cli.connect import connected
from rushes.cli.exits import printable
from rushes.cli.interrupt import interruptible
from rushes.cli.options import Json, Quiet, Server, Token
from rushes.client import Limits, Tally, Told, Watching
from rushes.client.watching import TitleFrom
from rushes.errors import Invalid

LOUD = frozenset({"failed", "waiting", "away"})  # said even with --quiet


def watch(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The folder to watch.", show_default=False)],
    done: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Where files go when they are stored; by default DIR/done.", show_default=False
        ),
    ] = None,
    failed: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Where files go that are refused, with a note of the reason; by default DIR/failed.",
            show_default=False,
        ),
    ] = None,
    keep: Annotated[bool, typer.Option("--keep", help="Leave all files where they are, and remember them.")] = False,
    settle: Annotated[
        float, typer.Option(min=0.1, metavar="SECONDS", help="How long a file must not change to be finished.")
    ] = 10.0,
    pattern: Annotated[
        list[str] | None,
        typer.Option(metavar="GLOB", help="Only files with such names, as *.mov; may be repeated.", show_default=False),
    ] = None,
    title_from: Annotated[
        TitleFrom, typer.Option(help="A title for each file, or one for each folder.")
    ] = TitleFrom.NAME,
    once: Annotated[bool, typer.Option("--once", help="End when nothing that is finished is left.")] = False,
    retry: Annotated[
        bool, typer.Option("--retry", help="Try again what failed before and was left where it is.")
    ] = False,
    concurrency: Annotated[
        int | None, typer.Option(min=1, max=32, help="Parts sent at once.", show_default=False)
    ] = None,
    server: Server = None,
    token: Token = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Upload what is put into a folder.

    Each file once it is finished; then it is moved to DIR/done, or left and remembered (--keep). Folders in it are kept
    as a structure. A file that grows is waited for; hidden files, links and names of unfinished files (.part,
    .crdownload, .tmp, ~ and the like) are left alone. Renamed files go on, files taken away are given up. Restarts lose
    nothing and upload nothing twice. One process may watch a folder; Ctrl-C ends it politely.

    \b
    Examples:
      rushes watch /media/card
      rushes watch ~/export --keep --pattern '*.mov' --pattern '*.mxf'
      rushes watch /srv/drop --title-from folder --settle 60
      rushes watch /srv/drop --once --json              for cron
    """
    if keep and (done is not None or failed is not None):
        raise Invalid("one_of_two", "--keep leaves files where they are: give it or --done and --failed, not both.")
    watching = Watching(
        folder,
        None if keep else done or folder / "done",
        None if keep else failed or folder / "failed",
        settle=settle,
        patterns=pattern or (),
        title_from=title_from,
        limits=None if concurrency is None else Limits(parallel=concurrency),
        retry=retry,
    )
    cancel = threading.Event()
    teller = _Teller(Console(stderr=as_json, highlight=False), quiet=quiet, as_json=as_json)
    with connected(server, token, cancel=cancel, waits=teller.say) as link, interruptible(cancel):
        tally = link.client.watch(watching, once=once, on_told=teller.told)
    teller.say(_sum(tally))
    raise typer.Exit(_code(tally, stopped=cancel.is_set()))


class _Teller:
    """A line for each thing that happens, with the time: most who read this read a log."""

    def __init__(self, console: Console, *, quiet: bool, as_json: bool) -> None:
        self._console = console
        self._quiet = quiet
        self._as_json = as_json

    def told(self, told: Told) -> None:
        if self._as_json:
            facts = {"kind": told.kind, "path": None if told.path is None else str(told.path), "text": told.text}
            plan = None if told.job is None else told.job.entry.plan
            ids = {} if plan is None else {"upload_id": str(plan.upload_id), "asset_id": str(plan.asset_id)}
            print(json.dumps(facts | ids), flush=True)
        elif not self._quiet or told.kind in LOUD:
            self._print(told.text)

    def say(self, text: str) -> None:
        if not self._quiet and not self._as_json:
            self._print(text)

    def _print(self, text: str) -> None:
        self._console.print(Text(printable(f"{datetime.now().astimezone():%H:%M:%S} {text}")), soft_wrap=True)


def _sum(tally: Tally) -> str:
    told = [f"{words.count(tally.done, 'file')} stored"]
    if tally.failed:
        told.append(f"{tally.failed} refused")
    if tally.waiting:
        told.append(f"{tally.waiting} left for the next time")
    return ", ".join(told) + "."


def _code(tally: Tally, *, stopped: bool) -> int:
    if stopped:
        return exits.INTERRUPTED
    if tally.failed:
        return exits.REFUSED
    return exits.UNAVAILABLE if tally.waiting and tally.trouble is not None else exits.OK
