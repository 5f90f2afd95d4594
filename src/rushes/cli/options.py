"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated
from uuid import UUID

import typer


def an_id(text: str) -> UUID:
    """Of an upload, an asset, a title: all of it."""
    try:
        return UUID(text)
    except ValueError:
        raise typer.BadParameter(
            f"{text!r} is no id: ids have 36 characters; `rushes ls` and `rushes titles ls` show yours."
        ) from None


Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="RUSHES_SERVER",
        metavar="URL",
        show_default=False,
        help="The API's address. Without it, that of the last `rushes login`, else the stack that runs here (`local`).",
    ),
]
Token = Annotated[
    str | None,
    typer.Option(
        "--token",
        envvar="RUSHES_TOKEN",
        metavar="TOKEN",
        show_default=False,
        show_envvar=True,
        help="Who you are. Not needed after `rushes login`, nor for the local stack.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Nothing but errors.")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        show_default=False,
        help="Where the local stack keeps everything. Also RUSHES_DATA_DIR.",
    ),
]
