"""`rushes doctor` against real servers: what is missing is said, `--fix` mends it, and nothing of others is touched."""

from __future__ import annotations

import json
import os
import socket
import subprocess
from typing import Any
from uuid import uuid4

import pytest
from botocore.config import Config
from botocore.session import Session

from rushes.config import Settings
from rushes.embedded.stack import environment as variables
from tests.cli.conftest import Rushes


@pytest.fixture
def s3(settings: Settings) -> Any:
    assert settings.storage_secret_key is not None
    return Session().create_client(
        "s3",
        endpoint_url=settings.storage_endpoint,
        region_name="us-east-1",
        aws_access_key_id=settings.storage_access_key,
        aws_secret_access_key=settings.storage_secret_key.get_secret_value(),
        config=Config(s3={"addressing_style": "path"}),
    )


@pytest.fixture
def fresh(settings: Settings) -> dict[str, str]:
    """The variables of a server whose buckets nobody has made yet."""
    name = f"sick-{uuid4().hex[:10]}"
    places = {
        "bucket_incoming": f"{name}/incoming",
        "bucket_originals": f"{name}-originals",
        "bucket_renditions": f"{name}/renditions",
        "cors_origins": ("https://app.example.com",),
    }
    asked = Settings.model_validate(settings.model_dump(exclude_unset=True) | places)
    return variables(asked)


def lines(done: subprocess.CompletedProcess[str], topic: str) -> list[str]:
    return [line for line in done.stdout.splitlines() if line.split()[1:2] == [topic]]


def test_what_is_missing_is_said_and_mended(rushes: Rushes, fresh: dict[str, str], s3: Any) -> None:
    originals = fresh["RUSHES_BUCKET_ORIGINALS"]
    before = rushes("doctor", **fresh)
    assert before.returncode == 1, before.stdout + before.stderr
    assert f"There is no bucket {originals}." in before.stdout
    assert "`rushes doctor --fix` does" in before.stdout

    s3.create_bucket(Bucket=originals)
    foreign_page = {"AllowedOrigins": ["https://other.example"], "AllowedMethods": ["GET"], "ID": "theirs"}
    s3.put_bucket_cors(Bucket=originals, CORSConfiguration={"CORSRules": [foreign_page]})
    theirs = {"ID": "theirs", "Status": "Enabled", "Filter": {"Prefix": "logs/"}, "Expiration": {"Days": 3}}
    early = {"ID": "early", "Status": "Enabled", "Filter": {"Prefix": ""}} | {
        "AbortIncompleteMultipartUpload": {"DaysAfterInitiation": 7}
    }
    s3.put_bucket_lifecycle_configuration(Bucket=originals, LifecycleConfiguration={"Rules": [theirs, early]})

    half = rushes("doctor", "--fix", **fresh)
    assert half.returncode == 1, half.stdout + half.stderr
    assert "'early'" in "".join(lines(half, "lifecycle"))  # a rule of others is named, and left alone
    kept = s3.get_bucket_lifecycle_configuration(Bucket=originals)["Rules"]
    assert [rule["ID"] for rule in kept] == ["theirs", "early", "rushes-abort"]
    assert kept[-1]["AbortIncompleteMultipartUpload"] == {"DaysAfterInitiation": 91}

    s3.put_bucket_lifecycle_configuration(Bucket=originals, LifecycleConfiguration={"Rules": [theirs]})
    after = rushes("doctor", "--fix", "--json", **fresh)
    assert after.returncode == 0, after.stdout + after.stderr
    assert [rule["ID"] for rule in s3.get_bucket_cors(Bucket=originals)["CORSRules"]] == ["rushes-cors", "theirs"]
    told = json.loads(after.stdout)
    assert told["ok"] is True
    levels = {finding["topic"]: finding["level"] for finding in told["findings"]}
    assert levels["cors"] == levels["browsers"] == levels["checksums"] == levels["database"] == "ok"
    incoming = fresh["RUSHES_BUCKET_INCOMING"].partition("/")[0]
    rules = s3.get_bucket_lifecycle_configuration(Bucket=incoming)["Rules"]
    assert {rule["Filter"]["Prefix"] for rule in rules} == {"incoming/", "renditions/"}


def test_what_does_not_answer_is_a_problem_and_a_typing_error_a_warning(rushes: Rushes, fresh: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as reserved:
        nowhere = f"127.0.0.1:{reserved.getsockname()[1]}"
    changes = {"RUSHES_DATABASE_URL": f"postgresql://u:secret@{nowhere}/x", "RUSHES_STORAGE_REGON": "x"}
    done = rushes("doctor", **fresh | changes)
    assert done.returncode == 1
    assert lines(done, "database")[0].startswith("problem")
    assert "Did you mean RUSHES_STORAGE_REGION?" in done.stdout
    assert "secret" not in done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    done = rushes("doctor", **fresh | {"RUSHES_STORAGE_ENDPOINT": f"http://{nowhere}"})
    assert done.returncode == 1
    assert "The connection to storage failed." in done.stdout


def test_where_nothing_runs_and_nothing_is_configured(rushes: Rushes) -> None:
    done = rushes("doctor")
    assert done.returncode == 1
    assert "Start `rushes up`" in done.stdout
    assert "1 problem." in done.stdout


def test_an_encoder_that_does_not_work_here_is_a_problem(rushes: Rushes, settings: Settings, context: object) -> None:
    """The doctor names it, and no worker starts with it: nobody's video would come out otherwise than asked for."""
    asked = variables(settings) | {"RUSHES_VIDEO_ENCODER": "nvenc", "RUSHES_VIDEO_SECOND": "vp9"}
    done = rushes("doctor", **asked)
    assert done.returncode == 1
    assert [line.split()[0] for line in lines(done, "encoder")] == ["problem"]
    assert "Set RUSHES_VIDEO_ENCODER=x264." in " ".join(done.stdout.split())
    worker = rushes("worker", **asked)
    assert worker.returncode not in {0, os.EX_TEMPFAIL}
    assert "The encoder nvenc (h264_nvenc) does not work on this machine" in " ".join(worker.stderr.split())
    assert "is ready" not in worker.stderr
    assert "Traceback" not in worker.stderr
