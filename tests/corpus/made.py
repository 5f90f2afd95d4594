"""The whole corpus, made once and kept in `.corpus` until the code that makes it changes."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Collection, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

from tests.corpus.clip import Clip
from tests.corpus.films import FILMS
from tests.corpus.images import IMAGES
from tests.corpus.packages import ROOT
from tests.corpus.sounds import SOUNDS
from tests.corpus.sources import Fetched, code

CLIPS: tuple[Clip, ...] = (*FILMS, *SOUNDS, *IMAGES)
_HERE = Path(__file__).parent
_KINDS = {  # and the files that say how they are made
    "films": (FILMS, ("films.py", "boxes.py", "marks.py", "sources.py", "clip.py")),
    "sounds": (SOUNDS, ("sounds.py", "marks.py", "sources.py", "clip.py")),
    "images": (IMAGES, ("images.py", "sources.py", "clip.py", "../media/pictures.py")),
}
_THREADS = 4  # each an ffmpeg


def corpus(folder: Path = ROOT, names: Collection[str] | None = None) -> dict[Clip, Path]:
    """Where each file lies, or those of `names`; what is not there yet is made. Raises RuntimeError with the first that
    cannot be.
    """
    wanted = [clip for clip in CLIPS if names is None or clip.name in names]
    with _alone(folder):
        places, sources = _places(folder), Fetched(folder)
        missing = [clip for clip in wanted if not (places[clip] / clip.name).exists()]
        for master in sorted({clip.master for clip in missing if clip.master}):
            sources.film(master)  # before several threads ask for it
        with ThreadPoolExecutor(_THREADS) as threads:
            for _ in threads.map(lambda clip: _make(clip, places[clip] / clip.name, sources), missing):
                """The first that fails says so here."""
    return {clip: places[clip] / clip.name for clip in wanted}


def _make(clip: Clip, path: Path, sources: Fetched) -> None:
    part = sources.scratch / clip.name  # the same name: ffmpeg tells the container by it
    clip.make(part, sources)
    part.replace(path)


def _places(folder: Path) -> dict[Clip, Path]:
    """A folder for each kind, named for the code that makes it; those of other code go."""
    places: dict[Clip, Path] = {}
    for kind, (clips, files) in _KINDS.items():
        place = folder / f"{kind}-{code(*(_HERE / file for file in files))}"
        for old in folder.glob(f"{kind}-*"):
            if old != place:
                shutil.rmtree(old)
        place.mkdir(exist_ok=True)
        places |= dict.fromkeys(clips, place)
    return places


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One process at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
