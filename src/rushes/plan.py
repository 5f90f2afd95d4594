"""Part plans and quota plans: pure arithmetic, no I/O.

S3 allows 10,000 parts of 5 MiB to 5 GiB (the last may be smaller) and objects up to 48.8 TiB
(docs.aws.amazon.com/AmazonS3/latest/userguide/qfacts.html). We plan at most 9,999 parts, all equal but the last:
SeaweedFS names part files with four digits, and R2 demands equal parts.
"""

from __future__ import annotations

from dataclasses import dataclass

from rushes.errors import Invalid, OverQuota

KIB = 1024
MIB = 1024 * KIB
GIB = 1024 * MIB
GB = 10**9

MIN_PART = 5 * MIB
MAX_PART = 5 * GIB
MAX_PARTS = 9_999
MAX_OBJECT = MAX_PARTS * MAX_PART
SMALL_FILE = 16 * MIB  # up to here one part: a second request would cost more than it saves
SMALLEST_WANTED = 8 * MIB
LARGEST_WANTED = 64 * MIB


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


def plan_parts(size: int, wanted: int | None = None) -> PartPlan:
    """The part plan of a file of `size` bytes; `wanted` is the part size the client would like, in bytes.

    Files up to 16 MiB are one part. Larger ones aim at eight parts of 8 to 64 MiB, so that even a modest file uploads in
    parallel and resumes in small steps; past 9,999 parts of 64 MiB (671 GB) the part grows with the file, in whole MiB.
    """
    if size < 1:
        raise Invalid("size_invalid", "The file is empty. Only files of at least one byte can be uploaded.")
    if size > MAX_OBJECT:
        raise Invalid("size_invalid", f"The file has {size} bytes; object storage takes at most {MAX_OBJECT}.")
    if wanted is None:
        wanted = size if size <= SMALL_FILE else _whole_mib(size, 8, SMALLEST_WANTED, LARGEST_WANTED)
    elif size <= wanted <= MAX_PART:
        wanted = size  # one part, which may be as small as it likes
    elif not MIN_PART <= wanted <= MAX_PART:
        raise Invalid("part_size_invalid", f"A part may have {MIN_PART} to {MAX_PART} bytes, not {wanted}.")
    part_size = max(wanted, _whole_mib(size, MAX_PARTS, 0, MAX_PART)) if size > wanted * MAX_PARTS else wanted
    part_size = min(part_size, size)
    return PartPlan(size, part_size, -(-size // part_size))


def _whole_mib(size: int, parts: int, low: int, high: int) -> int:
    """The part size, in whole MiB, that cuts `size` into at most `parts` parts, held between `low` and `high`."""
    return min(max(-(-size // (parts * MIB)) * MIB, low), high)


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
