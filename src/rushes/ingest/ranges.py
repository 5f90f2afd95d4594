"""Byte ranges: what a Content-Range says, what is held, and which slices make a whole. Pure.

A range is (first, last) in bytes, both included, as HTTP writes them (RFC 9110, section 14).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rushes.errors import Invalid
from rushes.model import Slice

Range = tuple[int, int]

_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-(\d{1,18})|\*)/(\d{1,18}|\*)")


@dataclass(frozen=True, slots=True)
class ContentRange:
    """What a request says it carries. `first` is None for a question ("bytes */100"), `total` when it is not known yet."""

    first: int | None
    last: int | None
    total: int | None

    @property
    def length(self) -> int:
        return 0 if self.first is None or self.last is None else self.last - self.first + 1


def parse(text: str) -> ContentRange:
    """Read a Content-Range header. Raises `Invalid` (range_invalid) for one that says nothing sensible."""
    found = _CONTENT_RANGE.fullmatch(text.strip())
    if found is None:
        raise _invalid(text)
    first, last, total = (None if group in {None, "*"} else int(group) for group in found.groups())
    if first is not None and last is not None and (first > last or (total is not None and last >= total)):
        raise _invalid(text)
    return ContentRange(first, last, total)


def _invalid(text: str) -> Invalid:
    return Invalid(
        "range_invalid", f"Write Content-Range as `bytes 0-1048575/5242880` or `bytes */5242880`, not {text[:80]!r}."
    )


def merged(ranges: Iterable[Range]) -> list[Range]:
    """The same bytes in as few ranges as possible, in order."""
    found: list[Range] = []
    for first, last in sorted(ranges):
        if found and first <= found[-1][1] + 1:
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((first, last))
    return found


def covers(ranges: Iterable[Range], first: int, last: int) -> bool:
    return any(start <= first and last <= end for start, end in merged(ranges))


def from_start(ranges: Iterable[Range]) -> int:
    """How many bytes are held from the first one on."""
    joined = merged(ranges)
    return joined[0][1] + 1 if joined and joined[0][0] == 0 else 0


def needless(rows: Sequence[Slice], new: Slice) -> list[Slice]:
    """The slices that can go once `new` has come, which may be `new` itself; those that stay hold the same bytes.

    No byte is kept more than twice, however slices overlap: of those that stay, each begins behind the end of the last but
    one. And while the rows cover the part only `new` can go, so none goes that is being read to put the part together.
    """
    if covers(map(range_of, rows), *range_of(new)):
        return [new]
    ordered = sorted([*rows, new], key=lambda row: row.start)
    kept: set[str] = set()
    at, looked = 0, 0
    while looked < len(ordered):
        at = max(at, ordered[looked].start)
        best = ordered[looked]
        while looked < len(ordered) and ordered[looked].start <= at:
            best = max(best, ordered[looked], key=_end)
            looked += 1
        if _end(best) > at:
            kept.add(best.key)
            at = _end(best)
    return [row for row in ordered if row.key not in kept]


def _end(row: Slice) -> int:
    return row.start + row.length


def written(ranges: Sequence[Range]) -> str:
    """As a `Range` header writes them."""
    return "bytes=" + ",".join(f"{first}-{last}" for first, last in ranges)


def range_of(row: Slice) -> Range:
    return row.start, row.start + row.length - 1


@dataclass(frozen=True, slots=True)
class Step:
    """Of this slice, these bytes: from `skip` on, `take` of them."""

    slice: Slice
    skip: int
    take: int


def route(rows: Iterable[Slice], length: int) -> list[Step] | None:
    """The fewest slices that make the first `length` bytes, in order; None where bytes are missing."""
    ordered = sorted(rows, key=lambda row: row.start)
    steps: list[Step] = []
    at, looked, best, reach = 0, 0, None, 0
    while at < length:
        while looked < len(ordered) and ordered[looked].start <= at:
            row = ordered[looked]
            if row.start + row.length > reach:
                best, reach = row, row.start + row.length
            looked += 1
        if best is None or reach <= at:
            return None
        end = min(reach, length)
        steps.append(Step(best, at - best.start, end - at))
        at = end
    return steps
