"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

Server = Annotated[
    str | None,
    typer.Option(
        "--server",
        envvar="RUSHES_SERVER",
        metavar="URL",
        show_default=False,
        help="The API's address. Without it, the stack that runs on this machine.",
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
        help="Who you are. The local stack needs none.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="JSON on stdout, for scripts.")]
DataDir = Annotated[
    Path | None,
    typer.Option(
        "--data-dir",
        metavar="DIR",
        show_default=False,
        help="Where the local stack keeps everything. Also RUSHES_DATA_DIR.",
    ),
]
