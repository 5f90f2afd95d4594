"""The API's calls, typed: one class a noun. Every call raises the error tree of `rushes.errors`."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, TypeVar
from uuid import UUID

from rushes.client.calls import Caller
from rushes.client.messages import Granted, UploadMessages
from rushes.errors import Misconfigured, NotFound
from rushes.wire import (
    AssetPatch,
    AssetView,
    BeginUpload,
    CreatorUsage,
    DonePart,
    Health,
    JobView,
    Me,
    NewTitle,
    Page,
    StatusView,
    TitlePatch,
    TitleView,
    UploadBegun,
    UploadView,
    UsageView,
    WantedPart,
)
from rushes.wire_jobs import JobPatch, ProcessRequest
from rushes.wire_play import PlayRequest, PlayView

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Completion:
    status: StatusView
    decided: bool  # False: the server is still finalizing; ask for the status


class Uploads:
    """What happens to one file between begin and ingested."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def begin(self, wanted: BeginUpload, idempotency_key: str) -> UploadBegun:
        """Reserve a place. The same key gets the same upload, however often the reply was lost."""
        headers = {"Idempotency-Key": idempotency_key}
        return self._caller.call("POST", "v1/uploads", UploadBegun, body=wanted, headers=headers, again=True)

    def grants(self, upload_id: UUID, want: Sequence[WantedPart], done: Sequence[DonePart]) -> Granted:
        """Ask for grants and report parts done, up to 1,000 of each. May be repeated."""
        messages = UploadMessages(self._caller)
        return messages.granted(self._caller.insist(messages.grants(upload_id, want, done)))

    def complete(self, upload_id: UUID, done: Sequence[DonePart], checksums: Sequence[str]) -> Completion:
        """Ask for the verdict. Raises `Conflict` (parts_missing, details: missing). May be repeated."""
        messages = UploadMessages(self._caller)
        reply = self._caller.insist(messages.complete(upload_id, done, checksums))
        return Completion(messages.status_of(reply), decided=reply.status != 202)

    def get(self, upload_id: UUID, *, reconcile: bool = False) -> UploadView:
        """`reconcile` has the server ask storage first, so that parts whose report was lost are held as well."""
        query = {"reconcile": "true" if reconcile else None}
        return self._caller.call("GET", f"v1/uploads/{upload_id}", UploadView, query=query)

    def status(self, upload_id: UUID) -> StatusView:
        return self._caller.call("GET", f"v1/uploads/{upload_id}/status", StatusView)

    def abort(self, upload_id: UUID) -> None:
        self._caller.call("DELETE", f"v1/uploads/{upload_id}")

    def page(
        self, *, state: str | None = None, limit: int | None = None, cursor: str | None = None
    ) -> Page[UploadView]:
        query = {"state": state, "limit": limit, "cursor": cursor}
        return self._caller.call("GET", "v1/uploads", Page[UploadView], query=query)

    def all(self, *, state: str | None = None, cursor: str | None = None) -> Iterator[UploadView]:
        """Every upload that the token may see, the newest first, page by page."""
        return _pages(lambda after: self.page(state=state, cursor=after), cursor)


