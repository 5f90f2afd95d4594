"""Quotas: reserved at begin, settled at finalize, released once at abort, failure or expiry, freed at deletion.

Each of these joins the transaction of the state move it belongs to; a state is left once, so a sum changes once. Both the
creator's sums and the tenant's change, locked in that order. The month is charged when a file is begun; what comes to
nothing in the same month is given back to it.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any

from rushes.db import Conn, quotas
from rushes.model import Asset, Principal, Tenant, Upload
from rushes.plan import QUOTA_PLANS, Caps, QuotaPlan, check_quota, room


async def reserve(conn: Conn, who: Principal, plan: QuotaPlan, tenant: Tenant, size: int, now: datetime) -> None:
    """Reserve `size` bytes and one open upload. Raises `OverQuota`, and then the transaction must not be committed."""
    own, together = await quotas.charge(conn, who.tenant, who.creator, month_of(now), reserved=size, open_uploads=1)
    check_quota(plan, caps_of(tenant), own, together, size=size)


async def reserve_most(conn: Conn, who: Principal, plan: QuotaPlan, tenant: Tenant, most: int, now: datetime) -> int:
    """Reserve what a file of unknown size may become: at most `most` bytes, and what the limits leave. Returns it.

    Raises `OverQuota` when they leave nothing.
    """
    month = month_of(now)
    own, together = await quotas.charge(conn, who.tenant, who.creator, month, reserved=0, open_uploads=0)
    check_quota(plan, caps_of(tenant), own, together, size=None)
    left = room(plan, caps_of(tenant), own, together)
    size = most if left is None else min(most, left)
    await quotas.charge(conn, who.tenant, who.creator, month, reserved=size, open_uploads=1)
    return size


async def shrink(conn: Conn, upload: Upload, size: int) -> None:
    """The size of a file turns out to be `size`: what was reserved beyond it is free."""
    less = size - upload.size
    month = month_of(upload.created_at)
    await quotas.add(conn, upload.tenant, upload.creator, reserved=less, month=month, month_bytes=less)


async def settle(conn: Conn, upload: Upload) -> None:
    """What was reserved is stored now."""
    await quotas.add(conn, upload.tenant, upload.creator, stored=upload.size, reserved=-upload.size, open_uploads=-1)


async def release(conn: Conn, upload: Upload) -> None:
    """The upload came to nothing."""
    await quotas.add(
        conn,
        upload.tenant,
        upload.creator,
        reserved=-upload.size,
        open_uploads=-1,
        month=month_of(upload.created_at),
        month_bytes=-upload.size,
    )


async def free(conn: Conn, asset: Asset) -> None:
    """A stored original is deleted."""
    await quotas.add(conn, asset.tenant, asset.creator, stored=-asset.size)


def month_of(moment: datetime) -> date:
    """The calendar month, UTC, by its first day."""
    return moment.astimezone(UTC).date().replace(day=1)


def plan_of(tenant: Tenant, name: str) -> QuotaPlan:
    """A plan with the figures that are the tenant's own."""
    figures: dict[str, Any] = dict(tenant.plans.get(name, {}))
    return replace(QUOTA_PLANS[name], **figures)


def caps_of(tenant: Tenant) -> Caps:
    return Caps(tenant.stored_bytes, tenant.month_bytes, tenant.open_uploads)
