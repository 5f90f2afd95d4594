"""The command line: `rushes`, and `python -m rushes`. One file a command; `exits` has the exit codes.

Server code is imported inside the functions that need it, so that the client alone installs and starts without it.
"""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from rushes import __version__
from rushes.cli import (
    cancel,
    checksum,
    completion,
    doctor,
    events,
    exits,
    get,
    ingest,
    jobs,
    login,
    ls,
    pause,
    pending,
    play,
    resume,
    rm,
    roles,
    status,
    sweep,
    tenant,
    titles,
    token,
    up,
    upload,
    usage,
    watch,
)

HELP = """
Media ingest straight into object storage: planned, signed, verified, processed.

\b
Examples:
  rushes upload scene-12.mov --title "Scene 12"     upload a file; again after a break: it goes on
  rushes upload /media/A003 --follow                a folder, until everything is published
  rushes pending                                    what is not finished; rushes resume goes on with it
  rushes up                                         run the server on this machine
  rushes checksum scene-12.mov --parts 8            checksums for an upload by hand
  rushes login https://media.example                keep a server and your token for it
  rushes ls                                         what was uploaded
  rushes get 0199…                                  an original comes back, verified
  rushes watch /media/card                          upload what is put into a folder
  rushes events --follow                            what happens, as it happens
"""
EPILOG = "Exit codes: " + "; ".join(f"{code} {meaning}" for code, meaning in exits.CODES) + "."


def _tell_version(wanted: bool) -> None:
    if wanted:
        version()
        raise typer.Exit


def _app() -> typer.Typer:
    app = typer.Typer(
        help=HELP,
        epilog=EPILOG,
        no_args_is_help=True,
        rich_markup_mode=None,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
    )
    for function in (
        upload.upload,
        ingest.ingest,
        pending.pending,
        resume.resume,
        pause.pause,
        cancel.cancel,
        checksum.checksum,
        login.login,
        login.logout,
        login.whoami,
        watch.watch,
        get.get,
        play.play,
        ls.ls,
        status.status,
        rm.rm,
        jobs.process,
        events.events,
        usage.usage,
        up.up,
        sweep.sweep,
        token.token,
        roles.api,
        roles.worker,
        roles.migrate,
        doctor.doctor,
        completion.completion,
        version,
    ):
        app.command()(function)
    app.add_typer(titles.app(), name="titles")
    app.add_typer(jobs.app(), name="jobs")
    app.add_typer(tenant.app(), name="tenant")
    app.callback(help=HELP, epilog=EPILOG)(_options)
    return app


def _options(
    version_: Annotated[
        bool, typer.Option("--version", help="Print the version.", is_eager=True, callback=_tell_version)
    ] = False,
) -> None:
    """Options of `rushes` itself."""


def version() -> None:
    """Print the version.

    \b
    Example:
      rushes version
    """
    print(__version__)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with its code. Never shows a traceback unless RUSHES_DEBUG is set."""
    exits.prepare()
    try:
        _app()((sys.argv[1:] if arguments is None else list(arguments)) or ["--help"], prog_name="rushes")
    except Exception as error:  # noqa: BLE001 - the last place: everything becomes a sentence and a code
        sys.exit(exits.report(error))
    finally:
        if arguments is None:  # the process ends now: a late Ctrl-C must not take the place of what it came to
            signal.signal(signal.SIGINT, signal.SIG_IGN)