class Titles:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def create(self, fields: NewTitle) -> TitleView:
        return self._caller.call("POST", "v1/titles", TitleView, body=fields)

    def get(self, title_id: UUID) -> TitleView:
        return self._caller.call("GET", f"v1/titles/{title_id}", TitleView)

    def update(self, title_id: UUID, fields: TitlePatch) -> TitleView:
        """Only the fields set on `fields` change."""
        return self._caller.call("PATCH", f"v1/titles/{title_id}", TitleView, body=fields)

    def delete(self, title_id: UUID) -> None:
        self._caller.call("DELETE", f"v1/titles/{title_id}")

    def page(
        self,
        *,
        q: str | None = None,
        genre: str | None = None,
        tag: str | None = None,
        project_id: str | None = None,
        creator: str | None = None,
        released_from: date | None = None,
        released_to: date | None = None,
        metadata: Mapping[str, Any] | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[TitleView]:
        """Titles that match everything given: `q` anywhere in title or description, `metadata` contained in theirs."""
        query = {
            "q": q,
            "genre": genre,
            "tag": tag,
            "project_id": project_id,
            "creator": creator,
            "released_from": released_from,
            "released_to": released_to,
            "metadata": None if metadata is None else json.dumps(metadata),
            "limit": limit,
            "cursor": cursor,
        }
        return self._caller.call("GET", "v1/titles", Page[TitleView], query=query)

    def all(self, /, **wanted: Any) -> Iterator[TitleView]:
        """Every title that matches, as `page` takes it, the newest first, page by page."""
        return _pages(lambda cursor: self.page(**wanted, cursor=cursor))


class Assets:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self, asset_id: UUID) -> AssetView:
        return self._caller.call("GET", f"v1/assets/{asset_id}", AssetView)

    def status(self, asset_id: UUID) -> StatusView:
        return self._caller.call("GET", f"v1/assets/{asset_id}/status", StatusView)

    def update(self, asset_id: UUID, fields: AssetPatch) -> AssetView:
        """Only the fields set on `fields` change."""
        return self._caller.call("PATCH", f"v1/assets/{asset_id}", AssetView, body=fields)

    def delete(self, asset_id: UUID) -> None:
        self._caller.call("DELETE", f"v1/assets/{asset_id}")

    def play(self, asset_id: UUID, seconds: int | None = None) -> PlayView:
        """A link that plays it (HLS), for everybody who has it; it lives `seconds` (60 to 43,200)."""
        path, body = f"v1/assets/{asset_id}/play", PlayRequest(seconds=seconds)
        return self._caller.call("POST", path, PlayView, body=body, again=True)

    def process(self, asset_id: UUID, wanted: ProcessRequest | None = None) -> JobView:
        """Process again, all of it or some; what is published stays readable meanwhile. The run's job."""
        return self._caller.call("POST", f"v1/assets/{asset_id}/process", JobView, body=wanted or ProcessRequest())

    def page(
        self,
        *,
        state: str | None = None,
        title_id: UUID | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[AssetView]:
        query = {"state": state, "title_id": title_id, "limit": limit, "cursor": cursor}
        return self._caller.call("GET", "v1/assets", Page[AssetView], query=query)

    def all(
        self, *, state: str | None = None, title_id: UUID | None = None, cursor: str | None = None
    ) -> Iterator[AssetView]:
        """Every asset that the token may see, the newest first, page by page."""
        return _pages(lambda after: self.page(state=state, title_id=title_id, cursor=after), cursor)


class Jobs:
    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self, job_id: UUID) -> JobView:
        return self._caller.call("GET", f"v1/jobs/{job_id}", JobView)

    def page(
        self,
        *,
        asset_id: UUID | None = None,
        parent_id: UUID | None = None,
        status: str | None = None,
        type_: str | None = None,
        dead_letter: bool | None = None,
        limit: int | None = None,
        cursor: str | None = None,
    ) -> Page[JobView]:
        """The newest first. A `process` job is the parent of the stages that it runs."""
        dead = None if dead_letter is None else str(dead_letter).lower()
        query = {"asset_id": asset_id, "parent_id": parent_id, "status": status, "type": type_, "dead_letter": dead}
        return self._caller.call("GET", "v1/jobs", Page[JobView], query=query | {"limit": limit, "cursor": cursor})

    def all(self, /, **wanted: Any) -> Iterator[JobView]:
        """Every job that matches, as `page` takes it, the newest first, page by page."""
        return _pages(lambda cursor: self.page(**wanted, cursor=cursor))

    def prioritize(self, job_id: UUID, priority: int) -> JobView:
        """Have the job's run processed earlier (higher) or later than others."""
        return self._caller.call("PATCH", f"v1/jobs/{job_id}", JobView, body=JobPatch(priority=priority))

    def retry(self, job_id: UUID) -> JobView:
        return self._caller.call("POST", f"v1/jobs/{job_id}/retry", JobView)

    def cancel(self, job_id: UUID) -> JobView:
        return self._caller.call("POST", f"v1/jobs/{job_id}/cancel", JobView)


class Usage:
    """What is stored, reserved and begun this month, and the limits."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    def get(self) -> UsageView:
        return self._caller.call("GET", "v1/usage", UsageView)

    def page(self, *, limit: int | None = None, cursor: str | None = None) -> Page[CreatorUsage]:
        query = {"limit": limit, "cursor": cursor}
        return self._caller.call("GET", "v1/usage/creators", Page[CreatorUsage], query=query)

    def creators(self) -> Iterator[CreatorUsage]:
        """Every creator that the token may see, by name, page by page."""
        return _pages(lambda cursor: self.page(limit=500, cursor=cursor))


def _pages(page: Callable[[str | None], Page[T]], cursor: str | None = None) -> Iterator[T]:
    """The items of all pages after `cursor`, each page asked for when it is needed."""
    while True:
        found = page(cursor)
        yield from found.items
        if (cursor := found.next) is None:
            return


def me(caller: Caller) -> Me:
    """`GET /v1/me`: whom the token speaks for, and until when."""
    return caller.call("GET", "v1/me", Me)


def health(caller: Caller) -> Health:
    """`GET /healthz`: whether an API answers at all."""
    try:
        return caller.call("GET", "healthz", Health)
    except NotFound as error:  # of an address within a server: its pages, say
        raise Misconfigured(
            "not_rushes", f"There is no rushes API at {caller.url.rstrip('/')}: give the server's own address."
        ) from error
