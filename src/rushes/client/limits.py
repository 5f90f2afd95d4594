"""How much a client takes, and how long it insists. Durations are seconds, sizes bytes."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20
LINE_MEMORY = 3 * MIB  # libcurl's buffer, a block of the file, TLS, the thread: measured


@dataclass(frozen=True, slots=True)
class Limits:
    parallel: int | None = None  # parts being sent at once; None: as many as make it faster
    parallel_most: int = 32  # …but never more
    parts_a_line: int = 10  # of a file that was broken off once: few are under way when it happens again…
    few: int = 4  # …but always so many
    memory: int = 96 * MIB  # for all lines together
    pause_after: float = 300.0  # seconds without any progress, then an upload that meets trouble ends itself, resumable
    reach_after: float = 60.0  # the same, before the server has answered anything; then it is given up for now
    stagger: float = 1.0  # seconds between the beginnings of two parts of a file, at most
    hedge_share: float = 0.05  # of a file's bytes that may be sent twice when its last parts are slow
    refusals: int = 5  # fresh grants refused, or re-read parts found corrupt, in a row
    rounds: int = 5  # completions answered with missing parts
    report_after: float = 5.0  # seconds a part done may stay unreported
    backoff: float = 0.5  # seconds; doubles with every failure, full jitter
    backoff_most: float = 30.0
    look_every: float = 0.5  # seconds between looks at an upload that is being finalized

    @property
    def most_lines(self) -> int:
        return max(1, min(self.parallel_most, self.memory // LINE_MEMORY))


def backoff(limits: Limits, tries: int, chance: float) -> float:
    """Seconds after so many failures; `chance` is from 0 to 1.

    Full jitter: aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter.
    """
    most: float = min(limits.backoff_most, limits.backoff * 2.0 ** min(tries, 16))
    return most * chance
