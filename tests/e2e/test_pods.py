"""Two API processes behind a round robin without sticky sessions serve one upload, through restarts of both."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import cycle
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest

from rushes import checksum
from rushes.client import Client, Limits
from rushes.client.progress import Progress
from rushes.config import Settings
from rushes.ingest import tokens
from rushes.model import ChecksumAlgorithm, Principal, Role
from rushes.plan import MIN_PART
from tests.api.equipment import Api, free_port, served
from tests.conftest import ROUNDS
from tests.pipeline.equipment import database_apart, worker
from tests.pipeline.fault_proxy import FaultProxy

WHO = Principal("pods", "pia", Role.OPERATOR, "studio")
DATA = random.Random(9).randbytes(3 * MIN_PART + 1_000)  # four parts
SHA256 = hashlib.sha256(DATA).hexdigest()


class Pod:
    """An API process on a port of its own that can be killed and started again."""

    def __init__(self, settings: Settings, directory: Path) -> None:
        self._settings = settings
        self._directory = directory
        self._stack = ExitStack()
        self.port = free_port()
        self.api = self._start()

    def _start(self) -> Api:
        return self._stack.enter_context(served(self._settings, self._directory, port=self.port))

    def restart(self, number: signal.Signals) -> None:
        """SIGKILL kills whatever serves, in the middle of whatever it does; SIGTERM is a deploy."""
        if number is signal.SIGTERM:
            self.api.stop()
        else:
            family = [self.api.process.pid, *(c.pid for c in psutil.Process(self.api.process.pid).children(True))]
            for pid in family:
                os.kill(pid, number)
            self.api.process.wait(20)
        self.api = self._start()

    def close(self) -> None:
        self._stack.close()


@dataclass
class Site:
    settings: Settings
    pods: tuple[Pod, Pod]

    @property
    def token(self) -> str:
        return tokens.mint_for(self.settings, WHO, timedelta(hours=1), datetime.now(UTC))


@pytest.fixture(scope="module")
async def site(settings: Settings, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Two pods and a worker over a database of their own."""
    with database_apart(settings) as apart:
        pods = tuple(Pod(apart, tmp_path_factory.mktemp(name)) for name in ("a", "b"))
        try:
            async with worker(apart):
                yield Site(apart, (pods[0], pods[1]))
        finally:
            for pod in pods:
                pod.close()


@contextmanager
def round_robin(site: Site) -> Iterator[str]:
    with FaultProxy(*(f"127.0.0.1:{pod.port}" for pod in site.pods)) as balancer:
        yield balancer.url


async def test_requests_alternate_and_pods_restart_in_between(site: Site) -> None:
    """Every request goes to the other pod than the one before; each pod is started anew in the middle of it."""
    turns = cycle(site.pods)
    headers = {"Authorization": f"Bearer {site.token}"}
    parts = [DATA[start : start + MIN_PART] for start in range(0, len(DATA), MIN_PART)]
    sums = [checksum.compute(ChecksumAlgorithm.CRC64NVME, part) for part in parts]
    async with httpx.AsyncClient(headers=headers, timeout=60, trust_env=False) as http:

        async def call(method: str, path: str, **body: Any) -> dict[str, Any]:
            url = f"http://127.0.0.1:{next(turns).port}/v1/{path}"
            answer = await http.request(method, url, json=body if method == "POST" else None)
            assert answer.status_code in {200, 201}, answer.text
            return dict(answer.json())

        begun = await call(
            "POST", "uploads", filename="a.mov", size=len(DATA), part_size=MIN_PART, checksum=f"sha256:{SHA256}"
        )
        id_ = begun["upload_id"]
        done: list[dict[str, Any]] = []
        for number, (part, sum_) in enumerate(zip(parts, sums, strict=True), 1):
            reply = await call("POST", f"uploads/{id_}/parts", want=[{"number": number, "checksum": sum_}], done=done)
            (grant,) = reply["grants"]
            async with httpx.AsyncClient(timeout=60, trust_env=False) as storage:
                put = await storage.put(grant["url"], content=part, headers=grant["headers"])
            assert put.status_code == 200, put.text
            done = [{"number": number, "etag": put.headers["ETag"], "checksum": sum_}] if number != 3 else []
            if number in {2, 3}:
                pod = site.pods[number % 2]
                await asyncio.to_thread(pod.restart, signal.SIGKILL if number == 2 else signal.SIGTERM)
        view = await call("GET", f"uploads/{id_}?reconcile=true")
        assert [part["number"] for part in view["parts"]] == [1, 2, 3, 4]  # the report of two of them was lost
        answers = await asyncio.gather(*(call("POST", f"uploads/{id_}/complete", done=done) for _ in range(6)))
        assert {answer["asset_id"] for answer in answers} == {begun["asset_id"]}
        for _ in range(200):
            status = await call("GET", f"uploads/{id_}/status")
            if status["upload_state"] == "ingested":
                break
            await asyncio.sleep(0.05)
        asset = await call("GET", f"assets/{begun['asset_id']}")
    assert (asset["sha256"], asset["verification"]) == (SHA256, "end_to_end")


@pytest.mark.parametrize("algorithm", list(ChecksumAlgorithm))
def test_the_client_notices_nothing(site: Site, tmp_path: Path, algorithm: ChecksumAlgorithm) -> None:
    """The SDK sends a file with each kind of checksum; the pods are killed and deployed while it does (in short runs: once)."""
    path = tmp_path / "clip.mov"
    path.write_bytes(DATA)
    kills = [signal.SIGKILL, signal.SIGTERM] if ROUNDS > 1 or algorithm is ChecksumAlgorithm.MD5 else []

    def on_progress(progress: Progress) -> None:
        if kills and progress.parts_held:
            site.pods[len(kills) % 2].restart(kills.pop())

    with round_robin(site) as url, Client(url, site.token) as client:
        result = client.upload(
            path,
            part_size=MIN_PART,
            checksum_algorithm=algorithm,
            checksum=[f"sha256:{SHA256}", f"md5:{hashlib.md5(DATA).hexdigest()}"],  # noqa: S324 - may be declared
            limits=Limits(parallel=1, backoff=0.1, look_every=0.1),
            on_progress=on_progress,
        )
        view = client.uploads.get(result.upload_id)
        asset = client.assets.get(result.asset_id)
    assert (view.state, view.checksum_algorithm) == ("ingested", algorithm)
    assert (asset.sha256, asset.verification) == (SHA256, "end_to_end")
    assert {part.checksum for part in view.parts or []} == {
        checksum.compute(algorithm, DATA[start : start + MIN_PART]) for start in range(0, len(DATA), MIN_PART)
    }
