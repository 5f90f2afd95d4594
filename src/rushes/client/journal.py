"""The journal: what this machine is uploading, on this disk, so that whoever comes next goes on with it.

One row a file, in a small sqlite3 database (sqlite.org/wal.html) that its owner alone may read:

    queued     what is wished for a path; a whole folder in one transaction, before its first byte moves
    intended   + what the file is (size, times, sampled content) and the request; before begin is called, so that a kill
                 between request and reply reserves nothing twice: the same key gets the same upload
    begun      + the upload's id, plan and token; then the checksums of its parts, one by one, as they are read
    stored     the file is ingested; whoever wants to follow it further has not heard of it yet
    done       remembered for some days, so that the same command does not upload the same file again; `since` says when

What is done is forgotten in time, and only the last are kept; but not while other files that were wished for with it are
not done, so that a folder goes on where it was. The queue is on the disk before `queue` returns; a power failure may lose
what was written after it in the last seconds, which costs a question to the server and a part or two, never a file.

Beside it lies one lock file for each file under way (flock; the kernel lets go of it when its process dies, however it
dies), which says who is at it. All times are seconds since 1970.
"""

from __future__ import annotations

import json
import os
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

from rushes.client.claim import Holder, Seat, claimed, holder
from rushes.client.journal_file import JournalFile, private, shown, state_directory, translated
from rushes.client.source import Identity
from rushes.client.wish import Wish
from rushes.errors import Conflict, Problem
from rushes.model import ChecksumAlgorithm
from rushes.wire import BeginUpload, UploadBegun, UploadView

KEPT = 7 * 86_400.0  # seconds that a file is remembered after it was done, or waits stored for somebody to follow it
KEPT_MOST = 20_000  # files that are done: some 20 MB
WATCHED = "watch-"  # how the batches of watched folders begin


class State(StrEnum):
    QUEUED = "queued"
    INTENDED = "intended"
    BEGUN = "begun"
    STORED = "stored"
    DONE = "done"


@dataclass(frozen=True, slots=True)
class Place:
    """Whose uploads: one server, and what its tokens say of their bearer."""

    server: str
    owner: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What the server answered to begin."""

    upload_id: UUID
    asset_id: UUID
    title_id: UUID
    part_size: int  # bytes
    part_count: int
    algorithm: ChecksumAlgorithm
    token: str | None  # good for this upload alone
    expires_at: float


@dataclass(frozen=True, slots=True)
class Entry:
    id: int
    state: State
    batch: str
    place: Place
    path: Path
    request: BeginUpload
    declare: tuple[str, ...]
    key: str  # of idempotency
    since: float  # when it was queued; of one that is done, when that was
    identity: Identity | None = None  # None: not looked at yet
    plan: Plan | None = None  # None: not begun, as far as is known here
    held: int = 0  # bytes that storage confirmed
    code: str | None = None  # why nobody goes on with it, since `stopped_at`
    reason: str | None = None
    stopped_at: float | None = None
    pausing: bool = False

    @property
    def size(self) -> int | None:
        """Bytes, once the file was looked at."""
        return None if self.identity is None else self.identity.size

    @property
    def watched(self) -> bool:
        """A watched folder's: whoever uploads it, the row stays until the watch has heard that it is stored."""
        return self.batch.startswith(WATCHED)


