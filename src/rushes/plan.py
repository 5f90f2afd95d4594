"""Part plans and quota plans: pure arithmetic, no I/O.

S3 allows 10,000 parts of 5 MiB to 5 GiB (the last may be smaller) and objects up to 48.8 TiB
(docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html). We plan at most 9,999 parts, all equal but the last:
SeaweedFS names part files with four digits, and R2 demands equal parts. What a store allows less is in its `Profile`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from rushes.errors import Invalid, OverQuota

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
GB = 10**9

MIN_PART = 5 * MIB
MAX_PART = 5 * GIB
MAX_PARTS = 9_999
MAX_OBJECT = MAX_PARTS * MAX_PART
ORDINARY_PART = 64 * MIB  # up to here one part; and what larger files are cut into, until 9,999 parts are too few
EAGER_SMALL = 16 * MIB
EAGER_LEAST = 8 * MIB
EAGER_PARTS = 1_024


@dataclass(frozen=True, slots=True)
class Profile:
    """What a kind of object store allows."""

    name: str
    max_parts: int = MAX_PARTS
    max_part: int = MAX_PART
    max_object: int = MAX_OBJECT


# From each store's own documentation of its limits.
PROFILES: Final[Mapping[str, Profile]] = {
    profile.name: profile
    for profile in (
        Profile("aws"),
        Profile("r2", max_object=5_492_060_580_741, max_part=5_114 * MIB),  # 4.995 TiB, 4.995 GiB
        Profile("minio"),
        Profile("ceph"),
        Profile("seaweedfs"),
        Profile("storj"),
        Profile("scaleway", max_parts=1_000, max_object=5 * 10**12),
        Profile("generic"),
    )
}
GENERIC: Final = PROFILES["generic"]


@dataclass(frozen=True, slots=True)
class PartPlan:
    """How a file is cut: `part_count` parts of `part_size` bytes, the last one with the rest."""

    size: int
    part_size: int
    part_count: int

    def length(self, number: int) -> int:
        """Bytes of part `number` (from 1). Raises `Invalid` for a part that the plan does not have."""
        if not 1 <= number <= self.part_count:
            raise Invalid(
                "part_number_invalid", f"Part {number} does not exist: this upload has parts 1 to {self.part_count}."
            )
        return min(self.part_size, self.size - (number - 1) * self.part_size)


def plan_parts(
    size: int, wanted: int | None = None, profile: Profile = GENERIC, *, body_limit: int | None = None
) -> PartPlan:
    """The part plan of a file of `size` bytes for a store of this profile; sizes are bytes.

    `wanted` is the part size the client would like. Without it a file up to 64 MiB is one part and a larger one is cut
    into parts of 64 MiB. No part is larger than `body_limit`, where a proxy on the way to storage lets no larger body
    through. Where that makes more parts than the store takes, the part grows with the file, in whole MiB: 64 to 128 MiB
    up to 1.3 TB, 477 MiB for 5 TB. Raises `Invalid` for a size or a wish that the store does not take.
    """
    if size < 1:
        raise Invalid("size_invalid", "The file is empty. Only files of at least one byte can be uploaded.")
    if size > profile.max_object:
        raise Invalid("size_invalid", f"The file has {size} bytes; object storage takes at most {profile.max_object}.")
    if wanted is None:
        wanted = ORDINARY_PART
    elif size <= wanted <= MAX_PART:
        wanted = min(size, profile.max_part)  # one part, which may be as small as it likes
    elif not MIN_PART <= wanted <= profile.max_part:
        raise Invalid("part_size_invalid", f"A part may have {MIN_PART} to {profile.max_part} bytes, not {wanted}.")
    if body_limit is not None and min(wanted, size) > body_limit:
        wanted = max(MIN_PART, body_limit)
    if size > wanted * profile.max_parts:
        wanted = min(max(wanted, _whole_mib(size, profile.max_parts)), profile.max_part)
    part_size = min(wanted, size)
    return PartPlan(size, part_size, -(-size // part_size))


def eager_part_size(size: int) -> int | None:
    """The part size that a client does well to wish for; None leaves it to the server.

    8 MiB up to 1 GiB, 16 MiB up to 16 GiB, then 1,024 parts until those have 64 MiB. A part that breaks off is sent again from
    its start: where one connection in 100 MiB is reset, parts of 64 MiB send four bytes for three, parts of 16 MiB a tenth
    more, parts of 8 MiB a twentieth. Small parts go in parallel sooner, and less is lost when the client dies.
    """
    if size <= EAGER_SMALL or size > EAGER_PARTS * ORDINARY_PART:
        return None
    return max(EAGER_LEAST if size <= GIB else 2 * EAGER_LEAST, _whole_mib(size, EAGER_PARTS))


def _whole_mib(size: int, parts: int) -> int:
    """The part size, in whole MiB, that cuts `size` into at most `parts` parts."""
    return -(-size // (parts * MIB)) * MIB


# --- quotas -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class QuotaPlan:
    """What a creator may do. None means no limit."""

    stored_bytes: int | None  # stored and reserved together
    month_bytes: int | None  # begun in a calendar month, UTC; what came to nothing in that month does not count
    file_bytes: int | None
    open_uploads: int | None
    idle_days: float | None = None  # how long an upload lives without progress; None: as the server is set


QUOTA_PLANS: Final[Mapping[str, QuotaPlan]] = {
    "user": QuotaPlan(5 * GB, 20 * GB, 5 * GB, 100),
    "pro": QuotaPlan(50 * GB, 200 * GB, 50 * GB, 200),
    "enterprise": QuotaPlan(500 * GB, 2_000 * GB, 500 * GB, 1_000),
    "studio": QuotaPlan(None, None, None, 10_000),
}


@dataclass(frozen=True, slots=True)
class Caps:
    """What all creators of a tenant may do together. None means no limit."""

    stored_bytes: int | None = None
    month_bytes: int | None = None
    open_uploads: int | None = None


@dataclass(frozen=True, slots=True)
class Sums:
    """What somebody has stored and reserved, and has begun this month, in bytes."""

    stored: int = 0
    reserved: int = 0
    open_uploads: int = 0
    month_bytes: int = 0


def check_quota(plan: QuotaPlan, caps: Caps, own: Sums, tenants: Sums, *, size: int | None) -> None:
    """Raise `OverQuota` unless a file of `size` bytes (None: at least one) fits beside what there is already."""
    file = "The file's size is not known" if size is None else f"The file has {size} bytes"
    least = 1 if size is None else size
    if plan.file_bytes is not None and least > plan.file_bytes:
        raise OverQuota(
            "file_too_large",
            f"{file}; your plan takes at most {plan.file_bytes} a file.",
            limit=plan.file_bytes,
        )
    if plan.open_uploads is not None and own.open_uploads >= plan.open_uploads:
        raise OverQuota(
            "too_many_uploads",
            f"You have {own.open_uploads} uploads open; finish or abort one first.",
            limit=plan.open_uploads,
        )
    if caps.open_uploads is not None and tenants.open_uploads >= caps.open_uploads:
        raise OverQuota(
            "tenant_too_many_uploads",
            f"Your tenant has {tenants.open_uploads} uploads open, all that it may; some must end first.",
            limit=caps.open_uploads,
        )
    for code, whose, limit, taken in _byte_limits(plan, caps, own, tenants):
        left = max(0, limit - taken)
        if least > left:
            remedy = "Ask for more, or wait for the next month" if "month" in code else "Delete assets, or ask for more"
            raise OverQuota(code, f"{file}; {whose} {left} more. {remedy}.", limit=limit, left=left)


def room(plan: QuotaPlan, caps: Caps, own: Sums, tenants: Sums) -> int | None:
    """Bytes that the largest file may have that can be begun now; None where nothing limits it."""
    limits = [max(0, limit - taken) for _, _, limit, taken in _byte_limits(plan, caps, own, tenants)]
    if plan.file_bytes is not None:
        limits.append(plan.file_bytes)
    return min(limits, default=None)


def _byte_limits(plan: QuotaPlan, caps: Caps, own: Sums, tenants: Sums) -> list[tuple[str, str, int, int]]:
    """(code, words, limit, taken) of every limit of bytes that is set, the narrower things first."""
    limits = (
        ("quota_exceeded", "your plan has room for", plan.stored_bytes, own.stored + own.reserved),
        ("month_exceeded", "this month your plan takes", plan.month_bytes, own.month_bytes),
        ("tenant_quota_exceeded", "your tenant has room for", caps.stored_bytes, tenants.stored + tenants.reserved),
        ("tenant_month_exceeded", "this month your tenant may send", caps.month_bytes, tenants.month_bytes),
    )
    return [(code, whose, limit, taken) for code, whose, limit, taken in limits if limit is not None]
