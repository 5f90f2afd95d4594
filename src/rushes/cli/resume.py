"""`rushes resume`: everything that was begun here goes on."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from rushes.cli import words
from rushes.cli.batch import Batch
from rushes.cli.connect import connected
from rushes.cli.interrupt import interruptible
from rushes.cli.options import Json, Quiet, Server, Token
from rushes.cli.upload import Anew, Concurrency, LimitRate, at_once, rate_of
from rushes.cli.which import meant
from rushes.client import Journal, Limits
from rushes.client.journal import Entry, State
from rushes.errors import NotFound


def resume(
    names: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH…]", readable=False, help="Only these, or what is in these folders.", show_default=False
        ),
    ] = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait until everything is published.")] = False,
    limit_rate: LimitRate = None,
    concurrency: Concurrency = None,
    anew: Anew = False,
    server: Server = None,
    token: Token = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Go on with everything that was begun here.

    That is, files stopped, paused, killed, failed, or never begun.

    Parts that storage holds are compared with the file before they count; a file that was changed is refused.

    \b
    Examples:
      rushes resume
      rushes resume /media/A003 --limit-rate 40M
    """
    rate = rate_of(limit_rate)
    cancel = threading.Event()
    batch = Batch(Console(stderr=as_json, highlight=False), cancel, as_json, quiet, follow=follow)
    with Journal() as journal:
        pending = [entry for entry in journal.pending() if not (entry.watched and entry.state is State.STORED)]
        entries = meant(pending, names or ())
    if not entries:
        batch.say("Nothing is pending.")
        return
    with connected(server, token, cancel=cancel, waits=batch.say) as link, interruptible(cancel):
        link.client.engine.rate.set(rate)
        uploader = link.client.uploader
        ours = {entry.id: entry for entry in uploader.mine()}
        mine = [ours[entry.id] for entry in entries if entry.id in ours]
        _others(batch, [entry for entry in entries if entry.id not in ours], named=bool(names))
        with at_once(link):
            jobs = uploader.go_on(mine, anew=anew, keep=follow, limits=Limits(parallel=concurrency))
            batch.run(link, [(job.entry.path, job) for job in jobs])
    raise typer.Exit(batch.conclude())


def _others(batch: Batch, others: Sequence[Entry], *, named: bool) -> None:
    """Say what belongs to other servers or other people. Raises `NotFound` (pending_elsewhere) if it was asked for."""
    if not others:
        return
    servers = ", ".join(sorted({entry.place.server for entry in others}))
    told = f"{words.count(len(others), 'file')} begun with another person's token, or on another server ({servers})"
    if named:
        raise NotFound("pending_elsewhere", f"{told}: give that --token and --server.")
    batch.say(f"Left alone: {told}. rushes resume with that --token and --server goes on with them.")
