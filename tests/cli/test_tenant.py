"""`rushes tenant` on a real database, and what `rushes usage` prints."""

from __future__ import annotations

import json
from uuid import uuid4

import pytest

from rushes.cli import usage, words
from rushes.config import Settings
from rushes.errors import Invalid
from rushes.plan import GB
from rushes.wire import UsageLimits, UsageSums, UsageView
from tests.cli.conftest import Rushes


@pytest.fixture
def database(settings: Settings) -> dict[str, str]:
    assert settings.database_url is not None
    return {"RUSHES_DATABASE_URL": settings.database_url.get_secret_value()}


def test_an_operator_sets_and_sees_a_tenant(rushes_here: Rushes, database: dict[str, str]) -> None:
    name = f"studio-{uuid4().hex[:8]}"
    absent = rushes_here("tenant", "show", name, **database)
    assert (absent.returncode, "Nothing is known of that tenant" in absent.stderr) == (3, True)
    words_ = ("--stored", "10TB", "--open-uploads", "50", "--types", "video,application/pdf")
    formats = ("--formats", "video=h264,-mjpeg")
    figures = ("--plan", "user.stored=7GB", "--plan", "user.file=none", "--plan", "pro.idle-days=2.5")
    done = rushes_here("tenant", "set", name, *words_, *formats, *figures, "--json", **database)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["stored_bytes"] == 10_000 * GB
    assert (told["month_bytes"], told["open_uploads"]) == (None, 50)
    assert told["types"] == ["video", "application/pdf"]
    assert told["formats"] == {"video": ["h264", "-mjpeg"]}
    assert told["plans"] == {"user": {"stored_bytes": 7 * GB, "file_bytes": None}, "pro": {"idle_days": 2.5}}
    words_ = ("--stored", "none", "--types", "default", "--plan", "user.stored=default")
    done = rushes_here("tenant", "set", name, *words_, **database)
    assert done.returncode == 0, done.stderr
    assert "stored        0 B, 0 B reserved, of any size" in done.stdout
    assert "types         video, audio, image" in done.stdout
    assert "plan user        stored 5 GB, month 20 GB, file any*" in done.stdout
    assert f"{name}: 0 B stored" in rushes_here("tenant", "list", **database).stdout
    assert any(json.loads(line)["tenant"] == name for line in rushes_here(
        "tenant", "list", "--json", **database
    ).stdout.splitlines())  # fmt: skip


@pytest.mark.parametrize(
    "wrong",
    [
        ("--stored", "much"),
        ("--stored", "-5"),
        ("--open-uploads", "1.5"),
        ("--types", "films"),
        ("--formats", "codec=h264"),
        ("--formats", "video"),
        ("--plan", "user.stored"),
        ("--plan", "gold.stored=5GB"),
        ("--plan", "user.bytes=5GB"),
        ("--plan", "user.idle-days=soon"),
        ("--plan", "user.idle-days=nan"),
    ],
)
def test_what_cannot_be_set_is_said(rushes_here: Rushes, database: dict[str, str], wrong: tuple[str, str]) -> None:
    done = rushes_here("tenant", "set", "nobody", *wrong, **database)
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("rushes: ")


def test_without_a_server_it_says_what_to_do(rushes_here: Rushes) -> None:
    done = rushes_here("tenant", "list")
    assert done.returncode == 3
    assert "RUSHES_DATABASE_URL" in done.stderr


def test_usage_is_told_in_lines() -> None:
    used = UsageSums(stored=3 * GB, reserved=GB, open_uploads=1, month_bytes=4 * GB)
    limits = UsageLimits(stored_bytes=5 * GB, month_bytes=20 * GB, file_bytes=5 * GB, open_uploads=100)
    free = UsageLimits(stored_bytes=None, month_bytes=None, file_bytes=None, open_uploads=None)
    view = UsageView(
        tenant="t",
        creator="c",
        plan="user",
        month="2026-11",
        used=used,
        limits=limits,
        room=GB,
        idle_days=14,
        types=["video"],
        tenant_used=used,
        tenant_limits=free,
    )
    assert [" ".join(line.split()) for line in usage.lines(view)] == [
        "stored 3 GB, 1 GB reserved of 5 GB",
        "2026-11 4 GB of 20 GB",
        "open uploads 1 of 100",
        "tenant stored 3 GB, 1 GB reserved",
        "tenant 2026-11 4 GB",
        "tenant open uploads 1",
        "a new file 1 GB",
        "types video",
    ]


def test_sizes_are_read_as_people_write_them() -> None:
    told = {
        "750": 750,
        "5GB": 5 * GB,
        "1.5 TB": 1_500 * GB,
        "64MiB": 64 * 1024**2,
        "2k": 2_000,
        "0": 0,
        "3 gib": 3 * 2**30,
    }
    assert {text: words.parse_size(text) for text in told} == told
    for wrong in ("", "GB", "5 XB", "-1", "1e9", "5..5GB"):
        with pytest.raises(Invalid):
            words.parse_size(wrong)
