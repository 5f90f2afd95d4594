"""Uploads under random abuse end published, with the right bytes, and send little twice.

`make long ROUNDS=200` is the Show; by itself: RUSHES_TEST_ROUNDS=200 pytest tests/client/test_abuse.py
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from contextlib import ExitStack

import pytest

from tests.client.abuse import Yard, abused, yard
from tests.conftest import SEED

PARTS = (48, 60)  # of 5 MiB
MOST_SENT = 1.15  # of the file's size
ROUNDS_A_YARD = 10  # then a new stack: the embedded store gives space back late


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Yard]]:
    """The yard for the next round."""
    with ExitStack() as stack:
        used = 0
        current: Yard | None = None

        def next_one() -> Yard:
            nonlocal used, current
            if current is None or used >= ROUNDS_A_YARD:
                stack.pop_all().close()
                current = stack.enter_context(yard(tmp_path_factory.mktemp("yard") / "it", SEED))
                used = 0
            used += 1
            return current

        yield next_one


@pytest.mark.timeout(600)
def test_whatever_happens_the_right_bytes_are_published(
    ground: Callable[[], Yard], round_: int, record_property: Callable[[str, object], None]
) -> None:
    rng = random.Random(f"{SEED} {round_}")
    told = abused(ground(), rng, parts=rng.randint(*PARTS), count=rng.randint(1, 4))
    record_property("saw", f"round {round_}: {told}")
    assert told.sent <= MOST_SENT, told
