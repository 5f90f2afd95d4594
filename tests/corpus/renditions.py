"""What the product makes of each file of the corpus, measured: every file goes in by the client and its renditions come
out as people get them, pictures and sounds of HLS through the playlists.

The marks (marks.py) are read in the source and in everything that was made of it; judged.py and stills.py compare.
"""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rushes.errors import Problem
from rushes.wire import AssetView, RenditionView
from tests.corpus import judged, marks, stills
from tests.corpus.judged import Verdict
from tests.corpus.marks import Heard, Seen
from tests.corpus.playlists import Played, played
from tests.e2e.equipment import Site, site

_READERS = 3  # threads that measure while the worker makes
_PATIENCE = 600.0  # seconds until a file must be published
_SEEN_ONCE = {"poster", "cover"}


@dataclass(frozen=True)
class Row:
    """A file's line of the table."""

    file: str
    made: tuple[str, ...]
    verdicts: tuple[Verdict, ...] = ()
    faults: tuple[str, ...] = ()  # of the whole file
    remarks: tuple[str, ...] = ()

    @property
    def worst(self) -> Verdict | None:
        """Of the pictures with sound, the one whose beep is farthest from its flash."""
        return max(
            (verdict for verdict in self.verdicts if verdict.frames is not None),
            key=lambda verdict: abs(verdict.offset or 0.0),
            default=None,
        )

    @property
    def wrong(self) -> list[str]:
        """Everything that is not as it should be."""
        return [*self.faults, *(f"{verdict.name}: {fault}" for verdict in self.verdicts for fault in verdict.faults)]


@dataclass(frozen=True)
class Original:
    """The source as it is read without the product."""

    path: Path
    media: Mapping[str, Any]
    seen: Sequence[Seen] = ()
    sounds: Sequence[Heard] = ()
    keys: Sequence[float] = ()  # seconds
    zero: float = 0.0  # seconds: its beginning on its own clock
    turns: int = 0  # to be read: a film may lie on its side
    remarks: list[str] = field(default_factory=list)

    @property
    def own(self) -> float | None:
        """Its own offset of sound to picture, in seconds; above 0: the sound is late."""
        return judged.offset(self.seen, self.sounds[0])[0] if self.seen and self.sounds else None


def rendition_rows(files: Mapping[str, Path], stack: Site | None = None) -> list[Row]:
    """A row for each file, by the name it is to have in the table, in their order. Without `stack` one is started."""
    with tempfile.TemporaryDirectory(prefix="corpus-") as folder, _running(stack, Path(folder)) as running:
        sent = {name: running.client.upload(path).asset_id for name, path in files.items()}
        with ThreadPoolExecutor(_READERS) as readers:
            return list(readers.map(lambda name: _row(running, name, files[name], sent[name], Path(folder)), files))


@contextmanager
def _running(stack: Site | None, folder: Path) -> Iterator[Site]:
    if stack is not None:
        yield stack
        return
    with site(folder / "data dir") as own:
        yield own


def _row(running: Site, name: str, path: Path, asset_id: Any, folder: Path) -> Row:
    try:
        asset = running.client.wait(asset_id, timeout=_PATIENCE)
    except Problem as problem:
        return Row(name, (), faults=(f"{problem.code}: {problem.message}",))
    place = folder / str(asset_id)
    place.mkdir()
    return measured(running, name, path, asset, place)


def measured(running: Site, name: str, path: Path, asset: AssetView, place: Path) -> Row:
    """The row of an asset that was made of the file at `path`; its renditions are fetched into `place`."""
    media = asset.media or {}
    original = read(path, media)
    fetched = {
        one.name: running.client.download(asset.id, place / one.name, rendition=one.name).path
        for one in asset.renditions
        if one.type not in {"hls_video", "hls_audio"}
    }
    kinds = {one.type for one in asset.renditions}
    hls = Played({}, {}, None)
    if kinds & {"hls_video", "hls_audio"}:
        hls = played(running.client.assets.play(asset.id, 600).url)
    faults = _missing(asset, hls)
    verdicts = [*_of_hls(original, hls, asset), *_of_files(original, asset.renditions, fetched)]
    if "sprite" in kinds:
        sheets = {one.name: fetched[one.name] for one in asset.renditions if one.type == "sprite"}
        vtt = next(fetched[one.name] for one in asset.renditions if one.type == "sprite_vtt")
        verdicts.append(
            stills.sprite(vtt.read_text(), sheets, original.seen, original.keys, original.zero, original.turns)
        )
    return Row(
        name, tuple(sorted(one.name for one in asset.renditions)), tuple(verdicts), tuple(faults), _said(original)
    )


