"""`rushes upload`: files, patterns and folders go up; whatever ends it, the same command goes on."""

from __future__ import annotations

import os
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

import typer
from pydantic import ValidationError
from rich.console import Console

from rushes.cli import exits, words
from rushes.cli.batch import Batch
from rushes.cli.connect import Link, connected
from rushes.cli.interrupt import interruptible
from rushes.cli.options import Json, Quiet, Server, Token, an_id
from rushes.client import Limits, Stopped, Wishes
from rushes.client.folder import Found, Listing, gather
from rushes.client.job import Job
from rushes.client.wish import Wish, plain
from rushes.errors import Invalid, Problem, Unavailable
from rushes.model import Layout
from rushes.wire import NewTitle

PATIENCE, TRY_EVERY = 300.0, 2.0  # seconds: for a server that does not answer
MAX_TITLE = 500  # characters, as `NewTitle` takes them

Paths = Annotated[
    list[Path],
    typer.Argument(
        metavar="PATH…", readable=False, help="Files, folders, or patterns such as 'A0*.mov'.", show_default=False
    ),
]
Title = Annotated[str | None, typer.Option(help="The title; one for all files. Without it, each file's name.")]
TitleId = Annotated[
    UUID | None,
    typer.Option(
        "--title-id",
        parser=an_id,
        metavar="ID",
        help="A title that is there already, for all files.",
        show_default=False,
    ),
]
Description = Annotated[str, typer.Option(help="What the title is about.")]
Genre = Annotated[str | None, typer.Option(help="Its genre.")]
Tag = Annotated[list[str] | None, typer.Option(help="A tag; may be repeated.")]
ReleaseDate = Annotated[datetime | None, typer.Option(formats=["%Y-%m-%d"], help="When it is or was released.")]
Project = Annotated[str | None, typer.Option(help="The project it belongs to.")]
Metadata = Annotated[list[str] | None, typer.Option(metavar="KEY=VALUE", help="A fact about it; may be repeated.")]
Concurrency = Annotated[
    int | None, typer.Option(min=1, max=32, help="Parts sent at once; without it, as many as make it faster.")
]
Checksum = Annotated[
    list[str] | None,
    typer.Option(
        metavar="KIND",
        help="Compute and declare this of each whole file: sha256, md5, xxh128. Or declare a known value: sha256:…",
    ),
]
PartSize = Annotated[str | None, typer.Option(metavar="SIZE", help="How large the parts are to be, such as 16MiB.")]
StoredAs = Annotated[
    Layout, typer.Option(help="How parts lie in storage meanwhile; staged ones can be read as they land.")
]
LimitRate = Annotated[
    str | None, typer.Option(metavar="RATE", help="The most bytes a second, such as 40M or 1.5MB, for all together.")
]
Anew = Annotated[
    bool,
    typer.Option(
        "--anew", help="Upload these again: drop what was begun of them before, and begin with them as they are now."
    ),
]


@dataclass(frozen=True, slots=True)
class Manner:
    """How a command uploads, whatever it is called."""

    limits: Limits
    facts: dict[str, Any] = field(default_factory=dict)  # told of the titles that files get of their own
    rate: int | None = None  # bytes per second
    anew: bool = False
    follow: bool = False
    show: bool = False  # what came out
    start: bool = False  # a stack for the occasion, where there is no server
    keep_running: bool = False


