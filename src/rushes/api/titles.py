"""/v1/titles"""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, status

from rushes import wire
from rushes.api import views
from rushes.api.auth import Ctx, Who
from rushes.api.paging import Cursor, Limit, paged
from rushes.errors import Invalid
from rushes.ingest import titles
from rushes.ingest.titles import TitleFilter

router = APIRouter(prefix="/titles", tags=["titles"])
Word = Annotated[str | None, Query(max_length=500, pattern=r"^[^\x00]*$")]


@router.post("", status_code=status.HTTP_201_CREATED)
async def create_title(ctx: Ctx, who: Who, fields: wire.NewTitle) -> wire.TitleView:
    """Make a title; uploads can also bring their own."""
    return views.title(await titles.create(ctx, who, fields))


@router.get("")
async def list_titles(
    ctx: Ctx,
    who: Who,
    q: Annotated[
        str | None, Query(max_length=500, pattern=r"^[^\x00]*$", description="Found anywhere in title or description.")
    ] = None,
    genre: Word = None,
    tag: Word = None,
    project_id: Word = None,
    creator: Word = None,
    released_from: date | None = None,
    released_to: date | None = None,
    metadata: Annotated[
        str | None, Query(max_length=10_000, description="A JSON object that the title's metadata contains.")
    ] = None,
    cursor: Cursor = None,
    limit: Limit = 50,
) -> wire.Page[wire.TitleView]:
    """Titles, the newest first; every filter given must hold."""
    wanted = TitleFilter(
        text=q,
        genre=genre,
        tag=tag,
        project_id=project_id,
        creator=creator,
        released_from=released_from,
        released_to=released_to,
        metadata=None if metadata is None else _object(metadata),
    )
    rows = await titles.page(ctx, who, wanted, cursor, limit)
    return paged([views.title(row) for row in rows], [row.id for row in rows], limit)


@router.get("/{title_id}")
async def read_title(ctx: Ctx, who: Who, title_id: UUID) -> wire.TitleView:
    """A title with its metadata."""
    return views.title(await titles.get(ctx, who, title_id))


@router.patch("/{title_id}")
async def change_title(ctx: Ctx, who: Who, title_id: UUID, patch: wire.TitlePatch) -> wire.TitleView:
    """Only the fields present change."""
    return views.title(await titles.change(ctx, who, title_id, patch))


@router.delete("/{title_id}", status_code=status.HTTP_204_NO_CONTENT)
async def delete_title(ctx: Ctx, who: Who, title_id: UUID) -> None:
    """409 `title_in_use` while assets belong to it."""
    await titles.delete(ctx, who, title_id)


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise Invalid("metadata_invalid", "`metadata` must be a JSON object.") from error
    if not isinstance(value, dict):
        raise Invalid("metadata_invalid", "`metadata` must be a JSON object.")
    return value
