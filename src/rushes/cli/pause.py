"""`rushes pause`: a running upload is stopped politely, from another terminal. Asks no server."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from rushes.cli.exits import one_line
from rushes.cli.options import Json, Quiet
from rushes.cli.pending import facts
from rushes.cli.which import meant
from rushes.client import Journal
from rushes.client.claim import Holder
from rushes.client.journal import Entry
from rushes.errors import Invalid, Unavailable

SECONDS = 30.0  # that a process may take to stop
LOOK_EVERY = 0.1


def pause(
    names: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="[PATH…]", readable=False, help="What is to pause: files, or folders.", show_default=False
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything that is being uploaded here.")] = False,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Stop running uploads politely.

    `rushes resume`, or the same upload again, goes on where they were.

    The process that uploads ends with exit code 5 when nothing else is left for it to do.

    \b
    Examples:
      rushes pause scene-12.mov
      rushes pause --all
    """
    if bool(names) == all_:
        raise Invalid("pause_what", "Name what is to pause, or give --all.")
    with Journal() as journal:
        asked = meant(journal.pending(), names or ())
        running = [(entry, who) for entry in asked if (who := journal.holder(entry)) is not None]
        waiting = _same_batches(journal, asked, running)
        journal.ask_pause([*(entry for entry, _ in running), *waiting])
        left = _waited(journal, running)
        journal.unask_pause([entry for entry in waiting if journal.holder(entry) is None])
        for entry, who in running:
            if as_json:
                print(json.dumps(facts(journal.get(entry.id) or entry, journal.holder(entry))))
            elif entry not in left and not quiet:
                print(f"Paused: {one_line(str(entry.path))} (process {who.pid})")
    if left:
        pids = ", ".join(sorted({str(who.pid) for entry, who in running if entry in left}))
        raise Unavailable(
            "pause_unheard",
            f"Process {pids} does not react. It can be killed without harm (kill {pids}): nothing is lost.",
        )
    if not running and not as_json and not quiet:
        print("Nothing of that is being uploaded." if names else "Nothing is being uploaded.")


def _same_batches(journal: Journal, asked: Sequence[Entry], running: Sequence[tuple[Entry, Holder]]) -> list[Entry]:
    """What the same processes have still before them, as far as it was asked for: it would only come next."""
    batches = {entry.batch for entry, _ in running}
    taken = {entry.id for entry, _ in running}
    return [entry for entry in asked if entry.batch in batches and entry.id not in taken]


def _waited(journal: Journal, running: Sequence[tuple[Entry, Holder]]) -> list[Entry]:
    """Those that are still being uploaded after a while."""
    until, left = time.monotonic() + SECONDS, [entry for entry, _ in running]
    while left and time.monotonic() < until:
        time.sleep(LOOK_EVERY)
        left = [entry for entry in left if journal.holder(entry) is not None]
    return left
