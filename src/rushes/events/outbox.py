"""The outbox: one row an event."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rushes.db import Conn
from rushes.db import events as rows
from rushes.model import Asset, Upload


async def append(conn: Conn, type_: str, about: Upload | Asset, now: datetime, **data: Any) -> None:
    """Append an event about an upload or an asset to the caller's transaction. `data` holds JSON values."""
    upload_id, asset_id = (about.id, about.asset_id) if isinstance(about, Upload) else (about.upload_id, about.id)
    await rows.insert(
        conn,
        tenant=about.tenant,
        creator=about.creator,
        type_=type_,
        title_id=about.title_id,
        upload_id=upload_id,
        asset_id=asset_id,
        data=data,
        now=now,
    )
