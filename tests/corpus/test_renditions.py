"""Films and sounds go in by the client, and every rendition of them shows and sounds what it should when it should; in
`make long` those of the whole corpus too.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg
import pytest

from tests.conftest import ROUNDS
from tests.corpus import marks
from tests.corpus.made import corpus
from tests.corpus.renditions import Row, rendition_rows
from tests.e2e.equipment import Site, site

SECONDS = 3
_VARIED = "select='lt(t,2)+not(mod(n,2))',transpose=clock"
FILES: dict[str, list[str]] = {
    "web safe.mp4": ["-c:v", "libx264", "-preset", "ultrafast", "-profile:v", "high", "-pix_fmt", "yuv420p", "-g", "50",
                     "-sc_threshold", "0", "-c:a", "aac"],
    # Its picture begins 0.6 s after its sound, at nine hours and more.
    "broadcast.ts": ["-vf", "trim=start=0.6", "-c:v", "mpeg2video", "-b:v", "3M", "-c:a", "mp2",
                     "-output_ts_offset", "35000"],
    "phone.mov": ["-vf", _VARIED, "-fps_mode", "vfr", "-c:v", "libx265", "-preset", "ultrafast", "-x265-params",
                  "log-level=error", "-pix_fmt", "yuv420p", "-tag:v", "hvc1", "-c:a", "aac"],
    "song.opus": ["-vn", "-c:a", "libopus"],
}  # fmt: skip
STILLS = {f"poster-{side}.{ending}" for side in (320, 640) for ending in ("jpg", "webp")} | {"sprite.jpg", "sprite.vtt"}
HEARD = {"waveform.json", "waveform.dat", "waveform.png", "spectrogram.png", "hls-audio.mp4"}


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with site(tmp_path_factory.mktemp("a stack") / "data dir") as running:
        yield running


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("marked")
    picture = f"testsrc2=size=640x360:rate=25:duration={SECONDS}"
    _ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"anoisesrc=d={SECONDS}:r=48000:a=0.9",
            "-vf", marks.MARKS_VIDEO, "-af", marks.MARKS_AUDIO, "-c:v", "ffv1", "-c:a", "flac",
            folder / "master.mkv")  # fmt: skip
    for name, arguments in FILES.items():
        _ffmpeg("-i", folder / "master.mkv", *arguments, folder / name)
    side, turned = folder / "phone.mov", folder / "turned.mov"
    _ffmpeg("-display_rotation:v", "90", "-i", side, "-c", "copy", turned)
    turned.replace(side)
    return {name: folder / name for name in FILES}


def _ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error"]
    subprocess.run([*command, *map(str, arguments)], check=True, timeout=120)


def test_every_rendition_shows_and_sounds_what_it_should(stack: Site, files: dict[str, Path]) -> None:
    rows = {row.file: row for row in rendition_rows(files, stack)}
    assert {name: row.wrong for name, row in rows.items()} == {name: [] for name in FILES}
    for name, row in rows.items():
        if name == "song.opus":
            assert set(row.made) == HEARD | {"preview.m4a", "preview.mp3"}
            continue
        assert set(row.made) == STILLS | HEARD | {"hls-360p.mp4", "proxy-360p.mp4"}
        assert _measured(row) == {"hls-360p.mp4", "proxy-360p.mp4"}
        assert row.worst is not None
        assert row.worst.frames is not None
        assert abs(row.worst.frames) <= 1
        assert not row.remarks


if ROUNDS > 1:

    @pytest.mark.timeout(3600)
    def test_every_rendition_of_the_whole_corpus(stack: Site) -> None:
        rows = rendition_rows({clip.name: path for clip, path in corpus().items()}, stack)
        assert {row.file: row.wrong for row in rows if row.wrong} == {}


def _measured(row: Row) -> set[str]:
    """What was read to its ends, with its sound."""
    return {verdict.name for verdict in row.verdicts if verdict.first and verdict.last and verdict.offset is not None}
