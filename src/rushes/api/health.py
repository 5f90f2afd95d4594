"""Liveness and readiness, without a token."""

from __future__ import annotations

from fastapi import APIRouter, Response

from rushes import wire
from rushes.api.auth import Ctx
from rushes.ingest.health import check

router = APIRouter(tags=["health"])


@router.get("/healthz")
async def check_alive() -> wire.Health:
    """This process answers."""
    return wire.Health(status="ok")


@router.get(
    "/readyz", responses={503: {"model": wire.Health, "description": "Something does not answer; `checks` says what."}}
)
async def check_ready(ctx: Ctx, response: Response) -> wire.Health:
    """Database, both schemas and storage answer; else 503 with what does not."""
    checks = await check(ctx)
    if ctx.settings.instance is not None:
        response.headers["X-Rushes-Instance"] = ctx.settings.instance
    good = all(verdict == "ok" for verdict in checks.values())
    response.status_code = 200 if good else 503
    return wire.Health(status="ok" if good else "unavailable", checks=checks)
