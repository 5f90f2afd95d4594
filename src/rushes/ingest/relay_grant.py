"""Grants that lead through the API itself, for a store that clients cannot reach.

The same shape as a presigned URL, so that a client sees no difference: an address, the headers to send, the length. What
authorizes it is a token for the upload alone, which lives as long as the grant.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from rushes.checksum import HEADERS
from rushes.errors import Misconfigured
from rushes.ingest import tokens
from rushes.ingest.context import Context
from rushes.ingest.unsized import lengths_of
from rushes.model import Principal, Upload
from rushes.wire import Grant, WantedPart


def relay_grants(
    ctx: Context,
    who: Principal,
    upload: Upload,
    want: Sequence[WantedPart],
    base_url: str | None,
    *,
    now: datetime,
    seconds: float,
) -> list[Grant]:
    """Grants for parts of `upload` under the API's address as the settings name it, or else as the client used it.

    Raises `Misconfigured` when nobody knows the address.
    """
    base = ctx.settings.public_url or base_url
    if base is None:
        raise Misconfigured("public_url_missing", "Set RUSHES_PUBLIC_URL: grants have to name the API's own address.")
    lengths = lengths_of(upload, ((part.number, part.size) for part in want))
    narrowed = Principal(upload.tenant, upload.creator, plan=who.plan, upload=upload.id)
    lifetime = timedelta(seconds=seconds)
    token = tokens.mint_for(ctx.settings, narrowed, lifetime, now)
    header = HEADERS[upload.checksum_algorithm]
    return [
        Grant(
            number=part.number,
            url=f"{base.rstrip('/')}/v1/uploads/{upload.id}/parts/{part.number}",
            method="PUT",
            headers={"Authorization": f"Bearer {token}", header: part.checksum},
            length=length,
            expires_at=(now + lifetime).replace(microsecond=0),
        )
        for part, length in zip(want, lengths, strict=True)
    ]
