"""A stack whose store clients cannot reach: everything goes through the API, and nobody sees a difference."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import httpx
import pytest

from rushes.checksum import crc64nvme, encode
from rushes.plan import MIB, MIN_PART
from rushes.storage import Credentials, Signer
from rushes.storage.endpoint import Endpoint
from tests.e2e.equipment import Site, sha256, site

HEADER = "x-amz-checksum-crc64nvme"


@pytest.fixture(scope="module")
def out_of_reach(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`rushes up` with no public endpoint, which an empty text says even on this machine."""
    with site(tmp_path_factory.mktemp("out of reach"), storage_public_endpoint="") as running:
        yield running


@pytest.fixture(scope="module")
def film(tiny_clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A short clip in a large file: behind the film there is a box of free space (ISO/IEC 14496-12, section 8.1.2)."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    space = 26 * MIB
    path.write_bytes(tiny_clip.read_bytes() + space.to_bytes(4, "big") + b"free" + os.urandom(space - 8))
    return path


def ways(stack: Site, upload_id: object) -> list[object]:
    return [row[0] for row in stack.rows("SELECT way FROM parts WHERE upload_id = %s ORDER BY number", upload_id)]


def test_the_command_line_needs_no_word_about_it(out_of_reach: Site, film: Path) -> None:
    env = os.environ | {
        "RUSHES_SERVER": out_of_reach.running.api_url,
        "RUSHES_TOKEN": out_of_reach.token,
        "RUSHES_STATE_DIR": str(film.parent / "state"),
    }
    done = subprocess.run(
        [sys.executable, "-m", "rushes", "ingest", str(film), "--json"],
        env=env,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    ((upload_id, asset_id),) = out_of_reach.rows("SELECT id, asset_id FROM uploads WHERE filename = 'film.mp4'")
    asset = out_of_reach.client.assets.get(UUID(str(asset_id)))
    assert (asset.status, asset.sha256, asset.verification) == ("published", sha256(film), "end_to_end")
    found = ways(out_of_reach, upload_id)
    assert len(found) >= 4
    assert set(found) == {"relayed"}
    assert str(asset_id) in json.dumps(json.loads(done.stdout))


def test_direct_and_relayed_parts_and_slices_of_one_file(out_of_reach: Site, film: Path) -> None:
    environment = out_of_reach.running.environment
    data = film.read_bytes()
    parts = [data[at : at + 2 * MIN_PART] for at in range(0, len(data), 2 * MIN_PART)]
    http = httpx.Client(
        base_url=out_of_reach.running.api_url,
        headers={"Authorization": f"Bearer {out_of_reach.token}"},
        timeout=60,
        trust_env=False,
    )
    with http:
        said = {"filename": "mixed.mp4", "size": len(data), "content_type": "video/mp4", "part_size": len(parts[0])}
        upload = http.post("/v1/uploads", json=said).json()
        address = f"/v1/uploads/{upload['upload_id']}"
        sums = [encode(crc64nvme(part)) for part in parts]
        want = [{"number": number, "checksum": checksum} for number, checksum in enumerate(sums, 1)]
        grants = http.post(f"{address}/parts", json={"want": want}).json()["grants"]
        assert all(grant["url"].startswith(f"{out_of_reach.running.api_url}{address}/parts/") for grant in grants)

        # Part 1 goes straight to storage, by a grant as a stack within reach would have made it.
        ((bucket, key, storage_id),) = out_of_reach.rows(
            "SELECT bucket, key, storage_upload_id FROM uploads WHERE id = %s", upload["upload_id"]
        )
        endpoint = Endpoint.parse(environment["RUSHES_STORAGE_ENDPOINT"], region="us-east-1", addressing="path")
        keys = Credentials(environment["RUSHES_STORAGE_ACCESS_KEY"], environment["RUSHES_STORAGE_SECRET_KEY"])
        signer = Signer(endpoint, keys).parts(
            str(bucket), str(key), str(storage_id), algorithm="crc64nvme", at=datetime.now(UTC), seconds=60
        )
        url, headers = signer.sign(1, len(parts[0]), sums[0])
        etag = httpx.put(url, content=parts[0], headers=headers, trust_env=False).headers["etag"]

        # Part 2 comes in slices, the others whole.
        for at in (6 * MIB, 0, 3 * MIB):
            piece = parts[1][at : at + 4 * MIB]
            where = {"Content-Range": f"bytes {at}-{at + len(piece) - 1}/{len(parts[1])}", HEADER: sums[1]}
            assert http.put(f"{address}/parts/2", content=piece, headers=where).status_code in {200, 202}
        for grant, part in zip(grants[2:], parts[2:], strict=True):
            assert httpx.put(grant["url"], content=part, headers=grant["headers"], trust_env=False).status_code == 200

        done = [{"number": 1, "etag": etag, "checksum": sums[0]}]
        assert http.post(f"{address}/complete", json={"done": done}).status_code in {200, 202}
    asset = out_of_reach.client.wait(UUID(upload["asset_id"]), timeout=200)
    assert (asset.sha256, asset.verification) == (sha256(film), "end_to_end")
    assert ways(out_of_reach, upload["upload_id"]) == ["direct"] + ["relayed"] * (len(parts) - 1)


def test_a_whole_file_by_curl(out_of_reach: Site, film: Path) -> None:
    """As the README has it."""
    said = {"filename": "whole.mp4", "size": film.stat().st_size, "content_type": "video/mp4"}
    bearer = {"Authorization": f"Bearer {out_of_reach.token}"}
    upload = httpx.post(f"{out_of_reach.running.api_url}/v1/uploads", json=said, headers=bearer, trust_env=False).json()
    address = f"{out_of_reach.running.api_url}/v1/uploads/{upload['upload_id']}/content"
    told = ["-H", f"Authorization: Bearer {out_of_reach.token}", address]
    done = subprocess.run(
        ["curl", "-sS", "-X", "PUT", "-T", str(film), *told], capture_output=True, timeout=100, check=True
    )
    assert json.loads(done.stdout)["upload_state"] in {"ingested", "finalizing"}
    asset = out_of_reach.client.wait(UUID(upload["asset_id"]), timeout=200)
    assert (asset.sha256, asset.verification) == (sha256(film), "storage")
