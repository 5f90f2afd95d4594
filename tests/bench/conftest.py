"""One stand-in store for the folder, and botocore's client to talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from bench import processes
from bench.standin import ACCESS_KEY, SECRET_KEY


@pytest.fixture(scope="session")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with processes.standin(tmp_path_factory.mktemp("standin") / "log") as (url, _):
        yield url


def client_of(endpoint: str, secret_key: str = SECRET_KEY) -> Any:
    return botocore.session.Session().create_client(
        "s3",
        region_name="us-east-1",
        endpoint_url=endpoint,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=secret_key,
        config=Config(
            s3={"addressing_style": "path"},
            signature_version="s3v4",
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            proxies={},
        ),
    )


@pytest.fixture(scope="session")
def s3(endpoint: str) -> Any:
    client = client_of(endpoint)
    client.create_bucket(Bucket="films")
    return client
