"""`rushes tenant`: what the operator of the server sets for a tenant: caps, figures of plans, types of files."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer
from pydantic import SecretStr

from rushes.cli import words
from rushes.cli.exits import printable
from rushes.cli.local import find_stack, read_settings, server_code, stack_settings
from rushes.cli.options import DataDir, Json
from rushes.config import Settings
from rushes.errors import Invalid, Misconfigured
from rushes.plan import QUOTA_PLANS, QuotaPlan

if TYPE_CHECKING:
    from rushes.db import Database
    from rushes.ingest.tenants import Change, Found

T = TypeVar("T")
NONE = "none"
DEFAULT = "default"
ANY = "any"
FIGURES = {
    "stored": "stored_bytes",
    "month": "month_bytes",
    "file": "file_bytes",
    "open-uploads": "open_uploads",
    "idle-days": "idle_days",
}
PAGE = 500

Name = Annotated[str, typer.Argument(metavar="TENANT", show_default=False, help="As tokens name it.")]


def app() -> typer.Typer:
    group = typer.Typer(no_args_is_help=True, rich_markup_mode=None, help="See and set what tenants may do.")
    for name, function in (("show", show), ("set", set_), ("list", list_)):
        group.command(name)(function)
    return group


def show(tenant: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show a tenant's limits and sums.

    \b
    Example:
      rushes tenant show acme
    """
    from_server = _server_code()
    found = _run(data_dir, lambda db: from_server.find(db, tenant, datetime.now(UTC)))
    _print(found, as_json)


