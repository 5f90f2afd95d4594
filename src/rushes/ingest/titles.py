"""Titles: what people know a work by."""

from __future__ import annotations

from uuid import UUID

from rushes.db import titles
from rushes.db.titles import TitleFilter
from rushes.errors import Conflict, Forbidden, NotFound
from rushes.ingest.begin import new_title
from rushes.ingest.context import Context
from rushes.ingest.metadata import check_metadata
from rushes.model import Principal, Title
from rushes.wire import NewTitle, TitlePatch

__all__ = ["TitleFilter", "change", "create", "delete", "get", "page"]


async def create(ctx: Context, who: Principal, fields: NewTitle) -> Title:
    if who.title is not None or who.upload is not None:
        raise Forbidden("token_scope", "This token is for one title or upload; it cannot make titles.")
    title = new_title(who, fields, ctx.now())
    async with ctx.db.transaction() as conn:
        await titles.insert(conn, title)
    return title


async def get(ctx: Context, who: Principal, title_id: UUID) -> Title:
    async with ctx.db.transaction() as conn:
        title = await titles.get(conn, who, title_id)
    if title is None:
        raise _absent()
    return title


async def page(ctx: Context, who: Principal, wanted: TitleFilter, before: UUID | None, limit: int) -> list[Title]:
    """Titles in scope, the newest first. Raises `Invalid` for metadata that no title can have."""
    if wanted.metadata is not None:
        check_metadata(wanted.metadata)
    async with ctx.db.transaction() as conn:
        return await titles.page(conn, who, wanted, before, limit)


async def change(ctx: Context, who: Principal, title_id: UUID, patch: TitlePatch) -> Title:
    """Set the fields that `patch` carries. Raises `NotFound`, `Invalid`."""
    check_metadata(patch.metadata)
    given = patch.model_copy(update={"tags": list(dict.fromkeys(patch.tags))})
    changes = {name: getattr(given, name) for name in patch.model_fields_set}
    async with ctx.db.transaction() as conn:
        title = await titles.update(conn, who, title_id, changes, ctx.now())
    if title is None:
        raise _absent()
    return title


async def delete(ctx: Context, who: Principal, title_id: UUID) -> None:
    """Raises `Conflict` while assets belong to the title."""
    async with ctx.db.transaction() as conn:
        if not await titles.delete(conn, who, title_id, ctx.now()):
            raise _absent()
        if await titles.is_used(conn, title_id):
            raise Conflict("title_in_use", "Assets belong to this title; move or delete them first.")


def _absent() -> NotFound:
    return NotFound("title_not_found", "There is no such title.")
