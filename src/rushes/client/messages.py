"""What an upload says to the API and what is answered, apart from sending: for whoever sends many at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from uuid import UUID

from rushes.client.calls import Caller, parsed
from rushes.client.http import Reply, Request
from rushes.wire import (
    BeginUpload,
    CompleteUpload,
    DonePart,
    Grant,
    GrantReply,
    GrantRequest,
    StatusView,
    UploadBegun,
    WantedPart,
)


@dataclass(frozen=True, slots=True)
class Granted:
    """Grants, each with the seconds it may be used: by the server's clock, for ours may be wrong."""

    grants: Sequence[Grant]
    lives: dict[int, float]
    held_parts: int
    held_bytes: int
    expires_at: datetime


class UploadMessages:
    """Under the address and token of a caller."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def begin(self, wanted: BeginUpload, idempotency_key: str) -> Request:
        """`begun` reads what is answered."""
        return self._caller.message("POST", "v1/uploads", body=wanted, headers={"Idempotency-Key": idempotency_key})

    def begun(self, reply: Reply) -> UploadBegun:
        """Raises the error tree."""
        return parsed(self._caller.good(reply), UploadBegun)

    def grants(self, upload_id: UUID, want: Sequence[WantedPart], done: Sequence[DonePart]) -> Request:
        """`granted` reads what is answered."""
        body = GrantRequest(want=list(want), done=list(done))
        return self._caller.message("POST", f"v1/uploads/{upload_id}/parts", body=body)

    def granted(self, reply: Reply) -> Granted:
        """Raises the error tree."""
        reply = self._caller.good(reply)
        told = parsed(reply, GrantReply)
        now = _server_time(reply)
        lives = {grant.number: max(0.0, (grant.expires_at - now).total_seconds()) for grant in told.grants}
        return Granted(told.grants, lives, told.held.parts, told.held.bytes, told.expires_at)

    def complete(self, upload_id: UUID, done: Sequence[DonePart], checksums: Sequence[str]) -> Request:
        """`status_of` reads what is answered."""
        body = CompleteUpload(done=list(done), checksum=list(checksums))
        return self._caller.message("POST", f"v1/uploads/{upload_id}/complete", body=body)

    def status(self, upload_id: UUID) -> Request:
        """`status_of` reads what is answered."""
        return self._caller.message("GET", f"v1/uploads/{upload_id}/status")

    def status_of(self, reply: Reply) -> StatusView:
        """Raises the error tree; of what a completion is answered, `Conflict` (parts_missing, details: missing)."""
        return parsed(self._caller.good(reply), StatusView)


def _server_time(reply: Reply) -> datetime:
    """The server's clock as its `Date` header tells it; our own where there is none."""
    try:
        return _date(reply.headers["date"])
    except (KeyError, ValueError):
        return datetime.now(UTC)


@lru_cache(4)  # the replies of one second have one
def _date(text: str) -> datetime:
    told = parsedate_to_datetime(text)
    return told if told.tzinfo else told.replace(tzinfo=UTC)
