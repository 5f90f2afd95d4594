"""Links to what may be read: presigned GETs that say how the browser should name and treat the bytes."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from rushes.ingest.context import Context
from rushes.model import Asset, Rendition
from rushes.storage import Signer, presign_get


@dataclass(frozen=True, slots=True)
class Links:
    """Signs links as of one moment; they live `seconds`."""

    signer: Signer
    at: datetime
    seconds: float

    @classmethod
    async def now(cls, ctx: Context) -> Links:
        return cls(await ctx.storage.signer(), ctx.now(), ctx.settings.link_seconds)

    def original(self, asset: Asset) -> str:
        """A download of the original. A browser never trusts its type: it is always an attachment."""
        return presign_get(
            self.signer,
            asset.bucket,
            asset.key,
            at=self.at,
            seconds=self.seconds,
            filename=asset.filename,
            inline=False,
            content_type="application/octet-stream",
        )

    def rendition(self, row: Rendition) -> str:
        """A rendition, to be shown in place as the type that we made it."""
        return presign_get(
            self.signer, row.bucket, row.key, at=self.at, seconds=self.seconds, content_type=row.content_type
        )
