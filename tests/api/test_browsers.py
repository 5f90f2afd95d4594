"""Pages in browsers: they are let in where they may be, and can read every answer, also the bad ones."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest

from rushes import main
from rushes.config import Settings
from tests.ingest.equipment import Desk, problem

PAGE = "https://cuts.example"
OTHER = "https://other.example"
ASK = {"Access-Control-Request-Method": "PUT", "Access-Control-Request-Headers": "authorization, upload-offset, x-new"}


@pytest.fixture(scope="module")
async def named(settings: Settings) -> AsyncIterator[httpx.AsyncClient]:
    """An API for one page alone."""
    application = main.app(settings.model_copy(update={"cors_origins": (PAGE,)}))
    async with application.router.lifespan_context(application):
        transport = httpx.ASGITransport(app=application, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://api") as http:
            yield http


async def test_any_page_may_ask_what_it_may(desk: Desk) -> None:
    answer = await desk.with_token(None).options("/v1/uploads/x/parts/1", headers={"Origin": PAGE} | ASK)
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    assert "Access-Control-Allow-Credentials" not in answer.headers
    methods = answer.headers["Access-Control-Allow-Methods"].split(", ")
    assert {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"} <= set(methods)
    assert answer.headers["Access-Control-Allow-Headers"] == ASK["Access-Control-Request-Headers"]
    assert int(answer.headers["Access-Control-Max-Age"]) >= 600


async def test_a_page_reads_what_uploading_needs(desk: Desk) -> None:
    answer = await desk.person().http.get("/v1/uploads", headers={"Origin": PAGE})
    assert answer.status_code == 200
    assert answer.headers["Access-Control-Allow-Origin"] == "*"
    shown = set(answer.headers["Access-Control-Expose-Headers"].split(", "))
    assert {"ETag", "Location", "Range", "Retry-After", "Upload-Offset", "Upload-Length", "Tus-Resumable"} <= shown
    assert "Access-Control-Allow-Credentials" not in answer.headers


async def test_a_page_reads_problems_as_well(desk: Desk) -> None:
    """401, 404, 405, 413, 422 and a surprise (500): each would otherwise be an unexplained network error to it."""
    http, origin = desk.person().http, {"Origin": PAGE}
    missing = "/v1/uploads/0190a000-0000-7000-8000-000000000000"
    answers = [
        (401, await desk.with_token(None).get("/v1/uploads", headers=origin)),
        (404, await http.get(missing, headers=origin)),
        (404, await http.get(f"{missing}/events", headers=origin)),
        (405, await http.put("/v1/uploads", headers=origin)),
        (413, await http.post("/v1/uploads", content=b" " * 5_000_000, headers=origin)),
        (422, await http.post("/v1/uploads", json={}, headers=origin)),
    ]
    await desk.sql("ALTER TABLE parts RENAME TO parts_away")
    try:
        ann = desk.person()
        own = await ann.begin()
        answers.append((500, await ann.http.get(f"/v1/uploads/{own['upload_id']}", headers=origin)))
    finally:
        await desk.sql("ALTER TABLE parts_away RENAME TO parts")
    for status, answer in answers:
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["Access-Control-Allow-Origin"] == "*", status


async def test_a_page_that_is_named_and_one_that_is_not(named: httpx.AsyncClient) -> None:
    for answer in (
        await named.options("/v1/uploads", headers={"Origin": PAGE} | ASK),
        await named.get("/v1/uploads", headers={"Origin": PAGE}),
    ):
        assert answer.headers["Access-Control-Allow-Origin"] == PAGE
        assert answer.headers["Access-Control-Allow-Credentials"] == "true"
        assert "Origin" in answer.headers["Vary"]
    refused = await named.options("/v1/uploads", headers={"Origin": OTHER} | ASK)
    assert refused.status_code == 400
    read = await named.get("/v1/uploads", headers={"Origin": OTHER})
    assert problem(read, 401, "token_missing") == {}
    for answer in (refused, read):
        assert "Access-Control-Allow-Origin" not in answer.headers


async def test_an_options_request_that_is_no_preflight_is_the_servers(desk: Desk) -> None:
    """tus clients ask what the server can in that way."""
    answer = await desk.with_token(None).options("/v1/uploads", headers={"Origin": PAGE})
    problem(answer, 405, "method_not_allowed")


async def test_the_root_leads_to_the_pages(desk: Desk) -> None:
    answer = await desk.with_token(None).get("/", headers={"Host": "evil.example"})
    assert answer.status_code == 307
    assert answer.headers["Location"] == "/docs"
