"""Usage: what somebody has stored, reserved and begun this month, and what their limits leave."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from rushes.db import quotas, tenants
from rushes.ingest.context import Context
from rushes.ingest.quota import caps_of, month_of, plan_of
from rushes.ingest.tokens import check_reach
from rushes.model import Principal, Tenant
from rushes.plan import QuotaPlan, Sums, room


@dataclass(frozen=True, slots=True)
class Usage:
    month: date  # its first day
    plan: QuotaPlan  # with the figures that are the tenant's own
    own: Sums
    tenant: Tenant
    together: Sums | None  # of the whole tenant, for those who see it
    idle_days: float
    room: int | None  # bytes of the largest file that can be begun now; None: nothing limits it


async def read(ctx: Context, who: Principal) -> Usage:
    """Raises `Forbidden` for a token that is for one upload alone."""
    check_reach(who)
    month = month_of(ctx.now())
    async with ctx.db.transaction() as conn:
        tenant = await tenants.get(conn, who.tenant)
        own, together = await quotas.sums(conn, who, month)
    plan, caps = plan_of(tenant, who.plan), caps_of(tenant)
    full = _is_full(plan.open_uploads, own) or _is_full(caps.open_uploads, together)
    return Usage(
        month=month,
        plan=plan,
        own=own,
        tenant=tenant,
        together=together if who.sees_tenant and who.title is None else None,
        idle_days=min(plan.idle_days or ctx.settings.upload_idle_days, ctx.settings.upload_max_days),
        room=0 if full else room(plan, caps, own, together),
    )


def _is_full(limit: int | None, sums: Sums) -> bool:
    return limit is not None and sums.open_uploads >= limit


async def page(ctx: Context, who: Principal, after: str | None, limit: int) -> list[tuple[str, Sums]]:
    """(creator, sums) by name: operators see their tenant's creators, creators themselves."""
    async with ctx.db.transaction() as conn:
        return await quotas.page(conn, who, month_of(ctx.now()), after, limit)
