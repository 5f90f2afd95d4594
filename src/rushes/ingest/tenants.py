"""Tenants, as the operator of the server sees and sets them: caps, figures of plans, types of files.

What is set holds for what is begun from then on. Lowering a limit below what is stored takes nothing away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from datetime import datetime
from typing import Any

from rushes.db import Database, quotas, tenants
from rushes.errors import Invalid, NotFound
from rushes.ingest.formats import check_rules
from rushes.ingest.policy import check_types
from rushes.ingest.quota import month_of
from rushes.ingest.tokens import MAX_ID
from rushes.model import DEFAULT_TYPES, Tenant
from rushes.plan import QUOTA_PLANS, Caps, QuotaPlan, Sums

CAPS = frozenset(cap.name for cap in fields(Caps))
FIGURES = frozenset(figure.name for figure in fields(QuotaPlan))
LARGEST = 2**62  # bytes; sums stay within 64 bits


@dataclass(frozen=True, slots=True)
class Change:
    """What to set; what is absent stays. None means no limit."""

    caps: Mapping[str, int | None] = field(default_factory=dict)  # by name in CAPS
    plans: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)  # figures in FIGURES by plan
    plain: Sequence[tuple[str, str]] = ()  # (plan, figure) that go back to the plan's own
    types: Sequence[str] | None = None  # none at all: back to video, audio, image
    formats: Mapping[str, Sequence[str]] = field(default_factory=dict)  # an empty list: any again


@dataclass(frozen=True, slots=True)
class Found:
    tenant: Tenant
    sums: Sums


async def find(db: Database, name: str, now: datetime) -> Found:
    """Raises `NotFound` for a tenant that nothing was set for and that has begun nothing."""
    async with db.transaction() as conn:
        if not await tenants.exists(conn, name):
            raise NotFound("tenant_not_found", "Nothing is known of that tenant: nothing was set, nothing was begun.")
        sums = await quotas.of_tenants(conn, [name], month_of(now))
        return Found(await tenants.get(conn, name), sums.get(name, Sums()))


async def page(db: Database, after: str, limit: int, now: datetime) -> list[Found]:
    """Tenants behind `after`, by name."""
    async with db.transaction() as conn:
        names = await tenants.page(conn, after, limit)
        sums = await quotas.of_tenants(conn, names, month_of(now))
        return [Found(await tenants.get(conn, name), sums.get(name, Sums())) for name in names]


async def change(db: Database, name: str, wanted: Change, now: datetime) -> Found:
    """Set what `wanted` holds. Raises `Invalid`."""
    if not (0 < len(name) <= MAX_ID and name.isprintable()):
        raise Invalid("tenant_invalid", f"A tenant's name is printable text of 1 to {MAX_ID} characters.")
    _check(wanted)
    async with db.transaction() as conn:
        row = changed(await tenants.locked(conn, name, now), wanted)
        await tenants.put(conn, row, now)
    return await find(db, name, now)


def changed(row: Tenant, wanted: Change) -> Tenant:
    """The row with what `wanted` holds."""
    plans = {plan: dict(figures) for plan, figures in row.plans.items()}
    for plan, figures in wanted.plans.items():
        plans.setdefault(plan, {}).update(figures)
    for plan, figure in wanted.plain:
        plans.get(plan, {}).pop(figure, None)
    types = row.types if wanted.types is None else check_types(wanted.types or DEFAULT_TYPES)
    kept = {plan: figures for plan, figures in plans.items() if figures}
    caps: dict[str, Any] = dict(wanted.caps)
    rules = {**row.formats, **check_rules(wanted.formats)}
    formats = {about: list(names) for about, names in rules.items() if names}
    return replace(row, plans=kept, types=list(types), formats=formats, **caps)


def _check(wanted: Change) -> None:
    if unknown := wanted.caps.keys() - CAPS:
        raise Invalid("limit_unknown", f"There is no limit {', '.join(sorted(unknown))} of a tenant.")
    named = [(plan, figure) for plan, figures in wanted.plans.items() for figure in figures]
    for plan, figure in (*named, *wanted.plain):
        if plan not in QUOTA_PLANS:
            raise Invalid("plan_unknown", f"There is no plan {plan!r}; there are {', '.join(QUOTA_PLANS)}.")
        if figure not in FIGURES:
            raise Invalid("limit_unknown", f"A plan has no {figure!r}; it has {', '.join(sorted(FIGURES))}.")
    given = [*wanted.caps.items(), *(figure for figures in wanted.plans.values() for figure in figures.items())]
    for name, value in given:
        _check_value(name, value)


def _check_value(name: str, value: float | None) -> None:
    if value is None:
        return
    if name == "idle_days":
        if not 0.001 <= value <= 36_500:
            raise Invalid("limit_invalid", "idle_days is a number of days, up to 36,500.")
    elif not (isinstance(value, int) and 0 <= value <= (2**31 - 1 if name == "open_uploads" else LARGEST)):
        raise Invalid("limit_invalid", f"{name} is a whole number that is not negative, not {value}.")
