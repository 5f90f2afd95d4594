"""Titles: made, read, changed, searched by every filter, deleted."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest

from rushes.model import Role
from tests.ingest.equipment import JSON, Desk, Person, body, problem


async def make(person: Person, **fields: Any) -> dict[str, Any]:
    answer = await person.http.post("/v1/titles", json={"title": "Untitled"} | fields)
    assert answer.status_code == 201, answer.text
    return body(answer)


async def found(person: Person, **query: Any) -> list[str]:
    """The names of the titles that match, the newest first."""
    answer = await person.http.get("/v1/titles", params=query)
    assert answer.status_code == 200, answer.text
    return [item["title"] for item in body(answer)["items"]]


EVERYTHING = {
    "title": "Nuit blanche 🌙",
    "description": "Line one\nline two\tand \"quotes\" 'too'",
    "genre": "docu",
    "tags": ["4k", "night"],
    "release_date": "2026-02-28",
    "project_id": "winter",
    "metadata": {"crew": [{"name": "Zoé", "days": 3.5}], "ok": True, "none": None, "a.b": {"$c": []}},
}


async def test_what_is_made_is_read(desk: Desk) -> None:
    ann = desk.person()
    made = await make(ann, **EVERYTHING)
    assert {name: made[name] for name in EVERYTHING} == EVERYTHING
    assert made["creator"] == "ann"
    assert made["created_at"] == made["updated_at"]
    assert await ann.read(f"titles/{made['id']}") == made


async def test_a_name_is_enough(desk: Desk) -> None:
    made = await make(desk.person(), title="x")
    assert (made["description"], made["genre"], made["tags"], made["metadata"]) == ("", None, [], {})


DEEP: Any = "end"
for _ in range(200):
    DEEP = {"deeper": DEEP}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"title": ""}, "request_invalid"),
        ({"title": None}, "request_invalid"),
        ({"title": "a\nb"}, "request_invalid"),
        ({"title": "x" * 501}, "request_invalid"),
        ({"description": "a\x00b"}, "request_invalid"),
        ({"description": "x" * 20_001}, "request_invalid"),
        ({"genre": "a\x1bb"}, "request_invalid"),
        ({"tags": ["x" * 101]}, "request_invalid"),
        ({"tags": [""]}, "request_invalid"),
        ({"tags": "abc"}, "request_invalid"),
        ({"tags": ["x"] * 101}, "request_invalid"),
        ({"release_date": "2026-02-30"}, "request_invalid"),
        ({"metadata": []}, "request_invalid"),
        ({"metadata": None}, "request_invalid"),
        ({"metadata": {"a": "\x00"}}, "metadata_invalid"),
        ({"metadata": {"\x00": 1}}, "metadata_invalid"),
        ({"metadata": {"a": [{"b": "c\x00"}]}}, "metadata_invalid"),
        ({"metadata": {"a": DEEP}}, "metadata_invalid"),
        ({"creator": "bob"}, "request_invalid"),
        ({"id": "01a1fe26-07af-75a5-9a8e-7bb68aa4a243"}, "request_invalid"),
    ],
)
async def test_what_cannot_be_kept_is_refused(desk: Desk, fields: dict[str, Any], code: str) -> None:
    ann = desk.person()
    problem(await ann.http.post("/v1/titles", json={"title": "x"} | fields), 422, code)
    kept = await make(ann)
    if "id" not in fields and "creator" not in fields:
        problem(await ann.http.patch(f"/v1/titles/{kept['id']}", json=fields), 422, code)
    assert len((await ann.read("titles"))["items"]) == 1


@pytest.mark.parametrize(
    "text",
    [
        '{"a": NaN}',
        '{"a": [1, -Infinity]}',
        '{"a": 1e999}',
        '{"a": "\\ud800"}',
        '{"\\udc00": 1}',
        '{"a": {"b": ["x", "\\udfff\\ud800"]}}',
        '{"a":' * 300 + "1" + "}" * 300,
        '{"a":' * 900 + "1" + "}" * 900,
        '{"a":' + "[" * 5_000,
    ],
    ids=lambda text: text[:20],
)
async def test_json_that_the_database_cannot_keep_is_refused(desk: Desk, text: str) -> None:
    ann = desk.person()
    made = await make(ann)
    title = f'{{"title": "x", "metadata": {text}}}'
    upload = f'{{"filename": "x.mov", "size": 1, "title": {title}}}'
    for answer in (
        await ann.http.post("/v1/titles", content=title.encode(), headers=JSON),
        await ann.http.patch(f"/v1/titles/{made['id']}", content=title.encode(), headers=JSON),
        await ann.http.post("/v1/uploads", content=upload.encode(), headers=JSON),
        await ann.http.get("/v1/titles", params={"metadata": text}),
    ):
        assert answer.status_code in {400, 422}, answer.text
        assert answer.headers["content-type"] == "application/problem+json"
    assert len((await ann.read("titles"))["items"]) == 1


@pytest.mark.parametrize("name", ["title", "description", "genre", "project_id"])
async def test_text_that_is_no_unicode_is_refused(desk: Desk, name: str) -> None:
    ann = desk.person()
    made = await make(ann)
    for content in (json.dumps({"title": "x", name: "a\ud800"}), json.dumps({"title": "x", "tags": ["\udfff"]})):
        problem(await ann.http.post("/v1/titles", content=content, headers=JSON), 422, "request_invalid")
        problem(await ann.http.patch(f"/v1/titles/{made['id']}", content=content, headers=JSON), 422, "request_invalid")


async def test_text_that_looks_like_an_escape_is_only_text(desk: Desk) -> None:
    ann = desk.person()
    made = await make(ann, metadata={"path": r"C:\u0000\x00", "emoji": "🎬"})
    assert made["metadata"] == {"path": r"C:\u0000\x00", "emoji": "🎬"}


# --- change -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("field", sorted(EVERYTHING))
async def test_only_the_fields_present_change(desk: Desk, field: str) -> None:
    ann = desk.person()
    before = await make(ann, title="old", description="old", genre="old", tags=["old"], metadata={"old": 1})
    answer = await ann.http.patch(f"/v1/titles/{before['id']}", json={field: EVERYTHING[field]})
    after = body(answer)
    assert after == before | {field: EVERYTHING[field], "updated_at": after["updated_at"]}
    assert after["updated_at"] > before["updated_at"]
    assert await ann.read(f"titles/{before['id']}") == after


async def test_what_may_be_empty_can_be_emptied(desk: Desk) -> None:
    ann = desk.person()
    before = await make(ann, **EVERYTHING)
    empty: dict[str, Any] = {
        "description": "",
        "genre": None,
        "tags": [],
        "release_date": None,
        "project_id": None,
        "metadata": {},
    }
    after = body(await ann.http.patch(f"/v1/titles/{before['id']}", json=empty))
    assert {name: after[name] for name in empty} == empty
    assert after["title"] == EVERYTHING["title"]


async def test_metadata_is_replaced_as_a_whole_and_tags_are_a_set(desk: Desk) -> None:
    ann = desk.person()
    before = await make(ann, tags=["b", "a", "b"], metadata={"a": 1, "b": 2})
    assert before["tags"] == ["b", "a"]
    after = body(
        await ann.http.patch(f"/v1/titles/{before['id']}", json={"metadata": {"c": 3}, "tags": ["z", "y", "z"]})
    )
    assert (after["metadata"], after["tags"]) == ({"c": 3}, ["z", "y"])


async def test_changes_at_once_do_not_lose_each_other(desk: Desk) -> None:
    ann = desk.person()
    path = f"/v1/titles/{(await make(ann))['id']}"
    changes: list[dict[str, Any]] = [
        {"title": "t"},
        {"description": "d"},
        {"genre": "g"},
        {"project_id": "p"},
        {"tags": ["x"]},
    ]
    await asyncio.gather(*(ann.http.patch(path, json=change) for change in changes))
    after = body(await ann.http.get(path))
    assert all(after[name] == value for change in changes for name, value in change.items())


# --- search -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
async def shelf(desk: Desk) -> Person:
    """Somebody with a few titles."""
    ann = desk.person()
    await make(ann, title="100% Cotton", genre="docu", tags=["a_b", "x"], release_date="2020-01-01", project_id="p1")
    await make(ann, title="100 Cottons", description="under_score", genre="drama", tags=["axb"], project_id="p2")
    await make(ann, title="back\\slash", release_date="2021-06-15", metadata={"a": {"b": [1, 2]}, "n": 1, "s": "1"})
    await make(
        ann, title="ÉTOILE", description="l'été; DROP TABLE", release_date="2022-12-31", metadata={"a": {"b": [3]}}
    )
    return ann


@pytest.mark.parametrize(
    ("query", "names"),
    [
        ({}, ["ÉTOILE", "back\\slash", "100 Cottons", "100% Cotton"]),
        ({"q": "cotton"}, ["100 Cottons", "100% Cotton"]),
        ({"q": "COTTON"}, ["100 Cottons", "100% Cotton"]),
        ({"q": "%"}, ["100% Cotton"]),
        ({"q": "100% c"}, ["100% Cotton"]),
        ({"q": "_"}, ["100 Cottons"]),
        ({"q": "r_s"}, ["100 Cottons"]),
        ({"q": "\\"}, ["back\\slash"]),
        ({"q": "k\\s"}, ["back\\slash"]),
        ({"q": "\\%"}, []),
        ({"q": "'"}, ["ÉTOILE"]),
        ({"q": "'; DROP TABLE titles; --"}, []),
        ({"q": ""}, ["ÉTOILE", "back\\slash", "100 Cottons", "100% Cotton"]),
        ({"genre": "docu"}, ["100% Cotton"]),
        ({"genre": "doc%"}, []),
        ({"tag": "a_b"}, ["100% Cotton"]),
        ({"tag": "x"}, ["100% Cotton"]),
        ({"tag": "a"}, []),
        ({"project_id": "p2"}, ["100 Cottons"]),
        ({"creator": "ann"}, ["ÉTOILE", "back\\slash", "100 Cottons", "100% Cotton"]),
        ({"creator": "bob"}, []),
        ({"released_from": "2021-06-15"}, ["ÉTOILE", "back\\slash"]),
        ({"released_to": "2021-06-15"}, ["back\\slash", "100% Cotton"]),
        ({"released_from": "2021-06-15", "released_to": "2021-06-15"}, ["back\\slash"]),
        ({"released_from": "2023-01-01", "released_to": "2020-01-01"}, []),
        ({"metadata": {"a": {"b": [1]}}}, ["back\\slash"]),
        ({"metadata": {"a": {}}}, ["ÉTOILE", "back\\slash"]),
        ({"metadata": {"a": {"b": [2, 1]}, "n": 1}}, ["back\\slash"]),
        ({"metadata": {"n": "1"}}, []),
        ({"metadata": {"s": "1"}}, ["back\\slash"]),
        ({"metadata": {}}, ["ÉTOILE", "back\\slash", "100 Cottons", "100% Cotton"]),
        ({"q": "cotton", "genre": "drama", "project_id": "p2"}, ["100 Cottons"]),
        ({"q": "cotton", "genre": "drama", "project_id": "p1"}, []),
    ],
    ids=str,
)
async def test_search(shelf: Person, query: dict[str, Any], names: list[str]) -> None:
    if "metadata" in query:
        query = query | {"metadata": json.dumps(query["metadata"])}
    assert await found(shelf, **query) == names


@pytest.mark.parametrize(
    "query",
    [
        {"metadata": "[]"},
        {"metadata": "1"},
        {"metadata": "{"},
        {"metadata": '{"a": "\\u0000"}'},
        {"q": "a\x00"},
        {"genre": "\x00"},
        {"tag": "x" * 501},
        {"released_from": "yesterday"},
        {"limit": 0},
        {"limit": 501},
        {"limit": 10**30},
        {"cursor": "nowhere"},
    ],
    ids=str,
)
async def test_a_search_that_makes_no_sense_is_refused(shelf: Person, query: dict[str, Any]) -> None:
    answer = await shelf.http.get("/v1/titles", params=query)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


async def test_an_operator_finds_what_creators_made(desk: Desk, shelf: Person) -> None:
    bob = desk.person(replace(shelf.who, creator="bob"))
    assert await found(bob) == []
    operator = desk.person(replace(shelf.who, creator="olga", role=Role.OPERATOR))
    assert len(await found(operator, creator="ann")) == 4
    assert await found(operator, creator="olga") == []


# --- delete -----------------------------------------------------------------------------------------------------------


async def test_a_title_in_use_stays(desk: Desk) -> None:
    ann = desk.person()
    upload = await ann.begin()
    path = f"/v1/titles/{upload['title_id']}"
    problem(await ann.http.delete(path), 409, "title_in_use")
    assert (await ann.http.get(path)).status_code == 200
    await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")
    assert (await ann.http.delete(path)).status_code == 204
    for answer in (
        await ann.http.get(path),
        await ann.http.delete(path),
        await ann.http.patch(path, json={"title": "x"}),
    ):
        problem(answer, 404, "title_not_found")
    assert await found(ann) == []


async def test_a_title_is_deleted_once(desk: Desk) -> None:
    ann = desk.person()
    path = f"/v1/titles/{(await make(ann))['id']}"
    answers = await asyncio.gather(*(ann.http.delete(path) for _ in range(8)))
    assert sorted(answer.status_code for answer in answers) == [204] + [404] * 7


async def test_a_narrow_token_makes_no_titles(desk: Desk) -> None:
    ann = desk.person()
    title = await make(ann)
    other = await make(ann)
    narrow = desk.person(replace(ann.who, title=title["id"]))
    problem(await narrow.http.post("/v1/titles", json={"title": "x"}), 403, "token_scope")
    assert await found(narrow) == ["Untitled"]
    problem(await narrow.http.get(f"/v1/titles/{other['id']}"), 404, "title_not_found")
    assert (await narrow.http.patch(f"/v1/titles/{title['id']}", json={"title": "mine"})).status_code == 200
