"""`rushes play`: a link that plays an asset."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

import typer

from rushes.cli.connect import connected
from rushes.cli.find import asset_id_of
from rushes.cli.options import Json, Server, Token, an_id


def play(
    id_: Annotated[
        UUID, typer.Argument(parser=an_id, metavar="ID", help="Of an asset or of its upload.", show_default=False)
    ],
    seconds: Annotated[
        int | None,
        typer.Option(min=60, max=43_200, help="How long the link lives; 12 hours at most.", show_default=False),
    ] = None,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Print a link that plays an asset (HLS).

    Whoever has the link can play this asset and nothing else, until it expires. It works as soon as the first rendition
    is there.

    \b
    Examples:
      rushes play 0199…                           for a player that takes an .m3u8 address
      mpv "$(rushes play 0199… --seconds 600)"
    """
    with connected(server, token) as link:
        found = link.client.assets.play(asset_id_of(link.client, id_), seconds)
    print(found.model_dump_json() if as_json else found.url)
