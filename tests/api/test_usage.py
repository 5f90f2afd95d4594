"""GET /v1/usage: own sums and limits; the tenant's for those who see it; what may be set, and what follows from it."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from rushes.errors import Invalid, NotFound
from rushes.ingest import tenants, tokens
from rushes.model import Role
from rushes.plan import GB, MIN_PART
from tests.ingest.equipment import Desk, Json, Person, problem, somebody

NOTHING = {"stored": 0, "reserved": 0, "open_uploads": 0, "month_bytes": 0}


async def refused(who: Person, size: int | None, code: str) -> Json:
    wanted = {"filename": "a.mov"} | ({} if size is None else {"size": size})
    return problem(await who.http.post("/v1/uploads", json=wanted), 413, code)


async def test_a_creator_sees_their_sums_and_limits(desk: Desk) -> None:
    ann = desk.person(somebody(plan="user"))
    told = await ann.read("usage")
    assert told == {
        "tenant": ann.who.tenant,
        "creator": "ann",
        "plan": "user",
        "month": f"{datetime.now(UTC):%Y-%m}",
        "used": NOTHING,
        "limits": {"stored_bytes": 5 * GB, "month_bytes": 20 * GB, "file_bytes": 5 * GB, "open_uploads": 100},
        "room": 5 * GB,
        "idle_days": 14,
        "types": ["video", "audio", "image"],
        "tenant_used": None,
        "tenant_limits": None,
    }
    await ann.ingest(b"x" * 1_000)
    upload = await ann.begin(GB)
    told = await ann.read("usage")
    assert told["used"] == {"stored": 1_000, "reserved": GB, "open_uploads": 1, "month_bytes": GB + 1_000}
    assert told["room"] == 4 * GB - 1_000
    await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")
    assert (await ann.read("usage"))["used"] == NOTHING | {"stored": 1_000, "month_bytes": 1_000}


async def test_an_operator_sees_the_tenants_too_and_each_creators(desk: Desk) -> None:
    ann = desk.person(somebody(plan="user"))
    olga = desk.person(replace(ann.who, creator="olga", role=Role.OPERATOR, plan="studio"))
    stranger = desk.person(somebody(Role.OPERATOR))
    await desk.allow(ann.who, stored_bytes=10 * GB, open_uploads=7)
    await ann.begin(3 * GB)
    await olga.begin(GB)
    told = await olga.read("usage")
    assert told["used"]["reserved"] == GB
    assert told["tenant_used"] == {"stored": 0, "reserved": 4 * GB, "open_uploads": 2, "month_bytes": 4 * GB}
    limits = {"stored_bytes": 10 * GB, "month_bytes": None, "file_bytes": None, "open_uploads": 7}
    assert told["tenant_limits"] == limits
    assert told["room"] == 6 * GB
    page = await olga.read("usage/creators?limit=1")
    assert [item["creator"] for item in page["items"]] == ["ann"]
    rest = await olga.read(f"usage/creators?cursor={page['next']}")
    assert [(item["creator"], item["used"]["reserved"]) for item in rest["items"]] == [("olga", GB)]
    assert [item["creator"] for item in (await ann.read("usage/creators"))["items"]] == ["ann"]
    assert (await stranger.read("usage/creators"))["items"] == []
    assert (await stranger.read("usage"))["tenant_used"] == NOTHING


async def test_a_narrow_token_sees_no_more_than_it_may(desk: Desk) -> None:
    olga = desk.person(somebody(Role.OPERATOR))
    upload = await olga.begin(GB)
    narrow = desk.person(replace(olga.who, title=UUID(upload["title_id"])))
    told = await narrow.read("usage")
    assert (told["used"]["reserved"], told["tenant_used"]) == (GB, None)
    assert (await narrow.read("usage/creators"))["items"] == []
    problem(await desk.with_token(upload["token"]).get("/v1/usage"), 403, "token_scope")


async def test_each_limit_is_told_by_its_name(desk: Desk) -> None:
    ann = desk.person(somebody(plan="user"))
    bob = desk.person(replace(ann.who, creator="bob"))
    own = {"user": {"stored_bytes": 50, "month_bytes": 70, "file_bytes": 40, "open_uploads": 2}}
    await desk.allow(ann.who, plans=own, stored_bytes=60, month_bytes=90, open_uploads=3)
    assert await refused(ann, 41, "file_too_large") == {"limit": 40}
    first = await ann.begin(40)
    assert await refused(ann, 11, "quota_exceeded") == {"limit": 50, "left": 10}
    await ann.begin(10)
    assert await refused(ann, 1, "too_many_uploads") == {"limit": 2}
    assert await refused(bob, 11, "tenant_quota_exceeded") == {"limit": 60, "left": 10}
    second = await bob.begin(10)
    assert await refused(bob, 1, "tenant_too_many_uploads") == {"limit": 3}
    assert (await bob.read("usage"))["room"] == 0
    for who, upload in ((ann, first), (bob, second)):
        await who.http.delete(f"/v1/uploads/{upload['upload_id']}")
    # The month goes on counting what was stored, also when it is deleted.
    for _ in range(2):
        asset = await ann.ingest(b"x" * 30)
        await ann.http.delete(f"/v1/assets/{asset['asset_id']}")
    assert (await ann.read("usage"))["used"] == {"stored": 0, "reserved": 10, "open_uploads": 1, "month_bytes": 70}
    assert await refused(ann, 1, "month_exceeded") == {"limit": 70, "left": 0}
    assert await refused(bob, 21, "tenant_month_exceeded") == {"limit": 90, "left": 20}
    assert await refused(ann, None, "month_exceeded") == {"limit": 70, "left": 0}
    await desk.adds_up(ann.who)


async def test_another_month_begins_with_nothing_and_gives_nothing_back_to_the_one_before(desk: Desk) -> None:
    ann = desk.person(somebody(plan="user"))
    await desk.allow(ann.who, plans={"user": {"month_bytes": 100}})
    upload = await ann.begin(100)
    assert await refused(ann, 1, "month_exceeded") == {"limit": 100, "left": 0}
    # As it would be, had all this happened in the month before.
    past = "UPDATE {} SET {} = {} - interval '1 month' WHERE tenant = %(tenant)s"
    for table, column in (("quotas", "month"), ("tenant_quotas", "month"), ("uploads", "created_at")):
        await desk.sql(past.format(table, column, column), tenant=ann.who.tenant)
    assert (await ann.read("usage"))["used"]["month_bytes"] == 0
    await ann.begin(60)
    assert (await ann.http.delete(f"/v1/uploads/{upload['upload_id']}")).status_code == 204
    told = (await ann.read("usage"))["used"]
    assert told == {"stored": 0, "reserved": 60, "open_uploads": 1, "month_bytes": 60}
    assert await refused(ann, 41, "month_exceeded") == {"limit": 100, "left": 40}


async def test_who_is_late_with_the_month_neither_charges_the_next_nor_gives_back_of_it(desk: Desk) -> None:
    """As at midnight, when one pod's clock is behind another's."""
    ann = desk.person(somebody(plan="user"))
    await ann.begin(50)
    ahead = "UPDATE {} SET month = month + interval '1 month' WHERE tenant = %(tenant)s RETURNING month"
    sums = "SELECT month, month_bytes FROM {} WHERE tenant = %(tenant)s"
    tables = ("quotas", "tenant_quotas")
    months = [await desk.sql(ahead.format(table), tenant=ann.who.tenant) for table in tables]
    late = await ann.begin(60)
    for deleted in (False, True):
        if deleted:
            assert (await ann.http.delete(f"/v1/uploads/{late['upload_id']}")).status_code == 204
        for table, ((month,),) in zip(tables, months, strict=True):
            assert await desk.sql(sums.format(table), tenant=ann.who.tenant) == [(month, 50)]
    assert await desk.quota(ann.who) == (0, 50, 1)


async def test_a_plan_says_how_long_an_upload_lives(desk: Desk) -> None:
    ann = desk.person(somebody(plan="pro"))
    await desk.allow(ann.who, plans={"pro": {"idle_days": 0.5}})
    upload = await ann.begin(MIN_PART)
    ((seconds, lives),) = await desk.sql(
        "SELECT idle_seconds, extract(epoch FROM expires_at - created_at)::int FROM uploads WHERE id = %(id)s",
        id=upload["upload_id"],
    )
    assert (seconds, lives) == (43_200, 43_200)
    assert (await ann.read("usage"))["idle_days"] == 0.5


# --- what the operator of the server sets -----------------------------------------------------------------------------


async def test_what_is_set_stays_until_it_is_set_anew(desk: Desk) -> None:
    name, now, db = somebody().tenant, datetime.now(UTC), desk.ctx.db
    with pytest.raises(NotFound):
        await tenants.find(db, name, now)
    wanted = tenants.Change(
        caps={"stored_bytes": 7}, plans={"user": {"stored_bytes": 5, "file_bytes": None}}, types=["image", "video"]
    )
    found = (await tenants.change(db, name, wanted, now)).tenant
    assert (found.stored_bytes, found.month_bytes, list(found.types)) == (7, None, ["video", "image"])
    wanted = tenants.Change(caps={"month_bytes": 9}, plain=[("user", "stored_bytes"), ("pro", "month_bytes")])
    found = (await tenants.change(db, name, wanted, now)).tenant
    assert (found.stored_bytes, found.month_bytes, dict(found.plans)) == (7, 9, {"user": {"file_bytes": None}})
    found = (await tenants.change(db, name, tenants.Change(caps={"stored_bytes": None}, types=[]), now)).tenant
    assert (found.stored_bytes, list(found.types)) == (None, ["video", "audio", "image"])
    assert name in [row.tenant.tenant for row in await tenants.page(db, name[:-1], 50, now)]


@pytest.mark.parametrize(
    "wanted",
    [
        {"caps": {"stored": 5}},
        {"caps": {"stored_bytes": -1}},
        {"caps": {"stored_bytes": 2**63}},
        {"caps": {"open_uploads": 2**31}},
        {"plans": {"gold": {"stored_bytes": 5}}},
        {"plans": {"user": {"bytes": 5}}},
        {"plans": {"user": {"stored_bytes": 0.5}}},
        {"plans": {"user": {"idle_days": 0}}},
        {"plans": {"user": {"idle_days": float("nan")}}},
        {"plain": [("user", "bytes")]},
        {"types": ["films"]},
    ],
)
async def test_what_makes_no_sense_is_not_set(desk: Desk, wanted: dict[str, Any]) -> None:
    name = somebody().tenant
    with pytest.raises(Invalid):
        await tenants.change(desk.ctx.db, name, tenants.Change(**wanted), datetime.now(UTC))
    with pytest.raises(NotFound):
        await tenants.find(desk.ctx.db, name, datetime.now(UTC))


async def test_a_token_is_told_whom_it_speaks_for(desk: Desk) -> None:
    title, upload = uuid4(), uuid4()
    before = datetime.now(UTC).replace(microsecond=0)
    for who in (
        somebody(plan="user"),
        somebody(Role.OPERATOR, title=title),
        somebody(Role.SERVICE, plan="pro", upload=upload),
    ):
        told = await desk.person(who).read("me")
        expires = datetime.fromisoformat(told.pop("expires_at"))
        assert told == {
            "tenant": who.tenant,
            "creator": who.creator,
            "role": who.role,
            "plan": who.plan,
            "title_id": None if who.title is None else str(title),
            "upload_id": None if who.upload is None else str(upload),
            "issuer": "rushes",
        }
        assert before < expires < before + timedelta(days=2)
    forever = tokens.mint_for(desk.settings, somebody(), timedelta(days=365 * 7_000), datetime.now(UTC))
    assert (await desk.with_token(forever).get("/v1/me")).json()["expires_at"].startswith("90")
    for token in (None, "nonsense"):
        assert (await desk.with_token(token).get("/v1/me")).status_code == 401
