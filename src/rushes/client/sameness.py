"""Whether a row of the journal is about the file that is at hand, and what is said where it is not."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from rushes.client.claim import Holder
from rushes.client.journal import Entry
from rushes.client.source import Identity, LocalFile, difference, identity_of, was_touched
from rushes.errors import Conflict


def is_same(before: Identity, now: Identity) -> bool:
    return difference(before, now) is None and not was_touched(before, now)


def same_or_gone(path: Path, identity: Identity) -> bool:
    """Whether nothing else lies at a file's other name: an inode's number alone may be that of another disk."""
    try:
        found = identity_of(path.stat())
    except OSError:
        return True
    return (found.device, found.inode) == (identity.device, identity.inode)


def asset_gone(asset_id: UUID) -> str:
    return f"It was uploaded before (asset {asset_id}), which is not there any more; it is uploaded again."


def file_changed(entry: Entry, changed: str, file: LocalFile) -> Conflict:
    since = datetime.fromtimestamp(entry.since, UTC).astimezone()
    return Conflict(
        "file_changed",
        f"{entry.path} is not what was being uploaded since {since:%Y-%m-%d %H:%M} any more. It {changed}"
        f" (last modified {file.modified()}). Nothing of it was mixed into the upload. To drop what was "
        "uploaded and begin with the file as it is now: rushes upload --anew.",
        path=str(entry.path),
    )


def held_by(entry: Entry, who: Holder) -> Conflict:
    return Conflict("upload_elsewhere", f"{entry.path} is being uploaded by {who}: pause it first.", pid=who.pid)


def part_changed(number: int) -> Conflict:
    """What is said where a part, read again, holds other bytes."""
    return Conflict(
        "file_changed",
        f"Part {number} of the file holds other bytes than before: the file was changed meanwhile. Nothing was mixed, and "
        "the upload was not completed. When nothing writes to the file any more, begin with it as it is then: "
        "rushes upload --anew.",
        part=number,
    )
