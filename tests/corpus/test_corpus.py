"""What is identified is what the generator made: of some files each time, of all in a long run."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

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
    """Names of a few of each kind, others with each seed; those that cost most to make seldom matter."""
    if ROUNDS > 1:
        return {clip.name for clip in CLIPS}
    chance = random.Random(SEED)
    kinds = ((FILMS, 10), (SOUNDS, 5), (IMAGES, 8))
    return {clip.name for clips, some in kinds for clip in chance.sample(clips, some)}


@pytest.fixture(scope="module")
def some() -> dict[Clip, Path]:
    return corpus(names=_chosen())


@pytest.mark.timeout(1800)
async def test_the_facts_are_what_the_generator_made(best: Sandbox, some: dict[Clip, Path]) -> None:
    found = {clip.name: differences(clip, await identified(path, best)) for clip, path in some.items()}
    assert not {name: list(map(str, one)) for name, one in found.items() if one}


@pytest.mark.timeout(1800)
async def test_other_readers_say_the_same(best: Sandbox, some: dict[Clip, Path]) -> None:
    """But for the differences that are known, each with its reason."""
    found: dict[str, list[str]] = {}
    for clip, path in some.items():
        info = await identified(path, best)
        for name, read in (("MediaInfo", mediainfo), ("ExifTool", exiftool)):
            try:
                theirs = await asyncio.to_thread(read, path)
            except Missing as reason:
                pytest.skip(f"{name} is not asked: {reason}")
            unknown = [str(one) for one in unlike(clip, name, info, theirs) if one.reason is None]
            found |= {f"{clip.name} by {name}": unknown} if unknown else {}
    assert not found


def test_the_corpus_is_what_was_promised() -> None:
    assert len(CLIPS) == len({clip.name for clip in CLIPS}) >= 60
    assert len({clip.source for clip in CLIPS}) >= 10
    assert all(len(clip.expected) >= 5 for clip in CLIPS)