class Journal(JournalFile):
    """Safe to use from many threads and many processes. Raises `Unavailable` (journal_unavailable) when the disk does
    not let it write."""

    def __init__(
        self, directory: Path | None = None, *, clock: Callable[[], float] = time.time, most: int = KEPT_MOST
    ) -> None:
        """In `directory`, by default where this user's programs keep what they know (`state_directory`). `most` files
        that are done are remembered."""
        super().__init__(directory or state_directory())
        self._clock = clock
        self._most = most
        self._locks = self.directory / "locks"
        with translated(self.directory):
            private(self._locks)

    def __enter__(self) -> Journal:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # --- what is wished -------------------------------------------------------------------------------------------

    def queue(self, place: Place, wishes: Sequence[Wish], *, watched: bool = False) -> list[Entry]:
        """A row for each wish, in order: the one there is, if its file was begun before, else a new one.

        All on the disk when this returns, or none.
        """
        batch, now = f"{WATCHED if watched else ''}{uuid4().hex}", self._clock()
        with self._writing(durable=True):
            queued = [self._queue(place, wish, batch, now) for wish in wishes]
            self._forget_old(batch, now)
            return queued

    def _forget_old(self, batch: str, now: float) -> None:
        """Not what is wished for now, though it may be old."""
        self._db.execute(
            "DELETE FROM uploads WHERE state = 'stored' AND since < ? AND batch != ? AND batch NOT LIKE ?",
            (now - KEPT, batch, f"{WATCHED}%"),
        )
        too_many = self._db.execute(
            "SELECT since FROM uploads WHERE state = 'done' ORDER BY since DESC LIMIT 1 OFFSET ?", (self._most,)
        ).fetchone()
        until = now - KEPT if too_many is None else max(now - KEPT, too_many[0])
        self._db.execute(
            "DELETE FROM uploads WHERE state = 'done' AND since <= ? AND batch != ? "
            "AND batch NOT IN (SELECT batch FROM uploads WHERE state != 'done')",
            (until, batch),
        )

    def _queue(self, place: Place, wish: Wish, batch: str, now: float) -> Entry:
        found = self.of(place, wish.path)
        told = _told(wish)
        if place.owner:  # what was wished with a token that named nobody was never begun
            self._db.execute(
                "DELETE FROM uploads WHERE server = ? AND owner = '' AND path = ? AND state = 'queued'",
                (place.server, _path(wish.path)),
            )
        if found is None:
            key = uuid4().hex
            made = self._db.execute(
                "INSERT INTO uploads (state, batch, server, owner, path, request, declare, key, since) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (State.QUEUED, batch, *_of(place), _path(wish.path), *told.values(), key, now),
            )
            assert made.lastrowid is not None, "a row was made"
            return Entry(made.lastrowid, State.QUEUED, batch, place, wish.path, wish.request, wish.declare, key, now)
        columns = told if found.state is State.QUEUED else {}
        self._set(found.id, batch=found.batch if found.watched else batch, **columns)
        entry = self.of(place, wish.path)
        assert entry is not None, "written above"
        return entry

    def get(self, entry_id: int) -> Entry | None:
        with self._lock, translated(self.directory):
            return self._one("id = ?", (entry_id,))

    def same_file(self, entry: Entry, identity: Identity) -> Entry | None:
        """Another row of this place that is about the same file under another name: a hard link, or its name before it
        was renamed."""
        with self._lock, translated(self.directory):
            return self._one(
                "id != ? AND server = ? AND owner = ? AND inode = ? AND size = ? AND sample = ? "
                "AND state IN ('intended', 'begun', 'stored')",
                (entry.id, *_of(entry.place), identity.inode, identity.size, identity.sample),
            )

    def elsewhere(self, entry: Entry) -> list[Entry]:
        """Begun rows of the same person and path at other addresses: perhaps of the same server."""
        with self._lock, translated(self.directory):
            return self._all(
                "owner = ? AND path = ? AND server != ? AND state IN ('begun', 'stored')",
                (entry.place.owner, _path(entry.path), entry.place.server),
            )

    def is_plain(self, entry: Entry, identity: Identity) -> bool:
        """Whether a queued row is still as it was queued, and no other can be about its file: nothing was begun of it."""
        with self._lock, translated(self.directory):
            found = self._db.execute(
                "SELECT state = 'queued' AND batch = ?2"
                " AND NOT EXISTS (SELECT 1 FROM uploads WHERE inode = ?3 AND id != ?1 AND state NOT IN ('queued', 'done'))"
                " AND NOT EXISTS (SELECT 1 FROM uploads WHERE path = ?4 AND id != ?1 AND state NOT IN ('queued', 'done'))"
                " FROM uploads WHERE id = ?1",
                (entry.id, entry.batch, identity.inode, _path(entry.path)),
            ).fetchone()
            return found is not None and bool(found[0])

    def pending(self, place: Place | None = None) -> list[Entry]:
        """Everything that is not done, the oldest first; of one place, or of all."""
        with self._lock, translated(self.directory):
            if place is None:
                return self._all("state != 'done'", ())
            return self._all("state != 'done' AND server = ? AND owner = ?", _of(place))

    def of(self, place: Place, path: Path) -> Entry | None:
        """The row of a path, though it be done."""
        with self._lock, translated(self.directory):
            return self._one("server = ? AND owner = ? AND path = ?", (*_of(place), _path(path)))

    # --- what becomes of it ---------------------------------------------------------------------------------------

    def intend(self, entry: Entry, identity: Identity, request: BeginUpload) -> Entry:
        """Right before begin is called."""
        self._moved(
            entry,
            state=State.INTENDED,
            size=identity.size,
            mtime_ns=identity.mtime_ns,
            inode=identity.inode,
            device=identity.device,
            sample=identity.sample,
            request=request.model_dump_json(exclude_unset=True),
            **_NOT_STOPPED,
        )
        return replace(entry, state=State.INTENDED, identity=identity, request=request, **_NOT_STOPPED)

    def begun(self, entry: Entry, begun: UploadBegun | UploadView) -> Entry:
        """The server has answered. Of a view there is no token: the one kept stays."""
        kept = None if entry.plan is None else entry.plan.token
        plan = Plan(
            begun.upload_id if isinstance(begun, UploadBegun) else begun.id,
            begun.asset_id,
            begun.title_id,
            begun.part_size,
            begun.part_count,
            begun.checksum_algorithm,
            begun.token if isinstance(begun, UploadBegun) else kept,
            begun.expires_at.timestamp(),
        )
        named = {name: getattr(plan, name) for name in _PLAN}
        columns = {name: str(value) if isinstance(value, UUID) else value for name, value in named.items()}
        self._moved(entry, state=State.BEGUN, **columns, **_NOT_STOPPED)
        return replace(entry, state=State.BEGUN, plan=plan, **_NOT_STOPPED)

    def part_read(self, entry_id: int, number: int, crc: int, checksum: str) -> None:
        with self._using():
            self._db.execute(  # of a row that somebody has forgotten meanwhile nothing needs to be known
                "INSERT OR REPLACE INTO parts (entry, number, crc, checksum) SELECT id, ?, ?, ? FROM uploads WHERE id = ?",
                (number, crc.to_bytes(8, "big"), checksum, entry_id),
            )

    def parts(self, entry_id: int) -> dict[int, tuple[int, str]]:
        """{number: (CRC64NVME, the checksum it is granted by)} of the parts that were read."""
        with self._lock, translated(self.directory):
            rows = self._db.execute("SELECT number, crc, checksum FROM parts WHERE entry = ?", (entry_id,))
            return {number: (int.from_bytes(crc, "big"), checksum) for number, crc, checksum in rows}

    def holds(self, entry_id: int, held: int) -> None:
        """`held` bytes are confirmed by now."""
        with self._using():
            self._set(entry_id, held=held)

    def touched(self, entry: Entry, identity: Identity) -> Entry:
        """The file has other times or another inode, and as far as was looked the same content."""
        self._moved(entry, mtime_ns=identity.mtime_ns, inode=identity.inode, device=identity.device)
        return replace(entry, identity=identity)

    def stopped(self, entry: Entry, problem: Problem, held: int | None = None) -> None:
        """Nobody goes on with it for now, and why."""
        with self._using():
            more = {} if held is None else {"held": held}
            reason = shown(problem.message)
            self._set(entry.id, code=problem.code, reason=reason, stopped_at=self._clock(), pause=0, **more)

    def stored(self, entry: Entry, *, keep: bool = True) -> Entry:
        """Ingested; its parts need not be known any more. Without `keep` it is done as well, unless the watch of its folder
        has still to hear of it."""
        plan = None if entry.plan is None else replace(entry.plan, token=None)
        with self._writing():
            found = self._db.execute("SELECT batch FROM uploads WHERE id = ?", (entry.id,)).fetchone()
            now = replace(entry, batch=entry.batch if found is None else found[0])
            kept = keep or now.watched
            now = replace(
                now,
                state=State.STORED if kept else State.DONE,
                since=entry.since if kept else self._clock(),
                held=entry.size or 0,
                plan=plan,
                **_NOT_STOPPED,
            )
            self._db.execute("DELETE FROM parts WHERE entry = ?", (entry.id,))
            self._set(entry.id, state=now.state, held=now.held, since=now.since, token=None, pause=0, **_NOT_STOPPED)
        return now

    def done(self, entry: Entry) -> None:
        """All that was wished for this file is done."""
        with self._using():
            self._set(entry.id, state=State.DONE, since=self._clock(), token=None, pause=0, **_NOT_STOPPED)

    def anew(self, entry: Entry, wish: Wish | None = None) -> Entry:
        """As if it had only been queued, for what is wished by now: what was begun is somebody else's business."""
        with self._writing():
            self._db.execute("DELETE FROM parts WHERE entry = ?", (entry.id,))
            cleared = dict.fromkeys(
                ("size", "mtime_ns", "inode", "device", "sample", "upload_id", "asset_id", "title_id", "part_size",
                 "part_count", "algorithm", "token", "expires_at")
            )  # fmt: skip
            now, wished = self._clock(), {} if wish is None else _told(wish)
            self._set(
                entry.id, state=State.QUEUED, key=uuid4().hex, held=0, since=now, **cleared, **wished, **_NOT_STOPPED
            )
        if (found := self.get(entry.id)) is None:
            raise _cancelled(entry)
        return found

    def adopt(self, entry: Entry, other: Entry) -> Entry:
        """`entry`, which was only queued, goes on as `other`, which was begun under another name or address."""
        with self._writing():
            self._db.execute("DELETE FROM uploads WHERE id = ?", (entry.id,))
            self._set(other.id, server=entry.place.server, path=_path(entry.path), batch=entry.batch)
        return self.get(other.id) or other

    def moved(self, entry: Entry, place: Place) -> Entry:
        """The row's server is reached at another address now; a row that was only queued there gives way."""
        with self._writing():
            self._db.execute(
                "DELETE FROM uploads WHERE server = ? AND owner = ? AND path = ? AND state = 'queued'",
                (*_of(place), _path(entry.path)),
            )
            self._db.execute("UPDATE OR IGNORE uploads SET server = ? WHERE id = ?", (place.server, entry.id))
        return self.get(entry.id) or entry

    def forget(self, entry: Entry) -> None:
        with self._using():
            self._db.execute("DELETE FROM uploads WHERE id = ?", (entry.id,))

    # --- between processes ----------------------------------------------------------------------------------------

    @contextmanager
    def claim(self, place: Place, identity: Identity, path: Path, seat: Seat | None = None) -> Iterator[None]:
        """Inside, this file is ours alone: two names of one inode are one file. Raises `Conflict` (upload_elsewhere)."""
        what = f"{place.server}\n{place.owner}\n{identity.device}:{identity.inode}"
        with claimed(self._locks, what, path) if seat is None else seat.claimed(what, path):
            yield

    def seat(self) -> Seat:
        """For many claims."""
        return Seat(self._locks)

    def holder(self, entry: Entry, identity: Identity | None = None) -> Holder | None:
        """Who is at it now, if anybody is. `identity` is the file's, where it is known better than by its row."""
        identity = identity or entry.identity
        if identity is None:
            return None
        of = f"{entry.place.server}\n{entry.place.owner}\n{identity.device}:{identity.inode}"
        return holder(self._locks, of)

    def ask_pause(self, entries: Iterable[Entry]) -> None:
        """Whoever is at these files is to stop politely."""
        with self._writing():
            self._db.executemany("UPDATE uploads SET pause = 1 WHERE id = ?", [(entry.id,) for entry in entries])

    def unask_pause(self, entries: Iterable[Entry]) -> None:
        """Nobody was at these after all."""
        with self._writing():
            self._db.executemany("UPDATE uploads SET pause = 0 WHERE id = ?", [(entry.id,) for entry in entries])

    def pause_asked(self) -> set[int]:
        """The entries that are to be paused."""
        with self._lock, translated(self.directory):
            return {row[0] for row in self._db.execute("SELECT id FROM uploads WHERE pause = 1")}

    # --- rows -----------------------------------------------------------------------------------------------------

    def _moved(self, entry: Entry, **columns: object) -> None:
        with self._using():
            is_there = self._set(entry.id, **columns)
        if not is_there:
            raise _cancelled(entry)

    def _set(self, entry_id: int, **columns: object) -> bool:
        """Whether there is such a row."""
        names = ", ".join(f"{name} = ?" for name in columns)
        done = self._db.execute(f"UPDATE uploads SET {names} WHERE id = ?", (*columns.values(), entry_id))  # noqa: S608 - our names
        return done.rowcount > 0

    def _one(self, condition: str, values: Sequence[object]) -> Entry | None:
        return next(iter(self._all(condition, values)), None)

    def _all(self, condition: str, values: Sequence[object]) -> list[Entry]:
        rows = self._db.execute(f"SELECT * FROM uploads WHERE {condition} ORDER BY id", tuple(values))  # noqa: S608 - ours
        return [_entry(row) for row in rows]


