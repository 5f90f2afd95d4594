"""States move only as their tables say; ids sort by time; the one status word is always one that is documented."""

from __future__ import annotations

import itertools
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Any

import pytest

from rushes.errors import Conflict
from rushes.model import (
    ASSET_MOVES,
    JOB_MOVES,
    OPEN_UPLOADS,
    UPLOAD_MOVES,
    AssetState,
    JobState,
    UploadState,
    check_move,
    new_id,
    overall_status,
)

TABLES: list[tuple[str, type[StrEnum], Mapping[Any, frozenset[Any]]]] = [
    ("upload", UploadState, UPLOAD_MOVES),
    ("asset", AssetState, ASSET_MOVES),
    ("job", JobState, JOB_MOVES),
]


@pytest.mark.parametrize(("noun", "states", "moves"), TABLES)
def test_a_move_is_legal_or_a_conflict(noun: str, states: type[StrEnum], moves: Mapping[Any, frozenset[Any]]) -> None:
    assert moves.keys() == set(states)
    for old, new in itertools.product(states, states):
        if new in moves[old]:
            check_move(moves, noun, old, new)
        else:
            with pytest.raises(Conflict) as refused:
                check_move(moves, noun, old, new)
            assert refused.value.code == f"{noun}_{old}"
            assert refused.value.details == {"state": str(old)}


@pytest.mark.parametrize(("noun", "states", "moves"), TABLES)
def test_every_state_can_be_reached_and_none_stays_by_moving(
    noun: str, states: type[StrEnum], moves: Mapping[Any, frozenset[Any]]
) -> None:
    first = next(iter(states))
    reached = {first}
    while more := set().union(*(moves[state] for state in reached)) - reached:
        reached |= more
    assert reached == set(states), noun
    assert not [state for state in states if state in moves[state]]


def test_an_upload_that_is_over_stays_over() -> None:
    assert {state for state, after in UPLOAD_MOVES.items() if after} == set(OPEN_UPLOADS)
    assert ASSET_MOVES[AssetState.DELETED] == frozenset()


def test_what_is_ingested_was_finalizing_and_what_is_published_was_processing() -> None:
    assert [old for old, new in UPLOAD_MOVES.items() if UploadState.INGESTED in new] == [UploadState.FINALIZING]
    assert [old for old, new in ASSET_MOVES.items() if AssetState.PUBLISHED in new] == [AssetState.PROCESSING]


def test_the_status_word() -> None:
    for upload, asset in itertools.product(UploadState, AssetState):
        word = str(overall_status(upload, asset))
        if upload is not UploadState.INGESTED:
            assert word == upload
        else:
            assert word == ("ingested" if asset is AssetState.PENDING else asset)


def test_ids_are_uuid7_and_sort_by_time() -> None:
    before = time.time_ns() // 1_000_000
    ids = [new_id() for _ in range(5_000)]
    after = time.time_ns() // 1_000_000
    assert len(set(ids)) == len(ids)
    assert {(found.version, found.variant) for found in ids} == {(7, "specified in RFC 4122")}
    stamps = [found.int >> 80 for found in ids]
    assert stamps == sorted(stamps)
    assert before <= stamps[0] <= stamps[-1] <= after
    assert len({found.int >> 64 & 0xFFF for found in ids}) > 1_000  # random bits on both sides of the variant
    assert len({found.int & (1 << 62) - 1 for found in ids}) == len(ids)
