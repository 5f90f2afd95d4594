"""Which files of a watched folder are finished. Pure: snapshots of the folder go in, decisions come out; time is a parameter.

    settling ── nothing changed for `settle` seconds ──▸ under way ── done, failed ──▸ handled
       ▴                                                    │
       ├────────────── changed meanwhile ───────────────────┤
       └── after a rest ◂────────── no server ──────────────┘

A file is what it is by its inode: under a new name it is the same file, and keeps its place here; another file that takes
its name is a new one. A snapshot is complete or it is not shown here at all: what is missing in it is gone.
"""

from __future__ import annotations

import fnmatch
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from pathlib import PurePath

UNFINISHED = (
    ".part", ".partial", ".crdownload", ".download", ".opdownload", ".filepart", ".tmp", ".temp", ".aria2", ".!ut", ".!qb",
    ".bc!", ".swp", ".lock", ".part.journal",
)  # fmt: skip
NEVER = frozenset({"thumbs.db", "desktop.ini"})
FIRST_REST = 15.0  # seconds before a file that could not be uploaded is tried again; doubles
LONGEST_REST = 600.0


@dataclass(frozen=True, slots=True)
class Stamp:
    """What shows, without reading, that somebody still writes to a file."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    blocks: int = 0  # where a file's space is taken before it is written, this moves instead of the size

    def is_same_file(self, other: Stamp) -> bool:
        return (self.device, self.inode) == (other.device, other.inode)

    def is_same_content(self, other: Stamp) -> bool:
        """As far as can be seen. File systems move blocks by themselves, so those do not count."""
        return self.is_same_file(other) and (self.size, self.mtime_ns) == (other.size, other.mtime_ns)


Snapshot = Mapping[PurePath, Stamp]


class Stage(Enum):
    SETTLING = auto()
    UNDER_WAY = auto()
    HANDLED = auto()  # done or failed, and still there


@dataclass(slots=True)
class File:
    stamp: Stamp
    since: float  # when it was last seen to change
    stage: Stage = Stage.SETTLING
    anew: bool = False  # what was uploaded of it is of other content
    not_before: float = 0.0
    rests: int = 0


@dataclass(slots=True)
class Decision:
    begin: list[PurePath] = field(default_factory=list)
    renamed: list[tuple[PurePath, PurePath]] = field(default_factory=list)  # from, to: of those begun before
    gone: list[PurePath] = field(default_factory=list)  # while under way


class Settling:
    """What is known of the files of one folder, from one look to the next."""

    def __init__(self, settle: float, rest: float = FIRST_REST) -> None:
        self.settle = settle
        self.first_rest = rest
        self.files: dict[PurePath, File] = {}

    def look(self, snapshot: Snapshot, now: float) -> Decision:
        """What follows from how the folder looks now: what is finished is to be begun, in the order of the names."""
        decision = Decision()
        self._match(snapshot, decision)
        for path, stamp in snapshot.items():
            file = self.files.get(path)
            if file is None:
                self.files[path] = File(stamp, now)
            elif file.stamp != stamp:
                if not file.stamp.is_same_content(stamp):
                    file.rests, file.not_before = 0, now
                    if file.stage is Stage.HANDLED:  # somebody has written to it again
                        file.stage = Stage.SETTLING
                file.stamp, file.since = stamp, now
        decision.begin = sorted(path for path, file in self.files.items() if self._is_finished(file, now))
        for path in decision.begin:
            self.files[path].stage = Stage.UNDER_WAY
        return decision

    def _match(self, snapshot: Snapshot, decision: Decision) -> None:
        """Files that are no longer where they were: under another name, or gone."""
        moved = {
            path: file
            for path, file in self.files.items()
            if path not in snapshot or not snapshot[path].is_same_file(file.stamp)
        }
        if moved:
            inodes = {(stamp.device, stamp.inode) for stamp in snapshot.values()}
            for path in [
                path for path, file in moved.items() if _is_renumbered(file.stamp, snapshot.get(path), inodes)
            ]:
                file = moved.pop(path)
                file.stamp = replace(file.stamp, device=snapshot[path].device, inode=snapshot[path].inode)
        if not moved:
            return
        settled = {path for path in self.files if path not in moved}
        by_inode = {(s.device, s.inode): path for path, s in snapshot.items() if path not in settled}
        for path in moved:
            del self.files[path]
        for path, file in moved.items():
            new = by_inode.pop((file.stamp.device, file.stamp.inode), None)
            if new is not None:
                self.files[new] = file
                if file.stage is not Stage.SETTLING:
                    decision.renamed.append((path, new))
            elif file.stage is Stage.UNDER_WAY:
                decision.gone.append(path)

    def _is_finished(self, file: File, now: float) -> bool:
        quiet = now - file.since >= self.settle and now >= file.not_before
        return file.stage is Stage.SETTLING and quiet and file.stamp.size > 0

    # --- what became of those under way ---------------------------------------------------------------------------

    def handled(self, path: PurePath) -> None:
        """Done or failed, and left where it is: until somebody writes to it."""
        self.files[path].stage = Stage.HANDLED

    def forget(self, path: PurePath) -> None:
        """It was taken away."""
        self.files.pop(path, None)

    def changed(self, path: PurePath, now: float) -> None:
        """It was written to while it was read: what was uploaded does not count, and it has to settle first."""
        file = self.files[path]
        file.stage, file.since, file.anew = Stage.SETTLING, now, True

    def rest(self, path: PurePath, now: float) -> float:
        """It could not be uploaded now; the seconds until it is tried again."""
        file = self.files[path]
        seconds: float = min(LONGEST_REST, self.first_rest * 2.0 ** min(file.rests, 16))
        file.stage, file.not_before = Stage.SETTLING, now + seconds
        file.rests += 1
        return seconds

    # --- what is left ---------------------------------------------------------------------------------------------

    @property
    def waiting(self) -> list[PurePath]:
        """Not finished, or not begun yet; without the empty ones."""
        return [path for path, file in self.files.items() if file.stage is Stage.SETTLING and file.stamp.size > 0]

    def soonest(self, now: float) -> float | None:
        """Seconds until something may be finished; None where nothing waits."""
        times = [max(file.since + self.settle, file.not_before) for file in map(self.files.__getitem__, self.waiting)]
        return max(0.0, min(times) - now) if times else None


def _is_renumbered(before: Stamp, now: Stamp | None, inodes: Collection[tuple[int, int]]) -> bool:
    """Whether a file kept its name and all else but the number of its inode: some network drives make those up."""
    same = now is not None and (before.size, before.mtime_ns) == (now.size, now.mtime_ns)
    return same and (before.device, before.inode) not in inodes


def is_wanted(path: PurePath, patterns: Sequence[str]) -> bool:
    """Whether a file of this name is one to upload, going by the name alone; `path` is below the folder.

    A pattern with a slash is for the whole path, another one for the last name; case does not matter.
    """
    name = path.name.lower()
    if any(part.startswith((".", "~")) for part in path.parts) or name.endswith(("~", *UNFINISHED)) or name in NEVER:
        return False
    return not patterns or any(
        fnmatch.fnmatchcase(path.as_posix().lower() if "/" in pattern else name, pattern.lower())
        for pattern in patterns
    )


def without_halves(paths: Iterable[PurePath], everything: Iterable[str]) -> list[PurePath]:
    """`paths` without those that somebody is still bringing: `film.mov` beside `film.mov.part` or `film.mov.aria2`."""
    unfinished = [name for name in everything if name.endswith(UNFINISHED)]
    halves = {name.removesuffix(end) for name in unfinished for end in UNFINISHED}
    return [path for path in paths if path.as_posix() not in halves]
