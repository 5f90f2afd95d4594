"""The OpenAPI document: sound, and complete enough to write a client from."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from rushes import wire, wire_jobs, wire_play
from rushes.api import refusals
from rushes.model import (
    AssetState,
    ChecksumAlgorithm,
    JobState,
    Kind,
    Layout,
    OverallStatus,
    UploadState,
    Verification,
    Way,
)
from tests.api.documented import DOCUMENT
from tests.ingest.equipment import Desk, body, problem

Operation = tuple[str, str, dict[str, Any]]

OPERATIONS: list[Operation] = [
    (method, path, operation) for path, methods in DOCUMENT["paths"].items() for method, operation in methods.items()
]


NAMES = """
begin_upload list_uploads read_upload abort_upload grant_parts complete_upload read_upload_status follow_upload_events
put_part read_part put_content
create_title list_titles read_title change_title delete_title
list_assets read_asset change_asset delete_asset read_asset_status process_asset follow_asset_events
list_jobs read_job change_job retry_job cancel_job
play_asset read_master_playlist read_media_playlist read_thumbnail_track
follow_events read_usage list_usage read_me check_alive check_ready
"""
STATES = (
    ("UploadBegun", "state", UploadState),
    ("UploadBegun", "layout", Layout),
    ("UploadView", "state", UploadState),
    ("UploadView", "status", OverallStatus),
    ("StatusView", "status", OverallStatus),
    ("StatusView", "upload_state", UploadState),
    ("StatusView", "processing_state", AssetState),
    ("AssetView", "state", AssetState),
    ("AssetView", "status", OverallStatus),
    ("AssetView", "kind", Kind),
    ("AssetView", "verification", Verification),
    ("JobView", "status", JobState),
    ("CurrentJob", "status", JobState),
    ("HeldPart", "way", Way),
    ("BeginUpload", "checksum_algorithm", ChecksumAlgorithm),
)


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


def test_operations_have_short_names_that_stay() -> None:
    """Generated clients name their functions so: a name that changes breaks them."""
    names = [operation["operationId"] for _, _, operation in OPERATIONS]
    assert sorted(names) == sorted(NAMES.split())
    assert len(set(names)) == len(names)


def test_states_and_kinds_are_closed_sets() -> None:
    schemas = DOCUMENT["components"]["schemas"]
    for kind in (UploadState, AssetState, JobState, OverallStatus, Kind, Layout, Way, Verification, ChecksumAlgorithm):
        assert schemas[kind.__name__]["enum"] == [str(member) for member in kind]
    for name, field, kind in STATES:
        assert f"/{kind.__name__}'" in str(schemas[name]["properties"][field]), (name, field)
    for path, parameter in (("uploads", "state"), ("assets", "state"), ("jobs", "status")):
        parameters = DOCUMENT["paths"][f"/v1/{path}"]["get"]["parameters"]
        assert "State'" in str(next(found for found in parameters if found["name"] == parameter))


@pytest.mark.parametrize(
    "query", ["uploads?state=done", "uploads?state=", "assets?state=Published", "jobs?status=ended"]
)
async def test_a_state_that_is_none_is_refused_by_name(desk: Desk, query: str) -> None:
    path, _, filter_ = query.partition("?")
    answer = await desk.person().http.get(f"/v1/{query}")
    (fault,) = problem(answer, 422, "request_invalid")["faults"]
    assert fault["field"].startswith(f"query.{filter_.partition('=')[0]}")
    assert {"uploads": "'ingested'", "assets": "'published'", "jobs": "'running'"}[path] in fault["reason"]


@pytest.mark.parametrize(
    ("method", "path", "operation"), OPERATIONS, ids=lambda value: value if isinstance(value, str) else ""
)
def test_an_operation_says_what_it_does(method: str, path: str, operation: dict[str, Any]) -> None:
    assert operation["summary"]
    assert operation.get("description", "").endswith((".", "`"))
    assert operation["tags"]
    named = {parameter["name"] for parameter in operation.get("parameters", []) if parameter["in"] == "path"}
    assert named == set(re.findall(r"\{(\w+)\}", path))
    good = [status for status in operation["responses"] if status.startswith("2")]
    assert good
    for status in good:
        content = operation["responses"][status].get("content", {})
        assert (status == "204") is (not content)
        assert all(media["schema"] for media in content.values())
    assert list(operation["responses"]["default"]["content"]) == ["application/problem+json"]
    assert bool(operation.get("security")) is (
        path.startswith("/v1/") and not path.startswith("/v1/play/")  # a link holds its token
    ), method


def named(name: str) -> dict[str, Any]:
    return next(found for _, _, found in OPERATIONS if found["operationId"] == name)


@pytest.mark.parametrize(
    ("name", "status", "headers"),
    [
        ("complete_upload", 202, {"Location"}),
        ("put_part", 200, {"ETag"}),
        ("put_part", 202, {"Range"}),
        ("read_part", 200, {"ETag", "Range"}),
        ("put_content", 202, {"Location"}),
        ("put_content", 308, {"Range"}),
    ],
)
def test_headers_of_answers_are_told(name: str, status: int, headers: set[str]) -> None:
    assert set(named(name)["responses"][str(status)]["headers"]) == headers


def test_headers_of_relays_are_told() -> None:
    sums = {"x-amz-checksum-crc64nvme", "x-amz-checksum-crc32c", "x-amz-checksum-sha256", "content-md5"}
    for name, more in (("put_part", sums), ("put_content", set())):
        found = {each["name"]: each for each in named(name)["parameters"] if each["in"] == "header"}
        assert set(found) == {"Content-Length", "Content-Range"} | more
        assert [header for header, each in found.items() if each["required"]] == ["Content-Length"]


def test_every_call_tells_which_problems_it_answers_with() -> None:
    """That the codes are all there, the hook of every test's client sees to (documented.py)."""
    assert {operation["operationId"] for _, _, operation in OPERATIONS} == set(refusals.BY_OPERATION)
    for _, path, found in OPERATIONS:
        problems = refusals.of_operation(found["operationId"])
        assert {401, 422, 503} <= set(problems) or not path.startswith("/v1/")
        for status, codes in problems.items():
            answer = found["responses"][str(status)]
            assert list(answer["content"]) == ["application/problem+json"]
            assert answer["content"]["application/problem+json"]["schema"]["$ref"].endswith("/Problem")
            assert codes
            assert all(f"`{code}`" in answer["description"] for code in codes)
            assert ("Retry-After" in answer.get("headers", {})) is (status == 503)
            assert ("WWW-Authenticate" in answer.get("headers", {})) is (status == 401)


