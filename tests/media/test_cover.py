"""Covers of sound files, in each of the ways in which containers keep them."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from rushes.media.cover import make_cover
from rushes.media.identify import identify
from rushes.media.limits import Limits
from rushes.media.outputs import Output
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource

from .clips import Clips
from .sounds import RED, with_cover


async def _made(sandbox: Sandbox, job: Path, path: Path, limits: Limits | None = None) -> list[Output]:
    source = FileSource(path)
    info = await identify(source, job, sandbox)
    return await make_cover(source, info, job, sandbox, limits=limits)


@pytest.mark.parametrize("name", ["a.mp3", "a.m4a", "a.flac", "a.ogg"])
async def test_a_cover_and_its_posters(sandbox: Sandbox, job: Path, tmp_path: Path, name: str) -> None:
    made = await _made(sandbox, job, with_cover(tmp_path, name))
    names = [f"poster-{side}.{ending}" for side in (320, 640, 1280) for ending in ("jpg", "webp")]
    assert [output.name for output in made] == ["cover.jpg", *names]
    assert [output.type for output in made] == ["cover"] + ["poster"] * 6
    assert [(output.width, output.height) for output in made[:2]] == [(960, 600), (320, 200)]
    for output in made:
        with Image.open(output.path) as picture:
            assert picture.size == (output.width, output.height)
            pixel = picture.convert("RGB").getpixel((10, 10))
            assert isinstance(pixel, tuple)
            assert all(abs(found - wanted) < 8 for found, wanted in zip(pixel, RED, strict=True))


async def test_a_sound_without_a_cover(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    assert await _made(namespaces, job, clips("a.flac")) == []
    assert await _made(namespaces, job, clips("base.mp4")) == []


async def test_a_cover_that_cannot_be_shown_is_none(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    whole = with_cover(tmp_path, "a.mp3")
    assert await _made(namespaces, job, whole, Limits(max_pixels=100_000)) == []
    data = whole.read_bytes()
    place = data.index(b"\x89PNG")
    for damage in (b"\0" * 64, b"\x89PNG" + b"\xff" * 60):
        broken = tmp_path / "broken.mp3"
        broken.write_bytes(data[:place] + damage + data[place + 64 :])
        assert await _made(namespaces, job, broken) == []
