"""What is asked of a rendition, beside what was read of its source. Pure.

- Its frames show the source's numbers, in order, the first and the last included: none is left out that the source has,
  none comes twice. Of a film of more than 60 frames a second every shown number is the source's.
- They are shown when the source shows them, but that the first one begins at 0.
- Each flash is seen within a frame of its beep. What the source itself is off by is said beside it.
- Each beep of a sound by itself comes when the source's does, within 10 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from tests.corpus.marks import Heard, Seen, flashes

MOST_FPS = 60
_SOUND = 0.010  # seconds
_CUT = 0.003  # seconds more of an MP3: players cut 529 samples from one that does not say what its encoder added
_LONGER = 0.1  # seconds that a sound may be longer or shorter: an encoder's frames at both ends


@dataclass(frozen=True)
class Verdict:
    """Of one rendition."""

    name: str
    offset: float | None = None  # seconds between a flash and its beep, the worst; above 0: the beep is late
    frames: float | None = None  # the same in frames of the rendition
    first: bool | None = None  # whether the first frame is the source's first; None: it has no numbers
    last: bool | None = None
    faults: tuple[str, ...] = ()


def lasts(seen: Sequence[Seen]) -> float:
    """Seconds of a frame, the usual one."""
    return median(b.time - a.time for a, b in pairwise(seen)) if len(seen) > 1 else 0.04


def offset(seen: Sequence[Seen], heard: Heard) -> tuple[float | None, str]:
    """(seconds from a flash to its beep where they are farthest apart, what is wrong with their number)."""
    lit, beeps = flashes(seen), heard.beeps
    if not lit or len(lit) != len(beeps):
        return None, f"{len(lit)} flashes and {len(beeps)} beeps"
    return max((beep - flash for flash, beep in zip(lit, beeps, strict=True)), key=abs), ""


def picture(name: str, seen: Sequence[Seen], heard: Heard | None, source: Sequence[Seen], own: float | None) -> Verdict:
    """A film's rendition with the sound that is played to it; `own`: the source's own offset."""
    faults = []
    numbers, wanted = [frame.number for frame in seen], [frame.number for frame in source]
    if not seen:
        return Verdict(name, first=False, last=False, faults=("no frame",))
    if all(number is None for number in wanted):
        numbers = [None] * len(numbers)
    fast = lasts(source) < 0.99 / MOST_FPS
    if fast:
        faults += _thinned(numbers, wanted)
    elif numbers != wanted:
        faults.append(_difference(numbers, wanted))
    else:
        faults += _moments(seen, source)
    first, last = None, None
    if wanted[0] is not None:
        first, last = numbers[0] == wanted[0], numbers[-1] in (wanted[-2:] if fast else wanted[-1:])
    if heard is None:
        return Verdict(name, None, None, first, last, tuple(faults))
    worst, wrong = offset(seen, heard)
    if worst is None:
        faults += [wrong] if own is not None else []  # a source without marks, or that ends between flash and beep
        return Verdict(name, None, None, first, last, tuple(faults))
    frame = lasts(seen)
    if abs(worst - (own or 0.0)) > frame:
        faults.append(f"the beep is {1000 * worst:+.0f} ms from its flash")
    return Verdict(name, worst, worst / frame, first, last, tuple(faults))


def _difference(numbers: Sequence[int | None], wanted: Sequence[int | None]) -> str:
    if None in numbers:
        return f"{sum(number is None for number in numbers)} of {len(numbers)} frames cannot be read"
    if len(numbers) != len(wanted):
        return f"{len(numbers)} frames for {len(wanted)}, {_range(numbers)} for {_range(wanted)}"
    wrong = [(a, b) for a, b in zip(numbers, wanted, strict=True) if a != b]
    return f"{len(wrong)} frames are others, the first {wrong[0][0]} for {wrong[0][1]}"


def _range(numbers: Sequence[int | None]) -> str:
    return f"{numbers[0]} to {numbers[-1]}" if numbers else "none"


def _thinned(numbers: Sequence[int | None], wanted: Sequence[int | None]) -> list[str]:
    known = [number for number in numbers if number is not None]
    if len(known) != len(numbers) or not set(known) <= set(wanted) or known != sorted(known):
        return [f"{len(numbers)} frames of {len(wanted)}, some of which are not the source's or out of order"]
    return []


def _moments(seen: Sequence[Seen], source: Sequence[Seen]) -> list[str]:
    """The second frame on: the first is shown from 0, even where the source's picture begins later."""
    if len(seen) < 3:
        return []
    late = [a.time - b.time for a, b in zip(seen[1:], source[1:], strict=True)]
    if max(late) - min(late) > lasts(source) / 2:
        return [f"frames are shown up to {1000 * (max(late) - min(late)):.0f} ms from where they should be"]
    return [] if abs(seen[0].time) <= lasts(source) else [f"it begins at {seen[0].time:.3f} s"]


def alone(name: str, heard: Heard | None, source: Heard, zero: float, *, placed: bool) -> Verdict:
    """A sound's rendition. `zero`: when the source begins; `placed`: the rendition's stamps count from there, as a
    playlist's do; otherwise its first sample is the beginning.
    """
    if heard is None:
        return Verdict(name, faults=("no sound",))
    begin = 0.0 if placed else heard.begin
    found, wanted = [beep - begin for beep in heard.beeps], [beep - zero for beep in source.beeps]
    faults = []
    worst = None
    if len(found) != len(wanted):
        faults.append(f"{len(found)} beeps for {len(wanted)}")
    elif found:
        worst = max((a - b for a, b in zip(found, wanted, strict=True)), key=abs)
        if abs(worst) > _SOUND + (_CUT if name.endswith(".mp3") else 0.0):
            faults.append(f"a beep is {1000 * worst:+.0f} ms from its place")
    longer = heard.end - begin - (source.end - zero)
    if abs(longer) > _LONGER:
        faults.append(f"{1000 * longer:+.0f} ms longer")
    return Verdict(name, worst, None, faults=tuple(faults))
