"""`rushes api`, `worker` and `migrate`: one role of the server alone, configured by the environment."""

from __future__ import annotations

import typer

from rushes.cli.local import read_settings, server_code


def api() -> None:
    """Serve the API until SIGTERM.

    Needs RUSHES_DATABASE_URL, RUSHES_TOKEN_SECRET and the storage settings.

    \b
    Example:
      RUSHES_DATABASE_URL=postgresql://… rushes api
    """
    with server_code():
        from rushes import main
    main.run_api(read_settings())


def worker() -> None:
    """Process uploads until SIGTERM.

    Any number of workers may run.

    \b
    Example:
      RUSHES_DATABASE_URL=postgresql://… rushes worker
    """
    with server_code():
        from rushes import main
    raise typer.Exit(main.run_worker(read_settings()))


def migrate() -> None:
    """Bring the database's schemas up to date.

    With RUSHES_CREATE_BUCKETS, make missing buckets as well.

    \b
    Example:
      RUSHES_DATABASE_URL=postgresql://… RUSHES_CREATE_BUCKETS=1 rushes migrate
    """
    with server_code():
        from rushes import main
    main.migrate(read_settings())
