"""Part plans and quotas over their whole range: pure, so properties hold or a counterexample is shown."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rushes.errors import Invalid, OverQuota
from rushes.plan import (
    GB,
    LARGEST_WANTED,
    MAX_OBJECT,
    MAX_PART,
    MAX_PARTS,
    MIB,
    MIN_PART,
    QUOTA_PLANS,
    SMALL_FILE,
    QuotaPlan,
    check_quota,
    plan_parts,
)

SIZES = st.one_of(
    st.integers(1, MAX_OBJECT),
    st.integers(0, 64).map(lambda power: min(2**power, MAX_OBJECT)),
    st.builds(
        lambda parts, size, more: min(max(1, parts * size + more), MAX_OBJECT),
        st.integers(1, MAX_PARTS),
        st.sampled_from([MIN_PART, 8 * MIB, LARGEST_WANTED, MAX_PART]),
        st.integers(-1, 1),
    ),
)


@given(size=SIZES, wanted=st.none() | st.integers(MIN_PART, MAX_PART))
@example(size=1, wanted=None)
@example(size=SMALL_FILE, wanted=None)
@example(size=SMALL_FILE + 1, wanted=None)
@example(size=MAX_OBJECT, wanted=None)
@example(size=MAX_OBJECT, wanted=MIN_PART)
@example(size=MAX_PARTS * MIN_PART + 1, wanted=MIN_PART)
def test_parts_cover_the_file_and_storage_takes_them(size: int, wanted: int | None) -> None:
    plan = plan_parts(size, wanted)
    assert plan.size == size
    assert 1 <= plan.part_count <= MAX_PARTS
    lengths = [plan.length(1), plan.length(plan.part_count)]
    assert lengths[0] * (plan.part_count - 1) + lengths[1] == size
    assert all(1 <= length <= MAX_PART for length in lengths)
    assert lengths[0] >= lengths[1]
    if plan.part_count > 1:
        assert lengths[0] == plan.part_size >= MIN_PART


@given(size=SIZES, wanted=st.integers(MIN_PART, MAX_PART))
def test_a_wish_holds_where_it_can(size: int, wanted: int) -> None:
    plan = plan_parts(size, wanted)
    if wanted * MAX_PARTS >= size:
        assert plan.part_size == min(wanted, size)
    else:
        assert plan.part_size > wanted
        assert plan.part_size % MIB == 0


@given(size=st.integers(SMALL_FILE + 1, MAX_OBJECT))
def test_unless_wished_otherwise_parts_stay_small_while_they_are_few(size: int) -> None:
    plan = plan_parts(size)
    assert plan.part_size % MIB == 0
    assert plan.part_size <= LARGEST_WANTED or plan.part_count > MAX_PARTS // 2
    assert plan.part_count >= 3


@given(size=SIZES, more=st.integers(1, 10 * GB))
def test_a_larger_file_never_has_smaller_parts(size: int, more: int) -> None:
    assert plan_parts(size).part_size <= plan_parts(min(size + more, MAX_OBJECT)).part_size or size <= SMALL_FILE


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


@given(
    size=BYTES,
    stored=BYTES,
    reserved=BYTES,
    open_uploads=st.integers(0, 20_000),
    name=st.sampled_from(list(QUOTA_PLANS)),
)
def test_a_quota_lets_in_exactly_what_fits(size: int, stored: int, reserved: int, open_uploads: int, name: str) -> None:
    plan = QUOTA_PLANS[name]
    fits = (
        (plan.file_bytes is None or size <= plan.file_bytes)
        and (plan.stored_bytes is None or stored + reserved + size <= plan.stored_bytes)
        and open_uploads < plan.open_uploads
    )
    if fits:
        check_quota(plan, size=size, stored=stored, reserved=reserved, open_uploads=open_uploads)
        return
    with pytest.raises(OverQuota) as over:
        check_quota(plan, size=size, stored=stored, reserved=reserved, open_uploads=open_uploads)
    assert over.value.details["limit"] in {plan.file_bytes, plan.stored_bytes, plan.open_uploads}
    assert over.value.details.get("left", 0) >= 0


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
    assert QUOTA_PLANS["user"] == QuotaPlan(5 * GB, 5 * GB, 100)


def test_a_client_that_sends_the_plan_of_a_small_file_back_gets_it_again() -> None:
    plan = plan_parts(934_826)
    assert plan_parts(plan.size, plan.part_size) == plan
    assert plan_parts(1, 1).part_count == 1
