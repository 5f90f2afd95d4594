"""rushes itself on each store: what is corrupt is refused, what is whole goes the whole way."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rushes.ingest.capabilities import capabilities_of
from rushes.plan import MIN_PART
from rushes.storage import Capabilities
from tests.ingest.equipment import Desk, pieces, some_bytes
from tests.ingest.staging import copy_all

DATA = some_bytes(2 * MIN_PART + 12_345, seed=7)


async def test_a_flipped_byte_in_a_part_is_refused(
    desk: Desk, capabilities: Capabilities, note: Callable[[str, str], None]
) -> None:
    ann = desk.person()
    upload = await ann.begin(len(DATA), part_size=MIN_PART)
    assert upload["checksum_algorithm"] == capabilities.part_algorithms[0]
    for grant, part in zip(await ann.grants(upload, DATA), pieces(DATA), strict=True):
        place = len(part) // 3
        flipped = part[:place] + bytes([part[place] ^ 0x10]) + part[place + 1 :]
        answer = await ann.put(grant, flipped)
        assert 400 <= answer.status_code < 500, answer.text
    assert (await ann.upload(upload))["parts"] == []
    note("a part with one flipped byte", f"refused ({answer.status_code})")
    done = await ann.send(upload, DATA)  # the same upload, with the right bytes
    assert (await ann.complete(upload, done)).status_code == 202
    assert await desk.finalize(upload["upload_id"]) == "ingested"


@pytest.mark.parametrize("layout", ["multipart", "staged"])
async def test_a_file_goes_the_whole_way(desk: Desk, capabilities: Capabilities, layout: str) -> None:
    ann = desk.person()
    if layout == "staged" and not (capabilities.copies and capabilities.copies_if_match):
        answer = await ann.http.post("/v1/uploads", json={"filename": "a.mov", "size": 9, "layout": "staged"})
        assert answer.status_code == 422
        return
    upload = await ann.begin(len(DATA), part_size=MIN_PART, layout=layout)
    done = await ann.send(upload, DATA)
    await ann.ask(upload, done=done)
    await copy_all(desk, upload)
    assert (await ann.complete(upload)).status_code == 202
    verdict = "copying"  # what is too small to be copied is sent by the last copier
    for _ in range(3):
        verdict = await desk.finalize(upload["upload_id"]) if verdict == "copying" else verdict
        await copy_all(desk, upload)
    assert verdict == "ingested"
    bucket, key, _ = await desk.in_storage(upload)
    read = b"".join([chunk async for chunk in desk.ctx.storage.s3.get_range(bucket, key)])
    assert read == DATA
    assert (await ann.asset(upload))["verification"] == "end_to_end"


async def test_the_product_sees_what_the_suite_sees(desk: Desk, capabilities: Capabilities) -> None:
    found = await capabilities_of(desk.ctx)
    assert found.part_algorithms == capabilities.part_algorithms
    assert found.full_object == capabilities.full_object
