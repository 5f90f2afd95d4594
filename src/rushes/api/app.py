"""The application: routers, problems, the OpenAPI page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute
from fastapi_offline import FastAPIOffline
from starlette.responses import RedirectResponse

from rushes import __version__
from rushes.api import assets, browsers, feed, health, jobs, me, play, problems, relay, titles, uploads, usage
from rushes.api.limits import BodyLimit

DESCRIPTION = """
Media ingest straight into object storage. Begin an upload, ask for **grants** (presigned URLs bound to number, length and
checksum), `PUT` the parts to storage, report them, **complete**; then follow the asset until it is `published`.

Every call but health takes `Authorization: Bearer <token>` (`rushes token` mints one). Errors are RFC 9457 problems with a
stable `code`.
"""

Lifespan = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def create_app(lifespan: Lifespan, cors_origins: Sequence[str] = ("*",)) -> FastAPI:
    """The app; `lifespan` puts `context`, `verifier` (tokens.Verifier), `relays` (intake.Relays) and `feed` on its state."""
    app = FastAPIOffline(
        title="rushes",
        version=__version__,
        description=DESCRIPTION,
        lifespan=lifespan,
        redoc_url=None,
        redirect_slashes=False,  # a redirect would be built from whatever Host a proxy sends
        responses=problems.RESPONSES,
        generate_unique_id_function=_operation_id,
    )
    v1 = APIRouter(prefix="/v1")
    for module in (uploads, relay, titles, assets, play, jobs, feed, usage, me):
        v1.include_router(module.router)
    app.include_router(v1)
    app.include_router(health.router)
    app.add_api_route("/", _to_the_pages, include_in_schema=False)
    problems.install(app)
    app.add_middleware(BodyLimit)
    app.add_middleware(problems.Surprises)
    browsers.allow(app, cors_origins)  # the last one is the outermost: whatever is answered, a page may read it
    return app


def _operation_id(route: APIRoute) -> str:
    """What generated clients call an operation: the function's name, which is unique and stays."""
    return route.name


async def _to_the_pages() -> RedirectResponse:
    return RedirectResponse("/docs")
