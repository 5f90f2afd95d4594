"""The whole corpus, made once and kept in `.corpus/files`."""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.corpus.clip import Clip
from tests.corpus.films import FILMS
from tests.corpus.sources import ROOT, Fetched

CLIPS: tuple[Clip, ...] = (*FILMS,)
_THREADS = 4  # each an ffmpeg


def corpus(folder: Path = ROOT, names: Collection[str] | None = None) -> dict[Clip, Path]:
    """Where each file lies, or those of `names`; what is not there yet is made. Raises RuntimeError with the first that
    cannot be.
    """
    sources, files = Fetched(folder), folder / "files"
    files.mkdir(parents=True, exist_ok=True)
    wanted = [clip for clip in CLIPS if names is None or clip.name in names]
    for master in sorted({clip.master for clip in wanted if clip.master}):
        sources.film(master)  # before several threads ask for it

    def made(clip: Clip) -> Path:
        path = files / clip.name
        if not path.exists():
            part = sources.scratch / clip.name  # the same name: ffmpeg tells the container by it
            clip.make(part, sources)
            part.replace(path)
        return path

    with ThreadPoolExecutor(_THREADS) as threads:
        return dict(zip(wanted, threads.map(made, wanted), strict=True))
