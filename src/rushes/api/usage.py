"""/v1/usage"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query

from rushes import wire
from rushes.api.auth import Ctx, Who
from rushes.api.paging import Limit
from rushes.ingest import usage
from rushes.plan import Sums

router = APIRouter(prefix="/usage", tags=["usage"])


@router.get("")
async def read_usage(ctx: Ctx, who: Who) -> wire.UsageView:
    """What you have stored, reserved and begun this month, and your limits; for operators also the tenant's."""
    found = await usage.read(ctx, who)
    plan, tenant = found.plan, found.tenant
    return wire.UsageView(
        tenant=who.tenant,
        creator=who.creator,
        plan=who.plan,
        month=f"{found.month:%Y-%m}",
        used=_sums(found.own),
        limits=wire.UsageLimits(
            stored_bytes=plan.stored_bytes,
            month_bytes=plan.month_bytes,
            file_bytes=plan.file_bytes,
            open_uploads=plan.open_uploads,
        ),
        room=found.room,
        idle_days=found.idle_days,
        types=list(tenant.types),
        tenant_used=None if found.together is None else _sums(found.together),
        tenant_limits=None
        if found.together is None
        else wire.UsageLimits(
            stored_bytes=tenant.stored_bytes,
            month_bytes=tenant.month_bytes,
            file_bytes=None,
            open_uploads=tenant.open_uploads,
        ),
    )


@router.get("/creators")
async def list_usage(
    ctx: Ctx,
    who: Who,
    cursor: Annotated[
        str | None, Query(max_length=200, pattern=r"^[^\x00]*$", description="`next` of the page before.")
    ] = None,
    limit: Limit = 50,
) -> wire.Page[wire.CreatorUsage]:
    """The same sums by creator, by name: operators see their tenant's, creators their own."""
    rows = await usage.page(ctx, who, cursor, limit)
    return wire.Page[wire.CreatorUsage](
        items=[wire.CreatorUsage(creator=creator, used=_sums(sums)) for creator, sums in rows],
        next=rows[-1][0] if len(rows) == limit else None,
    )


def _sums(sums: Sums) -> wire.UsageSums:
    return wire.UsageSums(
        stored=sums.stored, reserved=sums.reserved, open_uploads=sums.open_uploads, month_bytes=sums.month_bytes
    )
