"""Who may see what, over every endpoint that the OpenAPI document names: what is not yours is not there.

An endpoint added later is tested here without a word; if it takes a body, it has to be added to BODIES.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from rushes.model import Principal, Role
from tests.api.documented import DOCUMENT
from tests.events.equipment import listened
from tests.ingest.equipment import Desk, Person, crc, problem, somebody

Operation = tuple[str, str]  # method, path

OPERATIONS: list[Operation] = [
    (method.upper(), path)
    for path, operations in DOCUMENT["paths"].items()
    for method in operations
    if path.startswith("/v1/") and not path.startswith("/v1/play/")  # whose tokens are links: test_play.py
]
ADDRESSED = [operation for operation in OPERATIONS if "{" in operation[1]]
SUMS = ("/v1/usage", "/v1/usage/creators", "/v1/me")  # not things with an id; who sees which is in test_usage.py
LISTS = [
    (method, path)
    for method, path in OPERATIONS
    if method == "GET"
    and "{" not in path
    and not path.endswith("/events")  # streams are in tests/events
    and path not in SUMS
]
BODIES: dict[Operation, dict[str, Any]] = {
    ("POST", "/v1/uploads/{upload_id}/parts"): {"want": [{"number": 1, "checksum": crc(b"x")}]},
    ("POST", "/v1/uploads/{upload_id}/complete"): {},
    ("PUT", "/v1/uploads/{upload_id}/parts/{number}"): {},
    ("PUT", "/v1/uploads/{upload_id}/content"): {},
    ("PATCH", "/v1/titles/{title_id}"): {"title": "taken over"},
    ("PATCH", "/v1/assets/{asset_id}"): {"filename": "taken over"},
    ("POST", "/v1/assets/{asset_id}/process"): {},
    ("POST", "/v1/assets/{asset_id}/play"): {},
    ("PATCH", "/v1/jobs/{job_id}"): {"priority": 1},
    ("POST", "/v1/uploads"): {"filename": "x.mov", "size": 1},
    ("POST", "/v1/titles"): {"title": "x"},
}


@dataclass
class House:
    """Ann's things, and everybody who has no business with them."""

    ann: Person
    ids: dict[str, str]
    strangers: dict[str, Person]

    async def rows(self) -> list[tuple[Any, ...]]:
        """All that is stored of Ann's things."""
        found = []
        for table in ("titles", "uploads", "assets", "jobs", "parts"):
            key = "upload_id" if table == "parts" else "id"
            query = f"SELECT to_jsonb(t) FROM {table} t WHERE {key} = ANY(%(ids)s::uuid[]) ORDER BY 1"  # noqa: S608
            found += await self.ann.desk.sql(query, ids=list(self.ids.values()))
        return found


@pytest.fixture(scope="module")
async def house(desk: Desk) -> AsyncIterator[House]:
    ann = desk.person()
    upload, other = await ann.ingest(), await ann.begin()
    (job,) = (await ann.read("jobs"))["items"]
    ids = {name: upload[name] for name in ("upload_id", "asset_id", "title_id")} | {"job_id": job["id"]}
    elsewhere = UUID(other["title_id"])
    strangers = {
        "operator of another tenant": somebody(Role.OPERATOR),
        "service of another tenant": somebody(Role.SERVICE),
        "same name in another tenant": somebody(creator=ann.who.creator),
        "another creator": replace(ann.who, creator="bob"),
        "a name that begins alike": replace(ann.who, creator="an"),
        "a name of wildcards": replace(ann.who, creator="%"),
        "ann with a token for another title": replace(ann.who, title=elsewhere),
        "ann with a token for another upload": replace(ann.who, upload=UUID(other["upload_id"])),
        "operator with a token for another title": replace(ann.who, role=Role.OPERATOR, title=elsewhere),
        "operator with a token for another upload": replace(ann.who, role=Role.OPERATOR, upload=uuid4()),
        "ann with one scope right and one wrong": replace(ann.who, title=UUID(ids["title_id"]), upload=uuid4()),
    }
    found = House(ann, ids, {name: desk.person(who) for name, who in strangers.items()})
    before = await found.rows()
    yield found
    assert await found.rows() == before, "nobody changed anything"


def test_the_document_names_what_there_is() -> None:
    assert len(OPERATIONS) >= 22
    assert len(LISTS) >= 4
    takers = [(method, path) for method, path in OPERATIONS if "requestBody" in DOCUMENT["paths"][path][method.lower()]]
    assert sorted(takers) == sorted(BODIES)


