"""How an upload goes, for people: bytes, rate, time left. The rate is that of the last seconds: it follows the line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from rushes.client.hedge import Flight
from rushes.errors import Problem, Unavailable

WINDOW = 8.0  # seconds


@dataclass(frozen=True, slots=True)
class Progress:
    size: int  # bytes of the file
    held: int  # bytes that storage confirmed
    moving: int  # bytes of parts under way
    sent: int  # bytes sent by this run, repeated ones included
    rate: float  # bytes per second, of late
    parts_held: int
    part_count: int
    retries: int
    finalizing: bool  # every part is held; the server is putting them together
    trouble: str | None  # what is being waited out, in a sentence
    relayed: bool = False  # the store cannot be reached: parts go through the API
    uncompared: int = 0  # bytes of `held` from an earlier run, still to be compared with the file

    @property
    def seconds_left(self) -> float | None:
        """None while nothing moves."""
        left = self.size - self.held - self.moving
        return max(0.0, left / self.rate) if self.rate > 0 else None


OnProgress = Callable[[Progress], None]


class Meter:
    """Counts bytes as they leave. Not locked: its owner is."""

    def __init__(self, now: float) -> None:
        self.sent = 0
        self._moving: dict[Flight | int, int] = {}
        self._samples = deque([(now, 0)])

    def moved(self, flight: Flight | int, sent: int) -> int:
        """`sent` bytes of a part have left so far; how many more than were known."""
        before = self._moving.get(flight, 0)
        self.sent += max(0, sent - before)
        self._moving[flight] = sent
        return sent - before

    def landed(self, flight: Flight | int) -> int:
        """A part is under way no more, for better or worse; the bytes of it that had left."""
        return self._moving.pop(flight, 0)

    @property
    def moving(self) -> int:
        """Bytes of parts under way; of one that is sent twice, those of the copy that is ahead."""
        furthest: dict[int, int] = {}
        for flight, sent in self._moving.items():
            number = flight.number if isinstance(flight, Flight) else flight
            furthest[number] = max(sent, furthest.get(number, 0))
        return sum(furthest.values())

    def rate(self, now: float) -> float:
        """Bytes per second over the last `WINDOW` seconds."""
        self._samples.append((now, self.sent))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        return (self.sent - before) / (now - then) if now > then else 0.0


def unreached(problem: Problem, seconds: float) -> Unavailable:
    """What ends an upload whose server has never answered."""
    return Unavailable(
        "server_unreached",
        f"{problem} It was tried for {seconds:.0f} seconds. Is the address right, and is this machine on a network?",
        reason=problem.code,
    )


def no_progress(problem: Problem, seconds: float) -> Unavailable:
    """What ends an upload that waited for too long; it stays resumable."""
    return Unavailable(
        "no_progress",
        f"Nothing has moved for {seconds:.0f} seconds, so the upload was paused. It was waiting because of this: {problem}",
        reason=problem.code,
    )
