"""How an upload goes, for people: bytes, rate, time left. The rate is that of the last seconds: it follows the line."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

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
        self._moving: dict[int, int] = {}
        self._samples = deque([(now, 0)])

    def moved(self, number: int, sent: int) -> int:
        """`sent` bytes of part `number` have left so far; how many more than were known."""
        before = self._moving.get(number, 0)
        self.sent += max(0, sent - before)
        self._moving[number] = sent
        return sent - before

    def landed(self, number: int) -> int:
        """Part `number` is under way no more, for better or worse; the bytes of it that had left."""
        return self._moving.pop(number, 0)

    @property
    def moving(self) -> int:
        return sum(self._moving.values())

    def rate(self, now: float) -> float:
        """Bytes per second over the last `WINDOW` seconds."""
        self._samples.append((now, self.sent))
        while len(self._samples) > 2 and self._samples[1][0] <= now - WINDOW:
            self._samples.popleft()
        then, before = self._samples[0]
        return (self.sent - before) / (now - then) if now > then else 0.0
