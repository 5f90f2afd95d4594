"""`rushes ls`, `status` and `abort`: what the server knows of uploads and assets."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated
from uuid import UUID

import typer
from pydantic import BaseModel
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rushes.cli import asset as asset_page
from rushes.cli import words
from rushes.cli.connect import connected
from rushes.cli.exits import one_line, printable
from rushes.cli.find import status_of
from rushes.cli.options import Json, Server, Token
from rushes.model import AssetState, UploadState
from rushes.wire import UploadView

Id = Annotated[UUID, typer.Argument(metavar="ID", help="Of an upload or an asset.", show_default=False)]


def ls(
    state: Annotated[UploadState | None, typer.Option(help="Only uploads in this state.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="The most to show.")] = 50,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List uploads, the newest first."""
    with connected(server, token) as link:
        uploads = list(islice(link.client.uploads.all(state=state), limit))
    if as_json:
        for upload in uploads:
            _print_json(upload)
        return
    console = Console(highlight=False)
    console.print(_table(uploads) if uploads else "No uploads yet.")


def status(id_: Id, server: Server = None, token: Token = None, as_json: Json = False) -> None:
    """Show how an upload or an asset is doing.

    Of a published asset, everything that was made.
    """
    with connected(server, token) as link:
        found = status_of(link.client, id_)
        asset = link.client.assets.get(found.asset_id) if found.upload_state == UploadState.INGESTED else None
    if as_json:
        _print_json(found if asset is None else asset)
        return
    console = Console(highlight=False)
    if asset is not None and asset.state in {AssetState.PUBLISHED, AssetState.FAILED}:
        asset_page.show(console, asset)
        return
    of = "" if found.size is None else f" of {words.size(found.size)}"
    held = f"{words.size(found.held.bytes)}{of} held"
    console.print(Text(f"asset {found.asset_id} is {found.status} ({held})"), soft_wrap=True)
    if found.current_job is not None:
        job = found.current_job
        console.print(Text(f"  {job.type} {job.status} {job.progress:.0%} {printable(job.message)}"), soft_wrap=True)
    if found.problem is not None:
        console.print(Text(f"  {printable(found.problem.message)}"), soft_wrap=True)


def abort(
    upload_id: Annotated[UUID, typer.Argument(metavar="UPLOAD_ID", help="Of the upload.", show_default=False)],
    server: Server = None,
    token: Token = None,
) -> None:
    """Give up an unfinished upload.

    Its parts are deleted, its quota is free again.
    """
    with connected(server, token) as link:
        link.client.uploads.abort(upload_id)
    print(f"The upload {upload_id} is aborted.")


def _table(uploads: list[UploadView]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("upload", "status", "size", "held", "file"):
        table.add_column(name, justify="right" if name in {"size", "held"} else "left", no_wrap=name != "file")
    for upload in uploads:
        known = upload.size is not None
        size = words.size(upload.size) if upload.size is not None else "unknown"
        held = f"{upload.held.bytes / upload.max_size:.0%}" if known else words.size(upload.held.bytes)
        table.add_row(str(upload.id), upload.status, size, held, Text(one_line(upload.filename)))
    return table


def _print_json(message: BaseModel) -> None:
    print(json.dumps(message.model_dump(mode="json")))
