"""The journal's file: where it lies, what is in it, and what is done when it cannot be used.

A file that is damaged, or is none of sqlite's, is put aside (`NAME.broken-…`) and a new one is begun: nothing waits for it,
and what was begun before is given up by the server in time.
"""

from __future__ import annotations

import fcntl
import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from rushes.errors import Misconfigured, Problem, Unavailable

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
CREATE INDEX IF NOT EXISTS uploads_path ON uploads (path);
CREATE INDEX IF NOT EXISTS uploads_left ON uploads (batch) WHERE state != 'done';
CREATE INDEX IF NOT EXISTS uploads_pausing ON uploads (id) WHERE pause = 1;
CREATE INDEX IF NOT EXISTS uploads_stored ON uploads (since) WHERE state = 'stored';
CREATE INDEX IF NOT EXISTS uploads_done ON uploads (since) WHERE state = 'done';
CREATE TABLE IF NOT EXISTS parts (
    entry INTEGER NOT NULL REFERENCES uploads ON DELETE CASCADE,
    number INTEGER NOT NULL,
    crc BLOB NOT NULL,
    checksum TEXT NOT NULL,
    PRIMARY KEY (entry, number)
) WITHOUT ROWID;
"""


@dataclass(slots=True)
class _Batch:
    begun: bool = False
    afterwards: list[Callable[[Problem | None], None]] = field(default_factory=list)


LOST = "sqlite has undone what was written"
_ALONE = ("BEGIN IMMEDIATE", "ROLLBACK", "COMMIT")
_WITHIN = ("SAVEPOINT one", "ROLLBACK TO one", "RELEASE one")


class JournalFile:
    """The database and its transactions. Safe to use from many threads and many processes."""

    def __init__(self, directory: Path) -> None:
        self._lock = threading.RLock()
        self.directory = directory
        with translated(directory):
            private(directory)
            self._db = opened(directory / NAME, SCHEMA)
        self._durable: bool | None = None  # what is written: None is sqlite's default
        self._batch: _Batch | None = None  # inside `together`

    def close(self) -> None:
        with self._lock:
            self._db.close()

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread writes inside is one transaction. What cannot be written is raised by neither, but told to those
        who asked by `afterwards`. Durable writes have no place in it, nor has whatever takes long."""
        with self._lock:
            batch = self._batch = _Batch()
            try:
                yield
            finally:
                self._batch = None
                problem = self._committed(batch)
                with ExitStack() as all_of_them:  # whatever one of them raises
                    for then in reversed(batch.afterwards):
                        all_of_them.callback(then, problem)

    def _committed(self, batch: _Batch) -> Problem | None:
        try:
            with translated(self.directory):
                if self._db.in_transaction:
                    self._db.execute("COMMIT")
                elif batch.begun:
                    raise sqlite3.OperationalError(LOST)
        except Problem as problem:
            if self._db.in_transaction:
                with suppress(sqlite3.Error):
                    self._db.execute("ROLLBACK")
            return problem
        return None

    def afterwards(self, then: Callable[[Problem | None], None]) -> None:
        """Called once all before is written, or could not be: inside of `together` at its end, else at once."""
        with self._lock:
            if self._batch is not None:
                self._batch.afterwards.append(then)
                return
        then(None)

    @contextmanager
    def _using(self, *, durable: bool = False) -> Iterator[None]:
        """For one statement, which is a transaction of its own: BEGIN and COMMIT around it cost twice as much again."""
        with self._lock, translated(self.directory):
            if self._batch is not None and self._batch.begun:
                if not self._db.in_transaction:
                    raise sqlite3.OperationalError(LOST)
                yield
                return
            if durable is not self._durable:
                self._db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._durable = durable
            if self._batch is not None:
                self._db.execute("BEGIN IMMEDIATE")
                self._batch.begun = True
            yield

    @contextmanager
    def _writing(self, *, durable: bool = False) -> Iterator[None]:
        """Several statements in one transaction."""
        with self._using(durable=durable):
            begin, undo, end = _ALONE if self._batch is None else _WITHIN
            self._db.execute(begin)
            try:
                yield
            except BaseException:
                self._db.execute(undo)
                raise
            self._db.execute(end)


def state_directory() -> Path:
    """RUSHES_STATE_DIR, else `rushes` where XDG says that state belongs (specifications.freedesktop.org/basedir).

    Raises `Misconfigured` (home_missing).
    """
    if named := os.environ.get("RUSHES_STATE_DIR"):
        return Path(named)
    base = os.environ.get("XDG_STATE_HOME") or ""
    return (Path(base) if base.startswith("/") else home() / ".local" / "state") / "rushes"


def home() -> Path:
    """Raises `Misconfigured` (home_missing) for somebody who has none, as in a container under any number."""
    try:
        return Path.home()
    except RuntimeError as error:
        raise Misconfigured(
            "home_missing",
            "You have no home directory here: set HOME, or RUSHES_STATE_DIR, RUSHES_DATA_DIR and XDG_CONFIG_HOME.",
        ) from error


def private(directory: Path) -> None:
    """Make a directory, and those above it that are missing, for its owner alone, as XDG wants it, whatever the umask."""
    for missing in reversed([path for path in (directory, *directory.parents) if not path.exists()]):
        missing.mkdir(mode=0o700, exist_ok=True)


def shown(text: str) -> str:
    """`text` as it can be stored: marks stand for what is no Unicode, as in the names of files."""
    return text.encode("utf-8", "replace").decode()


def opened(path: Path, schema: str) -> sqlite3.Connection:
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))  # sqlite's other files get the same mode
    try:
        return _patiently(path, schema)
    except sqlite3.DatabaseError as error:
        if not _is_broken(error):
            raise
    with _alone(path.parent):
        try:
            return _patiently(path, schema)  # somebody else has put it right meanwhile
        except sqlite3.DatabaseError as error:
            if not _is_broken(error):
                raise
        mark = f"broken-{time.time_ns()}"
        for end in ("", "-wal", "-shm"):
            with suppress(FileNotFoundError):
                path.with_name(f"{path.name}{end}").rename(path.with_name(f"{path.name}.{mark}{end}"))
        return _patiently(path, schema)


def _is_broken(error: sqlite3.Error) -> bool:
    """Not merely locked, read-only, or on a full disk."""
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


@contextmanager
def _alone(directory: Path) -> Iterator[None]:
    fd = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)


def _patiently(path: Path, schema: str) -> sqlite3.Connection:
    """sqlite waits for locks by itself, but not while another makes the file or puts its log away."""
    until = time.monotonic() + BUSY
    while True:
        try:
            return _connected(path, schema)
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                raise
            if time.monotonic() >= until:
                raise
            time.sleep(random.uniform(0.01, 0.05))  # noqa: S311 - jitter


def _connected(path: Path, schema: str) -> sqlite3.Connection:
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
            db.executescript(schema + f"PRAGMA user_version = {VERSION};")
        if (found := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
            damaged = sqlite3.DatabaseError(found)
            damaged.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise damaged
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
