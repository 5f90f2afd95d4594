"""Looking at a folder, and moving files out of it: never over another file, never the wrong one."""

from __future__ import annotations

import os
import stat
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path, PurePath

from rushes.client.settling import Stamp, is_wanted, without_halves
from rushes.client.source import identity_of
from rushes.errors import Conflict, Invalid, Unavailable


@dataclass(slots=True)
class Sight:
    """What a look at a folder showed: files by their path below it; folders in it that could not be read."""

    files: dict[PurePath, Stamp] = field(default_factory=dict)
    unread: list[PurePath] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Root:
    """A folder, by its inode: what stands in its place while its drive is away is another one."""

    path: Path
    device: int
    inode: int

    @classmethod
    def of(cls, path: Path) -> Root:
        """Raises `Invalid` (folder_missing, not_a_folder)."""
        try:
            found = path.stat()
        except OSError as error:
            raise Invalid("folder_missing", f"The folder {path} cannot be read: {error.strerror}.") from error
        if not stat.S_ISDIR(found.st_mode):
            raise Invalid("not_a_folder", f"{path} is not a folder.")
        return cls(path.resolve(), found.st_dev, found.st_ino)

    def look(self, leave_out: Collection[Path], patterns: Sequence[str]) -> Sight:
        """Ordinary files below it that may be uploaded, going by their names; links are not followed.

        Raises `Unavailable` (folder_away) while it is not there, as when a network drive is lost.
        """
        sight, everything = Sight(), set[str]()
        try:
            here = self.path.stat()
            if (here.st_dev, here.st_ino) != (self.device, self.inode):
                raise Unavailable("folder_away", f"Another folder is in the place of {self.path}: its drive is away.")
            waiting = [(self.path, list(os.scandir(self.path)))]
        except OSError as error:
            raise Unavailable("folder_away", f"The folder {self.path} cannot be read now: {error.strerror}.") from error
        while waiting:
            folder, entries = waiting.pop()
            for entry in entries:
                path = folder / entry.name
                below = PurePath(path.relative_to(self.path))
                everything.add(below.as_posix())
                try:
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISREG(found.st_mode):
                        if is_wanted(below, patterns):
                            sight.files[below] = _stamp(found)
                    elif stat.S_ISDIR(found.st_mode) and not entry.name.startswith(".") and path not in leave_out:
                        waiting.append((path, list(os.scandir(path))))
                except FileNotFoundError:
                    continue  # taken away between two looks at it
                except OSError:
                    sight.unread.append(below)
        finished = without_halves(sight.files, everything)
        sight.files = {path: sight.files[path] for path in finished}
        return sight


def stamp_of(path: Path) -> Stamp | None:
    """Of a file itself, not of what it links to; None where there is none."""
    try:
        found = path.lstat()
    except OSError:
        return None
    return _stamp(found) if stat.S_ISREG(found.st_mode) else None


def move(source: Path, target: Path, stamp: Stamp) -> Path:
    """Give the file that `stamp` is of the name `target`, or `target (2)`, …; its name then.

    Raises `Conflict` (file_changed) when another file has come to be at `source`, and OSError.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    for number in count(1):
        name = target if number == 1 else target.with_name(f"{target.stem} ({number}){target.suffix}")
        try:
            _rename(source, name, stamp)
        except FileExistsError:
            continue
        return name
    raise AssertionError("there are numbers enough")


def _rename(source: Path, target: Path, stamp: Stamp) -> None:
    """The name is taken by an empty file first, which the rename replaces: no other file ever is, and none is deleted."""
    if not _is(source, stamp):
        raise Conflict("file_changed", f"{source} is another file by now.")
    os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    try:
        source.rename(target)
    except BaseException:
        target.unlink()
        raise
    if not _is(target, stamp):  # another one came to be at `source` between two steps: it goes back
        moved = stamp_of(target)
        back = source if moved is None else move(target, source, moved)
        raise Conflict("file_changed", f"{source} is another file by now; it is {back}.")


def _is(path: Path, stamp: Stamp) -> bool:
    now = stamp_of(path)
    return now is not None and now.is_same_content(stamp)


def write_note(path: Path, text: str) -> None:
    """In place of an older note; not through a link that somebody has put there. Raises OSError."""
    path.unlink(missing_ok=True)
    with path.open("x", encoding="utf-8", errors="replace") as file:
        file.write(f"{text}\n")


def _stamp(found: os.stat_result) -> Stamp:
    seen = identity_of(found)
    return Stamp(seen.device, seen.inode, seen.size, seen.mtime_ns, getattr(found, "st_blocks", 0))
