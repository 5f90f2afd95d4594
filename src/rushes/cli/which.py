"""Which rows of the journal a person means: by path, by folder, by the id of an upload."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

from rushes.client.journal import Entry
from rushes.errors import NotFound


def meant(entries: Sequence[Entry], names: Sequence[Path]) -> list[Entry]:
    """All of them without a name. Raises `NotFound` (not_pending) for a name that means none."""
    if not names:
        return list(entries)
    found: dict[int, Entry] = {}
    for name in names:
        some = [entry for entry in entries if is_meant(entry, name)]
        if not some:
            raise not_pending(name)
        found |= {entry.id: entry for entry in some}
    return list(found.values())


def not_pending(name: Path) -> NotFound:
    return NotFound("not_pending", f"Nothing of {name} is pending here; `rushes pending` lists what is.")


def is_meant(entry: Entry, name: Path) -> bool:
    """Whether `name` is the row's path, a folder that it lies in, or the id of its upload."""
    if entry.plan is not None and upload_id(name) == entry.plan.upload_id:
        return True
    path = name.resolve()
    return entry.path == path or path in entry.path.parents


def upload_id(name: Path) -> UUID | None:
    try:
        return UUID(str(name))
    except ValueError:
        return None
