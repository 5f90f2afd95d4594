"""Quotas: reserved at begin, settled at finalize, released once at abort, failure or expiry, freed at deletion.

Each of these joins the transaction of the state move it belongs to; a state is left once, so a sum changes once.
"""

from __future__ import annotations

from rushes.db import Conn, quotas
from rushes.model import Asset, Principal, Upload
from rushes.plan import QUOTA_PLANS, check_quota


async def reserve(conn: Conn, who: Principal, size: int) -> None:
    """Reserve `size` bytes and one open upload. Raises `OverQuota`."""
    stored, reserved, open_uploads = await quotas.locked(conn, who.tenant, who.creator)
    check_quota(QUOTA_PLANS[who.plan], size=size, stored=stored, reserved=reserved, open_uploads=open_uploads)
    await quotas.add(conn, who.tenant, who.creator, reserved=size, open_uploads=1)


async def settle(conn: Conn, upload: Upload) -> None:
    """What was reserved is stored now."""
    await quotas.add(conn, upload.tenant, upload.creator, stored=upload.size, reserved=-upload.size, open_uploads=-1)


async def release(conn: Conn, upload: Upload) -> None:
    """The upload came to nothing."""
    await quotas.add(conn, upload.tenant, upload.creator, reserved=-upload.size, open_uploads=-1)


async def free(conn: Conn, asset: Asset) -> None:
    """A stored original is deleted."""
    await quotas.add(conn, asset.tenant, asset.creator, stored=-asset.size)