def upload(
    paths: Paths,
    title: Title = None,
    title_id: TitleId = None,
    description: Description = "",
    genre: Genre = None,
    tag: Tag = None,
    release_date: ReleaseDate = None,
    project: Project = None,
    metadata: Metadata = None,
    follow: Annotated[bool, typer.Option("--follow", help="Wait until everything is published.")] = False,
    checksum: Checksum = None,
    limit_rate: LimitRate = None,
    concurrency: Concurrency = None,
    part_size: PartSize = None,
    region: Annotated[str | None, typer.Option(help="Where it is to lie, on a server that has a choice.")] = None,
    layout: StoredAs = Layout.MULTIPART,
    anew: Anew = False,
    server: Server = None,
    token: Token = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Upload files and folders, verified to the last byte.

    Whatever ends it (Ctrl-C, a kill, a reboot, sleep, another network), the same command goes on where it was, and `rushes
    resume` goes on with everything. A file that was changed meanwhile is refused, and one that was uploaded before is left
    alone, unless --anew is given. Of a folder, the
    structure is kept; hidden and empty files are left out. With --json, one object a file.

    \b
    Examples:
      rushes upload scene-12.mov --title "Scene 12" --tag night --follow
      rushes upload /media/A003 --project dune --checksum xxh128
      rushes upload 'day 1/*.mov' --limit-rate 40M -q
      rushes upload pickup.mov --title-id 0199…
    """
    named, facts = title_of(title, description, genre, tag, release_date, project, metadata, title_id)
    wishes = Wishes(
        title=named,
        title_id=title_id,
        part_size=None if part_size is None else words.parse_size(part_size),
        checksum=tuple(checksum or ()),
        layout=layout,
        region=region,
    )
    manner = Manner(
        limits=Limits(parallel=concurrency),
        rate=rate_of(limit_rate),
        facts=facts,
        anew=anew,
        follow=follow,
    )
    raise typer.Exit(run(paths, wishes, manner, server, token, quiet=quiet, as_json=as_json))


def run(
    paths: list[Path],
    wishes: Wishes,
    manner: Manner,
    server: str | None,
    token: str | None,
    *,
    quiet: bool = False,
    as_json: bool = False,
) -> int:
    """Upload what `paths` name; the exit code."""
    cancel = threading.Event()
    batch = Batch(
        Console(stderr=as_json, highlight=False), cancel, as_json, quiet, follow=manner.follow, show=manner.show
    )
    listing = gather(paths)
    wanted(
        wishes, manner.facts, listing.files[:1]
    )  # what is wrong with the command line is said before anything is begun
    batch.listed(listing)
    started = False
    if not listing.files and not listing.failed:
        batch.say("There is nothing to upload.")
    if listing.files:
        try:
            started = _connected(batch, listing, wishes, manner, server, token)
        except Problem as problem:  # no server, say: the same for all
            if batch.begun:
                raise
            batch.refused([found.path for found in listing.files], problem)
    return batch.conclude(started=started)


def _connected(
    batch: Batch, listing: Listing, wishes: Wishes, manner: Manner, server: str | None, token: str | None
) -> bool:
    """Whether a stack was started for this."""
    with ExitStack() as stack:
        say = batch.say if manner.start else None
        waits = not manner.start  # offline as well, what is wished is written down, and begins when the server is back
        link = stack.enter_context(
            connected(server, token, cancel=batch.cancel, say=say, waits=batch.say if waits else None)
        )
        stack.enter_context(interruptible(batch.cancel))
        link.client.engine.rate.set(manner.rate)
        with at_once(link):
            batch.run(link, _begun(batch, link, listing, wishes, manner))
        if link.started and not batch.cancel.is_set():
            _end(batch, link, keep_running=manner.keep_running)
        return link.started


@contextmanager
def at_once(link: Link) -> Iterator[None]:
    """A second Ctrl-C waits for nothing: all that has to be known is on the disk. A stack started here is left in order."""
    try:
        yield
    except KeyboardInterrupt:
        if link.started:
            raise
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exits.INTERRUPTED)


def _begun(batch: Batch, link: Link, listing: Listing, wishes: Wishes, manner: Manner) -> list[tuple[Path, Job]]:
    found = listing.files
    wishes = _joined(batch, link, wishes, [one.path for one in found], patience=0 if manner.start else PATIENCE)
    jobs = link.client.uploader.add(
        wanted(wishes, manner.facts, found), anew=manner.anew, keep=manner.follow, limits=manner.limits
    )
    return [(one.path, job) for one, job in zip(found, jobs, strict=True)]


def _joined(batch: Batch, link: Link, wishes: Wishes, paths: list[Path], *, patience: float) -> Wishes:
    """The wishes with one title for all files, which the server makes: where it does not answer, it is waited for."""
    since, said = time.monotonic(), ""
    while True:
        try:
            return link.client.one_title(wishes, paths)
        except Unavailable as problem:
            limits = link.client.engine.limits
            if time.monotonic() - since >= (patience if link.client.reached else min(patience, limits.reach_after)):
                raise
            if said != problem.message:
                said = problem.message
                batch.say(f"waiting: {said} Trying again.")
        if batch.cancel.wait(TRY_EVERY):
            raise Stopped("stopped", "Stopped before anything was begun.")


def _end(batch: Batch, link: Link, *, keep_running: bool) -> None:
    if keep_running:
        batch.say(f"The stack runs on at {link.url} (its pages: {link.url}/docs) until Ctrl-C.")
        batch.cancel.wait()
    elif any(line.asset is not None for line in batch.lines):
        batch.say("The stack that was started for this stops now; the links work while it runs: rushes up")


def wanted(wishes: Wishes, facts: dict[str, Any], found: list[Found]) -> list[Wish]:
    """A wish for each file."""
    host, made = socket.gethostname(), []
    for one in found:
        own = replace(wishes, source=f"{host}:{one.path.absolute()}")
        if facts and own.title is None and own.title_id is None:
            own = replace(own, title=NewTitle(title=plain(one.path.stem or one.path.name, MAX_TITLE), **facts))
        made.append(own.of(one.path, one.relative_path, one.size))
    return made


def title_of(
    title: str | None,
    description: str,
    genre: str | None,
    tags: list[str] | None,
    release_date: datetime | None,
    project: str | None,
    metadata: list[str] | None,
    title_id: UUID | None,
) -> tuple[NewTitle | None, dict[str, Any]]:
    """The title that is named, and what is told of it, or of each file's own where none is named. Raises `Invalid`."""
    told: dict[str, Any] = {
        "description": description,
        "genre": genre,
        "tags": tags,
        "release_date": release_date and release_date.date(),
        "project_id": project,
        "metadata": words.parse_pairs(metadata),
    }
    given = {name: value for name, value in told.items() if value}
    if title_id is not None and (given or title is not None):
        raise Invalid("title_invalid", "--title-id names a title that is there: `rushes titles edit` changes it.")
    try:
        named = NewTitle(title="of its file" if title is None else title, **given)
    except ValidationError as error:
        first = error.errors()[0]
        raise Invalid("title_invalid", f"--{first['loc'][0]} cannot be used: {first['msg']}.") from error
    return (None if title is None else named), given


def rate_of(text: str | None) -> int | None:
    """Bytes per second, of `40M`, `40MB`, `40MB/s`. Raises `Invalid`."""
    if text is None:
        return None
    rate = words.parse_size(text.strip().removesuffix("/s"))
    if rate < 1:
        raise Invalid("rate_invalid", "--limit-rate takes at least one byte a second.")
    return rate
