"""docs/media.md names what the code takes, makes and lets people choose; nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from rushes.config import Settings
from rushes.media.formats import DEMUXERS, PICTURES
from rushes.pipeline.work import FUNCTIONS, RECIPES

PAGE = (Path(__file__).parents[2] / "docs" / "media.md").read_text()


def test_every_format_is_named() -> None:
    containers = PAGE.split("**Containers**")[1].split("**Codecs**")[0]
    assert set(re.findall(r"`(\w+)`", containers)) == set(DEMUXERS)
    pictures = PAGE.split("**Pictures**: ")[1].split(", and camera raw")[0]
    assert {name.split()[0] for name in pictures.split(", ")} == set(PICTURES)


def test_every_recipe_is_todays() -> None:
    told: dict[str, set[int]] = {}
    for stages, recipe in re.findall(r"^\| (`[^|]+`) \|.*\| (\d*) \|$", PAGE, re.MULTILINE):
        for stage in re.findall(r"`(\w+)`", stages):
            told.setdefault(stage, set()).update({int(recipe)} if recipe else set())
    wanted: dict[str, set[int]] = {stage: set() for stage in told}
    for of, recipe in RECIPES.items():
        wanted.setdefault(of if isinstance(of, str) else of[0], set()).add(recipe)
    assert told == wanted
    assert set(told) <= set(FUNCTIONS)


def test_every_setting_is_there_with_its_default() -> None:
    named = set(re.findall(r"`RUSHES_(\w+)`", PAGE))
    fields = {name.upper() for name in Settings.model_fields}
    assert named <= fields
    assert {name for name in fields if name.startswith(("VIDEO_", "WAVEFORM_"))} <= named
    for name, default in re.findall(r"^\| `RUSHES_(\w+)` \| (\d+|x264) \|", PAGE, re.MULTILINE):
        assert str(Settings.model_fields[name.lower()].default) == default
