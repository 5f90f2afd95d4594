"""What the store enforces: probed once, kept in the database, known to every process."""

from __future__ import annotations

from rushes.db import stores
from rushes.ingest.context import Context
from rushes.storage import Capabilities, probe


async def capabilities_of(ctx: Context) -> Capabilities:
    """As kept; probed now when nothing is kept yet. Raises as `probe` does."""
    place = place_of(ctx)
    async with ctx.db.transaction() as conn:
        kept = await stores.capabilities(conn, place)
    found = Capabilities.from_json(kept[0]) if kept is not None else None
    return found or await probe_now(ctx)


async def probe_now(ctx: Context) -> Capabilities:
    """Probe the store and keep what was found. Raises as `probe` does."""
    now = ctx.now()
    found = await probe(ctx.storage, at=now)
    async with ctx.db.transaction() as conn:
        await stores.keep(conn, place_of(ctx), found.to_json(), now)
    return found


def place_of(ctx: Context) -> str:
    """The store that the capabilities are of: the endpoint clients see and the bucket that parts go to."""
    return f"{ctx.storage.public.origin}{ctx.storage.public.path} {ctx.storage.originals.bucket}"
