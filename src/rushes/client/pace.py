"""How many lines, and how fast. Decided purely: time and bytes are parameters.

`Pace` follows goodput, the bytes that got through for good. It measures windows of a few seconds in which all lines were
busy, and compares: more lines as long as each step carries a twentieth more; back when it does not; then fewer as long
as they carry as much, because every line costs memory, and its part when the process dies. Then it holds still, longer
each time, and tries again, at once when the line has become another. Who is about to end tries nothing. A store that says
it is too busy halves the lines, and so does one that cannot be reached any more.

`RateLimit` is a bucket of bytes that fills at a rate. Lines take from it before they read what they send.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from math import inf

from rushes.client.http import Body, Stopped

SETTLE = 1.0  # seconds after a change that are not measured: buffers fill, connections start
WINDOW = 3.0  # seconds measured
BUSY = 0.75  # share of a window in which all lines were busy, for it to say anything
GAIN = 1.05  # more lines must carry so much more
LOSS = 0.96  # fewer lines must carry so much of it
CHANGED = 0.3  # by such a share another goodput means that the line has become another
HOLD = (20.0, 40.0, 80.0, 160.0)  # seconds between trials
CALM = 10.0  # seconds without trials after a store was too busy
WORTH = 3 * (
    SETTLE + WINDOW
)  # seconds of work that must be left for a trial of more lines to pay, and to risk their parts
LEAST = 2  # lines that fewer are not tried below: one alone would wait between its parts


class _Trial(Enum):
    NONE = auto()  # what the present lines carry is measured
    MORE = auto()
    FEWER = auto()


class Pace:
    """`lines` at any time. Not locked: its owner is."""

    def __init__(self, most: int, *, fixed: int | None = None, start: int = 4) -> None:
        """`most` bounds the lines, `fixed` is their number whatever happens."""
        self.lines = min(most, fixed or start)
        self._most = most
        self._fixed = fixed is not None
        self._trial = _Trial.NONE
        self._base: tuple[int, float] | None = None  # lines and the bytes a second that they carried
        self._since: float | None = None
        self._carried = 0  # bytes, when the window began
        self._busy = self._looks = 0
        self._hold_until = 0.0
        self._holds = 0
        self._pushed_at: float | None = None
        self._left = inf

    def sample(self, now: float, carried: int, *, busy: bool, left: float = inf) -> None:
        """`carried`: bytes got through so far, all in all; `busy`: every line carries something now; `left`: bytes still to
        be carried, at the most. A few times a second."""
        if self._fixed:
            return
        if self._since is None:
            self._since = now + SETTLE
        if now < self._since:
            return
        if self._looks == 0:
            self._since, self._carried = now, carried
        self._looks += 1
        self._busy += busy
        if now - self._since < WINDOW:
            return
        telling, goodput = self._busy >= BUSY * self._looks, (carried - self._carried) / (now - self._since)
        self._looks = self._busy = 0
        self._left = left
        if telling and goodput > 0:
            self._judge(goodput, now)

    def pushed_back(self, now: float) -> None:
        """The other side says that it is too busy: half of the lines, once a second at most."""
        if self._fixed or (self._pushed_at is not None and now - self._pushed_at < 1.0):
            return
        self._pushed_at = now
        self._base = None
        self._hold_until = now + CALM
        self._to(max(1, self.lines // 2), _Trial.NONE)

    def _judge(self, goodput: float, now: float) -> None:
        if self._trial is _Trial.NONE or self._base is None:
            changed = self._base is None or abs(goodput - self._base[1]) > CHANGED * self._base[1]
            self._base = (self.lines, goodput)
            if changed:
                self._holds = 0
            if now >= self._hold_until or (changed and self._pushed_at is None):
                self._try_more(now)
        elif self._trial is _Trial.MORE:
            if goodput >= GAIN * self._base[1]:
                self._base = (self.lines, goodput)
                self._try_more(now)
            else:
                self._try_fewer(now)
        elif goodput >= LOSS * self._base[1]:
            self._base = (self.lines, self._base[1])  # the goodput of the first: small losses do not add up
            self._try_fewer(now)
        else:
            self._hold(now)

    def _try_more(self, now: float) -> None:
        assert self._base is not None, "measured before"
        lines = self._base[0]
        more = min(self._most, lines + max(2, lines // 2))
        if self._left < WORTH * self._base[1]:
            self._to(lines, _Trial.NONE)
        elif more > lines:
            self._to(more, _Trial.MORE)
        else:
            self._try_fewer(now)

    def _try_fewer(self, now: float) -> None:
        assert self._base is not None, "measured before"
        lines = self._base[0]
        fewer = max(LEAST, lines - max(1, lines // 4))
        if fewer < lines:
            self._to(fewer, _Trial.FEWER)
        else:
            self._hold(now)

    def _hold(self, now: float) -> None:
        assert self._base is not None, "measured before"
        self._hold_until = now + HOLD[min(self._holds, len(HOLD) - 1)]
        self._holds += 1
        self._pushed_at = None
        self._to(self._base[0], _Trial.NONE)

    def _to(self, lines: int, trial: _Trial) -> None:
        self.lines, self._trial = lines, trial
        self._since, self._looks, self._busy = None, 0, 0


@dataclass(slots=True)
class Bucket:
    """Bytes that may pass. `rate` bytes a second flow in, at most a quarter of a second's; None lets everything pass."""

    rate: float | None = None
    level: float = 0.0
    at: float = 0.0

    def take(self, most: int, now: float) -> tuple[int, float]:
        """(bytes that may pass now, at least one; 0.0), or (0, seconds until some may)."""
        if self.rate is None:
            return most, 0.0
        self.level = min(self.level + (now - self.at) * self.rate, max(1.0, self.rate / 4))
        self.at = now
        portion = max(1, min(most, int(self.rate / 20)))  # small, so that all lines get their share
        if self.level >= portion:
            self.level -= portion
            return portion, 0.0
        return 0, max(0.001, (portion - self.level) / self.rate)


class RateLimit:
    """Bytes a second that all lines may take together; may change at any time. Safe to use from many threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._bucket = Bucket()

    @property
    def rate(self) -> float | None:
        return self._bucket.rate

    def set(self, bytes_per_second: float | None) -> None:
        """None takes the limit away."""
        with self._changed:
            rate = None if bytes_per_second is None else max(1.0, float(bytes_per_second))
            self._bucket = Bucket(rate, 0.0, self._clock())
            self._changed.notify_all()

    def take(self, most: int, stopped: Callable[[], bool]) -> int:
        """How many of `most` bytes may be sent now, at least one. Waits for them; 0 soon after `stopped` says so."""
        if self._bucket.rate is None:
            return most
        with self._changed:
            while not stopped():
                count, seconds = self._bucket.take(most, self._clock())
                if count:
                    return count
                self._changed.wait(min(seconds, 0.2))
        return 0


class Paced:
    """A `Body` that is read no faster than `limit` lets it."""

    def __init__(self, body: Body, limit: RateLimit, stopped: Callable[[], bool]) -> None:
        self.length = body.length
        self.seek = body.seek
        self._body = body
        self._limit = limit
        self._stopped = stopped

    def read(self, most: int) -> bytes | memoryview:
        count = self._limit.take(most, self._stopped)
        if count == 0:
            raise Stopped("stopped", "Stopped.")
        return self._body.read(count)