def read(path: Path, media: Mapping[str, Any]) -> Original:
    """The source's marks."""
    video, sounds = media.get("video"), media.get("audio") or []
    seen: list[Seen] = []
    keys: list[float] = []
    turns = 0
    remarks: list[str] = []
    if video:
        first_line = {"tff": 0, "bff": 1}.get(video["scan"])
        turns = marks.turns(path)
        seen = marks.frames(path, first_line=first_line, turns=turns)
        keys = marks.keys(path)
        other = marks.frames(path, first_line=1 - first_line, turns=turns) if first_line is not None else seen
        if [frame.number for frame in other] != [frame.number for frame in seen]:
            # What a deinterlacer makes of a cell that is white in one field and black in the other is grey.
            seen = [replace(frame, number=None) for frame in seen]
        unread = sum(frame.number is None for frame in seen)
        if unread == len(seen):
            remarks.append("without marks")
        elif unread:
            remarks.append(f"{unread} of the source's {len(seen)} frames cannot be read")
    heard = [found for track in range(len(sounds)) if (found := marks.sound(path, track)) is not None]
    return Original(path, media, seen, heard, keys, marks.start(path), turns, remarks)


def _missing(asset: AssetView, hls: Played) -> list[str]:
    """What playlists name and what was made must be the same."""
    made = {one.name for one in asset.renditions if one.type in {"hls_video", "hls_audio"}}
    named = set(hls.pictures) | set(hls.sounds)
    return [f"{name} is in no playlist" for name in sorted(made - named)]


def _of_hls(original: Original, hls: Played, asset: AssetView) -> Iterator[Verdict]:
    """Pictures with the sound that players choose first, and each sound by itself."""
    heard = {name: marks.sound(io.BytesIO(data)) for name, data in hls.sounds.items()}
    default = heard.get(hls.default) if hls.default is not None else next(iter(heard.values()), None)
    for name in hls.pictures:
        yield judged.picture(
            name, marks.frames(hls.picture(name), turns=original.turns), default, original.seen, original.own
        )
    if not hls.pictures:
        for name, found in heard.items():
            yield judged.alone(name, found, original.sounds[0], original.zero, placed=True)
        return
    for name, found in heard.items():
        if found is not None and abs(found.begin) > 0.04:
            yield Verdict(name, faults=(f"it begins at {found.begin:.3f} s",))


def _of_files(
    original: Original, renditions: Sequence[RenditionView], fetched: Mapping[str, Path]
) -> Iterator[Verdict]:
    for one in renditions:
        path = fetched.get(one.name)
        if path is None:
            continue
        if one.type == "proxy":
            yield judged.picture(
                one.name, marks.frames(path, turns=original.turns), marks.sound(path), original.seen, original.own
            )
        elif one.type == "preview":
            yield judged.alone(one.name, marks.sound(path), original.sounds[0], original.zero, placed=False)
        elif one.type == "image" or (one.type == "poster" and original.media["kind"] == "image"):
            upright = original.media["wrapper"] not in {"dng", "raw"} and "frames" not in one.extra
            yield stills.image(one, path, original.path, upright=upright)
        elif one.type in _SEEN_ONCE:
            yield stills.poster(one, path, original.seen, original.zero, original.turns)


def _said(original: Original) -> tuple[str, ...]:
    own = original.own
    late = [f"the source's own sound is {1000 * own:+.0f} ms off"] if own is not None and abs(own) > 0.005 else []
    return (*original.remarks, *late)
