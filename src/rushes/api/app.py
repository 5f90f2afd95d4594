"""The application: routers, problems, the OpenAPI page."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI
from fastapi_offline import FastAPIOffline

from rushes import __version__
from rushes.api import assets, health, jobs, problems, relay, titles, uploads
from rushes.api.limits import BodyLimit

DESCRIPTION = """
Media ingest straight into object storage. Begin an upload, ask for **grants** (presigned URLs bound to number, length and
checksum), `PUT` the parts to storage, report them, **complete**; then follow the asset until it is `published`.

Every call but health takes `Authorization: Bearer <token>` (`rushes token` mints one). Errors are RFC 9457 problems with a
stable `code`.
"""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(lifespan: Lifespan) -> FastAPI:
    """The app; `lifespan` puts `context`, `verifier` (tokens.Verifier) and `relays` (intake.Relays) on its state."""
    app = FastAPIOffline(
        title="rushes",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be built from whatever Host a proxy sends
        responses=problems.RESPONSES,
    )
    v1 = APIRouter(prefix="/v1")
    for module in (uploads, relay, titles, assets, jobs):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(health.router)
    problems.install(app)
    app.add_middleware(BodyLimit)
    return app
