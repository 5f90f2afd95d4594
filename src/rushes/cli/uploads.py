"""`rushes abort`: an unfinished upload is given up."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from rushes.cli.connect import connected
from rushes.cli.options import Server, Token


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
