"""Grants that lead through the API, where clients cannot reach storage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import jwt
import pytest

from rushes.config import Settings
from rushes.plan import MIN_PART
from tests.ingest.equipment import Desk, crc, open_desk, pieces, problem
from tests.ingest.relaying import DATA, HEADER, ingested


@pytest.fixture
async def cut_off(settings: Settings) -> AsyncIterator[Desk]:
    """A desk whose storage clients cannot reach."""
    changes = {"storage_public_endpoint": None, "public_url": "https://rushes.example/api/"}
    async with open_desk(settings.model_copy(update=changes)) as found:
        yield found


async def test_without_a_public_endpoint_grants_lead_through_the_api(cut_off: Desk) -> None:
    person = cut_off.person()
    upload = await person.begin(len(DATA), part_size=MIN_PART)
    grants = await person.grants(upload, DATA)
    nobody = cut_off.with_token(None)
    for grant, part in zip(grants, pieces(DATA), strict=True):
        begins = f"https://rushes.example/api/v1/uploads/{upload['upload_id']}/parts/{grant['number']}"
        assert (grant["method"], grant["length"], grant["url"]) == ("PUT", len(part), begins)
        assert grant["headers"][HEADER] == crc(part)
        here = grant["url"].removeprefix("https://rushes.example/api")
        flipped = bytes([part[0] ^ 1]) + part[1:]
        problem(await nobody.put(here, content=flipped, headers=grant["headers"]), 422, "checksum_mismatch")
        assert (await nobody.put(here, content=part, headers=grant["headers"])).status_code == 200
    assert (await ingested(cut_off, person, upload, DATA))["verification"] == "end_to_end"


async def test_a_grants_token_is_for_this_upload_and_no_longer_than_the_grant(cut_off: Desk) -> None:
    person = cut_off.person()
    upload, other = await person.begin(5), await person.begin(5)
    (grant,) = await person.grants(upload, b"hello")
    headers = {"Authorization": grant["headers"]["Authorization"]}
    nobody = cut_off.with_token(None)
    answer = await nobody.put(f"/v1/uploads/{other['upload_id']}/parts/1", content=b"hello", headers=headers)
    problem(answer, 404, "upload_not_found")
    claims = jwt.decode(headers["Authorization"].removeprefix("Bearer "), options={"verify_signature": False})
    assert claims["upload"] == upload["upload_id"]
    assert claims["exp"] <= datetime.fromisoformat(grant["expires_at"]).timestamp() + 1
    past = datetime.now(UTC) - timedelta(seconds=cut_off.settings.grant_seconds + 60)
    late = await person.signed_at(upload, b"hello", past)
    here = late["url"].removeprefix("https://rushes.example/api")
    problem(await nobody.put(here, content=b"hello", headers=late["headers"]), 401, "token_expired")


async def test_without_a_setting_the_clients_own_address_is_granted(settings: Settings) -> None:
    async with open_desk(settings.model_copy(update={"storage_public_endpoint": None})) as desk:
        person = desk.person()
        upload = await person.begin(5)
        (grant,) = await person.grants(upload, b"hello")
        assert grant["url"] == f"http://api/v1/uploads/{upload['upload_id']}/parts/1"
