"""`rushes cancel`: an unfinished upload is given up, on the server and here."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer

from rushes.cli import exits
from rushes.cli.connect import connected
from rushes.cli.exits import one_line
from rushes.cli.options import Json, Quiet, Server, Token
from rushes.cli.which import is_meant, not_pending, upload_id
from rushes.client import Client, Journal
from rushes.client.journal import Entry, State
from rushes.client.sameness import held_by
from rushes.errors import NotFound, Problem


def cancel(
    names: Annotated[
        list[Path],
        typer.Argument(
            metavar="PATH|UPLOAD_ID…",
            readable=False,
            help="Files, folders, or uploads by their id.",
            show_default=False,
        ),
    ],
    forget: Annotated[
        bool, typer.Option("--forget", help="Only forget it here; the server drops it by itself after two weeks.")
    ] = False,
    server: Server = None,
    token: Token = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Give up unfinished uploads.

    Their parts are deleted, their quota is free again. The files here stay.

    \b
    Examples:
      rushes cancel scene-12.mov
      rushes cancel 0199…                         an upload that another machine began
      rushes cancel /media/A003 --forget          when its server is gone for good
    """
    said = _Said(quiet=quiet, as_json=as_json)
    with Journal() as journal:
        found, unknown = _meant(journal.pending(), names)
        if forget:
            _check(unknown)
            for entry in found:
                with said.of("Forgotten", "file", entry.path):
                    if (who := journal.holder(entry)) is not None:
                        raise held_by(entry, who)
                    journal.forget(entry)
            raise typer.Exit(said.code)
        _check([name for name in unknown if upload_id(name) is None])
        begun = []
        for entry in found:
            if entry.state is not State.QUEUED or journal.holder(entry) is not None:
                begun.append(entry)
                continue
            with said.of("Cancelled", "file", entry.path):  # no server knows of it
                journal.forget(entry)
    if begun or unknown:
        with connected(server, token) as link:
            _cancel(link.client, begun, [UUID(str(name)) for name in unknown], said)
    raise typer.Exit(said.code)


def _cancel(client: Client, entries: Sequence[Entry], ids: Sequence[UUID], said: _Said) -> None:
    mine = {entry.id: entry for entry in client.uploader.mine()}
    for entry in entries:
        with said.of("Cancelled", "file", entry.path):
            if entry.id not in mine:
                raise NotFound(
                    "pending_elsewhere",
                    f"{entry.path} was begun with another person's token, or on another server, at {entry.place.server}: "
                    "give that --token and --server. --forget only forgets it here.",
                )
            client.uploader.drop(mine[entry.id])
    for id_ in ids:
        with said.of("Cancelled", "upload_id", id_):
            client.uploads.abort(id_)


class _Said:
    """One line or object for each thing that was to be done; every one is tried."""

    def __init__(self, *, quiet: bool, as_json: bool) -> None:
        self._quiet = quiet
        self._as_json = as_json
        self._codes: list[int] = []

    @property
    def code(self) -> int:
        return exits.common_code(self._codes)

    @contextmanager
    def of(self, done: str, kind: str, name: object) -> Iterator[None]:
        told: dict[str, Any] = {kind: str(name), "ok": True}
        try:
            yield
        except Problem as problem:
            told |= {"ok": False, "error": {"code": problem.code, "message": exits.sentence(problem)}}
            self._codes.append(exits.report(problem))
        else:
            self._codes.append(exits.OK)
        if self._as_json:
            print(json.dumps(told))
        elif told["ok"] and not self._quiet:
            print(f"{done}: {one_line(str(name))}")


def _meant(entries: Sequence[Entry], names: Sequence[Path]) -> tuple[list[Entry], list[Path]]:
    """Rows, and the names that mean none."""
    found = {entry.id: entry for name in names for entry in entries if is_meant(entry, name)}
    unknown = [name for name in names if not any(is_meant(entry, name) for entry in entries)]
    return list(found.values()), unknown


def _check(unknown: Sequence[Path]) -> None:
    if unknown:
        raise not_pending(unknown[0])
