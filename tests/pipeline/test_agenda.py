"""Which stages a run has, and which of them run again when some are asked for: decided without a database."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from rushes.media import images, sprites
from rushes.model import Job, JobState
from rushes.pipeline.agenda import LOWEST, Picture, agenda, late_join, wished
from rushes.pipeline.work import FUNCTIONS, RECIPES

FILM = {"kind": "video", "duration": 60.0, "audio": [{}], "video": {"width": 1920, "height": 1080, "fps": 25.0}}


def stages(media: dict[str, object] | None, picture: Picture | None = None, **arguments: object) -> list[str]:
    found = agenda(media, 10**7, picture or Picture(), wished(dict(arguments)))
    return [item.type for item in found]


def test_only_what_says_what_a_file_is_runs_before_that_is_known() -> None:
    assert stages(None) == ["identify", "digest"]


@pytest.mark.parametrize("kind", ["image", "audio", "video"])
def test_every_stage_has_its_function(kind: str) -> None:
    found = stages(FILM | {"kind": kind, "cover": 1}, Picture(spans=3, extra=True))
    assert set(found) <= FUNCTIONS.keys()
    assert len(found) > 2


def test_a_long_film_is_encoded_in_spans_that_are_joined() -> None:
    found = stages(FILM, Picture(spans=3))
    assert found.count("encode") == 3
    assert found.index("copy") < found.index("stills") < found.index("join")


@pytest.mark.parametrize("one", ["copy", "encode", "join"])
def test_one_pictures_renditions_are_made_together(one: str) -> None:
    found = stages(FILM, Picture(spans=2), stages=[one])
    assert sorted(set(found)) == ["copy", "encode", "join"]


@pytest.mark.parametrize("one", ["extra", "extra_join"])
def test_the_second_set_is_made_by_itself(one: str) -> None:
    assert wished({"stages": [one]}) == frozenset({"extra", "extra_join"})
    assert stages(FILM, Picture(spans=2, extra=True), stages=[one]) == ["extra"]
    assert stages(FILM, Picture(spans=2), stages=[one]) == []


def test_spans_of_the_second_set_are_joined_when_all_are_there() -> None:
    done, open_ = second(0, JobState.SUCCEEDED), second(1, JobState.RUNNING)
    assert not late_join([done])  # joined by its own stage
    assert not late_join([done, open_])
    assert late_join([done, second(1, JobState.SUCCEEDED)])


def second(number: int, state: JobState) -> Job:
    return Job(
        UUID(int=number), "t", "c", UUID(int=9), UUID(int=8), "extra", number, {}, {}, 1.0, state, LOWEST, 0.0, None, "",
        [], 0, 0, False, 1, None, datetime(2026, 11, 22, tzinfo=UTC), None, None,
    )  # fmt: skip


def test_facts_that_are_made_anew_get_their_loudness_again() -> None:
    assert stages(FILM, stages=["identify"]) == ["identify", "sound"]
    assert stages(FILM | {"audio": []}, stages=["identify"]) == ["identify"]


def test_a_stages_recipe_is_that_of_what_makes_it() -> None:
    """Else a recipe could change and nothing would count as outdated."""
    assert (RECIPES["images"], RECIPES["stills"]) == (images.RECIPE, sprites.RECIPE)
    assert {stage if isinstance(stage, str) else stage[0] for stage in RECIPES} <= FUNCTIONS.keys()
