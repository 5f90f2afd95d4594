"""HLS of three sources in headless Chromium with hls.js: to the end, after seeks, after forced changes of level.

The page is of a third origin: API and bucket have to let it in. The second that a frame shows is written into its picture.
"""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import imageio_ffmpeg
import pytest

from tests.e2e import browser as browsers
from tests.e2e.browser import Browser
from tests.e2e.equipment import Site, site, until
from tests.stores.served import Absent

SECONDS = 9.0
# Ten boxes that count the seconds in binary, the lowest digit first, over a moving picture.
COUNTER = ",".join(
    f"drawbox=x={bit}*iw/10:y=0:w=iw/10:h=ih/6:t=fill:color={colour}"
    + (f":enable='mod(floor(t/{1 << bit}),2)'" if colour == "white" else "")
    for bit in range(10)
    for colour in ("black", "white")
)
SOUND = ["-f", "lavfi", "-i", f"sine=frequency=440:sample_rate=48000:duration={SECONDS}"]
SOURCES: dict[str, list[str]] = {
    # H.264 and AAC with a key frame every two seconds: its own tracks are kept.
    "web safe.mp4": ["-c:v", "libx264", "-preset", "veryfast", "-g", "50", "-pix_fmt", "yuv420p", "-c:a", "aac"],
    "broadcast.mkv": ["-c:v", "mpeg2video", "-b:v", "3M", "-c:a", "mp2"],
    # Stored on its side, to be turned by players, and every second frame of its second half left out.
    "phone.mov": [
        "-vf",
        "select='lt(t,4.5)+not(mod(n,2))',transpose=clock",
        "-fps_mode",
        "vfr",
        "-c:v",
        "libx264",
        "-preset",
        "veryfast",
        "-g",
        "50",
        "-pix_fmt",
        "yuv420p",
        "-c:a",
        "aac",
    ],
    "interview.flac": ["-c:a", "flac"],
}
# What hls.js mends by itself on a machine that is busy, and what the page itself cut short by changing the level;
# everything else is a fault of what it is given.
HARMLESS = ("bufferStalledError", "bufferNudgeOnStall", "bufferSeekOverHole", "aborted")


@pytest.fixture(scope="module")
def chromium() -> Browser:
    try:
        return browsers.browser()
    except Absent as reason:
        pytest.skip(f"Chromium with hls.js cannot be had on this machine: {reason}")


def make(path: Path) -> Path:
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error"]
    if path.suffix != ".flac":
        picture = f"testsrc2=size=1280x720:rate=25:duration={SECONDS},{COUNTER}"
        command += ["-f", "lavfi", "-i", picture]
    subprocess.run([*command, *SOUND, *SOURCES[path.name], str(path)], check=True, timeout=120)
    if path.name == "phone.mov":
        turned = path.with_name("turned.mov")
        turn = [*command[:5], "-display_rotation:v", "90", "-i", str(path), "-c", "copy", str(turned)]
        subprocess.run(turn, check=True, timeout=120)
        turned.replace(path)
    return path


@pytest.mark.parametrize("name", SOURCES)
def test_it_plays_to_the_end_and_after_seeks(stack: Site, chromium: Browser, tmp_path: Path, name: str) -> None:
    asset = stack.client.wait(stack.client.upload(make(tmp_path / name)).asset_id, timeout=240)
    assert asset.status == "published", asset.problem
    seen = chromium.report(stack.client.assets.play(asset.id, 600).url, tmp_path)

    assert not seen.get("broke"), str(seen)
    assert not seen["fatal"], seen
    assert [error for error in seen["errors"] if not error.startswith(HARMLESS)] == []
    assert seen["ended"]["duration"] == pytest.approx(SECONDS, abs=0.2)
    assert seen["ended"]["at"] == pytest.approx(SECONDS, abs=0.2)
    assert len(seen["tracks"]) == (0 if name.endswith("flac") else 1)
    assert len(seen["seeks"]) == 5
    for place in seen["seeks"] + seen["switches"]:
        assert place["at"] == pytest.approx(place["wanted"], abs=0.1)
        if not name.endswith("flac"):
            _shows(place)
    heights = [] if name.endswith("flac") else [360, 720]
    assert sorted(place["level"] for place in seen["switches"]) == heights
    assert all(place["height"] == place["level"] for place in seen["switches"])
    kept = [r.extra.get("copied") for r in asset.renditions if r.type == "hls_video"]
    assert any(kept) is name.startswith("web safe")


def test_the_second_set_plays_as_well(chromium: Browser, tmp_path: Path) -> None:
    """In VP9, which the playlist names when it is there, after H.264."""
    path = tmp_path / "small.mkv"
    picture = ["-f", "lavfi", "-i", f"testsrc2=size=320x180:rate=25:duration={SECONDS},{COUNTER}"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-y", "-loglevel", "error", *picture, *SOUND]
    subprocess.run([*command, *SOURCES["broadcast.mkv"], str(path)], check=True, timeout=120)
    with site(tmp_path / "data dir", video_second="vp9") as stack:
        asset = stack.client.wait(stack.client.upload(path).asset_id, timeout=240)
        until(lambda: (job := stack.job(asset.id, "extra")) and job.status == "succeeded", 120, "no second set")
        seen = chromium.report(stack.client.assets.play(asset.id, 600).url, tmp_path, "vp09")
    assert not seen.get("broke"), str(seen)
    assert not seen["fatal"], seen
    assert [level["codecs"][:4] for level in seen["levels"]] == ["avc1", "vp09"]
    assert [codec[:4] for codec in seen["kept"]] == ["vp09"]
    assert [error for error in seen["errors"] if not error.startswith(HARMLESS)] == []
    assert seen["ended"]["at"] == pytest.approx(SECONDS, abs=0.2)
    assert len(seen["seeks"]) == 5
    for place in seen["seeks"]:
        assert place["at"] == pytest.approx(place["wanted"], abs=0.1)
        _shows(place)


def _shows(place: dict[str, Any]) -> None:
    """The frame is that of the moment, or its neighbour."""
    assert place["second"] in {int(max(0, place["wanted"] + late)) for late in (-0.05, 0.0, 0.05)}, place
