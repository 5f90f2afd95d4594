"""The marks come back from poor encodings, and what is not one frame's number is not read as one."""

from __future__ import annotations

import subprocess
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import pytest

from tests.corpus import marks

SECONDS = 3
FILMS: dict[str, list[str]] = {
    "poor.mp4": ["-vf", "scale=320:240", "-c:v", "libx264", "-preset", "ultrafast", "-b:v", "120k", "-c:a", "aac"],
    "woven.ts": ["-vf", "fps=50,interlace=scan=bff", "-c:v", "mpeg2video", "-b:v", "3M", "-flags", "+ildct+ilme",
                 "-c:a", "mp2", "-muxdelay", "0", "-output_ts_offset", "10"],
}  # fmt: skip


@pytest.fixture(scope="module")
def master(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("marked") / "master.mkv"
    picture = f"testsrc2=size=640x360:rate=25:duration={SECONDS},noise=alls=30:allf=t"
    _ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", f"anoisesrc=d={SECONDS}:a=0.9",
            "-vf", marks.MARKS_VIDEO, "-af", marks.MARKS_AUDIO, "-c:v", "ffv1", "-c:a", "flac", path)  # fmt: skip
    return path


def _ffmpeg(*arguments: str | Path) -> None:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error"]
    subprocess.run([*command, *map(str, arguments)], check=True, timeout=120)


@pytest.mark.parametrize("name", FILMS)
def test_numbers_flashes_and_beeps_come_back(master: Path, tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    _ffmpeg("-i", master, *FILMS[name], path)
    seen = marks.frames(path, first_line=1 if name == "woven.ts" else None)
    heard = marks.sound(path)
    assert [frame.number for frame in seen] == list(range(25 * SECONDS))
    assert heard is not None
    moments = [seen[0].time + instant for instant in marks.instants(SECONDS)]
    assert marks.flashes(seen) == pytest.approx(moments, abs=0.001)
    assert heard.beeps == pytest.approx(moments, abs=0.003)


def test_a_blend_of_two_frames_has_no_number() -> None:
    pictures = [_picture(number) for number in (341, 342)]
    assert [marks.number_of(picture) for picture in pictures] == [341, 342]
    assert marks.number_of((pictures[0] + pictures[1]) / 2) is None
    assert marks.number_of(np.rot90(pictures[0], 2)) is None


def _picture(number: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    bits = [number >> bit & 1 for bit in range(marks.BITS)]
    row = np.repeat([*bits, sum(bits) % 2, 1], 10)
    picture = np.zeros((120, len(row)))
    picture[:10], picture[10:20] = row * 255, (1 - row) * 255
    return picture
