"""Clients may know storage by another host than the server does: grants and links are signed for theirs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from rushes import main
from rushes.checksum import crc64nvme, encode
from rushes.config import Settings
from rushes.errors import Misconfigured
from rushes.ingest import begin, grant
from rushes.ingest.context import Context
from rushes.model import Principal, Role
from rushes.storage import open_storage, probe
from rushes.wire import BeginUpload, GrantRequest, WantedPart
from tests.pipeline.equipment import ingest_without_worker
from tests.storage.forwarding import forwarding


@pytest.fixture
def outside(settings: Settings) -> Settings:
    """The same store, by a name that only clients use."""
    port = urlsplit(str(settings.storage_endpoint)).port
    return settings.model_copy(update={"storage_public_endpoint": f"http://localhost:{port}"})


@pytest.fixture
async def ctx(outside: Settings) -> AsyncIterator[Context]:
    async with main.open_context(outside) as opened:
        yield opened


@pytest.fixture
def who() -> Principal:
    return Principal(f"t-{uuid4().hex[:8]}", "olga", Role.OPERATOR, "studio")


async def test_the_whole_way_goes_through_the_host_that_clients_see(ctx: Context, who: Principal) -> None:
    upload = await ingest_without_worker(ctx, who, b"x" * 1000, "clip.mov")
    found = await ctx.storage.s3.head(upload.bucket, upload.key)
    assert found is not None
    assert found.size == 1000


async def test_what_is_signed_for_one_host_is_refused_at_the_other(ctx: Context, who: Principal) -> None:
    body = b"y" * 1000
    upload, _ = await begin.begin(
        ctx, who, BeginUpload(filename="a.mov", size=len(body)), idempotency_key=None, origin="test"
    )
    want = [WantedPart(number=1, checksum=encode(crc64nvme(body)))]
    granted = (await grant.grant(ctx, who, upload.id, GrantRequest(want=want))).grants[0]
    assert urlsplit(granted.url).hostname == "localhost"
    elsewhere = granted.url.replace("//localhost:", "//127.0.0.1:")
    async with httpx.AsyncClient() as http:
        assert (await http.put(elsewhere, content=body, headers=granted.headers)).status_code == 403
        assert (await http.put(granted.url, content=body, headers=granted.headers)).status_code == 200


async def test_a_proxy_that_breaks_every_signature_is_told_not_judged(outside: Settings) -> None:
    """Storage refuses all that comes through it: that is no store which enforces everything."""

    def rename(sent: bytes) -> bytes:
        return sent.replace(b"Host: 127.0.0.1:", b"Host: storage.internal:")

    async with (
        forwarding(str(outside.storage_endpoint), rewrite=rename) as public,
        open_storage(outside.model_copy(update={"storage_public_endpoint": public})) as storage,
    ):
        with pytest.raises(Misconfigured) as raised:
            await probe(storage, at=datetime.now(UTC))
    assert raised.value.code == "storage_credentials_refused"


async def test_acceleration_needs_aws_and_one_host(outside: Settings) -> None:
    aws = {"storage_endpoint": None, "storage_public_endpoint": None, "storage_accelerate": True}
    async with open_storage(outside.model_copy(update=aws)) as storage:
        signer = await storage.signer()
        url = signer.presign("GET", storage.originals.bucket, "key", at=datetime.now(UTC), seconds=60)
        assert urlsplit(url).netloc == f"{storage.originals.bucket}.s3-accelerate.amazonaws.com"
        assert storage.s3.endpoint.netloc == "s3.us-east-1.amazonaws.com"
    for wrong in ({"storage_accelerate": True}, aws | {"storage_public_endpoint": "https://media.example"}):
        with pytest.raises(Misconfigured) as raised:
            async with open_storage(outside.model_copy(update=wrong)):
                raise AssertionError("opened")
        assert raised.value.code == "storage_accelerate_invalid"
