"""/v1/me"""

from __future__ import annotations

from fastapi import APIRouter

from rushes import wire
from rushes.api.auth import Proven

router = APIRouter(prefix="/me", tags=["usage"])


@router.get("")
async def read_me(proof: Proven) -> wire.Me:
    """Whom your token speaks for, what it is narrowed to, and when it ends."""
    who = proof.who
    return wire.Me(
        tenant=who.tenant,
        creator=who.creator,
        role=who.role,
        plan=who.plan,
        title_id=who.title,
        upload_id=who.upload,
        issuer=proof.issuer,
        expires_at=proof.expires_at,
    )
