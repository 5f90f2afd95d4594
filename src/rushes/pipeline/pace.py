"""How long a job will take yet, from how fast it was going lately. Pure: time is a parameter."""

from __future__ import annotations

from collections import deque

WINDOW = 30.0  # seconds of the past that count
LEAST_SECONDS = 1.0  # before anything is said
LEAST_PROGRESS = 0.01


class Pace:
    """The progress that was reported, and when."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, float]] = deque()

    def saw(self, at: float, progress: float) -> None:
        """`at` in seconds of any clock that only goes forward, `progress` from 0 to 1."""
        self._seen.append((at, progress))
        while len(self._seen) > 2 and at - self._seen[1][0] > WINDOW:
            self._seen.popleft()

    def left(self) -> float | None:
        """Seconds; None as long as too little was seen, or while it stands still."""
        if not self._seen:
            return None
        (first_at, first), (last_at, last) = self._seen[0], self._seen[-1]
        if last_at - first_at < LEAST_SECONDS or last - first < LEAST_PROGRESS:
            return None
        return (1 - last) * (last_at - first_at) / (last - first)
