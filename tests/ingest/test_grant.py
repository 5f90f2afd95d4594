"""Grants: what they bind, that storage holds to it, and what the ledger makes of reports."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import parse_qsl, urlsplit
from uuid import UUID

import pytest

from rushes.config import Settings
from rushes.ingest import grant as granting
from rushes.ingest.abort import discard
from rushes.model import Role
from rushes.storage import Credentials
from rushes.wire import GrantRequest, WantedPart
from tests.ingest.equipment import TWO_PARTS, Desk, Person, body, crc, pieces, problem, some_bytes, somebody
from tests.pipeline.equipment import with_storage

DATA = some_bytes(TWO_PARTS)


async def two_parts(desk: Desk) -> tuple[Person, dict[str, Any]]:
    ann = desk.person()
    return ann, await ann.begin(len(DATA), part_size=5 * 1024 * 1024)


# --- what a grant binds -----------------------------------------------------------------------------------------------


async def test_a_grant_binds_number_length_and_checksum(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    first, second = await ann.grants(upload, DATA)
    assert (first["number"], first["method"], first["length"]) == (1, "PUT", 5 * 1024 * 1024)
    assert (second["number"], second["length"]) == (2, len(DATA) - 5 * 1024 * 1024)
    for grant, part in zip((first, second), pieces(DATA), strict=True):
        query = dict(parse_qsl(urlsplit(grant["url"]).query))
        assert grant["headers"] == {"x-amz-checksum-crc64nvme": crc(part)}
        assert query["X-Amz-SignedHeaders"] == "content-length;host;x-amz-checksum-crc64nvme"
        assert query["partNumber"] == str(grant["number"])
        assert int(query["X-Amz-Expires"]) == desk.settings.grant_seconds
        assert not any("checksum" in name.lower() for name in query)
        assert (await ann.put(grant, part)).status_code == 200


async def test_storage_refuses_what_was_not_granted(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    first, second = await ann.grants(upload, DATA)
    one, _ = pieces(DATA)
    flipped = bytes([one[0] ^ 1]) + one[1:]
    web = desk.web
    tampered = first["url"].replace("partNumber=1", "partNumber=2")
    refused = {
        "a flipped byte": await web.put(first["url"], content=flipped, headers=first["headers"]),
        "a byte less": await web.put(first["url"], content=one[:-1], headers=first["headers"]),
        "a byte more": await web.put(first["url"], content=one + b"x", headers=first["headers"]),
        "nothing": await web.put(first["url"], content=b"", headers=first["headers"]),
        "no checksum": await web.put(first["url"], content=one),
        "another checksum": await web.put(
            first["url"], content=flipped, headers={"x-amz-checksum-crc64nvme": crc(flipped)}
        ),
        "another number": await web.put(tampered, content=one, headers=first["headers"]),
        "another part": await web.put(second["url"], content=one, headers=first["headers"]),
        "another key": await web.put(
            first["url"].replace("/original?", "/other?"), content=one, headers=first["headers"]
        ),
        "no signature": await web.put(first["url"].split("&X-Amz-Signature")[0], content=one, headers=first["headers"]),
        "another verb": await web.delete(first["url"]),
        "a longer life": await web.put(
            first["url"].replace("X-Amz-Expires=1200", "X-Amz-Expires=9999"), content=one, headers=first["headers"]
        ),
    }
    assert {name: answer.status_code for name, answer in refused.items() if answer.status_code not in {400, 403}} == {}
    (bucket, key, storage_id) = await _in_storage(desk, upload)
    assert await desk.ctx.storage.s3.list_parts(bucket, key, storage_id) == []


async def _in_storage(desk: Desk, upload: dict[str, Any]) -> tuple[str, str, str]:
    bucket, key, storage_id = await desk.in_storage(upload)
    return bucket, key, storage_id


async def test_an_expired_url_is_refused_and_renewed(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    one = pieces(DATA)[0]
    hour_ago = desk.ctx.now() - timedelta(hours=1)
    old = await ann.signed_at(upload, DATA, hour_ago)
    assert datetime.fromisoformat(old["expires_at"]) < desk.ctx.now()
    assert (await ann.put(old, one)).status_code == 403
    (new,) = await ann.grants(upload, DATA, [1])
    assert (await ann.put(new, one)).status_code == 200


async def test_a_grant_never_outlives_its_upload(desk: Desk) -> None:
    """Sliding ends where the greatest age of an upload is reached; so do the grants."""
    ann, upload = await two_parts(desk)
    await ann.grants(upload, DATA)
    left = timedelta(seconds=100)
    await desk.sql(
        "UPDATE uploads SET created_at = %(born)s, expires_at = %(ends)s WHERE id = %(id)s",
        born=desk.ctx.now() + left - timedelta(days=desk.settings.upload_max_days),
        ends=desk.ctx.now() + left,
        id=upload["upload_id"],
    )
    answer = body(await ann.ask(upload, [(1, crc(pieces(DATA)[0]))]))
    grant_ends, upload_ends = answer["grants"][0]["expires_at"], answer["expires_at"]
    assert datetime.fromisoformat(grant_ends) <= datetime.fromisoformat(upload_ends)
    assert (await ann.put(answer["grants"][0], pieces(DATA)[0])).status_code == 200


async def test_a_grant_in_the_last_moment_is_a_good_one(desk: Desk) -> None:
    """Progress moves the expiry, so the last second before it is no shorter than any other."""
    ann, upload = await two_parts(desk)
    moment = datetime.fromisoformat(upload["expires_at"]) - timedelta(seconds=0.5)
    grant = await ann.signed_at(upload, DATA, moment)
    lifetime = datetime.fromisoformat(grant["expires_at"]) - moment.replace(microsecond=0)
    assert lifetime == timedelta(seconds=desk.settings.grant_seconds)


async def test_a_grant_in_the_last_moment_of_all_is_no_error(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    born = await desk.sql("SELECT created_at FROM uploads WHERE id = %(id)s", id=upload["upload_id"])
    end = born[0][0] + timedelta(days=desk.settings.upload_max_days)
    await desk.sql("UPDATE uploads SET expires_at = %(end)s WHERE id = %(id)s", end=end, id=upload["upload_id"])
    grant = await ann.signed_at(upload, DATA, end - timedelta(seconds=0.5))
    assert datetime.fromisoformat(grant["expires_at"]) <= end + timedelta(seconds=1)


async def test_a_grant_never_outlives_the_credentials_it_is_signed_with(desk: Desk) -> None:
    """Those of a role, which end by themselves."""
    ann, upload = await two_parts(desk)
    ends = desk.ctx.now() + timedelta(seconds=200)
    own = await desk.ctx.storage.s3.credentials()

    async def temporary() -> Credentials:
        return replace(own, expires_at=ends)

    ctx = with_storage(desk.ctx, credentials=temporary)
    wanted = GrantRequest(want=[WantedPart(number=1, checksum=crc(pieces(DATA)[0]))])
    (grant,) = (await granting.grant(ctx, ann.who, UUID(upload["upload_id"]), wanted)).grants
    assert ends - timedelta(seconds=5) < grant.expires_at <= ends


def test_grants_live_for_a_quarter_to_half_an_hour_unless_told_otherwise() -> None:
    assert 15 * 60 <= Settings.model_fields["grant_seconds"].default <= 30 * 60


async def test_progress_moves_the_expiry(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    await desk.sql(
        "UPDATE uploads SET expires_at = %(soon)s WHERE id = %(id)s",
        soon=desk.ctx.now() + timedelta(days=1),
        id=upload["upload_id"],
    )
    await ann.grants(upload, DATA, [1])
    ((left,),) = await desk.sql("SELECT expires_at - now() FROM uploads WHERE id = %(id)s", id=upload["upload_id"])
    assert timedelta(days=13) < left <= timedelta(days=14)


# --- opening ----------------------------------------------------------------------------------------------------------


async def test_twenty_first_grants_open_storage_once(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    part = (2, crc(pieces(DATA)[1]))
    answers = await asyncio.gather(*(ann.ask(upload, [part]) for _ in range(20)))
    assert {answer.status_code for answer in answers} == {200}
    uploads = {dict(parse_qsl(urlsplit(body(a)["grants"][0]["url"]).query))["uploadId"] for a in answers}
    bucket, key, storage_id = await _in_storage(desk, upload)
    assert uploads == {storage_id}
    opened = [found.storage_upload_id async for found in desk.ctx.storage.s3.list_multipart_uploads(bucket, key)]
    assert opened == [storage_id]
    assert (await ann.upload(upload))["state"] == "uploading"


async def test_the_object_will_say_whose_it_is(desk: Desk) -> None:
    ann = desk.person()
    name = "ciné \u202e gpj.mov"
    upload = await ann.ingest(filename=name, content_type="video/mp4")
    bucket, key, _ = await desk.in_storage(upload)
    head = await desk.ctx.storage.s3.head(bucket, key)
    assert head is not None
    assert head.content_type == "video/mp4"
    assert head.metadata["rushes-upload"] == upload["upload_id"]
    assert head.metadata["rushes-name"] == name


# --- the ledger -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("quote", ["", '"'])
async def test_a_reported_part_is_held(desk: Desk, quote: str) -> None:
    ann, upload = await two_parts(desk)
    one, _ = await ann.send(upload, DATA)
    etag = one["etag"].strip('"')
    answer = await ann.ask(upload, done=[one | {"etag": f"{quote}{etag}{quote}"}])
    assert body(answer)["held"] == {"parts": 1, "bytes": 5 * 1024 * 1024}
    found = await ann.upload(upload)
    assert found["held"] == {"parts": 1, "bytes": 5 * 1024 * 1024}
    (part,) = found["parts"]
    assert datetime.fromisoformat(part.pop("held_at")).tzinfo is not None
    assert part == {
        "number": 1,
        "size": 5 * 1024 * 1024,
        "checksum": one["checksum"],
        "etag": etag,
        "way": "direct",
    }


async def test_a_part_counts_once_however_often_it_is_reported(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    done = await ann.send(upload, DATA)
    answers = await asyncio.gather(*(ann.ask(upload, done=[*done, *done]) for _ in range(10)))
    assert {answer.status_code for answer in answers} == {200}
    assert body(answers[0])["held"] == {"parts": 2, "bytes": len(DATA)}
    assert await desk.events(upload["upload_id"]) == [
        "upload_started",
        "upload_opened",
        "part_completed",
        "part_completed",
    ]


async def test_a_part_that_was_not_granted_so_is_refused(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    never = {"number": 2, "etag": "e", "checksum": crc(b"x")}
    assert problem(await ann.ask(upload, done=[never]), 409, "part_not_granted") == {"number": 2}
    one, two = await ann.send(upload, DATA)
    wrong = two | {"checksum": crc(b"x")}
    assert problem(await ann.ask(upload, done=[one, wrong]), 409, "part_not_granted") == {"number": 2}
    assert (await ann.upload(upload))["held"] == {"parts": 0, "bytes": 0}  # all of a report, or nothing
    problem(await ann.ask(upload, done=[one | {"number": 9_999}]), 409, "part_not_granted")


@pytest.mark.parametrize("etag", ["a\x00b", "a\nb", "é"])
async def test_an_etag_that_no_storage_gives_is_refused(desk: Desk, etag: str) -> None:
    ann, upload = await two_parts(desk)
    one, _ = await ann.send(upload, DATA)
    problem(await ann.ask(upload, done=[one | {"etag": etag}]), 422, "etag_invalid")


async def test_another_checksum_makes_a_part_missing_again(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    done = await ann.send(upload, DATA)
    await ann.ask(upload, done=done)
    other = crc(b"another take")
    answer = await ann.ask(upload, [(1, other)])
    assert body(answer)["held"] == {"parts": 1, "bytes": len(DATA) - 5 * 1024 * 1024}
    problem(await ann.ask(upload, done=[done[0]]), 409, "part_not_granted")
    assert problem(await ann.complete(upload), 409, "parts_missing") == {"missing": [1], "missing_count": 1}
    assert [part["number"] for part in (await ann.upload(upload))["parts"]] == [2]


async def test_the_same_checksum_again_changes_nothing(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    done = await ann.send(upload, DATA)
    await ann.ask(upload, done=done)
    answer = await ann.ask(upload, [(1, done[0]["checksum"])])
    assert body(answer)["held"] == {"parts": 2, "bytes": len(DATA)}
    assert await desk.sql("SELECT grants FROM parts WHERE upload_id = %(id)s", id=upload["upload_id"]) == [(1,), (1,)]


async def test_one_request_cannot_open_two_checksums_for_a_part(desk: Desk) -> None:
    """Only the last one would be in the ledger, while storage took either."""
    ann, upload = await two_parts(desk)
    one = crc(pieces(DATA)[0])
    problem(await ann.ask(upload, [(1, crc(b"x")), (1, one)]), 422, "part_twice")
    answer = await ann.ask(upload, [(1, one), (1, one)])
    assert [grant["number"] for grant in body(answer)["grants"]] == [1, 1]


@pytest.mark.parametrize(
    ("want", "code"),
    [
        ((0, crc(b"")), "request_invalid"),
        ((10_001, crc(b"")), "request_invalid"),
        ((3, crc(b"")), "part_number_invalid"),
        ((1, ""), "checksum_invalid"),
        ((1, "AAAAAAAAAAA"), "checksum_invalid"),
        ((1, "AAAAAAAAAAA=\r\nx: y"), "checksum_invalid"),
        ((1, "AAAAAAAAAAB="), "checksum_invalid"),  # eight bytes, but not as base64 writes them
        ((1, "AAAAAA=="), "checksum_invalid"),
        ((1, "é" * 12), "checksum_invalid"),
        ((1, "A" * 101), "request_invalid"),
    ],
)
async def test_a_part_that_cannot_be_is_not_granted(desk: Desk, want: tuple[int, str], code: str) -> None:
    ann, upload = await two_parts(desk)
    problem(await ann.ask(upload, [want]), 422, code)
    assert await desk.sql("SELECT number FROM parts WHERE upload_id = %(id)s", id=upload["upload_id"]) == []


async def test_a_request_has_a_bound(desk: Desk) -> None:
    ann = desk.person()
    size = 5 * 1024 * 1024
    upload = await ann.begin(1_001 * size, part_size=size)
    want = [(number, crc(b"")) for number in range(1, 1_002)]
    problem(await ann.ask(upload, want), 422, "request_invalid")
    done = [{"number": number, "etag": "e", "checksum": sum_} for number, sum_ in want]
    problem(await ann.ask(upload, done=done), 422, "request_invalid")
    answer = await ann.ask(upload, want[:-1])
    assert [grant["number"] for grant in body(answer)["grants"]] == list(range(1, 1_001))


async def test_an_empty_request_tells_what_is_held(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    assert body(await ann.ask(upload))["held"] == {"parts": 0, "bytes": 0}
    assert (await ann.upload(upload))["state"] == "initiated"


# --- uploads that take no parts ---------------------------------------------------------------------------------------


async def test_an_upload_that_is_over_takes_no_parts(desk: Desk) -> None:
    ann = desk.person()
    want = [(1, crc(b"x"))]
    done = await ann.ingest()
    problem(await ann.ask(done, want), 409, "upload_ingested")
    aborted = await ann.begin()
    await ann.http.delete(f"/v1/uploads/{aborted['upload_id']}")
    problem(await ann.ask(aborted, want), 409, "upload_aborted")
    late = await ann.begin()
    await desk.sql("UPDATE uploads SET expires_at = now() WHERE id = %(id)s", id=late["upload_id"])
    problem(await ann.ask(late, want), 409, "upload_expired")
    swept = await ann.begin()
    await desk.sql("UPDATE uploads SET state = 'expired' WHERE id = %(id)s", id=swept["upload_id"])
    problem(await ann.ask(swept, want), 409, "upload_expired")
    busy = await ann.begin(1_000)
    assert (await ann.complete(busy, await ann.send(busy, some_bytes(1_000)))).status_code == 202
    problem(await ann.ask(busy, want), 409, "upload_finalizing")


async def test_what_is_not_yours_takes_no_parts(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    elsewhere = (await ann.begin())["title_id"]
    for who in (
        somebody(Role.OPERATOR),
        replace(ann.who, creator="bob"),
        replace(ann.who, title=UUID(elsewhere)),
        replace(ann.who, role=Role.OPERATOR, upload=UUID(elsewhere)),
    ):
        problem(await desk.person(who).ask(upload, [(1, crc(b"x"))]), 404, "upload_not_found")
    operator = desk.person(replace(ann.who, creator="olga", role=Role.OPERATOR))
    assert (await operator.ask(upload)).status_code == 200


async def test_urls_of_an_aborted_upload_are_dead(desk: Desk) -> None:
    ann, upload = await two_parts(desk)
    grants = await ann.grants(upload, DATA)
    assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    await discard(desk.ctx, UUID(upload["upload_id"]))
    assert (await ann.put(grants[1], pieces(DATA)[1])).status_code == 404
