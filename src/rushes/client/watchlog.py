"""What a watched folder's files came to, on this disk: so that a restart uploads nothing twice and keeps what failed.

    begun     somebody is at it, or was when the process died
    done      every byte is in storage; the file only has to be moved, or is left where it is
    failed    for good, with the reason

One row a file, beside the journal of uploads (`watch.db`). A row is about a file of that size and time; another one of the
same name is new.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path, PurePath
from typing import Any
from uuid import UUID

from rushes.client.journal_file import opened, private, shown, translated
from rushes.client.settling import Stamp

NAME = "watch.db"
SCHEMA = """
CREATE TABLE IF NOT EXISTS files (
    folder BLOB NOT NULL, path BLOB NOT NULL, size INTEGER NOT NULL, mtime_ns INTEGER NOT NULL, inode INTEGER NOT NULL,
    state TEXT NOT NULL, reason TEXT, at REAL NOT NULL, PRIMARY KEY (folder, path)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS titles (
    folder BLOB NOT NULL, path BLOB NOT NULL, title_id TEXT NOT NULL, PRIMARY KEY (folder, path)
) WITHOUT ROWID;
"""

PUT = "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?, ?)"


class Fate(StrEnum):
    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Row:
    size: int
    mtime_ns: int
    inode: int
    fate: Fate
    reason: str | None

    def is_about(self, stamp: Stamp) -> bool:
        return (self.size, self.mtime_ns) == (stamp.size, stamp.mtime_ns)


class WatchLog:
    """Of one folder at one server for one person; `key` names the three. Raises `Unavailable` (journal_unavailable)."""

    def __init__(self, directory: Path, key: str) -> None:
        self._directory = directory
        self._key = os.fsencode(key)
        self._lock = threading.Lock()
        with translated(directory):
            private(directory)
            self._db = opened(directory / NAME, SCHEMA)

    def close(self) -> None:
        self._db.close()

    def rows(self) -> dict[PurePath, Row]:
        query = "SELECT path, size, mtime_ns, inode, state, reason FROM files WHERE folder = ?"
        found = self._run(query, self._key)
        return {
            PurePath(os.fsdecode(path)): Row(size, mtime_ns, inode, Fate(state), reason)
            for path, size, mtime_ns, inode, state, reason in found
        }

    def put(self, path: PurePath, stamp: Stamp, fate: Fate, reason: str | None = None) -> None:
        row = Row(stamp.size, stamp.mtime_ns, stamp.inode, fate, None if reason is None else shown(reason))
        self._run(PUT, self._key, _bytes(path), *_values(row))

    def rename(self, pairs: Sequence[tuple[PurePath, PurePath]]) -> None:
        """(from, to), all at once."""
        if not pairs:
            return
        rows = self.rows()
        with self._lock, translated(self._directory):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                for old, _ in pairs:
                    self._db.execute("DELETE FROM files WHERE folder = ? AND path = ?", (self._key, _bytes(old)))
                for old, new in pairs:
                    if (row := rows.get(old)) is not None:
                        self._db.execute(PUT, (self._key, _bytes(new), *_values(row)))
            except BaseException:
                self._db.execute("ROLLBACK")
                raise
            self._db.execute("COMMIT")

    def forget(self, path: PurePath) -> None:
        self._run("DELETE FROM files WHERE folder = ? AND path = ?", self._key, _bytes(path))

    def forget_failed(self) -> None:
        self._run("DELETE FROM files WHERE folder = ? AND state = 'failed'", self._key)

    def title(self, path: PurePath) -> UUID | None:
        """Of the folder at `path` below the one that is watched."""
        found = self._run("SELECT title_id FROM titles WHERE folder = ? AND path = ?", self._key, _bytes(path))
        return UUID(found[0][0]) if found else None

    def put_title(self, path: PurePath, title_id: UUID) -> None:
        self._run("INSERT OR REPLACE INTO titles VALUES (?, ?, ?)", self._key, _bytes(path), str(title_id))

    def forget_title(self, path: PurePath) -> None:
        self._run("DELETE FROM titles WHERE folder = ? AND path = ?", self._key, _bytes(path))

    def _run(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        with self._lock, translated(self._directory):
            return self._db.execute(query, values).fetchall()


def _values(row: Row) -> tuple[object, ...]:
    return row.size, row.mtime_ns, row.inode, row.fate, row.reason, time.time()


def _bytes(path: PurePath) -> bytes:
    return os.fsencode(path)
