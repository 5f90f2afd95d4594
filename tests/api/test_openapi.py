"""The OpenAPI document: sound, and complete enough to write a client from."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from tests.api.test_scope import DOCUMENT
from tests.ingest.equipment import Desk

Operation = tuple[str, str, dict[str, Any]]

OPERATIONS: list[Operation] = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


def walk(node: Any) -> Iterator[dict[str, Any]]:
    """Every object in the document."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk(inner)


def resolve(reference: str) -> Any:
    node: Any = DOCUMENT
    for step in reference.removeprefix("#/").split("/"):
        node = node[step]
    return node


async def test_the_document_is_served(desk: Desk) -> None:
    http = desk.with_token(None)
    assert (await http.get("/openapi.json")).json() == DOCUMENT
    page = await http.get("/docs")
    assert page.status_code == 200
    assert "https://" not in page.text  # its scripts are served here: it works without the internet


def test_references_lead_somewhere_and_nothing_is_left_over() -> None:
    references = {node["$ref"] for node in walk(DOCUMENT) if isinstance(node.get("$ref"), str)}
    assert all(resolve(reference) for reference in references)
    defined = {f"#/components/schemas/{name}" for name in DOCUMENT["components"]["schemas"]}
    assert defined == references


def test_operations_can_be_told_apart() -> None:
    counts = Counter(operation["operationId"] for _, _, operation in OPERATIONS)
    assert not [name for name, count in counts.items() if count > 1]


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_operation_says_what_it_does(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation.get("description", "").endswith((".", "`"))
    assert operation["tags"]
    named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
    assert named == {step[1:-1] for step in path.split("/") if step.startswith("{")}
    good = [status for status in operation["responses"] if status.startswith("2")]
    assert good
    for status in good:
        content = operation["responses"][status].get("content", {})
        assert (status == "204") is (not content)
        assert all(media["schema"] for media in content.values())
    assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
    assert bool(operation.get("security")) is path.startswith("/v1/"), method


def test_the_security_scheme_is_a_bearer_token() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes.values()] == [("http", "bearer")]


async def test_what_is_answered_is_what_is_documented(desk: Desk) -> None:
    """Each field of an answer is in its schema, and each required one of the schema in the answer."""
    ann = desk.person()
    upload = await ann.ingest()
    (job,) = (await ann.read("jobs"))["items"]
    for path, name in {
        f"uploads/{upload['upload_id']}": "UploadView",
        f"uploads/{upload['upload_id']}/status": "StatusView",
        f"assets/{upload['asset_id']}": "AssetView",
        f"assets/{upload['asset_id']}/status": "StatusView",
        f"titles/{upload['title_id']}": "TitleView",
        f"jobs/{job['id']}": "JobView",
    }.items():
        schema = DOCUMENT["components"]["schemas"][name]
        found = await ann.read(path)
        assert set(found) == set(schema["properties"]), path
        assert set(schema["required"]) <= set(found), path
