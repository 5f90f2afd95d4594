"""`rushes sweep`: what storage holds for nobody, removed now or only counted; and what the last sweeps removed."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rushes.cli import words
from rushes.cli.exits import printable
from rushes.cli.local import read_settings, server_code, server_settings
from rushes.cli.options import DataDir, Json
from rushes.config import Settings

if TYPE_CHECKING:
    from rushes.db.sweeps import SweepRow
    from rushes.ingest.reclaimed import Sum, Tally


def sweep(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Change nothing; show what a sweep would do.")] = False,
    price: Annotated[
        float | None,
        typer.Option(
            "--price-per-gb-month",
            min=0,
            metavar="PRICE",
            show_default=False,
            help="What your store charges for a GB (10⁹ bytes) a month, such as 0.023; shows money as well.",
        ),
    ] = None,
    last: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, show_default=False, help="Show so many of the last sweeps instead; sweep nothing."
        ),
    ] = None,
    data_dir: DataDir = None,
    as_json: Json = False,
) -> None:
    """Remove from storage what nobody owns any more.

    Expired uploads, forgotten parts, replaced renditions, deleted assets. Workers do it by themselves every 15 minutes.
    Needs the server's settings, or the stack that runs on this machine.

    \b
    Examples:
      rushes sweep --dry-run --price-per-gb-month 0.023
      rushes sweep --last 10
    """
    with server_code():
        from rushes import main
        from rushes.ingest import sweep as sweeping
    settings = server_settings(read_settings(data_dir=data_dir))
    if last is not None:
        _show_last(asyncio.run(_with(settings, main, lambda ctx: sweeping.latest(ctx, last))), price, as_json=as_json)
        return
    report = asyncio.run(_with(settings, main, lambda ctx: sweeping.sweep_now(ctx, dry=dry_run)))
    if as_json:
        print(json.dumps({"dry_run": dry_run} | _json(report, price)))
    else:
        _show(report, price, dry=dry_run)


async def _with(settings: Settings, main: Any, action: Any) -> Any:
    async with main.open_context(settings) as context:
        return await action(context)


def _show(report: Tally, price: float | None, *, dry: bool) -> None:
    console = Console(highlight=False)
    freed, left = report.reclaimed(), report.all_abandoned()
    did = "A sweep would reclaim" if dry else "Reclaimed"
    console.print(f"{did} {_amount(freed.bytes, price)}: {words.count(freed.count, 'leftover')}.")
    if report.tenants:
        console.print(_table(report, price))
    if left.count:
        are = "upload is" if left.count == 1 else "uploads are"
        console.print(f"{left.count} {are} abandoned and may still go on: {_amount(left.bytes, price)}.")
    for tenant, sum_ in sorted(report.abandoned.items()):
        console.print(Text(f"  {_name(tenant)}: {sum_.count}, {_amount(sum_.bytes, price)}"), soft_wrap=True)
    for code, count in sorted(report.problems.items()):
        console.print(f"Left for the next sweep: {words.count(count, 'problem')} {code}; the log has more.")


def _table(report: Tally, price: float | None) -> Table:
    table = Table(box=None, pad_edge=False)
    for name in ("tenant", "what", "count", "size", *(["a month"] if price is not None else [])):
        table.add_column(name, justify="left" if name in {"tenant", "what"} else "right", no_wrap=name != "tenant")
    for tenant, kinds in sorted(report.tenants.items()):
        for kind, sum_ in sorted(kinds.items()):
            money = [_money(sum_, price)] if price is not None else []
            size = words.size(sum_.bytes) if sum_.bytes else ""
            table.add_row(Text(_name(tenant)), kind.replace("_", " "), str(sum_.count), size, *money)
    return table


def _show_last(rows: list[SweepRow], price: float | None, *, as_json: bool) -> None:
    from rushes.ingest.reclaimed import Tally
    from rushes.ingest.sweep import described

    console = Console(highlight=False)
    for row in rows:
        report = Tally.from_json(row.report)
        if as_json:
            finished = row.finished_at.isoformat() if row.finished_at else None
            times = {"id": str(row.id), "started_at": row.started_at.isoformat(), "finished_at": finished}
            print(json.dumps(times | _json(report, price)))
            continue
        ended = "" if row.finished_at else " (not finished)"
        freed = _amount(report.reclaimed().bytes, price)
        what = described(report) or "nothing to do"
        console.print(f"{row.started_at:%Y-%m-%d %H:%M:%S}{ended}  {freed} reclaimed: {what}", soft_wrap=True)
    if not rows and not as_json:
        console.print("No sweeps yet.")


def _json(report: Tally, price: float | None) -> dict[str, Any]:
    from rushes.ingest.reclaimed import Kind, money

    freed = report.reclaimed()
    found: dict[str, Any] = {
        "reclaimed": {"count": freed.count, "bytes": freed.bytes},
        "kinds": {
            str(kind): {"count": sum_.count, "bytes": sum_.bytes}
            for kind in Kind
            if (sum_ := report.of_kind(kind)).count
        },
        **report.to_json(),
    }
    if price is not None:
        found["price_per_gb_month"] = price
        found["money_per_month"] = {
            "reclaimed": money(freed.bytes, price),
            "abandoned": money(report.all_abandoned().bytes, price),
            "tenants": {tenant: money(report.reclaimed(tenant).bytes, price) for tenant in sorted(report.tenants)},
        }
    return found


def _amount(size: int, price: float | None) -> str:
    from rushes.ingest.reclaimed import money

    return words.size(size) + ("" if price is None else f" ({money(size, price):.2f} a month)")


def _money(sum_: Sum, price: float) -> str:
    from rushes.ingest.reclaimed import money

    return f"{money(sum_.bytes, price):.2f}" if sum_.bytes else ""


def _name(tenant: str) -> str:
    return printable(tenant) or "(none)"
