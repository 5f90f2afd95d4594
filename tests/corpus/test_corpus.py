"""What is identified is what the generator made: of some files each time, of all in a long run."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from rushes.media.sandbox import Sandbox
from tests.conftest import ROUNDS, SEED
from tests.corpus.clip import Clip
from tests.corpus.facts import differences, identified, unlike
from tests.corpus.films import FILMS
from tests.corpus.images import IMAGES
from tests.corpus.made import CLIPS, corpus
from tests.corpus.readers import Missing, exiftool, mediainfo
from tests.corpus.sounds import SOUNDS


def _chosen() -> set[str]:
    """Names of a few of each kind, others with each seed; the films from two masters, which cost most."""
    if ROUNDS > 1:
        return {clip.name for clip in CLIPS}
    chance = random.Random(SEED)
    masters = {"bunny", chance.choice(["bikes", "carphone"])}
    kinds = (([clip for clip in FILMS if clip.master in masters], 8), (SOUNDS, 5), (IMAGES, 8))
    return {clip.name for clips, some in kinds for clip in chance.sample(clips, some)}


@pytest.fixture(scope="module")
def some() -> dict[Clip, Path]:
    return corpus(names=_chosen())


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def infos(best: Sandbox, some: dict[Clip, Path]) -> dict[Clip, dict[str, Any]]:
    return {clip: await identified(path, best) for clip, path in some.items()}


@pytest.mark.timeout(1800)
async def test_the_facts_are_what_the_generator_made(infos: dict[Clip, dict[str, Any]]) -> None:
    found = {clip.name: differences(clip, info) for clip, info in infos.items()}
    assert not {name: list(map(str, one)) for name, one in found.items() if one}


@pytest.mark.timeout(1800)
@pytest.mark.parametrize(
    ("name", "read"), [("MediaInfo", mediainfo), ("ExifTool", exiftool)], ids=["MediaInfo", "ExifTool"]
)
async def test_other_readers_say_the_same(
    some: dict[Clip, Path],
    infos: dict[Clip, dict[str, Any]],
    name: str,
    read: Callable[[Path], dict[str, Any]],
) -> None:
    """But for the differences that are known, each with its reason."""
    found: dict[str, list[str]] = {}
    for clip, path in some.items():
        try:
            theirs = await asyncio.to_thread(read, path)
        except Missing as reason:
            pytest.skip(str(reason))
        others = unlike(clip, name, infos[clip], theirs)
        found |= {clip.name: told} if (told := [str(one) for one in others if one.reason is None]) else {}
    assert not found


def test_the_corpus_is_what_was_promised() -> None:
    assert len(CLIPS) == len({clip.name for clip in CLIPS}) >= 60
    assert len({clip.source for clip in CLIPS}) >= 10
    assert all(len(clip.expected) >= 5 for clip in CLIPS)
