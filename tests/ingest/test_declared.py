"""What the client says of the whole file: read in any form, never contradicted, and true before anything counts."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable
from typing import Any

import pytest
import xxhash
from hypothesis import given
from hypothesis import strategies as st

from rushes.errors import Conflict, Invalid
from rushes.ingest import declared
from rushes.model import ChecksumAlgorithm
from rushes.plan import MIN_PART
from tests.ingest.equipment import TWO_PARTS, Desk, Person, crc, pieces, problem, some_bytes, sum_of

DATA = some_bytes(TWO_PARTS, seed=3)
DIGESTS: dict[str, Callable[[bytes], bytes]] = {
    "sha256": lambda data: hashlib.sha256(data).digest(),
    "md5": lambda data: hashlib.md5(data).digest(),  # noqa: S324 - what the client may declare
    "xxh64": lambda data: xxhash.xxh64(data).digest(),
    "xxh128": lambda data: xxhash.xxh3_128(data).digest(),
    "crc64nvme": lambda data: base64.b64decode(crc(data)),
}


def claims(data: bytes) -> list[str]:
    """Everything that can be said of these bytes, in hex and in base64 by turns."""
    digests = {name: digest(data) for name, digest in DIGESTS.items()}
    return [
        f"{name}:{value.hex() if number % 2 else base64.b64encode(value).decode()}"
        for number, (name, value) in enumerate(digests.items())
    ]


# --- reading ----------------------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(declared.WIDTHS)), st.data())
def test_hex_and_base64_say_the_same(algorithm: str, data: st.DataObject) -> None:
    digest = data.draw(st.binary(min_size=declared.WIDTHS[algorithm], max_size=declared.WIDTHS[algorithm]))
    forms = [digest.hex(), digest.hex().upper(), base64.b64encode(digest).decode()]
    assert len({declared.parse([f"{algorithm}:{form}"])[algorithm] for form in forms}) == 1
    assert declared.parse([f"{algorithm}:{form}" for form in forms]) == {algorithm: declared.written(algorithm, digest)}


def test_a_bare_value_is_a_crc64nvme() -> None:
    assert declared.parse([crc(DATA)]) == {"crc64nvme": crc(DATA)}
    assert declared.parse([]) == {}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nonsense",
        "sha256:",
        "sha256:abc",
        "sha1:" + "0" * 40,
        "md5:" + "0" * 31,
        "md5:" + "g" * 32,
        "md5: " + "0" * 30 + " 0",
        "crc64nvme:AAAAAAAAAAB=",
        "AAAAAAAAAAB=",
        "0" * 16,  # bare, so not hex
        "xxh64:é",
        "sha256:" + "0" * 63 + "\u0660",  # a digit, but not one of ours
    ],
)
def test_what_is_no_checksum_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        declared.parse([text])
    assert refused.value.code == "checksum_invalid"


def test_two_values_of_one_kind_contradict() -> None:
    with pytest.raises(Invalid):
        declared.parse(["md5:" + "0" * 32, "md5:" + "1" * 32])
    assert declared.added({"md5": "a"}, {"md5": "a", "xxh64": "b"}) == {"xxh64": "b"}
    with pytest.raises(Conflict) as refused:
        declared.added({"md5": "a"}, {"md5": "b"})
    assert (refused.value.details["declared"], refused.value.details["now"]) == ("a", "b")


# --- the whole way ----------------------------------------------------------------------------------------------------


async def begun(desk: Desk, **fields: Any) -> tuple[Person, dict[str, Any]]:
    ann = desk.person()
    return ann, await ann.begin(len(DATA), part_size=MIN_PART, **fields)


@pytest.mark.parametrize("when", ["begin", "complete", "both"])
async def test_a_file_that_is_as_declared_is_ingested(desk: Desk, when: str) -> None:
    ann, upload = await begun(desk, checksum=claims(DATA) if when != "complete" else [])
    answer = await ann.complete(
        upload, await ann.send(upload, DATA), checksum=claims(DATA) if when != "begin" else [crc(DATA)]
    )
    assert answer.status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    asset = await ann.asset(upload)
    assert asset["sha256"] == hashlib.sha256(DATA).hexdigest()  # before anything is processed
    assert asset["checksum"] == {"algorithm": "crc64nvme", "value": crc(DATA)}
    assert asset["verification"] == "end_to_end"
    assert "upload_verifying" in await desk.events(upload["upload_id"])


async def test_a_crc_alone_needs_no_reading(desk: Desk) -> None:
    """Storage verifies it."""
    ann, upload = await begun(desk, checksum=crc(DATA))
    await ann.complete(upload, await ann.send(upload, DATA))
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert "upload_verifying" not in await desk.events(upload["upload_id"])
    assert (await ann.asset(upload))["sha256"] is None


@pytest.mark.parametrize("algorithm", DIGESTS)
@pytest.mark.parametrize("when", ["begin", "complete"])
async def test_a_file_other_than_declared_fails_with_both_values_shown(desk: Desk, algorithm: str, when: str) -> None:
    other = DATA[:-1] + bytes([DATA[-1] ^ 1])
    wrong = f"{algorithm}:{DIGESTS[algorithm](other).hex()}"
    ann, upload = await begun(desk, checksum=[wrong] if when == "begin" else [])
    await ann.complete(upload, await ann.send(upload, DATA), checksum=[wrong] if when == "complete" else [])
    assert await desk.finalize(upload["upload_id"]) == "over"
    facts = {
        "algorithm": algorithm,
        "declared": declared.written(algorithm, DIGESTS[algorithm](other)),
        "computed": declared.written(algorithm, DIGESTS[algorithm](DATA)),
    }
    assert problem(await ann.complete(upload), 409, "checksum_mismatch") == facts
    status = await ann.read(f"uploads/{upload['upload_id']}/status")
    assert (status["status"], status["problem"]["details"]) == ("failed", facts)
    await desk.assert_nothing_is_left(ann, upload)


async def test_begin_and_complete_may_not_contradict(desk: Desk) -> None:
    ann, upload = await begun(desk, checksum="md5:" + "0" * 32)
    done = await ann.send(upload, DATA)
    refused = await ann.complete(upload, done, checksum="md5:" + "1" * 32)
    assert problem(refused, 409, "checksum_contradicts")["declared"] == "0" * 32
    assert (await ann.upload(upload))["state"] == "uploading"
    assert await desk.enqueued(f"finalize-{upload['upload_id']}%") == []


async def test_the_same_key_with_another_checksum_begins_nothing(desk: Desk) -> None:
    ann = desk.person()
    wanted = {"filename": "a.mov", "size": 5, "checksum": "md5:" + "0" * 32}
    headers = {"Idempotency-Key": "once"}
    first = await ann.http.post("/v1/uploads", json=wanted, headers=headers)
    again = await ann.http.post("/v1/uploads", json=wanted, headers=headers)
    assert first.json()["upload_id"] == again.json()["upload_id"]
    other = await ann.http.post("/v1/uploads", json=wanted | {"checksum": "md5:" + "1" * 32}, headers=headers)
    problem(other, 422, "idempotency_key_reused")


async def test_nonsense_begins_nothing(desk: Desk) -> None:
    ann = desk.person()
    answer = await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 5, "checksum": "md5:x"})
    problem(answer, 422, "checksum_invalid")
    assert (await ann.read("uploads"))["items"] == []


@pytest.mark.parametrize("state", ["finalizing", "ingested"])
async def test_a_checksum_that_comes_too_late_is_never_taken_as_verified(desk: Desk, state: str) -> None:
    """Another complete had begun to finalize without it."""
    ann, upload = await begun(desk)
    await ann.complete(upload, await ann.send(upload, DATA))
    if state == "ingested":
        assert await desk.finalize(upload["upload_id"]) == "ingested"
    sha256 = hashlib.sha256(DATA).hexdigest()
    late = problem(await ann.complete(upload, checksum=f"sha256:{sha256}"), 409, "checksum_late")
    assert late == {"algorithm": "sha256", "declared": sha256, "computed": None}
    wrong = problem(await ann.complete(upload, checksum=crc(b"another file")), 409, "checksum_mismatch")
    assert (wrong["declared"], wrong["computed"]) == (crc(b"another file"), crc(DATA))
    right = await ann.complete(upload, checksum=crc(DATA))  # storage is held to it anyway
    assert right.status_code == (200 if state == "ingested" else 202)
    if state == "finalizing":
        assert await desk.finalize(upload["upload_id"]) == "ingested"
    await desk.sql("UPDATE assets SET sha256 = %(sha)s WHERE id = %(id)s", sha=sha256, id=upload["asset_id"])
    assert (await ann.complete(upload, checksum=f"sha256:{sha256}")).status_code == 200
    problem(await ann.complete(upload, checksum="sha256:" + "0" * 64), 409, "checksum_mismatch")


async def test_what_was_declared_before_may_be_said_again(desk: Desk) -> None:
    ann, upload = await begun(desk, checksum=claims(DATA))
    done = await ann.send(upload, DATA)
    for _ in range(2):
        assert (await ann.complete(upload, done, checksum=claims(DATA))).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"
    assert (await ann.complete(upload, done, checksum=claims(DATA))).status_code == 200
    problem(await ann.complete(upload, done, checksum="md5:" + "0" * 32), 409, "checksum_contradicts")


# --- the manifest -----------------------------------------------------------------------------------------------------


def manifest_of(upload: dict[str, Any], data: bytes) -> list[dict[str, Any]]:
    return [
        {"number": number, "size": len(part), "checksum": sum_of(upload, part)}
        for number, part in enumerate(pieces(data, upload["part_size"]), 1)
    ]


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
async def test_a_manifest_that_says_what_the_ledger_says_is_fine(desk: Desk, algorithm: str) -> None:
    ann, upload = await begun(desk, checksum_algorithm=algorithm)
    manifest = manifest_of(upload, DATA)[::-1]
    assert (await ann.complete(upload, await ann.send(upload, DATA), manifest=manifest)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"


async def test_a_manifest_that_differs_is_refused_with_the_parts_named(desk: Desk) -> None:
    ann, upload = await begun(desk)
    done = await ann.send(upload, DATA)
    one, two = manifest_of(upload, DATA)
    for wrong, numbers in (
        ([one, two | {"size": 7}], [2]),
        ([one | {"checksum": crc(b"x")}, two], [1]),
        ([one], [2]),
        ([], [1, 2]),
        ([one, two, two | {"number": 3}], [3]),
    ):
        extra = problem(await ann.complete(upload, done, manifest=wrong), 409, "manifest_mismatch")
        assert extra == {"numbers": numbers, "count": len(numbers)}
    problem(await ann.complete(upload, done, manifest=[one, two, two | {"size": 7}]), 422, "part_twice")
    assert (await ann.upload(upload))["state"] == "uploading"
    assert (await ann.complete(upload, done, manifest=[one, two])).status_code == 202
