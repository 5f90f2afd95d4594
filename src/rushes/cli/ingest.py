"""`rushes ingest`: files go in, published assets come out."""

from __future__ import annotations

import json
import shlex
import socket
import threading
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import ValidationError
from rich.console import Console
from rich.text import Text

from rushes.cli import asset as asset_page
from rushes.cli import exits, words
from rushes.cli.connect import Link, connected
from rushes.cli.interrupt import interruptible
from rushes.cli.options import Json, Server, Token
from rushes.cli.view import View, open_view
from rushes.client import Client, Limits, Stopped, UploadResult
from rushes.client.source import LocalFile
from rushes.errors import Invalid, Problem
from rushes.model import Layout
from rushes.wire import AssetView, NewTitle, StatusView, UploadBegun


@dataclass(slots=True)
class Wish:
    """What the person asked for, the same for every file."""

    title: NewTitle | None
    title_id: UUID | None
    limits: Limits
    resume: UUID | None
    layout: Layout = Layout.MULTIPART


@dataclass(slots=True)
class Outcome:
    """What became of one file."""

    path: Path
    asset: AssetView | None = None
    upload: UploadResult | None = None
    error: BaseException | None = None
    begun: UploadBegun | None = field(default=None, repr=False)
    upload_id: UUID | None = None

    @property
    def code(self) -> int:
        return exits.OK if self.error is None else exits.code_of(self.error)

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"file": str(self.path), "ok": self.error is None}
        if self.upload_id is not None:
            told["upload_id"] = str(self.upload_id)
        if self.upload is not None:
            told |= {
                "asset_id": str(self.upload.asset_id),
                "checksum": self.upload.checksum,
                "sent": self.upload.sent,
                "seconds": round(self.upload.seconds, 3),
            }
        if self.asset is not None:
            told["asset"] = self.asset.model_dump(mode="json")
        if self.error is not None:
            code = self.error.code if isinstance(self.error, Problem) else "unexpected"
            told["error"] = {"code": code, "message": exits.sentence(self.error)}
        return told


