"""What a person named, as a list of files: files, patterns, and folders with their structure.

A folder's files carry their place in it, from the folder's own name down (`trip/day 1/a.mov`). Hidden and empty files in
folders are left out, and so is what is no file; all of that is told. Links are followed; a directory that was walked
before is not walked again, so loops end, and a file under a second name is told, not taken twice. The order is that of the
names, numbers in them counted as numbers, and the same every time.
"""

from __future__ import annotations

import glob
import os
import re
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rushes.errors import Invalid, Problem


@dataclass(frozen=True, slots=True)
class Found:
    path: Path
    relative_path: str | None  # of a file in a folder, with "/" between, whatever this system writes
    size: int  # bytes


@dataclass(frozen=True, slots=True)
class Skipped:
    path: Path
    why: str  # in words, after the name


@dataclass(slots=True)
class Listing:
    files: list[Found] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)  # on purpose
    failed: list[tuple[Path, Problem]] = field(default_factory=list)  # named or met, and not to be had

    @property
    def size(self) -> int:
        return sum(found.size for found in self.files)


def gather(paths: Iterable[str | os.PathLike[str]]) -> Listing:
    """Everything that `paths` name, in order. A name that is no file but has * ? or [ in it is a pattern (`**` walks)."""
    walk = _Walk()
    for given in paths:
        matches = _matches(os.fspath(given))
        if not matches:
            walk.listing.failed.append(
                (Path(given), Invalid("pattern_empty", f"Nothing here matches {os.fspath(given)}."))
            )
        for path in matches:
            walk.named(path)
    return walk.listing


def _matches(given: str) -> list[Path]:
    if os.path.lexists(given) or not glob.has_magic(given):
        return [Path(given)]
    found = glob.glob(given, recursive=True)  # noqa: PTH207 - pathlib takes no absolute patterns
    return [Path(name) for name in sorted(found, key=_order)]


class _Walk:
    def __init__(self) -> None:
        self.listing = Listing()
        self._seen: dict[tuple[int, int], Path] = {}  # files and directories, by device and inode

    def named(self, path: Path) -> None:
        """A path that a person named: nothing about it is left out without an error."""
        try:
            status = path.stat()
        except FileNotFoundError:
            self._fail(path, Invalid("file_missing", f"There is no file {path}."))
        except OSError as error:
            self._fail(path, Invalid("file_unreadable", f"{path} cannot be looked at: {error.strerror}."))
        else:
            if stat.S_ISDIR(status.st_mode):
                self._directory(path, path.resolve().name or "files", status)
            elif not stat.S_ISREG(status.st_mode):
                self._fail(path, Invalid("file_special", f"{path} is not an ordinary file."))
            elif status.st_size == 0:
                message = f"{path} is empty. Only files of at least one byte can be uploaded."
                self._fail(path, Invalid("file_empty", message))
            elif not os.access(path, os.R_OK):
                self._fail(path, Invalid("file_unreadable", f"You may not read {path}."))
            else:
                self._file(path, None, status)

    def _directory(self, path: Path, relative: str, status: os.stat_result) -> None:
        """Walked with a list of our own: folders may be nested deeper than Python may call."""
        if self._again(path, status):
            return
        waiting = [_entries(path, relative, self)]
        while waiting:
            entry = next(waiting[-1], None)
            if entry is None:
                waiting.pop()
            elif (below := self._entry(*entry)) is not None:
                waiting.append(below)

    def _entry(self, path: Path, relative: str) -> Iterator[tuple[Path, str]] | None:
        """Take one name of a folder; the names below it, if it is a folder."""
        if path.name.startswith("."):
            self._skip(path, "is hidden")
            return None
        try:
            status = path.stat()
        except FileNotFoundError:
            self._skip(path, "is a link to nothing" if path.is_symlink() else "is gone")
            return None
        except OSError as error:
            self._fail(path, Invalid("file_unreadable", f"{path} cannot be looked at: {error.strerror}."))
            return None
        if stat.S_ISDIR(status.st_mode):
            return None if self._again(path, status) else _entries(path, relative, self)
        if not stat.S_ISREG(status.st_mode):
            self._skip(path, "is not an ordinary file")
        elif status.st_size == 0:
            self._skip(path, "is empty")
        else:
            self._file(path, relative, status)
        return None

    def _file(self, path: Path, relative: str | None, status: os.stat_result) -> None:
        if not self._again(path, status):
            self.listing.files.append(Found(path, relative, status.st_size))

    def _again(self, path: Path, status: os.stat_result) -> bool:
        first = self._seen.setdefault((status.st_dev, status.st_ino), path)
        if first is not path:
            self._skip(path, f"is the same as {first}")
        return first is not path

    def _skip(self, path: Path, why: str) -> None:
        self.listing.skipped.append(Skipped(path, why))

    def _fail(self, path: Path, problem: Problem) -> None:
        self.listing.failed.append((path, problem))

    def unreadable(self, path: Path, error: OSError) -> None:
        self._fail(path, Invalid("folder_unreadable", f"The folder {path} cannot be read: {error.strerror}."))


def _entries(path: Path, relative: str, walk: _Walk) -> Iterator[tuple[Path, str]]:
    try:
        names = sorted((entry.name for entry in path.iterdir()), key=_order)
    except OSError as error:
        walk.unreadable(path, error)
        return
    for name in names:
        yield path / name, f"{relative}/{name}"


def _order(name: str) -> list[tuple[int, int, str]]:
    """a2 before a10, and nothing left to chance."""
    pieces = [
        (0, int(piece), "") if piece.isdecimal() else (1, 0, piece) for piece in re.split(r"(\d+)", name) if piece
    ]
    return [*pieces, (2, 0, name)]
