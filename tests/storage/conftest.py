"""A real SeaweedFS for the folder, on free ports and in a temporary directory; see `weed`."""

from __future__ import annotations

import json
import os
import secrets
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from rushes.config import Settings
from rushes.storage import Storage, ensure_bucket, open_storage

PORT_FLAGS = ("master.port", "volume.port", "filer.port", "s3.port", "admin.port")
ACCESS_KEY = "rushes-test"


@pytest.fixture(scope="session")
def weed_secret() -> str:
    return secrets.token_urlsafe(24)


@pytest.fixture(scope="session")
def weed(tmp_path_factory: pytest.TempPathFactory, weed_secret: str) -> Iterator[str]:
    """The S3 endpoint of a running SeaweedFS."""
    home = tmp_path_factory.mktemp("weed")
    ports = free_ports(2 * len(PORT_FLAGS))
    flags = [f"-{flag}={ports[2 * i]}" for i, flag in enumerate(PORT_FLAGS)]
    flags += [f"-{flag}.grpc={ports[2 * i + 1]}" for i, flag in enumerate(PORT_FLAGS)]
    endpoint = f"http://127.0.0.1:{ports[2 * PORT_FLAGS.index('s3.port')]}"
    process = start_weed(home, flags, weed_secret)
    try:
        wait_for(endpoint, process)
        yield endpoint
    finally:
        process.kill()
        process.wait(timeout=30)


def start_weed(home: Path, port_flags: list[str], secret: str) -> subprocess.Popen[bytes]:
    identity = {
        "name": "admin",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": secret}],
        "actions": ["Admin", "Read", "List", "Tagging", "Write"],
    }
    (home / "s3.json").write_text(json.dumps({"identities": [identity]}))
    (home / "data").mkdir()
    command = [
        str(Path(sys.executable).with_name("weed")),
        "-logtostderr=true",
        "mini",
        f"-dir={home}/data",
        "-ip=127.0.0.1",
        "-ip.bind=127.0.0.1",
        *port_flags,
        f"-s3.config={home}/s3.json",
        "-s3.port.iceberg=0",
        "-s3.port.lance=0",
        "-webdav=false",
        "-admin.ui=false",
        "-master.telemetry=false",
        "-s3.autoCreateBucket=false",
        "-master.volumeSizeLimitMB=128",
        f"-filer.localSocket={home}/filer.sock",
        f"-s3.localSocket={home}/s3.sock",
    ]
    environment = os.environ | {"GOMEMLIMIT": "400MiB", "HOME": str(home)}
    with (home / "weed.log").open("wb") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, cwd=home, env=environment)


def free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def wait_for(endpoint: str, process: subprocess.Popen[bytes]) -> None:
    """Until S3 answers: with 403, since nobody has signed."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            opener.open(endpoint, timeout=2).close()
        except urllib.error.HTTPError as answer:
            answer.close()
            return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError("SeaweedFS did not start")


@pytest.fixture(scope="session")
def settings(weed: str, weed_secret: str) -> Settings:
    return Settings.model_validate(
        {
            "storage_endpoint": weed,
            "storage_access_key": ACCESS_KEY,
            "storage_secret_key": weed_secret,
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
