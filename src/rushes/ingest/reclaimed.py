"""What a sweep counts: how many, and how many bytes, by tenant and kind. Pure; travels as JSON.

    {"tenants": {tenant: {kind: {"count": …, "bytes": …}}}, "abandoned": {tenant: {"count": …, "bytes": …}},
     "problems": {code: how often}}

Bounded: tenants beyond `MOST_TENANTS` are counted together, as `OTHERS`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from rushes.model import Json

MOST_TENANTS = 1_000
OTHERS = "*"  # no tenant of ours: it stands for many
BYTES_A_GB = 10**9


class Kind(StrEnum):
    """What a sweep finds."""

    EXPIRED = "expired_uploads"  # idle for longer than they may be; bytes: their parts in storage
    LOST_UPLOADS = "lost_multipart_uploads"  # open in storage, and no session's
    LOST_OBJECTS = "lost_incoming_objects"  # staged parts, slices, scratch, what a probe left
    LOST_RENDITIONS = "lost_renditions"  # of runs that lost, or of deleted assets
    LOST_ORIGINALS = "lost_originals"  # of uploads that came to nothing, or of deleted assets
    WARNED = "warned_uploads"  # they expire soon
    RESUMED = "resumed_finalizations"  # whose workflow was gone
    RESTARTED = "restarted_jobs"  # of processing, whose workflow was gone
    ABANDONED = "newly_abandoned_uploads"  # without progress
    SLICES = "forgotten_slices"  # rows
    EVENTS = "forgotten_events"  # rows
    WORKFLOWS = "forgotten_workflows"  # of the engine, ended long ago


RECLAIMED = (Kind.EXPIRED, Kind.LOST_UPLOADS, Kind.LOST_OBJECTS, Kind.LOST_RENDITIONS, Kind.LOST_ORIGINALS)


@dataclass(frozen=True, slots=True)
class Sum:
    count: int = 0
    bytes: int = 0

    def __add__(self, other: Sum) -> Sum:
        return Sum(self.count + other.count, self.bytes + other.bytes)


@dataclass(slots=True)
class Tally:
    """A sum for each tenant and kind. The tenant "" stands for what belongs to none."""

    tenants: dict[str, dict[Kind, Sum]] = field(default_factory=dict)
    abandoned: dict[str, Sum] = field(default_factory=dict)
    problems: dict[str, int] = field(default_factory=dict)

    def add(self, tenant: str, kind: Kind, sum_: Sum) -> None:
        kinds = self.tenants.setdefault(_slot(self.tenants, tenant), {})
        kinds[kind] = kinds.get(kind, Sum()) + sum_

    def add_abandoned(self, tenant: str, sum_: Sum) -> None:
        tenant = _slot(self.abandoned, tenant)
        self.abandoned[tenant] = self.abandoned.get(tenant, Sum()) + sum_

    def add_problem(self, code: str, count: int = 1) -> None:
        self.problems[code] = self.problems.get(code, 0) + count

    def merge(self, other: Tally) -> None:
        for tenant, kinds in other.tenants.items():
            for kind, sum_ in kinds.items():
                self.add(tenant, kind, sum_)
        for tenant, sum_ in other.abandoned.items():
            self.add_abandoned(tenant, sum_)
        for code, count in other.problems.items():
            self.add_problem(code, count)

    def of_kind(self, kind: Kind) -> Sum:
        return _total(kinds.get(kind, Sum()) for kinds in self.tenants.values())

    def reclaimed(self, tenant: str | None = None) -> Sum:
        """What storage was freed of, for one tenant or for all."""
        chosen = self.tenants.values() if tenant is None else [self.tenants.get(tenant, {})]
        return _total(kinds.get(kind, Sum()) for kinds in chosen for kind in RECLAIMED)

    def all_abandoned(self) -> Sum:
        return _total(iter(self.abandoned.values()))

    def to_json(self) -> Json:
        return {
            "tenants": {
                tenant: {str(kind): _sum_json(sum_) for kind, sum_ in sorted(kinds.items())}
                for tenant, kinds in sorted(self.tenants.items())
            },
            "abandoned": {tenant: _sum_json(sum_) for tenant, sum_ in sorted(self.abandoned.items())},
            "problems": dict(sorted(self.problems.items())),
        }

    @classmethod
    def from_json(cls, found: Json) -> Tally:
        """Read what `to_json` wrote; kinds that a newer release counts are left out."""
        known = set(Kind)
        return cls(
            {
                tenant: {Kind(kind): Sum(**sum_) for kind, sum_ in kinds.items() if kind in known}
                for tenant, kinds in found.get("tenants", {}).items()
            },
            {tenant: Sum(**sum_) for tenant, sum_ in found.get("abandoned", {}).items()},
            dict(found.get("problems", {})),
        )


def money(size: int, price_per_gb_month: float) -> float:
    """What these bytes cost a month, in the currency of the price; a GB is 10⁹ bytes, as stores bill."""
    return size / BYTES_A_GB * price_per_gb_month


def _slot(taken: Mapping[str, object], tenant: str) -> str:
    return tenant if tenant in taken or len(taken) < MOST_TENANTS else OTHERS


def _total(sums: Iterator[Sum]) -> Sum:
    total = Sum()
    for sum_ in sums:
        total += sum_
    return total


def _sum_json(sum_: Sum) -> Json:
    return {"count": sum_.count, "bytes": sum_.bytes}
