"""Parts on their way: when the next may begin, and which of the last are sent a second time. Pure.

When nothing else of a file is left to send and lines are free, a part that is much slower than parts usually were is sent
once more beside itself; what lands first counts, and the other copy is dropped unless all of it has left already. All
second copies together are at most a share of the file, or one part.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from statistics import median

from rushes.client.limits import Limits

LATE = 1.5  # a copy must be so much quicker than what is left of the first, by what is known of both
UNKNOWN = 0.25  # seconds between two parts that begin, before it is known how long one takes
LEAST = 2.0  # seconds that a part is given, and that a second copy must save


@dataclass(eq=False, slots=True)
class Flight:
    """One sending of one part."""

    number: int
    length: int  # bytes
    began: float
    relayed: bool = False
    store: str = ""
    sent: int = 0
    sent_all_at: float | None = None
    dropped: bool = False  # another copy landed: break it off

    def left(self, now: float) -> float:
        """Seconds that it will still take, at its own speed so far. Who waits for an answer will wait as long again."""
        if self.sent_all_at is not None:
            return now - self.sent_all_at
        return (now - self.began) * (self.length - self.sent) / max(self.sent, 1)


class Flights:
    """Of one file of `size` bytes."""

    def __init__(self, size: int, part_size: int, limits: Limits) -> None:
        self._under_way: dict[int, list[Flight]] = {}
        self._speeds: deque[float] = deque(maxlen=16)  # of parts that landed, bytes a second
        self._highest: dict[int, int] = {}  # bytes of a part that ever left in one go
        self._budget = max(int(size * limits.hedge_share), part_size) if limits.hedge_share else 0
        self._stagger = limits.stagger
        self._part_size = part_size
        self._began = 0.0  # the last one
        self.not_before: float | None = None  # when the next may begin, if it has to wait

    def __len__(self) -> int:
        return sum(len(copies) for copies in self._under_way.values())

    def __iter__(self) -> Iterator[Flight]:
        for copies in self._under_way.values():
            yield from copies

    def of(self, number: int) -> list[Flight]:
        return self._under_way.get(number, [])

    def begin(self, flight: Flight) -> Flight:
        self._under_way.setdefault(flight.number, []).append(flight)
        self._began = flight.began
        return flight

    def too_soon(self, now: float, lines: int) -> bool:
        """Whether another has only just begun: parts that begin together end together, and what breaks their lines then
        costs all of each; one after the other they cost half of it."""
        self.not_before = None
        if self._under_way and now < self._began + self._stagger:
            usual = self._part_size / median(self._speeds) / (2 * lines) if self._speeds else UNKNOWN
            at = self._began + min(usual, self._stagger)
            self.not_before = at if now < at else None
        return self.not_before is not None

    def moved(self, flight: Flight, sent: int, now: float) -> bool:
        """Whether more of the part has left than ever before: progress, and not the same again."""
        flight.sent = sent
        if sent >= flight.length and flight.sent_all_at is None:
            flight.sent_all_at = now
        further = sent > self._highest.get(flight.number, 0)
        if further:
            self._highest[flight.number] = sent
        return further

    def end(self, flight: Flight, now: float, *, landed: bool) -> Flight:
        copies = self._under_way.get(flight.number, [])
        if flight in copies:
            copies.remove(flight)
        if not copies:
            self._under_way.pop(flight.number, None)
        if landed:
            self._highest.pop(flight.number, None)
            if now > flight.began:
                self._speeds.append(flight.length / (now - flight.began))
        return flight

    @property
    def may_be_late(self) -> bool:
        return bool(self._speeds and self._under_way and self._budget)

    def late(self, now: float) -> Flight | None:
        """The part that most deserves a second copy, within what may still be sent twice. Count it with `doubled`."""
        if not self._speeds:
            return None
        usual = median(self._speeds)
        single = (copies[0] for copies in self._under_way.values() if len(copies) == 1)
        found = [
            flight
            for flight in single
            if not flight.relayed
            and flight.length <= self._budget
            and now - flight.began >= LEAST
            and flight.left(now) >= LATE * flight.length / usual + LEAST
        ]
        return max(found, key=lambda flight: flight.left(now), default=None)

    def doubled(self, flight: Flight) -> None:
        self._budget -= flight.length
