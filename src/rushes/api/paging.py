"""Pages: newest first, `cursor` is the id to read on after."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, TypeVar
from uuid import UUID

from fastapi import Query

from rushes.wire import Page

T = TypeVar("T")

Cursor = Annotated[UUID | None, Query(description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=500)]


def paged(views: Sequence[T], ids: Sequence[UUID], limit: int) -> Page[T]:
    return Page[T](items=list(views), next=str(ids[-1]) if len(ids) == limit else None)
