"""A rendition with something wrong is found out."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.corpus import judged
from tests.corpus.judged import Verdict
from tests.corpus.marks import Heard, Seen, instants

RATE = 25
SOURCE = [
    Seen(1.4 + n / RATE, n, 255.0 if any(0 <= n / RATE - at < 0.12 for at in instants(5)) else 0.0) for n in range(125)
]
SOUND = Heard(1.4, 6.4, [1.4 + at for at in instants(5)])
MADE = [replace(frame, time=frame.time - 1.4) for frame in SOURCE]
HEARD = Heard(0.0, 5.0, instants(5))


def _picture(seen: list[Seen], heard: Heard = HEARD, own: float | None = 0.0) -> Verdict:
    return judged.picture("a", seen, heard, SOURCE, own)


def test_what_is_as_its_source_has_no_faults() -> None:
    found = _picture(MADE)
    assert found.offset == pytest.approx(0, abs=1e-9)
    assert found.frames == pytest.approx(0, abs=1e-9)
    assert (found.first, found.last, found.faults) == (True, True, ())


@pytest.mark.parametrize(
    ("seen", "ends"),
    [
        (MADE[1:], (False, True)),  # without the first
        (MADE[:-1], (True, False)),  # or the last
        ([*MADE[:60], *MADE[61:]], (True, True)),  # one left out
        ([*MADE[:60], MADE[59], *MADE[60:]], (True, True)),  # one twice
        ([*MADE[:60], MADE[61], MADE[60], *MADE[62:]], (True, True)),  # two exchanged
        ([*MADE[:60], replace(MADE[60], number=None), *MADE[61:]], (True, True)),  # two in one
        ([*MADE[:60], *(replace(frame, time=frame.time + 0.03) for frame in MADE[60:])], (True, True)),  # late from there
        ([replace(frame, time=frame.time + 0.5) for frame in MADE], (True, True)),  # all late
        ([], (False, False)),
    ],
)  # fmt: skip
def test_frames_that_are_not_the_sources(seen: list[Seen], ends: tuple[bool, bool]) -> None:
    heard = replace(HEARD, beeps=[beep + 0.5 for beep in HEARD.beeps]) if seen and seen[0].time > 0.4 else HEARD
    found = _picture(seen, heard)
    assert found.faults
    assert (found.first, found.last) == ends


@pytest.mark.parametrize("late", [-1.0, -0.05, 0.05, 1.0])
def test_sound_that_is_not_with_its_picture(late: float) -> None:
    heard = replace(HEARD, beeps=[beep + late for beep in HEARD.beeps])
    found = _picture(MADE, heard)
    assert found.faults
    assert found.offset == pytest.approx(late)
    assert not _picture(MADE, heard, own=late).faults


def test_sound_with_fewer_beeps() -> None:
    assert _picture(MADE, replace(HEARD, beeps=HEARD.beeps[1:])).faults


@pytest.mark.parametrize(
    ("heard", "right"),
    [
        (HEARD, True),
        (replace(HEARD, beeps=[beep + 0.02 for beep in HEARD.beeps]), False),
        (replace(HEARD, beeps=HEARD.beeps[:-1]), False),
        (replace(HEARD, end=4.5), False),
        (None, False),
    ],
)
def test_a_sound_by_itself(heard: Heard | None, *, right: bool) -> None:
    assert bool(judged.alone("a", heard, SOUND, SOUND.begin, placed=True).faults) is not right
