"""Part plans and quotas over their whole range: pure, so properties hold or a counterexample is shown."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rushes.errors import Invalid, OverQuota
from rushes.plan import (
    EAGER_LEAST,
    EAGER_SMALL,
    GB,
    GIB,
    MAX_OBJECT,
    MAX_PART,
    MAX_PARTS,
    MIB,
    MIN_PART,
    ORDINARY_PART,
    PROFILES,
    QUOTA_PLANS,
    Caps,
    Profile,
    QuotaPlan,
    Sums,
    check_quota,
    eager_part_size,
    plan_parts,
    room,
)

SIZES = st.one_of(
    st.integers(1, MAX_OBJECT),
    st.integers(0, 64).map(lambda power: min(2**power, MAX_OBJECT)),
    st.builds(
        lambda parts, size, more: min(max(1, parts * size + more), MAX_OBJECT),
        st.integers(1, MAX_PARTS),
        st.sampled_from([MIN_PART, 8 * MIB, ORDINARY_PART, MAX_PART]),
        st.integers(-1, 1),
    ),
)
STORES = st.sampled_from(list(PROFILES.values()))


@given(size=SIZES, store=STORES, wanted=st.none() | st.integers(MIN_PART, MAX_PART), limit=st.none() | SIZES)
@example(size=1, store=PROFILES["aws"], wanted=None, limit=None)
@example(size=ORDINARY_PART, store=PROFILES["aws"], wanted=None, limit=None)
@example(size=ORDINARY_PART + 1, store=PROFILES["aws"], wanted=None, limit=None)
@example(size=MAX_OBJECT, store=PROFILES["aws"], wanted=None, limit=None)
@example(size=MAX_OBJECT, store=PROFILES["aws"], wanted=MIN_PART, limit=1)
@example(size=MAX_PARTS * MIN_PART + 1, store=PROFILES["aws"], wanted=MIN_PART, limit=None)
@example(size=5 * 10**12, store=PROFILES["scaleway"], wanted=MIN_PART, limit=None)
@example(size=PROFILES["r2"].max_object, store=PROFILES["r2"], wanted=None, limit=None)
def test_parts_cover_the_file_and_storage_takes_them(
    size: int, store: Profile, wanted: int | None, limit: int | None
) -> None:
    size = min(size, store.max_object)
    wanted = wanted and min(wanted, store.max_part)
    plan = plan_parts(size, wanted, store, body_limit=limit)
    assert plan.size == size
    assert 1 <= plan.part_count <= store.max_parts
    lengths = [plan.length(1), plan.length(plan.part_count)]
    assert lengths[0] * (plan.part_count - 1) + lengths[1] == size
    assert all(1 <= length <= store.max_part for length in lengths)
    assert lengths[0] >= lengths[1]
    if plan.part_count > 1:
        assert lengths[0] == plan.part_size >= MIN_PART


@given(size=SIZES, store=STORES, wanted=st.integers(MIN_PART, MAX_PART))
def test_a_wish_holds_where_it_can(size: int, store: Profile, wanted: int) -> None:
    size, wanted = min(size, store.max_object), min(wanted, store.max_part)
    plan = plan_parts(size, wanted, store)
    if wanted * store.max_parts >= size:
        assert plan.part_size == min(wanted, size)
    else:
        assert plan.part_size > wanted
        assert plan.part_size % MIB == 0


@given(size=SIZES)
def test_parts_ordinarily_have_64_to_128_mib(size: int) -> None:
    plan = plan_parts(size)
    if size <= ORDINARY_PART:
        assert plan.part_count == 1
    elif size <= 128 * MIB * MAX_PARTS:
        assert 64 * MIB <= plan.part_size <= 128 * MIB
    assert plan.part_size <= ORDINARY_PART or plan.part_count > MAX_PARTS // 2


@given(size=SIZES, wanted=st.none() | st.integers(MIN_PART, MAX_PART), limit=st.integers(1, 10 * GB))
def test_bodies_stay_below_what_a_proxy_lets_through_while_the_part_limit_allows(
    size: int, wanted: int | None, limit: int
) -> None:
    plan = plan_parts(size, wanted, body_limit=limit)
    most = max(MIN_PART, min(limit, wanted or ORDINARY_PART))
    assert plan.part_size <= most or size > most * MAX_PARTS


@pytest.mark.parametrize("name", list(PROFILES))
@pytest.mark.parametrize("size", [5 * 10**12, 49 * 2**40 // 10, 488 * 2**40 // 10])
def test_the_largest_files_get_a_legal_plan_or_a_clear_no(name: str, size: int) -> None:
    store = PROFILES[name]
    if size > store.max_object:
        with pytest.raises(Invalid, match=f"object storage takes at most {store.max_object}"):
            plan_parts(size, profile=store)
        return
    plan = plan_parts(size, profile=store)
    assert plan.part_count <= store.max_parts
    assert plan.part_size <= store.max_part


def test_a_5_tb_file_is_not_cut_into_100_mb_parts() -> None:
    plan = plan_parts(5 * 10**12, 100 * 10**6)
    assert (plan.part_size, plan.part_count) == (477 * MIB, 9_997)


@given(size=SIZES)
def test_an_eager_client_gets_small_parts_of_a_modest_file(size: int) -> None:
    wish = eager_part_size(size)
    if wish is None:
        assert size <= EAGER_SMALL or size > 64 * GIB
        return
    assert EAGER_LEAST <= wish <= ORDINARY_PART
    assert 3 <= plan_parts(size, wish).part_count <= 1_024


@pytest.mark.parametrize(
    ("size", "wish"),
    [
        (16 * MIB, None),
        (17 * MIB, 8),
        (GIB, 8),
        (GIB + 1, 16),
        (16 * GIB, 16),
        (33 * GIB, 33),
        (64 * GIB, 64),
        (65 * GIB, None),
    ],
)
def test_the_parts_of_an_eager_client(size: int, wish: int | None) -> None:
    assert eager_part_size(size) == (None if wish is None else wish * MIB)


@given(size=SIZES, more=st.integers(1, 10 * GB))
def test_a_larger_file_never_has_smaller_parts(size: int, more: int) -> None:
    assert plan_parts(size).part_size <= plan_parts(min(size + more, MAX_OBJECT)).part_size


@pytest.mark.parametrize("size", [0, -1, MAX_OBJECT + 1])
def test_sizes_that_storage_cannot_take(size: int) -> None:
    with pytest.raises(Invalid) as refused:
        plan_parts(size)
    assert refused.value.code == "size_invalid"


@pytest.mark.parametrize("wanted", [0, -1, MIN_PART - 1, MAX_PART + 1])
def test_part_sizes_that_storage_cannot_take(wanted: int) -> None:
    with pytest.raises(Invalid) as refused:
        plan_parts(100 * MIB, wanted)
    assert refused.value.code == "part_size_invalid"


@given(size=SIZES, number=st.integers(-2, MAX_PARTS + 2))
def test_a_part_that_the_plan_does_not_have(size: int, number: int) -> None:
    plan = plan_parts(size)
    if 1 <= number <= plan.part_count:
        assert plan.length(number) >= 1
    else:
        with pytest.raises(Invalid):
            plan.length(number)


BYTES = st.integers(0, 10**19)


SUMS = st.builds(Sums, BYTES, BYTES, st.integers(0, 20_000), BYTES)
LIMIT = st.none() | BYTES
CAPS = st.builds(Caps, LIMIT, LIMIT, st.none() | st.integers(0, 20_000))
PLANS = st.one_of(
    st.sampled_from(list(QUOTA_PLANS.values())),
    st.builds(QuotaPlan, LIMIT, LIMIT, LIMIT, st.none() | st.integers(0, 20_000)),
)


@given(size=BYTES.map(lambda size: size + 1), plan=PLANS, caps=CAPS, own=SUMS, tenants=SUMS)
def test_a_quota_lets_in_exactly_what_fits(size: int, plan: QuotaPlan, caps: Caps, own: Sums, tenants: Sums) -> None:
    pairs = (
        (size, plan.file_bytes),
        (own.open_uploads + 1, plan.open_uploads),
        (tenants.open_uploads + 1, caps.open_uploads),
        (own.stored + own.reserved + size, plan.stored_bytes),
        (own.month_bytes + size, plan.month_bytes),
        (tenants.stored + tenants.reserved + size, caps.stored_bytes),
        (tenants.month_bytes + size, caps.month_bytes),
    )
    if all(limit is None or amount <= limit for amount, limit in pairs):
        check_quota(plan, caps, own, tenants, size=size)
        return
    with pytest.raises(OverQuota) as over:
        check_quota(plan, caps, own, tenants, size=size)
    assert over.value.details["limit"] in {limit for amount, limit in pairs if limit is not None and amount > limit}
    assert 0 <= over.value.details.get("left", 0) < size


@given(plan=PLANS, caps=CAPS, own=SUMS, tenants=SUMS)
def test_the_room_there_is_can_be_had_and_no_more(plan: QuotaPlan, caps: Caps, own: Sums, tenants: Sums) -> None:
    left = room(plan, caps, own, tenants)
    free = replace(plan, open_uploads=None), replace(caps, open_uploads=None)
    if left is None:
        check_quota(*free, own, tenants, size=10**30)
        return
    with pytest.raises(OverQuota):
        check_quota(*free, own, tenants, size=left + 1)
    if left:
        check_quota(*free, own, tenants, size=left)
    else:
        with pytest.raises(OverQuota, match="size is not known"):
            check_quota(*free, own, tenants, size=None)


def test_there_are_never_ten_thousand_parts() -> None:
    """SeaweedFS names part files with four digits: its listing breaks at part 10,000."""
    plan = plan_parts(10_000 * MIN_PART, MIN_PART)
    assert (plan.part_size, plan.part_count) == (6 * MIB, 8_334)
    assert plan_parts(9_999 * MIN_PART, MIN_PART).part_count == 9_999


def test_the_plans_are_the_ones_we_sell() -> None:
    limits = {name: (plan.stored_bytes, plan.file_bytes) for name, plan in QUOTA_PLANS.items()}
    assert limits == {
        "user": (5 * GB, 5 * GB),
        "pro": (50 * GB, 50 * GB),
        "enterprise": (500 * GB, 500 * GB),
        "studio": (None, None),
    }
    assert QUOTA_PLANS["user"] == QuotaPlan(5 * GB, 20 * GB, 5 * GB, 100)


def test_a_client_that_sends_the_plan_of_a_small_file_back_gets_it_again() -> None:
    plan = plan_parts(934_826)
    assert plan_parts(plan.size, plan.part_size) == plan
    assert plan_parts(1, 1).part_count == 1
