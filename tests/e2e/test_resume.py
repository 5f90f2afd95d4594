"""Uploads by the command line against the whole stack: killed, and the file changed before they go on."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rushes.checksum import crc64nvme, encode
from rushes.cli import exits
from tests.e2e.equipment import Site, sha256, until

MIB = 1 << 20
PART = 5 * MIB


@pytest.fixture
def film(tiny_clip: Path, tmp_path: Path) -> Path:
    """A short clip in a larger file: behind the film there is a box of free space (ISO/IEC 14496-12, section 8.1.2)."""
    path = tmp_path / "film.mp4"
    space = 18 * MIB
    path.write_bytes(tiny_clip.read_bytes() + space.to_bytes(4, "big") + b"free" + os.urandom(space - 8))
    return path


class Person:
    """Types commands at a machine of their own."""

    def __init__(self, stack: Site, directory: Path) -> None:
        self.env = os.environ | {
            "RUSHES_SERVER": stack.running.api_url,
            "RUSHES_TOKEN": stack.token,
            "RUSHES_STATE_DIR": str(directory / "state"),
        }

    def start(self, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "rushes", *map(str, arguments)]
        return subprocess.Popen(command, env=self.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def run(self, *arguments: object) -> subprocess.CompletedProcess[str]:
        with self.start(*arguments) as process:
            out, err = process.communicate(timeout=120)
        return subprocess.CompletedProcess(process.args, process.returncode, out, err)

    def pending(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.run("pending", "--json").stdout.splitlines()]


@pytest.fixture
def person(stack: Site, tmp_path: Path) -> Person:
    return Person(stack, tmp_path)


def killed(stack: Site, person: Person, film: Path) -> str:
    """Kill -9 when some parts are held and some are not; the upload's id."""
    known = {row[0] for row in stack.rows("SELECT id FROM uploads")}
    with person.start("upload", film, "--part-size", "5MiB", "--concurrency", "1", "--limit-rate", "8M") as process:

        def some_are_held() -> bool:
            return any(
                id_ not in known and parts
                for id_, parts in stack.rows("SELECT id, held_parts FROM uploads WHERE filename = 'film.mp4'")
            )

        until(some_are_held, 30, "no part is held")
        assert process.poll() is None, "it was too fast to be killed"
        process.kill()
    (new,) = {row[0] for row in stack.rows("SELECT id FROM uploads")} - known
    return str(new)


def states(stack: Site) -> dict[str, str]:
    return {str(row[0]): str(row[1]) for row in stack.rows("SELECT id, state FROM uploads")}


def test_killed_and_started_again_it_is_published_whole(stack: Site, person: Person, film: Path) -> None:
    upload_id = killed(stack, person, film)
    done = person.run("upload", film, "--follow", "--json", "--checksum", "sha256")
    assert done.returncode == exits.OK, done.stderr
    told = json.loads(done.stdout)
    assert (told["upload_id"], told["state"]) == (upload_id, "done")
    assert told["sent"] < told["size"]
    assert told["asset"]["sha256"] == sha256(film)
    assert person.pending() == []


def write_at(path: Path, offset: int, data: bytes) -> None:
    with path.open("r+b") as writer:
        writer.seek(offset)
        writer.write(data)


def modified(path: Path) -> None:
    write_at(path, 100, b"modified")


def modified_with_its_times_kept(path: Path) -> None:
    """In the part that was sent, where no sample is taken."""
    status = path.stat()
    for offset in range(PART // 3, PART - MIB, MIB // 2):
        write_at(path, offset, b"modified")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def truncated(path: Path) -> None:
    os.truncate(path, 2 * PART + 17)


def replaced_by_one_of_the_same_size(path: Path) -> None:
    status = path.stat()
    other = path.with_suffix(".new")
    other.write_bytes(random.Random(3).randbytes(status.st_size))
    os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
    other.replace(path)


CHANGES = [modified, modified_with_its_times_kept, truncated, replaced_by_one_of_the_same_size]


@pytest.mark.parametrize("change", CHANGES)
def test_a_file_that_changed_is_said_and_never_published(
    stack: Site, person: Person, film: Path, change: Callable[[Path], None]
) -> None:
    upload_id = killed(stack, person, film)
    change(film)
    for command in (("upload", film), ("resume",)):
        done = person.run(*command)
        assert done.returncode == exits.REFUSED, done.stdout + done.stderr
        assert "rushes upload --anew" in done.stderr
        assert states(stack)[upload_id] == "uploading"
    assert person.pending()[0]["stopped"]["code"] == "file_changed"
    done = person.run("upload", film, "--anew", "--json")
    assert done.returncode == exits.OK, done.stderr
    told = json.loads(done.stdout)
    assert states(stack)[upload_id] == "aborted"
    assert states(stack)[told["upload_id"]] == "ingested"
    asset = stack.client.assets.get(told["asset_id"])
    assert asset.checksum.value == told["checksum"] == encode(crc64nvme(film.read_bytes()))
    assert person.pending() == []
