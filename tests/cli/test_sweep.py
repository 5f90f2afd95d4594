"""`rushes sweep` as an operator types it, on real servers."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from rushes.config import Settings
from rushes.embedded.stack import environment
from rushes.ingest.reclaimed import Kind, Sum, Tally, money
from tests.cli.conftest import Rushes
from tests.ingest.equipment import Desk, Json, Person, some_bytes, somebody
from tests.ingest.leftovers import desk_apart

DATA = some_bytes(250_000)
HOSTILE = "[red]b[/red]"  # markup where it is not kept out


@pytest.fixture
async def desk(settings: Settings) -> AsyncIterator[Desk]:
    async with desk_apart(settings) as opened:
        yield opened


async def an_idle_upload(desk: Desk, tenant: str) -> tuple[Person, Json]:
    person = desk.person(somebody(tenant=tenant))
    upload = await person.begin(len(DATA))
    await person.send(upload, DATA)
    await desk.sql("UPDATE uploads SET expires_at = now() WHERE id = %(id)s", id=upload["upload_id"])
    return person, upload


async def test_a_dry_run_shows_bytes_and_money_by_tenant_and_the_run_does_it(desk: Desk, rushes: Rushes) -> None:
    env = environment(desk.settings)
    ann, upload = await an_idle_upload(desk, "acme")
    await an_idle_upload(desk, HOSTILE)
    waiting = await ann.begin(len(DATA))
    await ann.send(waiting, DATA)
    await desk.sql(
        "UPDATE uploads SET progress_at = now() - interval '2 hours' WHERE id = %(id)s", id=waiting["upload_id"]
    )
    shown = rushes("sweep", "--dry-run", "--price-per-gb-month", 100, **env)
    assert shown.returncode == 0, shown.stderr
    assert "A sweep would reclaim 500 kB (0.05 a month)" in shown.stdout
    assert "1 upload is abandoned and may still go on: 250 kB (0.03 a month)." in shown.stdout.replace("\n", " ")
    assert HOSTILE in shown.stdout

    def asked(*options: object) -> dict[str, Any]:
        done = rushes("sweep", "--json", *options, **env)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        assert isinstance(found, dict)
        return found

    announced = asked("--dry-run", "--price-per-gb-month", 100)
    assert announced["dry_run"] is True
    assert announced["reclaimed"] == {"count": 2, "bytes": 2 * len(DATA)}
    assert announced["tenants"]["acme"]["expired_uploads"] == {"count": 1, "bytes": len(DATA)}
    assert announced["money_per_month"]["tenants"]["acme"] == pytest.approx(0.025)
    assert announced["abandoned"] == {"acme": {"count": 1, "bytes": len(DATA)}}
    assert (await ann.upload(upload))["state"] == "uploading"

    done = asked("--price-per-gb-month", 100)
    assert announced | {"dry_run": False} == done
    assert (await ann.upload(upload))["state"] == "expired"
    assert (await ann.upload(waiting))["state"] == "uploading"
    last = rushes("sweep", "--last", 3, **env).stdout
    assert last.count("\n") == 1, "a dry run left a report"
    assert "500 kB reclaimed: 2 expired uploads" in last


async def test_without_a_server_it_says_what_to_set(rushes_here: Rushes) -> None:
    said = rushes_here("sweep", "--dry-run")
    assert said.returncode == 3
    assert "RUSHES_DATABASE_URL" in said.stderr


def test_sums_add_up_and_travel_as_json() -> None:
    tally, other = Tally(), Tally()
    tally.add("a", Kind.EXPIRED, Sum(1, 10))
    other.add("a", Kind.EXPIRED, Sum(2, 5))
    other.add("b", Kind.EVENTS, Sum(7))
    other.add_abandoned("b", Sum(1, 3))
    other.add_problem("storage_busy", 2)
    tally.merge(other)
    assert tally.of_kind(Kind.EXPIRED) == tally.reclaimed() == tally.reclaimed("a") == Sum(3, 15)
    assert tally.reclaimed("b") == tally.reclaimed("nobody") == Sum()
    assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally
    assert money(2_500_000_000, 0.02) == pytest.approx(0.05)


def test_a_report_is_bounded_however_many_tenants_there_are() -> None:
    tally = Tally()
    for number in range(5_000):
        tally.add(f"tenant-{number}", Kind.EXPIRED, Sum(1, 2))
        tally.add_abandoned(f"tenant-{number}", Sum(1, 2))
    assert len(tally.tenants) <= 1_001
    assert len(tally.abandoned) <= 1_001
    assert tally.reclaimed() == tally.all_abandoned() == Sum(5_000, 10_000)