@pytest.mark.parametrize("operation", ADDRESSED, ids=" ".join)
async def test_what_is_not_yours_is_not_there(house: House, operation: Operation) -> None:
    method, path = operation
    for name, stranger in house.strangers.items():
        answer = await stranger.http.request(method, path.format(number=1, **house.ids), json=BODIES.get(operation))
        assert answer.status_code == 404, f"{name}: {answer.status_code} {answer.text}"
        assert answer.json()["code"].endswith("_not_found"), name
        absent = await stranger.http.request(
            method, path.format(number=1, **dict.fromkeys(house.ids, str(uuid4()))), json=BODIES.get(operation)
        )
        assert answer.json() == absent.json(), f"{name} can tell what is hidden from what is absent"


@pytest.mark.parametrize("operation", LISTS, ids=" ".join)
async def test_lists_hold_nothing_of_others(house: House, operation: Operation) -> None:
    method, path = operation
    own = (await house.ann.http.request(method, path)).json()["items"]
    shown = {item["id"] for item in own} & set(house.ids.values())
    assert len(shown) == 1
    for name, stranger in house.strangers.items():
        answer = await stranger.http.request(method, path, params={"limit": 500})
        assert answer.status_code == 200, answer.text
        assert not shown & {item["id"] for item in answer.json()["items"]}, name
        for filters in ({"title_id": house.ids["title_id"]}, {"asset_id": house.ids["asset_id"]}, {"creator": "ann"}):
            answer = await stranger.http.request(method, path, params=filters)
            assert not shown & {item["id"] for item in answer.json()["items"]}, (name, filters)


@pytest.mark.parametrize("operation", OPERATIONS, ids=" ".join)
async def test_without_a_token_there_is_nothing(house: House, operation: Operation) -> None:
    method, path = operation
    desk = house.ann.desk
    for token, code in ((None, "token_missing"), ("nonsense", "token_invalid")):
        answer = await desk.with_token(token).request(
            method, path.format(number=1, **house.ids), json=BODIES.get(operation)
        )
        problem(answer, 401, code)
        assert answer.headers["WWW-Authenticate"] == "Bearer"


READS = [operation for operation in ADDRESSED if operation[0] == "GET" and not operation[1].endswith("/events")]
STREAMS = [operation for operation in ADDRESSED if operation[1].endswith("/events")]


@pytest.mark.parametrize("operation", READS, ids=" ".join)
async def test_those_who_may_see_it_do(house: House, operation: Operation) -> None:
    method, path = operation
    ann, desk = house.ann.who, house.ann.desk
    title, upload = UUID(house.ids["title_id"]), UUID(house.ids["upload_id"])
    for who in those_who_may(ann, title, upload):
        if who.upload is not None and "/titles/" in path:
            continue  # a token for an upload sees no titles
        answer = await desk.person(who).http.request(method, path.format(number=1, **house.ids))
        assert answer.status_code == 200, f"{who}: {answer.text}"


def those_who_may(ann: Principal, title: UUID, upload: UUID) -> list[Principal]:
    return [
        ann,
        replace(ann, creator="olga", role=Role.OPERATOR),
        replace(ann, creator="robot", role=Role.SERVICE),
        replace(ann, title=title),
        replace(ann, creator="olga", role=Role.OPERATOR, title=title),
        replace(ann, upload=upload),
    ]


@pytest.mark.parametrize("operation", STREAMS, ids=" ".join)
async def test_those_who_may_hear_it_do(house: House, operation: Operation) -> None:
    _, path = operation
    for who in those_who_may(house.ann.who, UUID(house.ids["title_id"]), UUID(house.ids["upload_id"])):
        status, text = await listened(house.ann.desk, who, path.format(**house.ids))
        assert status == 200, f"{who}: {text}"
        assert '"upload_started"' in text, who


@pytest.mark.parametrize("operation", ADDRESSED, ids=" ".join)
async def test_an_id_that_is_none_is_refused(house: House, operation: Operation) -> None:
    method, path = operation
    for id_ in ("1", "null", "..%2f..%2fuploads", "%00", "' OR 1=1 --", "é"):
        address = path.format(number=1, **dict.fromkeys(house.ids, id_))
        answer = await house.ann.http.request(method, address, json=BODIES.get(operation))
        assert answer.status_code in {404, 422}, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
