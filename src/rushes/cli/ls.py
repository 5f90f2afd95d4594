"""`rushes ls`: uploads and what became of them, the newest first."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Annotated
from uuid import UUID

import typer
from rich.table import Table
from rich.text import Text

from rushes.cli import words
from rushes.cli.connect import connected
from rushes.cli.exits import one_line
from rushes.cli.options import Json, Server, Token, an_id
from rushes.cli.view import wide_console
from rushes.client import Client
from rushes.model import AssetState, OverallStatus, UploadState
from rushes.wire import AssetView, UploadView

NARROW = 110  # columns of a terminal: below, titles and times are left out
GONE = frozenset({OverallStatus.ABORTED, OverallStatus.EXPIRED, OverallStatus.DELETED})
OF_ASSETS = frozenset(
    {OverallStatus.PROCESSING, OverallStatus.PUBLISHED, OverallStatus.FAILED, OverallStatus.QUARANTINED}
)


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the list."""

    shown: UploadView | AssetView
    id: UUID
    state: str  # the upload's
    asset: str  # its asset's, once that has its file
    size: int | None
    held: str


def ls(
    status: Annotated[
        OverallStatus | None, typer.Option("--status", "--state", help="Only these.", show_default=False)
    ] = None,
    title: Annotated[
        UUID | None, typer.Option(parser=an_id, metavar="ID", help="Only assets of this title.", show_default=False)
    ] = None,
    gone: Annotated[bool, typer.Option("--gone", help="Also what was given up, has expired or was deleted.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="The most to show.")] = 50,
    everything: Annotated[bool, typer.Option("--all", help="Without a limit.")] = False,
    after: Annotated[
        UUID | None,
        typer.Option(
            parser=an_id, metavar="ID", help="Go on where a list ended, as its last line says.", show_default=False
        ),
    ] = None,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List uploads and assets, the newest first.

    The id is the asset's once the file is stored, the upload's before; commands take either.

    \b
    Examples:
      rushes ls
      rushes ls --status uploading
      rushes ls --status published --all --json
    """
    wanted = None if everything else limit + 1
    with connected(server, token) as link:
        rows = list(islice(_rows(link.client, status, title, after, gone=gone), wanted))
    more = not everything and len(rows) > limit
    rows = rows if everything else rows[:limit]
    if as_json:
        for row in rows:
            print(json.dumps(row.shown.model_dump(mode="json")))
        return
    console = wide_console()
    if rows:
        console.print(_table(rows, narrow=console.width < NARROW))
    else:
        console.print("Nothing of that kind." if status or title else "No uploads yet.")
    if more:
        console.print(Text(f"More: rushes ls --after {rows[-1].shown.id}, or --all"), soft_wrap=True)


def _rows(
    client: Client, status: OverallStatus | None, title: UUID | None, after: UUID | None, *, gone: bool
) -> Iterator[Row]:
    cursor = None if after is None else str(after)
    if title is not None or status in OF_ASSETS:
        for asset in client.assets.all(state=status if status in OF_ASSETS else None, title_id=title, cursor=cursor):
            if status is None or asset.status == status:
                yield _of_asset(asset)
        return
    for upload in client.uploads.all(state=None if status is None else UploadState(status), cursor=cursor):
        if upload.status == status if status is not None else gone or upload.status not in GONE:
            yield _of_upload(upload)


def _of_upload(row: UploadView) -> Row:
    held = words.size(row.held.bytes) if row.size is None else f"{row.held.bytes / row.size:.0%}"
    if row.state is not UploadState.INGESTED:  # until then the asset can only be pending
        return Row(row, row.id, row.state, "", row.size, held)
    asset = AssetState.PENDING if row.status is OverallStatus.INGESTED else row.status
    return Row(row, row.asset_id, row.state, asset, row.size, held)


def _of_asset(row: AssetView) -> Row:
    return Row(row, row.id, "", row.status, row.size, "")


def _table(rows: list[Row], *, narrow: bool) -> Table:
    table = Table(box=None, pad_edge=False)
    names = ("id", "state", "asset", "size", "held", *(() if narrow else ("when", "title")), "file")
    for name in names:
        right, text = name in {"size", "held"}, name in {"title", "file"}
        table.add_column(name, justify="right" if right else "left", no_wrap=not text, overflow="fold")
    for row in rows:
        shown = row.shown
        title = "" if shown.title in {None, shown.filename} else one_line(str(shown.title))
        cells: dict[str, str | Text] = {
            "id": str(row.id),
            "state": row.state,
            "asset": row.asset,
            "size": "unknown" if row.size is None else words.size(row.size),
            "held": row.held,
            "when": f"{shown.created_at.astimezone():%Y-%m-%d %H:%M}",
            "title": Text(title),
            "file": Text(one_line(shown.filename)),
        }
        table.add_row(*(cells[name] for name in names))
    return table
