"""`rushes jobs` and `rushes process`: what workers do and did with assets, and having it done again."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import Annotated, Any, get_args
from uuid import UUID

import typer
from pydantic import ValidationError

from rushes.cli import exits, words
from rushes.cli.connect import connected
from rushes.cli.exits import one_line, printable
from rushes.cli.find import asset_id_of
from rushes.cli.options import Json, Quiet, Server, Token, an_id
from rushes.errors import Invalid
from rushes.model import JobState
from rushes.wire import JobView
from rushes.wire_jobs import ProcessRequest, Stage

JobId = Annotated[UUID, typer.Argument(parser=an_id, metavar="JOB_ID", show_default=False)]
MOST = 50


def app() -> typer.Typer:
    commands = typer.Typer(
        help="What workers do with assets, and having it done again.",
        no_args_is_help=True,
        rich_markup_mode=None,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    for function in (ls, show, retry, cancel, priority):
        commands.command()(function)
    return commands


def process(
    id_: Annotated[
        UUID, typer.Argument(parser=an_id, metavar="ID", help="Of an asset or of its upload.", show_default=False)
    ],
    stage: Annotated[
        list[str] | None,
        typer.Option(metavar="STAGE", help="Only this stage, such as stills; several times for several."),
    ] = None,
    rendition: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Only the stage that made this, such as poster-320.jpg."),
    ] = None,
    outdated: Annotated[bool, typer.Option("--outdated", help="Only what an older recipe made.")] = False,
    server: Server = None,
    token: Token = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Process an asset again.

    What is published stays readable meanwhile.

    \b
    Examples:
      rushes process 0199…
      rushes process 0199… --stage stills
      rushes process 0199… --outdated             after an update of the server
    """
    asked = _asked({"stages": stage or [], "renditions": rendition or [], "outdated": outdated})
    with connected(server, token) as link:
        job = link.client.assets.process(asset_id_of(link.client, id_), asked)
    _tell(job, quiet=quiet, as_json=as_json)


def _asked(fields: dict[str, Any]) -> ProcessRequest:
    """Raises `Invalid`."""
    try:
        return ProcessRequest.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        option = {"stages": "--stage", "renditions": "--rendition"}[str(first["loc"][0])]
        known = f" There are {', '.join(get_args(Stage))}." if option == "--stage" else ""
        raise Invalid("process_invalid", f"{option} {first['input']!r} cannot be used.{known}") from error


def ls(
    status: Annotated[
        JobState | None, typer.Option(help="Only jobs in this state.", show_default=False, case_sensitive=False)
    ] = None,
    type_: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only these, such as encode.", show_default=False)
    ] = None,
    asset: Annotated[
        UUID | None, typer.Option(parser=an_id, metavar="ASSET_ID", help="Only of this asset.", show_default=False)
    ] = None,
    dead: Annotated[
        bool, typer.Option("--dead", help="Only dead letters: tried as often as they may, waiting for a person.")
    ] = False,
    everything: Annotated[bool, typer.Option("--all", help=f"More than the newest {MOST}.")] = False,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """List jobs, the newest first.

    \b
    Examples:
      rushes jobs ls --status running
      rushes jobs ls --dead --all --json
    """
    with connected(server, token) as link:
        found: Iterator[JobView] = link.client.jobs.all(
            status=status, type_=type_, asset_id=asset, dead_letter=True if dead else None
        )
        for job in found if everything else islice(found, MOST):
            print(job.model_dump_json() if as_json else line(job))


def show(job_id: JobId, server: Server = None, token: Token = None, as_json: Json = False) -> None:
    """Show a job with its log.

    \b
    Example:
      rushes jobs show 0199…
    """
    with connected(server, token) as link:
        job = link.client.jobs.get(job_id)
    if as_json:
        print(job.model_dump_json())
        return
    print(line(job))
    for entry in job.log:
        print(f"  {entry.at.astimezone():%Y-%m-%d %H:%M:%S}  {printable(entry.text)}")
    if job.error is not None:
        print(f"  {job.error.code}: {printable(job.error.message)}")


def retry(
    job_id: JobId, server: Server = None, token: Token = None, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Run a failed or cancelled job's asset again.

    What had succeeded is kept.

    \b
    Example:
      rushes jobs retry 0199…
    """
    with connected(server, token) as link:
        _tell(link.client.jobs.retry(job_id), quiet=quiet, as_json=as_json)


def cancel(
    job_id: JobId, server: Server = None, token: Token = None, quiet: Quiet = False, as_json: Json = False
) -> None:
    """Stop the run that a job belongs to.

    What is published stays.

    \b
    Example:
      rushes jobs cancel 0199…
    """
    with connected(server, token) as link:
        _tell(link.client.jobs.cancel(job_id), quiet=quiet, as_json=as_json)


def priority(
    job_id: JobId,
    value: Annotated[
        int, typer.Argument(min=-100, max=100, metavar="PRIORITY", help="-100 to 100; higher is earlier.")
    ],
    server: Server = None,
    token: Token = None,
    quiet: Quiet = False,
    as_json: Json = False,
) -> None:
    """Have a job's run processed earlier or later than others.

    \b
    Example:
      rushes jobs priority 0199… 50
    """
    with connected(server, token) as link:
        _tell(link.client.jobs.prioritize(job_id, value), quiet=quiet, as_json=as_json)


def line(job: JobView) -> str:
    """0199…  encode 3   running    43 %  1:12 left  21 of 60 s are encoded"""
    name = f"{job.type} {job.number}" if job.number else job.type
    left = "" if job.left_seconds is None else f"{words.duration(job.left_seconds)} left  "
    said = job.error.message if job.error is not None else job.message
    dead = "dead letter: " if job.dead_letter else ""
    return exits.one_line(f"{job.id}  {name:<10}  {job.status:<9}  {job.progress:>4.0%}  {left}{dead}{said}")


def _tell(job: JobView, *, quiet: bool, as_json: bool) -> None:
    if as_json:
        print(job.model_dump_json())
    elif not quiet:
        print(one_line(line(job)))
