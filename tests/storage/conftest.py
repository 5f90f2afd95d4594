"""A real SeaweedFS for the folder, as `rushes up` runs it, and Storage open on it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from rushes.config import Settings
from rushes.embedded import seaweed
from rushes.embedded.seaweed import Store
from rushes.storage import Storage, ensure_bucket, open_storage


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    with seaweed.running(tmp_path_factory.mktemp("store")) as running:
        yield running


@pytest.fixture(scope="session")
def settings(store: Store) -> Settings:
    return Settings.model_validate(
        {
            "storage_endpoint": store.endpoint,
            "storage_access_key": store.access_key,
            "storage_secret_key": store.secret_key,
            "bucket_incoming": "test-work/incoming",
            "bucket_originals": "test-originals",
            "bucket_renditions": "test-work/renditions",
        }
    )


@pytest.fixture(scope="session")
async def storage(settings: Settings) -> AsyncIterator[Storage]:
    async with open_storage(settings) as opened:
        for bucket in opened.buckets:
            await ensure_bucket(opened.s3, bucket)
        yield opened