_PLAN = tuple(column.name for column in fields(Plan))
_NOT_STOPPED: dict[str, Any] = {"code": None, "reason": None, "stopped_at": None}


def _cancelled(entry: Entry) -> Conflict:
    return Conflict("upload_cancelled", f"{entry.path} was cancelled meanwhile.")


def _of(place: Place) -> tuple[str, str]:
    return place.server, place.owner


def _told(wish: Wish) -> dict[str, str]:
    return {"request": wish.request.model_dump_json(exclude_unset=True), "declare": " ".join(wish.declare)}


def _path(path: Path) -> bytes:
    return os.fsencode(path)


@lru_cache(64)  # a row is read some times on its way; nobody changes a request, but copies it
def _request(text: str) -> BeginUpload:
    """Also what an older rushes wrote, with fields that are known no more."""
    return BeginUpload.model_validate(
        {name: value for name, value in json.loads(text).items() if name in BeginUpload.model_fields}
    )


def _entry(row: sqlite3.Row) -> Entry:
    identity = None if row["size"] is None else Identity(**{f.name: row[f.name] for f in fields(Identity)})
    plan = None
    if row["upload_id"] is not None:
        plan = Plan(
            UUID(row["upload_id"]),
            UUID(row["asset_id"]),
            UUID(row["title_id"]),
            row["part_size"],
            row["part_count"],
            ChecksumAlgorithm(row["algorithm"]),
            row["token"],
            row["expires_at"],
        )
    return Entry(
        id=row["id"],
        state=State(row["state"]),
        batch=row["batch"],
        place=Place(row["server"], row["owner"]),
        path=Path(os.fsdecode(row["path"])),
        request=_request(row["request"]),
        declare=tuple(row["declare"].split()),
        key=row["key"],
        since=row["since"],
        identity=identity,
        plan=plan,
        held=row["held"],
        code=row["code"],
        reason=row["reason"],
        stopped_at=row["stopped_at"],
        pausing=bool(row["pause"]),
    )
