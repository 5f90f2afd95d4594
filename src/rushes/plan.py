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
TIB = 1024 * GIB
GB = 10**9

MIN_PART = 5 * MIB
MAX_PART = 5 * GIB
MAX_PARTS = 9_999
MAX_OBJECT = MAX_PARTS * MAX_PART
ORDINARY_PART = 64 * MIB  # up to here one part; and what larger files are cut into, until 9,999 parts are too few
EAGER_SMALL = 16 * MIB
EAGER_LEAST = 8 * MIB


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
    into parts of 64 MiB, or of `body_limit` where a proxy on the way to storage lets no larger body through. Where that
    makes more parts than the store takes, the part grows with the file, in whole MiB: 64 to 128 MiB up to 1.3 TB, 477 MiB
    for 5 TB. Raises `Invalid` for a size or a wish that the store does not take.
    """
    if size < 1:
        raise Invalid("size_invalid", "The file is empty. Only files of at least one byte can be uploaded.")
    if size > profile.max_object:
        raise Invalid("size_invalid", f"The file has {size} bytes; object storage takes at most {profile.max_object}.")
    if wanted is None:
        wanted = max(MIN_PART, min(ORDINARY_PART, body_limit or ORDINARY_PART))
    elif size <= wanted <= MAX_PART:
        wanted = min(size, profile.max_part)  # one part, which may be as small as it likes
    elif not MIN_PART <= wanted <= profile.max_part:
        raise Invalid("part_size_invalid", f"A part may have {MIN_PART} to {profile.max_part} bytes, not {wanted}.")
    if size > wanted * profile.max_parts:
        wanted = min(max(wanted, _whole_mib(size, profile.max_parts)), profile.max_part)
    part_size = min(wanted, size)
    return PartPlan(size, part_size, -(-size // part_size))


def eager_part_size(size: int) -> int | None:
    """The part size a client on an ordinary line does well to wish for; None leaves it to the server.

    Files of 16 to 512 MiB in about eight parts of 8 to 64 MiB: they upload in parallel and resume in small steps.
    """
    if size <= EAGER_SMALL or size > 8 * ORDINARY_PART:
        return None
    return min(max(_whole_mib(size, 8), EAGER_LEAST), ORDINARY_PART)


def _whole_mib(size: int, parts: int) -> int:
    """The part size, in whole MiB, that cuts `size` into at most `parts` parts."""
    return -(-size // (parts * MIB)) * MIB


@dataclass(frozen=True, slots=True)
class QuotaPlan:
    """What a creator may store. None means no limit."""

    stored_bytes: int | None
    file_bytes: int | None
    open_uploads: int


QUOTA_PLANS = {
    "user": QuotaPlan(5 * GB, 5 * GB, 100),
    "pro": QuotaPlan(50 * GB, 50 * GB, 200),
    "enterprise": QuotaPlan(500 * GB, 500 * GB, 1_000),
    "studio": QuotaPlan(None, None, 10_000),
}


def check_quota(plan: QuotaPlan, *, size: int, stored: int, reserved: int, open_uploads: int) -> None:
    """Raise `OverQuota` unless `size` more bytes fit beside what is `stored` and `reserved`."""
    if plan.file_bytes is not None and size > plan.file_bytes:
        raise OverQuota(
            "file_too_large",
            f"The file has {size} bytes; your plan takes at most {plan.file_bytes} a file.",
            limit=plan.file_bytes,
        )
    if open_uploads >= plan.open_uploads:
        raise OverQuota(
            "too_many_uploads",
            f"You have {open_uploads} uploads open; finish or abort one first.",
            limit=plan.open_uploads,
        )
    if plan.stored_bytes is not None and stored + reserved + size > plan.stored_bytes:
        left = max(0, plan.stored_bytes - stored - reserved)
        raise OverQuota(
            "quota_exceeded",
            f"The file has {size} bytes; your plan has room for {left} more.",
            limit=plan.stored_bytes,
            left=left,
        )
