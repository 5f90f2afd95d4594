"""Calls against the test server: retries, idempotency, and problems as errors."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from rushes import errors
from rushes.client import Client
from rushes.client.api import Uploads, health
from rushes.client.calls import BY_STATUS, Caller, Patience, parsed, problem_of
from rushes.client.curl import CurlTransport
from rushes.client.http import Reply
from rushes.errors import Misconfigured, Problem, Unauthenticated, Unavailable
from rushes.wire import BeginUpload, UploadBegun
from tests.client.equipment import TOKEN, Fault, Site

QUICK = Patience(tries=4, backoff=0.01)
WANTED = BeginUpload(filename="a.mov", size=10)


@pytest.fixture
def uploads(site: Site) -> Uploads:
    return Uploads(Caller(CurlTransport(), site.url, TOKEN, patience=QUICK))


def test_a_lost_reply_to_begin_reserves_once(site: Site, uploads: Uploads) -> None:
    site.faults = [Fault("begin", way="reset"), Fault("begin", 503, "unavailable")]
    begun = uploads.begin(WANTED, "key")
    assert [begun.upload_id] == list(site.uploads)
    assert site.requests.count(("POST", "/v1/uploads")) == 3


def test_only_what_may_be_repeated_is(site: Site) -> None:
    caller = Caller(CurlTransport(), site.url, TOKEN, patience=QUICK)
    site.faults = [Fault("begin", 503, "unavailable")]
    with pytest.raises(Unavailable):
        caller.call("POST", "v1/uploads", UploadBegun, body=WANTED)
    assert len(site.requests) == 1


def test_tries_end(site: Site, uploads: Uploads) -> None:
    site.faults = [Fault("begin", 503, "unavailable") for _ in range(9)]
    with pytest.raises(Unavailable):
        uploads.begin(WANTED, "key")
    assert len(site.requests) == QUICK.tries


def test_a_refusal_is_not_repeated(site: Site, uploads: Uploads) -> None:
    site.faults = [Fault("begin", 413, "quota_exceeded")]
    with pytest.raises(errors.OverQuota) as caught:
        uploads.begin(WANTED, "key")
    assert (caught.value.code, len(site.requests)) == ("quota_exceeded", 1)


def test_a_wrong_token_is_said(site: Site) -> None:
    with Client(site.url, "wrong") as client, pytest.raises(Unauthenticated, match="not valid"):
        client.uploads.page()
    with Client(site.url, "expired-token") as client, pytest.raises(Unauthenticated, match="expired"):
        client.uploads.page()


@pytest.mark.parametrize("token", ["a b", "a\nX-Evil: 1", "tökén"])
def test_a_token_that_would_break_the_header_is_refused_here(site: Site, token: str) -> None:
    with pytest.raises(Unauthenticated):
        Client(site.url, token)
    assert site.requests == []


@pytest.mark.parametrize("url", ["", "localhost:8420", "ftp://x", "http://"])
def test_an_address_must_be_one(url: str) -> None:
    with pytest.raises(Misconfigured):
        Client(url, "t")


def problem(status: int, *, permanent: bool = True, **extra: object) -> Reply:
    body = {"title": "t", "status": status, "detail": "What happened.", "code": "some_code", "permanent": permanent}
    return Reply(status, {"retry-after": "3"}, json.dumps(body | {"extra": extra}).encode())


@pytest.mark.parametrize(("status", "kind"), list(BY_STATUS.items()))
def test_problems_become_errors_by_status(status: int, kind: type[Problem]) -> None:
    error = problem_of(problem(status, missing=[1, 2]), "http://api/v1")
    assert type(error) is kind
    assert (error.code, error.message) == ("some_code", "What happened.")
    assert error.details == {"missing": [1, 2], "retry_after": 3.0}


def test_server_errors_are_transient_unless_they_say_otherwise() -> None:
    assert isinstance(problem_of(problem(500, permanent=False), "http://api/"), Unavailable)
    assert isinstance(problem_of(problem(500, permanent=True), "http://api/"), Misconfigured)


def test_a_problem_cannot_overwrite_its_own_code() -> None:
    assert problem_of(problem(404, code="evil", message="evil", self="evil"), "http://api/").code == "some_code"


@pytest.mark.parametrize(
    ("reply", "code", "kind"),
    [
        (Reply(404, {}, b"<html>nginx</html>"), "not_rushes", Misconfigured),
        (Reply(502, {}, b"<html>nginx</html>"), "server_unavailable", Unavailable),
        (Reply(308, {"location": "https://api/"}, b""), "server_redirects", Misconfigured),
        (Reply(403, {}, b""), "server_refused", errors.Forbidden),
    ],
)
def test_answers_of_others_are_explained(reply: Reply, code: str, kind: type[Problem]) -> None:
    error = problem_of(reply, "http://api:1/v1/uploads?secret")
    assert (error.code, type(error)) == (code, kind)
    assert "secret" not in error.message


def test_an_answer_that_is_not_ours_is_refused() -> None:
    with pytest.raises(Misconfigured) as caught:
        parsed(Reply(200, {}, b"<html>"), UploadBegun)
    assert caught.value.code == "reply_invalid"


def test_health_needs_no_token(site: Site) -> None:
    assert health(Caller(CurlTransport(), site.url, "")).status == "ok"


def test_lists_are_read_page_by_page(client: Client, make_file: Callable[..., Path]) -> None:
    client.upload(make_file(10))
    client.upload(make_file(20))
    assert sorted(upload.max_size for upload in client.uploads.all()) == [10, 20]


def test_the_life_of_a_grant_is_told_by_the_servers_clock(site: Site, uploads: Uploads) -> None:
    from datetime import timedelta

    from rushes.wire import WantedPart

    site.clock_offset = timedelta(days=-3)  # by our own clock every grant would be long expired
    begun = uploads.begin(WANTED, "key")
    uploads = Uploads(Caller(CurlTransport(), site.url, begun.token))
    granted = uploads.grants(begun.upload_id, [WantedPart(number=1, checksum="AAAAAAAAAAA=")], [])
    assert 598 <= granted.lives[1] <= 602
