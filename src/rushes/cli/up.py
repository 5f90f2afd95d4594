"""`rushes up`: the whole stack on this machine, in the foreground."""

from __future__ import annotations

import os
import sys
from datetime import timedelta
from typing import TYPE_CHECKING, Annotated

import typer

from rushes.cli.local import LOCAL_TENANT, person, read_settings, server_code, stack_token
from rushes.cli.options import DataDir

if TYPE_CHECKING:
    from rushes.embedded.address import Running

TOKEN_LIFETIME = timedelta(days=30)


def up(
    port: Annotated[
        int | None,
        typer.Option(
            min=0, max=65535, help="The API's port, or none. Without it 8420, or the next free one.", show_default=False
        ),
    ] = None,
    host: Annotated[str | None, typer.Option(help="The address the API listens on.", show_default="127.0.0.1")] = None,
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    data_dir: DataDir = None,
    no_token: Annotated[bool, typer.Option("--no-token", help="Print no token.")] = False,
) -> None:
    """Run the whole server on this machine.

    PostgreSQL, SeaweedFS, the API and workers, in the foreground, until Ctrl-C.

    \b
    Examples:
      rushes up
      RUSHES_API_HOST=0.0.0.0 rushes up
    """
    settings = read_settings(api_port=port, api_host=host, data_dir=data_dir)
    with server_code():
        import rushes.main  # noqa: F401 - its children need it: better said here than in their log
        from rushes.embedded.log import Log
        from rushes.embedded.stack import run
        from rushes.ingest.diagnosis import unknown_variables
    log = Log(sys.stdout, form=settings.log_format, level=settings.log_level)
    for name, advice in unknown_variables(os.environ):
        log.write("warning", "rushes", f"{name} is not a setting of rushes. {advice}")
        del os.environ[name]  # said once: each child would say it again
    run(
        settings,
        workers=workers,
        api_port_fixed="api_port" in settings.model_fields_set,
        log=log,
        on_ready=lambda running: print(_welcome(running, with_token=not no_token), flush=True),
    )


def _welcome(running: Running, *, with_token: bool) -> str:
    token = stack_token(running.environment, TOKEN_LIFETIME) if with_token else None
    lines = [
        "",
        "rushes is running.",
        f"  API       {running.api_url}/v1",
        f"  pages     {running.api_url}/docs",
        f"  storage   {running.environment.get('RUSHES_STORAGE_ENDPOINT', 'AWS')}",
        f"  data      {running.data_dir}",
    ]
    if token is not None:
        lines += [
            f"  token     {token}",
            f"            (you, {person()}, operator of the tenant {LOCAL_TENANT!r}, for {TOKEN_LIFETIME.days} days; "
            "`rushes token` makes others)",
        ]
    return "\n".join([*lines, "  Ctrl-C stops everything; what was stored stays.", ""])
