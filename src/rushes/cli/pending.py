"""`rushes pending`: what this machine began to upload and did not finish. Asks no server."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table
from rich.text import Text

from rushes.cli import words
from rushes.cli.exits import one_line
from rushes.cli.options import Json, Quiet
from rushes.cli.view import wide_console
from rushes.cli.which import meant
from rushes.client import Journal
from rushes.client.claim import Holder
from rushes.client.journal import Entry, State

STATES = {
    State.QUEUED: "not begun",
    State.INTENDED: "not begun",
    State.BEGUN: "stopped",
    State.STORED: "uploaded and verified; the server goes on with it",
}


def pending(
    names: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[PATH…]", readable=False, help="Only these, or what is in these folders."),
    ] = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """List what was begun here and is not finished.

    File, size, how much is held, since when, and why it stopped.

    Asks no server: it shows what this machine knows.

    \b
    Examples:
      rushes pending
      rushes pending /media/A003 --json
    """
    with Journal() as journal:
        entries = meant(journal.pending(), names or ())
        told = [(entry, journal.holder(entry)) for entry in entries]
    if as_json:
        for entry, who in told:
            print(json.dumps(facts(entry, who)))
        return
    if not quiet:
        wide_console().print(_table(told) if told else "Nothing is pending.")


def facts(entry: Entry, who: Holder | None) -> dict[str, Any]:
    told: dict[str, Any] = {
        "file": str(entry.path),
        "server": entry.place.server,
        "state": "uploading"
        if who is not None
        else "paused"
        if entry.code in {"paused", "no_progress"}
        else entry.state,
        "size": entry.size,
        "held": entry.held,
        "since": datetime.fromtimestamp(entry.since, UTC).isoformat(),
    }
    if entry.plan is not None:
        told |= {"upload_id": str(entry.plan.upload_id), "asset_id": str(entry.plan.asset_id)}
    if who is not None:
        told["pid"] = who.pid
    elif entry.code is not None:
        told["stopped"] = {"code": entry.code, "message": entry.reason}
    return told


def why(entry: Entry, who: Holder | None) -> str:
    """In words: who is at it, else why nobody is."""
    if who is not None:
        return f"being uploaded by {who}"
    if entry.watched and entry.state is State.STORED:
        return "uploaded and verified; the watch of its folder puts it away when it runs again"
    return entry.reason or STATES.get(entry.state, entry.state)


def _table(told: Sequence[tuple[Entry, Holder | None]]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("file", "size", "held", "since", "why"):
        right = name in {"size", "held"}
        table.add_column(name, justify="right" if right else "left", no_wrap=name in {"size", "held", "since"})
    servers = {entry.place.server for entry, _ in told}
    for entry, who in told:
        size = "" if entry.size is None else words.size(entry.size)
        held = "" if not entry.size else f"{entry.held / entry.size:.0%}"
        since = datetime.fromtimestamp(entry.since, UTC).astimezone()
        where = f" ({entry.place.server})" if len(servers) > 1 else ""
        reason = one_line(f"{why(entry, who)}{where}")
        table.add_row(Text(one_line(str(entry.path))), size, held, f"{since:%Y-%m-%d %H:%M}", Text(reason))
    return table
