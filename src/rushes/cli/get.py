"""`rushes get`: an original or a rendition comes to this disk."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from rich.console import Console
from rich.progress import BarColumn, TextColumn
from rich.progress import Progress as Bars
from rich.text import Text

from rushes.cli import words
from rushes.cli.connect import connected
from rushes.cli.exits import one_line, printable
from rushes.cli.find import asset_id_of
from rushes.cli.interrupt import interruptible
from rushes.cli.options import Json, Quiet, Server, Token, an_id
from rushes.cli.upload import LimitRate, rate_of
from rushes.cli.view import Rhythm, has_bars, tell
from rushes.client import Downloaded, DownloadProgress
from rushes.client.download import OnDownload


def get(
    id_: Annotated[
        UUID, typer.Argument(parser=an_id, metavar="ID", help="Of an asset or of its upload.", show_default=False)
    ],
    rendition: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="A rendition, as `rushes status ID` names it.", show_default=False),
    ] = None,
    original: Annotated[
        bool, typer.Option("--original", help="The file as it was uploaded; this is the default.")
    ] = False,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="PATH", help="A folder, or the file's new name.", show_default=False),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a file of that name.")] = False,
    sha256: Annotated[
        bool, typer.Option("--sha256", help="Read it once more, and compare its SHA-256 as well (originals).")
    ] = False,
    concurrency: Annotated[int, typer.Option(min=1, max=32, help="Ranges fetched at once.")] = 4,
    limit_rate: LimitRate = None,
    server: Server = None,
    token: Token = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Download an original or a rendition.

    In parallel ranges, verified by checksum. While it is under way the file is called NAME.part. After Ctrl-C, a kill or
    a broken line the same command goes on where it was. It never replaces another file unless --force says so.

    \b
    Examples:
      rushes get 0199…                                   the original, by its own name
      rushes get 0199… --rendition proxy-720p.mp4 -o /tmp
      rushes get 0199… -o scene-12.mov --limit-rate 40M --json
    """
    if original and rendition is not None:
        raise typer.BadParameter("give --original or --rendition, not both")
    if output is not None and str(output) == "-":
        raise typer.BadParameter("a download that is verified cannot go to stdout; name a file", param_hint="--output")
    rate = rate_of(limit_rate)
    cancel = threading.Event()
    console = Console(stderr=as_json, highlight=False)
    with connected(server, token, cancel=cancel) as link, interruptible(cancel):
        link.client.engine.rate.set(rate)
        asset_id = asset_id_of(link.client, id_)
        with _shown(console, quiet=quiet) as on_progress:
            done = link.client.download(
                asset_id,
                output,
                rendition=rendition,
                force=force,
                sha256=sha256,
                parallel=concurrency,
                on_progress=on_progress,
            )
    if as_json:
        print(json.dumps(_facts(done)))
    elif not quiet:
        console.print(Text(printable(_sentence(done))), soft_wrap=True)


def _sentence(done: Downloaded) -> str:
    name = one_line(str(done.path))
    proof = "its size is right; the server knows no checksum of it yet"
    if done.verified:
        proof = f"verified, {', '.join(done.verified)}"
    if done.received == 0 and done.resumed == done.size and done.seconds == 0:
        return f"{name} is here already: {proof}."
    again = f", {words.size(done.resumed)} of it from before" if done.resumed else ""
    rate = f" at {words.size(done.received / done.seconds)}/s" if done.seconds > 1 else ""
    return f"{name}: {words.size(done.size)}{again}{rate}, {proof}."


def _facts(done: Downloaded) -> dict[str, Any]:
    return {
        "path": str(done.path),
        "asset_id": str(done.asset_id),
        "name": done.name,
        "size": done.size,
        "verified": done.verified,
        "received": done.received,
        "resumed": done.resumed,
        "seconds": round(done.seconds, 3),
    }


def _words(progress: DownloadProgress) -> str:
    """12.3 MB of 1.2 GB, 45 MB/s, 0:26 left"""
    if progress.trouble is not None:
        return f"waiting: {printable(progress.trouble)} Trying again."
    if progress.checking:
        return "reading what came before"
    told = [f"{words.size(progress.held)} of {words.size(progress.size)}"]
    if progress.rate > 0:
        told.append(f"{words.size(progress.rate)}/s")
    if progress.seconds_left is not None:
        told.append(f"{words.duration(progress.seconds_left)} left")
    return ", ".join(told)


@contextmanager
def _shown(console: Console, *, quiet: bool) -> Iterator[OnDownload | None]:
    """A bar on a terminal; elsewhere a line now and then, and one for each new trouble."""
    if quiet:
        yield None
        return
    if not has_bars(console):
        rhythm = Rhythm()
        yield lambda progress: tell(console, _words(progress)) if rhythm.is_due(progress.trouble) else None
        return
    columns = (BarColumn(), TextColumn("{task.fields[words]}", markup=False))
    with Bars(*columns, console=console, transient=True, refresh_per_second=5) as bars:
        task = bars.add_task("", total=1.0, words="")
        yield lambda progress: bars.update(
            task, completed=progress.held / max(1, progress.size), words=_words(progress)
        )
