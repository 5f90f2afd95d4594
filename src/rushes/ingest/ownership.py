"""Whether a place in storage is this installation's alone.

A sweep removes what no session owns, as its own database knows sessions: in a place that two installations share, each
would remove the other's uploads. So the first sweep marks each place, and one that meets another's mark leaves it alone.
"""

from __future__ import annotations

from rushes.db import installation
from rushes.errors import Misconfigured
from rushes.ingest.context import Context
from rushes.storage import Place, read_mark, write_mark


async def check_own(ctx: Context, place: Place, *, claim: bool) -> None:
    """Raise `Misconfigured` (place_shared) when the place is another installation's. With `claim` one of nobody's is marked.

    Of two that claim at once the later mark counts, and both read it before they act.
    """
    async with ctx.db.transaction() as conn:
        own = str(await installation.id_of(conn))
    found = await read_mark(ctx.storage.s3, place)
    if found is None and claim:
        await write_mark(ctx.storage.s3, place, own)
        found = await read_mark(ctx.storage.s3, place)
    if found not in {None, own}:
        raise Misconfigured(
            "place_shared",
            f"Another rushes installation uses {place.bucket}/{place.prefix} as well. Give each its own bucket or prefix "
            "(RUSHES_BUCKET_…). If the other is gone for good, delete the object rushes-installation there.",
            bucket=place.bucket,
            prefix=place.prefix,
        )
