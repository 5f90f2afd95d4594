"""`rushes ingest`: files go in, published assets come out; `rushes upload --follow`, with a server started if need be."""

from __future__ import annotations

from typing import Annotated

import typer

from rushes.cli import words
from rushes.cli.options import Json, Quiet, Server, Token
from rushes.cli.upload import (
    Anew,
    Checksum,
    Concurrency,
    Description,
    Genre,
    LimitRate,
    Manner,
    Metadata,
    PartSize,
    Paths,
    Project,
    ReleaseDate,
    StoredAs,
    Tag,
    Title,
    TitleId,
    rate_of,
    run,
    title_of,
)
from rushes.client import Limits, Wishes
from rushes.model import Layout


def ingest(
    paths: Paths,
    title: Title = None,
    title_id: TitleId = None,
    description: Description = "",
    genre: Genre = None,
    tag: Tag = None,
    release_date: ReleaseDate = None,
    project: Project = None,
    metadata: Metadata = None,
    checksum: Checksum = None,
    limit_rate: LimitRate = None,
    concurrency: Concurrency = None,
    part_size: PartSize = None,
    layout: StoredAs = Layout.MULTIPART,
    anew: Anew = False,
    keep_running: Annotated[
        bool, typer.Option("--keep-running", help="Leave a stack that was started here on until Ctrl-C.")
    ] = False,
    server: Server = None,
    token: Token = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Upload files, follow their processing, and show what came out.

    As `rushes upload --follow`; where no server is known and none runs here, one is started for the occasion.

    \b
    Examples:
      rushes ingest scene-12.mov --title "Scene 12"
      rushes ingest scene-12.mov --keep-running          # and leave the server on
    """
    named, facts = title_of(title, description, genre, tag, release_date, project, metadata, title_id)
    manner = Manner(
        limits=Limits(parallel=concurrency),
        rate=rate_of(limit_rate),
        facts=facts,
        anew=anew,
        follow=True,
        show=True,
        start=True,
        keep_running=keep_running,
    )
    wishes = Wishes(
        title=named,
        title_id=title_id,
        part_size=None if part_size is None else words.parse_size(part_size),
        checksum=tuple(checksum or ()),
        layout=layout,
    )
    raise typer.Exit(run(paths, wishes, manner, server, token, quiet=quiet, as_json=as_json))