def set_(
    tenant: Name,
    stored: Annotated[
        str | None, typer.Option(metavar="SIZE|none", help="Bytes stored by all creators.", show_default=False)
    ] = None,
    month: Annotated[
        str | None, typer.Option(metavar="SIZE|none", help="Bytes begun in a calendar month.", show_default=False)
    ] = None,
    open_uploads: Annotated[
        str | None, typer.Option(metavar="COUNT|none", help="Uploads open at once.", show_default=False)
    ] = None,
    types: Annotated[
        str | None,
        typer.Option(
            metavar="LIST|default",
            help="What files may be, e.g. video,audio,application/pdf; * takes anything.",
            show_default=False,
        ),
    ] = None,
    formats: Annotated[
        list[str] | None,
        typer.Option(
            metavar="ABOUT=LIST|any",
            help="Containers or codecs to take, or with a minus to refuse: container=mp4,mov, video=-mjpeg, audio=, "
            "image=. May be repeated.",
            show_default=False,
        ),
    ] = None,
    plan: Annotated[
        list[str] | None,
        typer.Option(
            metavar="PLAN.FIGURE=VALUE",
            help=f"A plan's figure for this tenant: {', '.join(FIGURES)}; `none` or `default`. May be repeated.",
            show_default=False,
        ),
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Set a tenant's limits; what is not named stays.

    For what is begun from now on. Nothing that is stored goes away.

    \b
    Example:
      rushes tenant set acme --stored 10TB --types video,audio,application/pdf --plan user.file=20GB
    """
    from_server = _server_code()
    caps = {"stored_bytes": _size(stored), "month_bytes": _size(month), "open_uploads": _count(open_uploads)}
    change = from_server.Change(
        caps={name: None if value == NONE else value for name, value in caps.items() if value is not None},
        types=None if types is None else [] if types == DEFAULT else types.split(","),
        formats=dict(_rule(text) for text in formats or ()),
    )
    for text in plan or ():
        change = _with_figure(change, text)
    found = _run(data_dir, lambda db: from_server.change(db, tenant, change, datetime.now(UTC)))
    _print(found, as_json)


def list_(as_json: Json = False, data_dir: DataDir = None) -> None:
    """List tenants with their sums.

    \b
    Example:
      rushes tenant list
    """
    from_server = _server_code()

    async def all_of(db: Database) -> int:
        after, count = "", 0
        while rows := await from_server.page(db, after, PAGE, datetime.now(UTC)):
            for row in rows:
                print(json.dumps(_facts(row)) if as_json else _line(row))
            after, count = rows[-1].tenant.tenant, count + len(rows)
        return count

    if not _run(data_dir, all_of) and not as_json:
        print("No tenants yet.")


def _server_code() -> Any:
    with server_code():
        from rushes.ingest import tenants
    return tenants


def _run(data_dir: Any, call: Callable[[Database], Awaitable[T]]) -> T:
    """`call` on the database that the settings name, else on that of the stack that runs here."""
    with server_code():
        from rushes.db import open_database, schema_is_current
    url = _database_url(read_settings(data_dir=data_dir))

    async def called() -> T:
        async with open_database(url.get_secret_value(), 1, 60) as db:
            async with db.transaction() as conn:
                await schema_is_current(conn)
            return await call(db)

    return asyncio.run(called())


def _database_url(settings: Settings) -> SecretStr:
    if settings.database_url is None:
        running = find_stack(settings)
        settings = settings if running is None else stack_settings(running)
    if settings.database_url is None:
        raise Misconfigured(
            "database_missing", "No server's database is known here: set RUSHES_DATABASE_URL, or start `rushes up`."
        )
    return settings.database_url


# --- what a person types ----------------------------------------------------------------------------------------------


def _size(text: str | None) -> int | str | None:
    return text if text is None or text == NONE else words.parse_size(text)


def _count(text: str | None) -> int | str | None:
    if text is None or text == NONE:
        return text
    if not text.isascii() or not text.isdigit():
        raise Invalid("count_unreadable", f"{text!r} is no number; write such as 100, or none.")
    return int(text)


def _rule(text: str) -> tuple[str, list[str]]:
    about, equals, names = text.partition("=")
    if not (equals and names):
        raise Invalid("format_invalid", f"{text!r} is not ABOUT=LIST; write such as video=h264,hevc, or video=any.")
    return about.strip(), [] if names == ANY else names.split(",")


def _with_figure(change: Change, text: str) -> Change:
    """`change` with what `user.stored=10GB`, `user.stored=none` or `user.stored=default` says."""
    name, equals, value = text.partition("=")
    plan, dot, figure = name.partition(".")
    if not (equals and dot and value) or figure not in FIGURES or plan not in QUOTA_PLANS:
        raise Invalid(
            "figure_unreadable",
            f"{text!r} is not PLAN.FIGURE=VALUE; plans are {', '.join(QUOTA_PLANS)}, figures {', '.join(FIGURES)}.",
        )
    field = FIGURES[figure]
    if value == DEFAULT:
        return replace(change, plain=[*change.plain, (plan, field)])
    figures = {**change.plans.get(plan, {}), field: _figure(figure, value)}
    return replace(change, plans={**change.plans, plan: figures})


def _figure(figure: str, value: str) -> float | None:
    if value == NONE:
        return None
    if figure == "idle-days":
        try:
            return float(value)
        except ValueError:
            raise Invalid("count_unreadable", f"{value!r} is no number of days.") from None
    found = _count(value) if figure == "open-uploads" else words.parse_size(value)
    return found if isinstance(found, int) else None


# --- what a person reads ----------------------------------------------------------------------------------------------


def _facts(found: Found) -> dict[str, Any]:
    row = asdict(found.tenant)
    return row | {"updated_at": row["updated_at"] and row["updated_at"].isoformat(), "used": asdict(found.sums)}


def _print(found: Found, as_json: bool) -> None:
    if as_json:
        print(json.dumps(_facts(found)))
        return
    row, sums = found.tenant, found.sums
    print(f"tenant {printable(row.tenant)}")
    print(
        f"  stored        {words.size(sums.stored)}, {words.size(sums.reserved)} reserved, of {_of(row.stored_bytes)}"
    )
    print(f"  this month    {words.size(sums.month_bytes)} of {_of(row.month_bytes)}")
    open_uploads = "any number" if row.open_uploads is None else row.open_uploads
    print(f"  open uploads  {sums.open_uploads} of {open_uploads}")
    print(f"  types         {', '.join(row.types)}")
    for about, names in row.formats.items():
        print(f"  {about + ' formats':<16}{', '.join(names)}")
    for name, plan in QUOTA_PLANS.items():
        print(f"  plan {name:<12}{_figures(plan, row.plans.get(name, {}))}")


def _figures(plan: QuotaPlan, own: Any) -> str:
    told = []
    for word, field in FIGURES.items():
        value = own.get(field, getattr(plan, field))
        if field == "idle_days":
            if value is None:
                continue
            text = f"{value:g}"
        elif value is None:
            text = "any"
        else:
            text = str(value) if field == "open_uploads" else words.size(value)
        told.append(f"{word} {text}{'*' if field in own else ''}")
    return ", ".join(told) + ("  (* set for this tenant)" if own else "")


def _line(found: Found) -> str:
    sums = found.sums
    held = f"{words.size(sums.stored)} stored, {words.size(sums.reserved)} reserved"
    return f"{printable(found.tenant.tenant)}: {held}, {words.count(sums.open_uploads, 'open upload')}"


def _of(limit: int | None) -> str:
    return "any size" if limit is None else words.size(limit)
