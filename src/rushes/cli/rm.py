"""`rushes rm`: uploads are given up, assets are deleted, with everything that belongs to them."""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from typing import Annotated
from uuid import UUID

import typer

from rushes.cli import exits, words
from rushes.cli.connect import connected
from rushes.cli.exits import one_line
from rushes.cli.find import upload_of
from rushes.cli.options import Json, Server, Token, Yes, an_id
from rushes.client import Client
from rushes.errors import Invalid, Problem
from rushes.model import OPEN_UPLOADS
from rushes.wire import UploadView


@dataclass(slots=True)
class _Doomed:
    id: UUID
    found: UploadView | None = None
    error: Problem | None = None

    @property
    def is_open(self) -> bool:
        return self.found is not None and self.found.state in OPEN_UPLOADS

    def words(self) -> str:
        assert self.found is not None, "it was found"
        size = "size unknown" if self.found.size is None else words.size(self.found.size)
        return one_line(f"{self.found.filename}, {size}, {self.found.status} ({self.id})")


def rm(
    ids: Annotated[
        list[UUID], typer.Argument(parser=an_id, metavar="ID…", help="Of uploads or assets.", show_default=False)
    ],
    yes: Yes = False,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Delete assets, give up unfinished uploads.

    With original, renditions and parts. It asks first, and cannot be undone. Quota is free again at once.

    \b
    Examples:
      rushes rm 0199…
      rushes rm 0199… 0198… --yes
    """
    with connected(server, token) as link:
        doomed = [_looked_up(link.client, id_) for id_ in dict.fromkeys(ids)]
        there = [one for one in doomed if one.error is None]
        if there and not yes:
            _ask(there)
        for one in there:
            _remove(link.client, one)
    for one in doomed:
        _tell(one, as_json=as_json)
    raise typer.Exit(exits.common_code(exits.code_of(one.error) for one in doomed if one.error is not None))


def confirm(question: str) -> None:
    """Ask on the terminal. Raises `Invalid` (not_confirmed) when nobody is there; ends the command on anything but yes."""
    if not sys.stdin.isatty():
        raise Invalid("not_confirmed", "Nobody is there to confirm: give --yes if you mean it.")
    if not typer.confirm(question, err=True):
        print("Nothing was changed.", file=sys.stderr)
        raise typer.Exit(exits.OK)


def _ask(there: list[_Doomed]) -> None:
    for one in there:
        print(f"  {one.words()}", file=sys.stderr)
    confirm(f"Delete {'this' if len(there) == 1 else f'these {len(there)}'} for good?")


def _looked_up(client: Client, id_: UUID) -> _Doomed:
    try:
        return _Doomed(id_, upload_of(client, id_))
    except Problem as error:
        return _Doomed(id_, error=error)


def _remove(client: Client, one: _Doomed) -> None:
    assert one.found is not None, "only what was found"
    try:
        if one.is_open:
            client.uploads.abort(one.found.id)
        else:
            client.assets.delete(one.found.asset_id)
    except Problem as error:
        one.error = error


def _tell(one: _Doomed, *, as_json: bool) -> None:
    if as_json:
        told = {"id": str(one.id), "ok": one.error is None}
        error = None if one.error is None else {"code": one.error.code, "message": one.error.message}
        print(json.dumps(told if error is None else told | {"error": error}))
    elif one.error is not None:
        print(f"rushes: {one.id}: {exits.printable(one.error.message)}", file=sys.stderr)
    else:
        print(f"{'Given up' if one.is_open else 'Deleted'}: {one.words()}")
