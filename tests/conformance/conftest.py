"""The store under test, rushes on top of it, and the table of what was seen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import SecretStr

from rushes.config import Settings
from rushes.storage import Capabilities, Storage, ensure_bucket, open_storage, probe
from tests.conformance.table import Table
from tests.ingest.equipment import Desk, open_desk
from tests.stores import ceph, swift
from tests.stores.served import Absent, Served

ASKED = os.environ.get("RUSHES_TEST_STORES", "seaweedfs").split(",")
OTHERS = {"swift": swift.running, "ceph": ceph.running}
TABLE = os.environ.get("RUSHES_STORES_TABLE")  # where to write what was seen

seen = Table()


def pytest_sessionfinish(exitstatus: int) -> None:
    if TABLE and seen.stores and exitstatus == pytest.ExitCode.OK:
        Path(TABLE).write_text(seen.page())


@pytest.fixture(scope="session", params=ASKED)
def served(
    request: pytest.FixtureRequest, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Served]:
    """A running store; SeaweedFS is the one that all tests share."""
    if request.param == "seaweedfs":
        secret = settings.storage_secret_key
        assert secret is not None
        yield Served(
            "SeaweedFS",
            "4.48",
            str(settings.storage_endpoint),
            str(settings.storage_access_key),
            secret.get_secret_value(),
        )
        return
    with _unless_absent(request.param), OTHERS[request.param](tmp_path_factory.mktemp(request.param)) as running:
        yield running


@contextmanager
def _unless_absent(name: str) -> Iterator[None]:
    try:
        yield
    except Absent as reason:
        seen.absent[name] = str(reason)
        pytest.skip(f"{name} cannot be had on this machine: {reason}")


@pytest.fixture(scope="session")
def store_settings(settings: Settings, served: Served) -> Settings:
    """rushes on this store, beside the database of all tests."""
    changes = {
        "storage_endpoint": served.endpoint,
        "storage_public_endpoint": served.endpoint,
        "storage_access_key": served.access_key,
        "storage_secret_key": SecretStr(served.secret_key),
        "bucket_incoming": "conform-work/incoming",
        "bucket_originals": "conform-originals",
        "bucket_renditions": "conform-work/renditions",
    }
    return settings.model_copy(update=changes)


@pytest.fixture(scope="session")
async def storage(store_settings: Settings) -> AsyncIterator[Storage]:
    async with open_storage(store_settings) as opened:
        for bucket in opened.buckets:
            await ensure_bucket(opened.s3, bucket)
        yield opened


@pytest.fixture(scope="session")
async def capabilities(storage: Storage) -> Capabilities:
    """What the probe sees, which is what the product goes by."""
    return await probe(storage, at=datetime.now(UTC))


@pytest.fixture(scope="session")
async def desk(store_settings: Settings, storage: Storage) -> AsyncIterator[Desk]:
    """The product on this store; `storage` has made its buckets."""
    async with open_desk(store_settings) as opened:
        yield opened


@pytest.fixture
def note(served: Served) -> Callable[[str, str], None]:
    """Write a line of the table: what was asked, what this store does."""
    return lambda line, text: seen.note(served, line, text)


@pytest.fixture(autouse=True)
async def quiet_loop() -> AsyncIterator[None]:
    """What a test leaves running on the loop has had its turn before the store goes."""
    yield
    await asyncio.sleep(0)
