"""The journal's file: where it lies, what is in it, and what is done when it cannot be used."""

from __future__ import annotations

import os
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from rushes.errors import Misconfigured, Unavailable

NAME = "journal.db"
VERSION = 1
BUSY = 20.0  # seconds one process waits for another's write

SCHEMA = """
CREATE TABLE IF NOT EXISTS uploads (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    state TEXT NOT NULL,
    batch TEXT NOT NULL,
    server TEXT NOT NULL,
    owner TEXT NOT NULL,
    path BLOB NOT NULL,
    request TEXT NOT NULL,
    declare TEXT NOT NULL,
    key TEXT NOT NULL,
    since REAL NOT NULL,
    size INTEGER, mtime_ns INTEGER, inode INTEGER, device INTEGER, sample TEXT,
    upload_id TEXT, asset_id TEXT, title_id TEXT,
    part_size INTEGER, part_count INTEGER, algorithm TEXT, token TEXT, expires_at REAL,
    held INTEGER NOT NULL DEFAULT 0,
    code TEXT, reason TEXT, stopped_at REAL,
    pause INTEGER NOT NULL DEFAULT 0,
    UNIQUE (server, owner, path)
);
CREATE INDEX IF NOT EXISTS uploads_inode ON uploads (inode);
CREATE INDEX IF NOT EXISTS uploads_batch ON uploads (batch);
CREATE TABLE IF NOT EXISTS parts (
    entry INTEGER NOT NULL REFERENCES uploads ON DELETE CASCADE,
    number INTEGER NOT NULL,
    crc BLOB NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (entry, number)
) WITHOUT ROWID;
"""


def state_directory() -> Path:
    """RUSHES_STATE_DIR, else `rushes` where XDG says that state belongs (specifications.freedesktop.org/basedir)."""
    if named := os.environ.get("RUSHES_STATE_DIR"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or ""
    return (Path(base) if base.startswith("/") else Path.home() / ".local" / "state") / "rushes"


def opened(path: Path) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # sqlite's other files get the same mode
    try:
        return patiently(lambda: _connected(path))
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # locked, read-only, full: not broken
        path.rename(path.with_name(f"{NAME}.broken-{time.time_ns()}"))
        return _connected(path)


def patiently(connect: Callable[[], sqlite3.Connection]) -> sqlite3.Connection:
    """sqlite waits for locks by itself, but not while another makes the file or puts its log away."""
    until = time.monotonic() + BUSY
    while True:
        try:
            return connect()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise
            if time.monotonic() >= until:
                raise
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - jitter


def _connected(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, timeout=BUSY, isolation_level=None, check_same_thread=False)
    try:
        db.row_factory = sqlite3.Row
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > VERSION:
            raise Misconfigured(
                "journal_newer", f"A newer rushes wrote {path}: use that one, or another RUSHES_STATE_DIR."
            )
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA foreign_keys = ON")
        if version < VERSION:
            db.executescript(SCHEMA + f"PRAGMA user_version = {VERSION};")
    except BaseException:
        db.close()
        raise
    return db


@contextmanager
def translated(directory: Path) -> Iterator[None]:
    try:
        yield
    except (sqlite3.Error, OSError) as error:
        if isinstance(error, (sqlite3.IntegrityError, sqlite3.ProgrammingError)):
            raise  # an error of ours
        raise Unavailable(
            "journal_unavailable",
            f"What is being uploaded cannot be written down in {directory}: {error}. "
            "Make room there, or name another directory by RUSHES_STATE_DIR.",
        ) from error
