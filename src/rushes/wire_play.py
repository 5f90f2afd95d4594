"""Playing an asset: messages as `wire.py` has them. Pure."""

from __future__ import annotations

from datetime import datetime

from pydantic import ConfigDict, Field

from rushes.wire import Reply, Request


class PlayRequest(Request):
    model_config = ConfigDict(json_schema_extra={"examples": [{"seconds": 3600}]})

    seconds: int | None = Field(
        None, ge=60, le=43_200, description="How long the link lives; by default as other links, 12 hours at most."
    )


class PlayView(Reply):
    """A link that plays one asset, for everybody who has it."""

    url: str = Field(description="An HLS master playlist. Give it to a player as it is: it needs no Authorization.")
    token: str = Field(description="What the link carries: for the playlists of this asset alone.")
    expires_at: datetime
    thumbnails_url: str | None = Field(description="A WebVTT track of sprite sheets, once there is one.")