def ingest(
    files: Annotated[
        list[Path], typer.Argument(metavar="FILE…", readable=False, help="What to take in.", show_default=False)
    ],
    title: Annotated[str | None, typer.Option(help="The title; without it, the file's name.")] = None,
    description: Annotated[str, typer.Option(help="What the title is about.")] = "",
    genre: Annotated[str | None, typer.Option(help="Its genre.")] = None,
    tag: Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")] = None,
    release_date: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="When it is or was released.")
    ] = None,
    project: Annotated[str | None, typer.Option(help="The project it belongs to.")] = None,
    metadata: Annotated[
        list[str] | None, typer.Option(metavar="KEY=VALUE", help="A fact about it; may be repeated.")
    ] = None,
    server: Server = None,
    token: Token = None,
    concurrency: Annotated[int, typer.Option(min=1, max=32, help="Parts sent at once.")] = 4,
    layout: Annotated[
        Layout, typer.Option(help="How parts lie in storage meanwhile; staged ones can be read as they land.")
    ] = Layout.MULTIPART,
    resume: Annotated[
        UUID | None, typer.Option(metavar="UPLOAD_ID", help="Go on with an upload that was stopped.")
    ] = None,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave a stack that was started here on until Ctrl-C.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Upload files, follow their processing, and show what came out.

    Uses the server that --server or RUSHES_SERVER names, else the stack that runs on this machine, else starts one for
    the occasion. Several files get one title when --title is given.
    """
    if resume is not None and len(files) > 1:
        raise Invalid("resume_one", "--resume goes on with one file; name just that one.")
    told = {
        "description": description,
        "genre": genre,
        "tags": tag,
        "release_date": release_date and release_date.date(),
        "project_id": project,
        "metadata": words.parse_pairs(metadata),
    }
    wish = Wish(_title(title, told), None, Limits(parallel=concurrency), resume, layout)
    console = Console(stderr=as_json, highlight=False)
    raise typer.Exit(_Run(console, wish, as_json=as_json).run(files, server, token, keep_running=keep_running))


def _title(title: str | None, told: dict[str, Any]) -> NewTitle | None:
    given = {name: value for name, value in told.items() if value}
    if title is None:
        if given:
            raise Invalid("title_missing", f"{', '.join(given)}: these belong to a title; give --title as well.")
        return None
    try:
        return NewTitle(title=title, **given)
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid("title_invalid", f"--{first['loc'][0]} cannot be used: {first['msg']}.") from error


class _Run:
    """One `rushes ingest`, from the files named to the exit code."""

    def __init__(self, console: Console, wish: Wish, *, as_json: bool) -> None:
        self._console = console
        self._wish = wish
        self._as_json = as_json
        self._cancel = threading.Event()

    def run(self, files: list[Path], server: str | None, token: str | None, *, keep_running: bool) -> int:
        outcomes = [_looked_at(path) for path in files]
        good = [outcome for outcome in outcomes if outcome.error is None]
        for outcome in outcomes:
            if outcome.error is not None:
                self._emit(outcome)
        if good:
            try:
                self._connected(good, server, token, keep_running=keep_running)
            except Problem as error:  # no server: the same for all that were left
                for outcome in good:
                    if outcome.asset is None and outcome.error is None:
                        outcome.error = error
                        self._emit(outcome)
        return self._conclude(outcomes)

    def _connected(self, good: list[Outcome], server: str | None, token: str | None, *, keep_running: bool) -> None:
        with ExitStack() as stack:
            link = stack.enter_context(connected(server, token, cancel=self._cancel, say=self._say))
            stack.enter_context(interruptible(self._cancel))
            self._all(link, good)
            if link.started and not self._cancel.is_set():
                self._end(link, good, keep_running=keep_running)

    def _all(self, link: Link, outcomes: list[Outcome]) -> None:
        for outcome in outcomes:
            view = open_view(self._console, outcome.path.name)
            try:
                self._one(link, outcome, view)
            except Problem as error:
                outcome.error = error
            except OSError as error:
                if not exits.is_full(error):
                    raise
                outcome.error = error
            finally:
                view.close()
            self._show(link, outcome)

    def _one(self, link: Link, outcome: Outcome, view: View) -> None:
        if self._cancel.is_set():
            raise Stopped("stopped", "Not begun: stopped before.")
        client = link.client
        if self._wish.resume is not None:
            outcome.upload_id = self._wish.resume
            outcome.upload = client.resume(
                self._wish.resume, outcome.path, limits=self._wish.limits, on_progress=view.uploading
            )
        else:
            outcome.upload = self._upload(client, outcome, view)
        asset_id = outcome.upload.asset_id

        def on_status(status: StatusView) -> None:
            jobs = client.jobs.page(asset_id=asset_id).items if status.status == "processing" else []
            view.processing(status, jobs)

        outcome.asset = client.wait(asset_id, on_status=on_status)

    def _upload(self, client: Client, outcome: Outcome, view: View) -> UploadResult:
        def on_begin(begun: UploadBegun) -> None:
            outcome.begun, outcome.upload_id = begun, begun.upload_id
            if self._wish.title is not None:  # the first file makes the title, the others join it
                self._wish.title_id, self._wish.title = begun.title_id, None

        return client.upload(
            outcome.path,
            title=self._wish.title,
            title_id=self._wish.title_id,
            source=f"{socket.gethostname()}:{outcome.path.absolute()}",
            layout=self._wish.layout,
            limits=self._wish.limits,
            on_begin=on_begin,
            on_progress=view.uploading,
        )

    def _show(self, link: Link, outcome: Outcome) -> None:
        self._emit(outcome)
        if outcome.asset is not None and not self._as_json:
            asset_page.show(self._console, outcome.asset)
        if (advice := _advice(link, outcome)) is not None:
            self._say(advice)

    def _emit(self, outcome: Outcome) -> None:
        if self._as_json:
            print(json.dumps(outcome.to_json()), flush=True)

    def _end(self, link: Link, outcomes: list[Outcome], *, keep_running: bool) -> None:
        if keep_running:
            self._say(f"The stack runs on at {link.url} (its pages: {link.url}/docs) until Ctrl-C.")
            self._cancel.wait()
        elif any(outcome.asset is not None for outcome in outcomes):
            self._say("The stack that was started for this stops now; the links work while it runs: rushes up")

    def _conclude(self, outcomes: list[Outcome]) -> int:
        failed = [(outcome, outcome.error) for outcome in outcomes if outcome.error is not None]
        shared = len({id(error) for _, error in failed}) == 1 and (len(failed) > 1 or len(outcomes) == 1)
        if shared:  # said once
            exits.report(failed[0][1])
        if failed and len(outcomes) > 1:
            self._say(f"{len(failed)} of {len(outcomes)} files failed:")
            for outcome, error in failed:
                reason = "" if shared else f": {exits.sentence(error)}"
                self._say(f"  {exits.one_line(f'{outcome.path}{reason}')}")
                if not shared:
                    exits.trace(error)
        return exits.common_code(outcome.code for outcome in outcomes)

    def _say(self, text: str) -> None:
        self._console.print(Text(exits.printable(text)), soft_wrap=True)


def _looked_at(path: Path) -> Outcome:
    """The file is opened once before anything is started for it."""
    try:
        LocalFile(path).close()
    except Invalid as error:
        return Outcome(path, error=error)
    return Outcome(path)


def _advice(link: Link, outcome: Outcome) -> str | None:
    """What can be done about a file that did not get through."""
    if outcome.upload is not None:
        if outcome.error is None:
            return None
        if not isinstance(outcome.error, Stopped):
            return f"The file itself is stored and verified: rushes status {outcome.upload.asset_id}"
        when = "when the stack runs again (`rushes up`)" if link.started else "by itself"
        asset_id = outcome.upload.asset_id
        return f"The file is stored and verified. Its processing goes on {when}: rushes status {asset_id}"
    if outcome.upload_id is None or outcome.code in {exits.OK, exits.REFUSED, exits.USAGE}:
        return None
    return (
        f"The upload {outcome.upload_id} stays resumable{_for_days(outcome)}: "
        f"rushes ingest --resume {outcome.upload_id} {shlex.quote(str(outcome.path))}"
    )


def _for_days(outcome: Outcome) -> str:
    if outcome.begun is None:
        return ""
    left = outcome.begun.expires_at - datetime.now(UTC)
    return f" for {words.count(max(1, round(left / timedelta(days=1))), 'day')}"
