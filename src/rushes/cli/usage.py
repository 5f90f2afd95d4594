"""`rushes usage`: what is stored and reserved, and what the limits leave."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rushes.cli import words
from rushes.cli.connect import connected
from rushes.cli.exits import printable
from rushes.cli.options import Json, Server, Token
from rushes.wire import CreatorUsage, UsageLimits, UsageSums, UsageView


def usage(
    creators: Annotated[bool, typer.Option("--creators", help="Of each creator that you may see.")] = False,
    server: Server = None,
    token: Token = None,
    as_json: Json = False,
) -> None:
    """Show what you have stored and what is left.

    Operators see the tenant's sums as well.

    \b
    Examples:
      rushes usage
      rushes usage --creators --json
    """
    with connected(server, token) as link:
        found = link.client.usage.get()
        rows = list(link.client.usage.creators()) if creators else None
    if as_json:
        told = found.model_dump(mode="json")
        print(json.dumps(told if rows is None else told | {"creators": [row.model_dump(mode="json") for row in rows]}))
        return
    console = Console(highlight=False)
    console.print(Text(f"{printable(found.creator)} of {printable(found.tenant)}, plan {found.plan}"), soft_wrap=True)
    for line in lines(found):
        console.print(Text(f"  {line}"), soft_wrap=True)
    if rows is not None:
        console.print(_table(rows))


def lines(found: UsageView) -> list[str]:
    """What is used of what, a line each."""
    told = used_of("", found.used, found.limits, found.month)
    if found.tenant_used is not None and found.tenant_limits is not None:
        told += used_of("tenant ", found.tenant_used, found.tenant_limits, found.month)
    room = "any size" if found.room is None else words.size(found.room)
    return [*told, f"{'a new file':<18} {room}", f"{'types':<18} {', '.join(found.types)}"]


def used_of(whose: str, used: UsageSums, limits: UsageLimits, month: str) -> list[str]:
    reserved = f", {words.size(used.reserved)} reserved" if used.reserved else ""
    return [
        f"{whose + 'stored':<18} {words.size(used.stored)}{reserved}{_of(limits.stored_bytes)}",
        f"{whose + month:<18} {words.size(used.month_bytes)}{_of(limits.month_bytes)}",
        f"{whose + 'open uploads':<18} {used.open_uploads}"
        + ("" if limits.open_uploads is None else f" of {limits.open_uploads}"),
    ]


def _of(limit: int | None) -> str:
    return "" if limit is None else f" of {words.size(limit)}"


def _table(rows: list[CreatorUsage]) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("stored", "reserved", "this month", "open", "creator"):
        table.add_column(name, justify="left" if name == "creator" else "right", no_wrap=name != "creator")
    for row in rows:
        sizes = (row.used.stored, row.used.reserved, row.used.month_bytes)
        table.add_row(*map(words.size, sizes), str(row.used.open_uploads), Text(printable(row.creator)))
    return table