def test_the_security_scheme_is_a_bearer_token() -> None:
    schemes = DOCUMENT["components"]["securitySchemes"]
    assert [(scheme["type"], scheme["scheme"]) for scheme in schemes.values()] == [("http", "bearer")]


def example_of(name: str) -> Any:
    (shown,) = DOCUMENT["components"]["schemas"][name]["examples"]
    return shown


def test_every_body_has_an_example_that_fits() -> None:
    """The API page fills in the first one; without it, it draws fields at random, which no call takes."""
    bodies = [operation["requestBody"]["content"] for _, _, operation in OPERATIONS if "requestBody" in operation]
    named = {body["application/json"]["schema"]["$ref"] for body in bodies if "application/json" in body}
    assert len(named) >= 6
    for name in (reference.rpartition("/")[2] for reference in named):
        message = next(filter(None, (getattr(module, name, None) for module in (wire, wire_jobs, wire_play))))
        message.model_validate(example_of(name))


async def test_the_examples_do_what_they_say(desk: Desk) -> None:
    ann = desk.person()
    begun = body(await ann.http.post("/v1/uploads", json=example_of("BeginUpload")))
    path = f"/v1/uploads/{begun['upload_id']}"
    assert body(await ann.http.post(f"{path}/parts", json=example_of("GrantRequest")))["grants"][0]["number"] == 1
    title = body(await ann.http.post("/v1/titles", json=example_of("NewTitle")))
    changed = await ann.http.patch(f"/v1/titles/{title['id']}", json=example_of("TitlePatch"))
    assert body(changed)["description"] == "Second unit"
    renamed = await ann.http.patch(f"/v1/assets/{begun['asset_id']}", json=example_of("AssetPatch"))
    assert body(renamed)["filename"] == "clip, graded.mp4"


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
