"""Reconciling with storage's own list: a client that lost everything but the upload's id learns what is held."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from rushes.ingest.reconcile import reconcile
from rushes.model import Role
from rushes.plan import MIN_PART
from tests.ingest.equipment import TWO_PARTS, Desk, Person, crc, pieces, problem, some_bytes, somebody
from tests.pipeline.equipment import with_storage

DATA = some_bytes(TWO_PARTS, seed=5)


async def begun(desk: Desk) -> tuple[Person, dict[str, Any]]:
    ann = desk.person()
    return ann, await ann.begin(len(DATA), part_size=MIN_PART)


async def looked(ann: Person, upload: dict[str, Any]) -> dict[str, Any]:
    return await ann.read(f"uploads/{upload['upload_id']}?reconcile=true")


async def test_parts_that_nobody_reported_are_found(desk: Desk) -> None:
    ann, upload = await begun(desk)
    done = await ann.send(upload, DATA)
    assert (await ann.upload(upload))["parts"] == []
    for _ in range(2):
        found = await looked(ann, upload)
        assert found["held"] == {"parts": 2, "bytes": len(DATA)}
        assert [(part["number"], part["checksum"], part["way"]) for part in found["parts"]] == [
            (1, done[0]["checksum"], "found"),
            (2, done[1]["checksum"], "found"),
        ]
        assert [part["etag"] for part in found["parts"]] == [part["etag"].strip('"') for part in done]
    assert (await desk.events(upload["upload_id"])).count("part_completed") == 2
    assert (await ann.complete(upload)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"


async def test_a_part_that_is_not_there_is_not_found(desk: Desk) -> None:
    ann, upload = await begun(desk)
    await ann.send(upload, DATA, [2])
    await ann.grants(upload, DATA, [1])
    assert [part["number"] for part in (await looked(ann, upload))["parts"]] == [2]


async def test_where_two_checksums_were_granted_there_is_doubt(desk: Desk) -> None:
    ann, upload = await begun(desk)
    await ann.ask(upload, [(1, crc(b"an earlier take"))])
    await ann.send(upload, DATA)
    assert [part["number"] for part in (await looked(ann, upload))["parts"]] == [2]


async def test_another_size_is_another_part(desk: Desk) -> None:
    ann, upload = await begun(desk)
    await ann.grants(upload, DATA)
    bucket, key, storage_id = await desk.in_storage(upload)
    await desk.ctx.storage.s3.upload_part(bucket, key, storage_id, 1, b"short", checksum=None)
    assert (await looked(ann, upload))["parts"] == []


async def test_a_part_that_storage_has_lost_has_to_be_sent_again(desk: Desk) -> None:
    """It was reported with an ETag that storage does not list."""
    ann, upload = await begun(desk)
    one, two = await ann.send(upload, DATA)
    await ann.ask(upload, done=[one, two | {"etag": "0" * 32}])
    assert (await ann.upload(upload))["held"]["parts"] == 2
    found = await looked(ann, upload)
    assert found["held"] == {"parts": 1, "bytes": MIN_PART}
    assert (await ann.put((await ann.grants(upload, DATA, [2]))[0], pieces(DATA)[1])).status_code == 200
    assert (await looked(ann, upload))["held"]["parts"] == 2  # one checksum alone was ever granted for it


@pytest.mark.parametrize("layout", ["multipart", "staged"])
async def test_what_changes_while_storage_is_asked_is_not_touched(desk: Desk, layout: str) -> None:
    """Storage tells of the bytes that were there; by then the part is open for others."""
    ann = desk.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART, layout=layout)
    await ann.send(upload, DATA, [1])
    s3 = desk.ctx.storage.s3

    def late(ask: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def asked(*args: Any, **how: Any) -> Any:
            found = await ask(*args, **how)
            await ann.grants(upload, some_bytes(len(DATA), seed=77), [1])
            return found

        return asked

    meanwhile = with_storage(desk.ctx, list_parts=late(s3.list_parts), head=late(s3.head))
    await reconcile(meanwhile, ann.who, UUID(upload["upload_id"]))
    assert (await ann.upload(upload))["held"]["parts"] == 0


async def test_nothing_is_asked_of_uploads_that_take_no_parts(desk: Desk) -> None:
    ann, upload = await begun(desk)
    assert (await looked(ann, upload))["state"] == "initiated"
    done = await ann.ingest()
    assert (await looked(ann, done))["state"] == "ingested"
    aborted = await ann.begin()
    await ann.grants(aborted, some_bytes(1_000))
    await ann.http.delete(f"/v1/uploads/{aborted['upload_id']}")
    assert (await looked(ann, aborted))["parts"] == []


async def test_an_upload_that_storage_has_forgotten_can_still_be_read(desk: Desk) -> None:
    ann, upload = await begun(desk)
    await ann.ask(upload, done=await ann.send(upload, DATA))
    bucket, key, storage_id = await desk.in_storage(upload)
    await desk.ctx.storage.s3.abort_multipart(bucket, key, storage_id)
    assert (await looked(ann, upload))["held"]["parts"] == 2


async def test_what_is_not_yours_is_not_looked_at(desk: Desk) -> None:
    ann, upload = await begun(desk)
    await ann.send(upload, DATA)
    for who in (somebody(Role.OPERATOR), replace(ann.who, creator="bob")):
        answer = await desk.person(who).http.get(f"/v1/uploads/{upload['upload_id']}?reconcile=true")
        problem(answer, 404, "upload_not_found")
    assert (await ann.upload(upload))["held"]["parts"] == 0
