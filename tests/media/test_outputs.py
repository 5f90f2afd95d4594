"""What is made of sounds, and of nothing; what a taken-over tool leaves."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rushes.errors import Unavailable
from rushes.media.audio import make_sound
from rushes.media.identify import identify
from rushes.media.outputs import collect
from rushes.media.posters import make_poster
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource
from rushes.media.sprites import make_sprite

from .clips import Clips


async def test_peaks_of_a_sound_that_starts_late_start_late(sandbox: Sandbox, job: Path, clips: Clips) -> None:
    source = FileSource(clips("late_sound.mkv"))
    peaks = (await make_sound(source, await identify(source, job, sandbox), job, sandbox)).outputs[0]
    data = json.loads(peaks.path.read_text())["data"]
    assert next(n for n, value in enumerate(data) if value > 5) / 2 * 256 / 48000 == pytest.approx(1.0, abs=0.06)


async def test_nothing_to_make_is_an_empty_list(namespaces: Sandbox, job: Path, clips: Clips) -> None:
    sound, silent = FileSource(clips("a.wav")), FileSource(clips("silent.mp4"))
    info = await identify(sound, job, namespaces)
    assert await make_poster(sound, info, job, namespaces) == []
    assert await make_sprite(sound, info, job, namespaces) == []
    assert (await make_sound(silent, await identify(silent, job, namespaces), job, namespaces)).outputs == []


def test_a_link_left_behind_is_not_published(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "poster.jpg").symlink_to(tmp_path / "secret")
    (tmp_path / "sprite.jpg").hardlink_to(tmp_path / "secret")
    (tmp_path / "empty.jpg").touch()
    for name in ("poster.jpg", "sprite.jpg", "empty.jpg", "missing.jpg"):
        with pytest.raises(Unavailable):
            collect(tmp_path, name, "poster", "image/jpeg")
