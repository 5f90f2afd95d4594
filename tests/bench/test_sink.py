"""The sink of the client's bench takes what the clients it compares send: ours, and S3's multipart by boto3."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bench.contenders import CONTENDERS, Contender, Cost, Job, peer, sink

MIB = 1 << 20


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Job]:
    directory = tmp_path_factory.mktemp("sink")
    (directory / "files").mkdir()
    file = directory / "files" / "clip.mov"
    file.write_bytes(os.urandom(20 * MIB))
    with sink(directory, directory / "log") as place:
        yield replace(place, files=(str(file),), part=8 * MIB, lines=2)


@pytest.mark.parametrize("name", ["rushes, the library", "rushes, the engine alone, no checksums"])
def test_ours_uploads_to_it_and_says_what_it_cost(job: Job, name: str) -> None:
    contender = next(one for one in CONTENDERS if one.name == name)
    cost = contender.run(job)
    assert isinstance(cost, Cost), cost
    assert cost.cpu > 0
    assert cost.peak > 10 * MIB


def test_theirs_uploads_to_it(job: Job) -> None:
    """boto3 of our own environment stands for the peers, which are installed only for the bench."""
    boto3 = Contender("boto3", lambda job: [sys.executable, *peer("boto3")(job)[1:]], library=True)
    cost = boto3.run(job)
    assert isinstance(cost, Cost), cost


def test_a_run_that_fails_says_why(job: Job) -> None:
    assert "No such" in str(Contender("cat", lambda _: ["cat", "nothing/here"]).run(job))
    assert Contender("sleep", lambda _: ["sleep", "60"]).run(replace(job, seconds=0.1)) == "not done after 0 s"


def test_the_certificate_is_only_for_this_machine(job: Job) -> None:
    assert job.ca is not None
    text = subprocess.run(
        ["openssl", "x509", "-in", job.ca, "-noout", "-ext", "subjectAltName"],
        check=True, capture_output=True, text=True,
    ).stdout  # fmt: skip
    assert "DNS:localhost, IP Address:127.0.0.1" in text
    assert oct(Path(job.ca).with_suffix(".key").stat().st_mode & 0o077) == "0o0"
