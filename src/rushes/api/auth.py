"""Who is asking: the bearer token, verified, as a dependency; and the context the verbs need."""

from __future__ import annotations

from typing import Annotated, cast

from fastapi import Depends, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer

from rushes.errors import Unauthenticated
from rushes.ingest.context import Context
from rushes.ingest.tokens import Proof, Verifier
from rushes.model import Principal

bearer = HTTPBearer(auto_error=False, description="A token from `rushes token` or from a configured issuer.")


async def _context(request: Request) -> Context:  # not `def`: that would be sent to a thread
    return cast(Context, request.app.state.context)


async def _bearer(credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)]) -> str:
    if credentials is None:
        raise Unauthenticated("token_missing", "Send a token as `Authorization: Bearer …`; `rushes token` mints one.")
    return credentials.credentials


Bearer = Annotated[str, Depends(_bearer)]


async def _proof(request: Request, token: Bearer) -> Proof:
    return await cast(Verifier, request.app.state.verifier).read(token)


async def _principal(proof: Annotated[Proof, Depends(_proof)]) -> Principal:
    return proof.who


Ctx = Annotated[Context, Depends(_context)]
Who = Annotated[Principal, Depends(_principal)]
Proven = Annotated[Proof, Depends(_proof)]
