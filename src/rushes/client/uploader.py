"""Uploads of paths: what the journal and the server know of a file decides whether its upload begins or goes on.

For every file, in one of the engine's threads: it is opened and its identity taken, then claimed, so that two processes
never work at it; then, by the journal's row,

    nothing begun       the request is written down and begin is called with its key
    perhaps begun       begin is called with the same key: the server answers with the upload it made, if it did
    begun               the server is asked what it holds; parts it holds are compared with the file before they count
    ended over there    expired, aborted, rejected, or on another server by now: said, and begun anew
    done                said, and left alone, as long as the file, what is wished for it and its asset are the same

A file that shows another size or other content than when its upload began is refused (`file_changed`), unless it is to be
uploaded anew; one that was merely touched goes on, and every part that was read before has to be the same.
"""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

from rushes.checksum import encode
from rushes.client.again import another_asset, otherwise
from rushes.client.api import Uploads
from rushes.client.calls import ONCE, Caller
from rushes.client.claim import Holder
from rushes.client.digest import WholeDigest
from rushes.client.engine import Engine
from rushes.client.http import Stopped, Transport
from rushes.client.job import Job, UploadResult
from rushes.client.journal import Entry, Journal, Place, State
from rushes.client.limits import Limits
from rushes.client.session import Session
from rushes.client.source import Identity, LocalFile, difference, identity_of, was_touched
from rushes.client.transfer import Begun, Transfer
from rushes.client.wish import Wish
from rushes.errors import Conflict, Forbidden, NotFound, Problem, Unauthenticated, Unavailable
from rushes.model import OverallStatus, UploadState
from rushes.plan import PartPlan, eager_part_size
from rushes.wire import UploadView

NOTE_EVERY = 2.0  # seconds between two notes of how much is held
REFUSED_TYPE = "type_not_allowed"  # no command makes another file of it
NOT_KEPT = frozenset({"file_missing", "file_directory", "file_special", "file_empty", REFUSED_TYPE})  # if not begun
ENDED = frozenset({UploadState.ABORTED, UploadState.EXPIRED, UploadState.REJECTED, UploadState.FAILED})


class Uploader:
    """Uploads of paths under one token. Safe to use from many threads."""

    def __init__(self, engine: Engine, transport: Transport, caller: Caller, token: str, journal: Journal) -> None:
        self.journal = journal
        self.place = Place(caller.url.rstrip("/"), owner_of(token))
        self._engine = engine
        self._transport = transport
        self._caller = caller
        self._uploads = Uploads(caller.but(patience=ONCE))  # the engine asks again

    # --- what is asked for ----------------------------------------------------------------------------------------

    def add(
        self,
        wishes: Sequence[Wish],
        *,
        anew: bool = False,
        keep: bool = False,
        watched: bool = False,
        limits: Limits | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> list[Job]:
        """Write all of them down, then begin each when its turn comes, in order.

        `anew` drops what was begun of them. With `keep` they stay in the journal after they are ingested, for whoever
        follows them further, until `done`; `watched` ones, whoever uploads them, until `seen`. Raises `Unavailable`
        (journal_unavailable), and what `Wish` raises.
        """
        entries = self.journal.queue(self.place, [_resolved(wish) for wish in wishes], watched=watched)
        jobs = [Job(entry, wish.size, anew=anew, wish=wish) for entry, wish in zip(entries, wishes, strict=True)]
        return self._started(jobs, keep=keep, limits=limits, on_end=on_end)

    def go_on(
        self,
        entries: Sequence[Entry],
        *,
        anew: bool = False,
        keep: bool = False,
        limits: Limits | None = None,
        on_end: Callable[[Job], None] | None = None,
    ) -> list[Job]:
        """Go on with rows of the journal."""
        jobs = [Job(entry, entry.size or 0, anew=anew) for entry in entries]
        return self._started(jobs, keep=keep, limits=limits, on_end=on_end)

    def _started(
        self,
        jobs: list[Job],
        *,
        keep: bool,
        limits: Limits | None,
        on_end: Callable[[Job], None] | None,
    ) -> list[Job]:
        stale = [job.entry for job in jobs if job.entry.pausing and self.journal.holder(job.entry) is None]
        self.journal.unask_pause(stale)  # whoever was to pause these died of something else
        since = time.monotonic()  # for all of them: thousands do not wait a minute each
        for job in jobs:
            self._start(job, since, keep=keep, limits=limits or self._engine.limits, on_end=on_end)
        return jobs

    def _start(
        self, job: Job, since: float, *, keep: bool, limits: Limits, on_end: Callable[[Job], None] | None
    ) -> None:
        def ended(outcome: BaseException | None) -> None:
            try:
                with job.open:
                    self._ended(job, outcome, keep=keep)
            except Exception as error:  # noqa: BLE001 - whoever waits for this file has to hear of its end in any case
                job.error = job.error or error
            finally:
                job.ended.set()
                if on_end is not None:
                    on_end(job)

        job.transfer = Transfer(
            self._engine,
            self._transport,
            job.size,
            prepare=lambda: self._prepared(job, limits),
            limits=limits,
            unanswered=lambda: 0.0 if self._caller.contact.made else time.monotonic() - since,
            on_end=ended,
        )
        job.handle = self._engine.add(job.transfer)

    def mine(self) -> list[Entry]:
        """Everything pending of this place; and of this person at other addresses, where this server knows the upload:
        it is the same one, reached another way."""
        pending = self.journal.pending()
        mine = [entry for entry in pending if entry.place == self.place]
        others = [entry for entry in pending if entry.place.owner == self.place.owner and entry.place != self.place]
        return [*mine, *(self.journal.moved(entry, self.place) for entry in others if self._may_take(entry))]

    def _may_take(self, entry: Entry) -> bool:
        try:
            return self.journal.holder(entry) is None and self._knows(entry)
        except Unavailable:
            return False  # nobody can say so now

    def titles_of(self, paths: Iterable[Path]) -> list[UUID]:
        """Titles that rows of these files name: those that were made for several files together."""
        rows = [self.journal.of(self.place, path.resolve()) for path in paths]
        found = [row.request.title_id for row in rows if row is not None and row.request.title_id is not None]
        return list(dict.fromkeys(found))

    def done(self, job: Job) -> None:
        """Whoever followed a job that was kept has heard what became of it."""
        if not job.entry.watched:
            self.journal.done(job.entry)

    def seen(self, job: Job) -> None:
        """The watch of its folder has, and remembers it by itself."""
        self.journal.forget(job.entry)

    def drop(self, entry: Entry) -> None:
        """Give up the upload of a row: on the server, then here. Raises `Unavailable` and what the server says,
        `Conflict` (upload_elsewhere) while somebody is at it."""
        if (who := self.journal.holder(entry)) is not None:
            raise held_by(entry, who)
        self._give_up(entry)
        self.journal.forget(entry)

    def pauses(self, jobs: Iterable[Job]) -> None:
        """Stop those of these jobs that somebody asked to pause."""
        asked = self.journal.pause_asked()
        for job in jobs:
            if job.entry.id in asked and not job.ended.is_set():
                job.pause()

    # --- before the first byte --------------------------------------------------------------------------------------

    def _prepared(self, job: Job, limits: Limits) -> Begun:
        """What is to be done for one file. May be repeated after an error: every step is safe to repeat."""
        identity = self._look(job)
        entry = job.entry = self._row(job, identity)
        if job.anew:
            self._give_up(entry)
            entry = job.entry = self.journal.anew(entry, job.wish)
            job.anew = False
        if entry.state is State.DONE:
            if self._is_still_done(job, entry, identity):
                return self._finished(job, entry)
            entry = job.entry = self.journal.anew(entry, job.wish)
        if entry.state is State.INTENDED and (entry.identity is None or not _is_same(entry.identity, identity)):
            self._give_up(entry)
            entry = self.journal.anew(entry, job.wish)
        job.began_at = job.began_at or time.monotonic()
        if entry.state in {State.BEGUN, State.STORED}:
            found = self._found(job, entry, identity, limits)
            if found is not None:
                return found
            entry = self.journal.anew(entry, job.wish)
        return self._new(job, entry, identity, limits)

    def _look(self, job: Job) -> Identity:
        """Open and claim the file, once."""
        if job.file is None or job.identity is None:
            with ExitStack() as stack:
                file = stack.enter_context(LocalFile(job.entry.path))
                identity = job.identity = file.identify()
                stack.enter_context(self.journal.claim(self.place, identity, job.entry.path))
                job.open = stack.pop_all()
            job.file, job.size = file, identity.size
            if job.transfer is not None:
                job.transfer.size = identity.size
        return job.identity

    def _row(self, job: Job, identity: Identity) -> Entry:
        """The row as it is now; that of another name of the file, or of another address of the server, where this file
        was begun under it."""
        entry = job.entry
        now = self.journal.get(entry.id)
        if now is None and entry.state is State.DONE and job.wish is not None:  # too old by now, and so forgotten
            (now,) = self.journal.queue(self.place, [_resolved(job.wish)], watched=entry.watched)
        if now is None:
            raise Conflict("upload_cancelled", f"{entry.path} was cancelled meanwhile.")
        if now.state is not State.QUEUED:
            return now
        other = self.journal.same_file(now, identity)
        if other is not None and _same_or_gone(other.path, identity):
            return self.journal.adopt(now, other)
        for elsewhere in self.journal.elsewhere(now):
            if self._knows(elsewhere):
                if (who := self.journal.holder(elsewhere)) is not None:
                    raise held_by(elsewhere, who)
                return self.journal.adopt(now, elsewhere)
        return now

    def _knows(self, entry: Entry) -> bool:
        """Whether the upload of a row from another address is this server's: it has to say of which asset it is, which only
        that server knows. It is asked by our token for it: the upload's own is for nobody else's eyes."""
        try:
            return entry.plan is not None and _seen(self._uploads, entry.plan.upload_id).asset_id == entry.plan.asset_id
        except (NotFound, Unauthenticated, Forbidden):
            return False

    def _is_still_done(self, job: Job, entry: Entry, identity: Identity) -> bool:
        """Whether nothing is left to do for a file that was uploaded: what was made of it is what is wished for now."""
        before, plan = entry.identity, entry.plan
        assert before is not None, "looked at before it was uploaded"
        assert plan is not None, "begun before it was done"
        if difference(before, identity) is not None or before.mtime_ns != identity.mtime_ns:
            return False
        if job.wish is not None and (other := another_asset(job.wish, entry)):
            job.say(f"It was uploaded before with another {other} (asset {plan.asset_id}); it is uploaded again.")
            return False
        try:
            is_there = self._uploads.status(plan.upload_id).status is not OverallStatus.DELETED
        except NotFound:
            is_there = False
        if not is_there:
            job.say(_gone(plan.asset_id))
            return False
        job.before = True
        job.say(f"It was uploaded before (asset {plan.asset_id}); --anew uploads it again.")
        return True

    def _new(self, job: Job, entry: Entry, identity: Identity, limits: Limits) -> Begun:
        wanted, unsure = {"size": identity.size}, entry.state is State.INTENDED
        if entry.request.part_size is None and (eager := eager_part_size(identity.size)) is not None:
            wanted["part_size"] = eager
        entry = job.entry = self.journal.intend(entry, identity, entry.request.model_copy(update=wanted))
        try:
            begun = self._uploads.begin(entry.request, entry.key)
        except Problem as problem:
            if problem.permanent and not (unsure and isinstance(problem, Unauthenticated | Forbidden)):
                job.entry = self.journal.anew(entry)  # refused: nothing was begun, another command may wish otherwise
            if problem.code == "idempotency_key_reused":
                raise Unavailable(problem.code, problem.message) from problem
            raise
        entry = job.entry = self.journal.begun(entry, begun)
        session = Session(
            PartPlan(identity.size, begun.part_size, begun.part_count), limits, algorithm=begun.checksum_algorithm
        )
        return self._on(job, entry, session, self._caller.bearing(begun.token), {})

    def _found(self, job: Job, entry: Entry, identity: Identity, limits: Limits) -> Begun | None:
        """Go on with what the server has; None where that came to nothing and a new upload has to begin."""
        assert entry.identity is not None, "written before it was begun"
        assert job.file is not None, "opened before"
        changed = difference(entry.identity, identity)
        try:
            view, caller = self._view(entry)
        except NotFound:
            job.say("The server does not know the upload begun before any more; it begins anew.")
            return None
        except Unavailable:
            if changed is not None:
                raise _changed(entry, changed, job.file) from None
            raise
        if view.state == UploadState.INGESTED:
            if changed is not None:
                job.say(
                    f"What the file held before was uploaded whole (asset {view.asset_id}); what it holds now is new."
                )
                return None
            if view.status is OverallStatus.DELETED:
                job.say(_gone(view.asset_id))
                return None
            return self._finished(job, entry)
        if view.state in ENDED:
            why = f": {view.problem.message}" if view.problem is not None else ""
            job.say(f"The upload begun before is {view.state}{why}; it begins anew.")
            return None
        if changed is not None:
            raise _changed(entry, changed, job.file)
        if job.wish is not None and (other := otherwise(job.wish, entry)):
            job.say(f"It goes on as it was begun, not with another {other}: --anew begins with that.")
        if was_touched(entry.identity, identity):
            job.say("The file was touched or copied since; every part read before is compared.")
            entry = self.journal.touched(entry, identity)
        known = self.journal.parts(entry.id)
        entry = job.entry = self.journal.begun(entry, view)
        session = Session(
            PartPlan(identity.size, view.part_size, view.part_count),
            limits,
            view.parts or [],
            algorithm=view.checksum_algorithm,
            known=known,
        )
        return self._on(job, entry, session, caller, known)

    def _view(self, entry: Entry) -> tuple[UploadView, Caller]:
        """The upload as the server has it, storage asked first; and who may go on with it: the upload's own token, which
        outlives most others, else ours."""
        assert entry.plan is not None, "only what was begun can be looked at"
        upload_id, token = entry.plan.upload_id, entry.plan.token
        if token is not None:
            caller = self._caller.bearing(token)
            try:
                return _seen(Uploads(caller.but(patience=ONCE)), upload_id), caller
            except (Unauthenticated, Forbidden, NotFound):
                pass  # the server's secret is another one by now, or the token has expired: ours decides
        return _seen(self._uploads, upload_id), self._caller

    def _on(
        self, job: Job, entry: Entry, session: Session, caller: Caller, known: Mapping[int, tuple[int, str]]
    ) -> Begun:
        """`known`: the parts that an earlier run has read."""
        assert entry.plan is not None, "begun"
        assert job.file is not None, "opened before"
        whole = WholeDigest(job.file, entry.declare) if entry.declare else None

        def on_read(number: int, crc: int, checksum: str) -> None:
            # What an earlier run read stays what it is compared with; one part alone is mixed with nothing.
            if number not in known and session.plan.part_count > 1:
                self._note(job, lambda: self.journal.part_read(entry.id, number, crc, checksum))
            if time.monotonic() - job.noted_at > NOTE_EVERY and job.progress is not None:
                job.noted_at, held = time.monotonic(), job.progress.held
                self._note(job, lambda: self.journal.holds(entry.id, held))

        return Begun(job.file, entry.plan.upload_id, session, caller, on_read=on_read, whole=whole)

    def _note(self, job: Job, write: Callable[[], None]) -> None:
        """A note that cannot be written does not stop an upload: it is only compared with less, should it be resumed."""
        try:
            write()
        except Unavailable as problem:
            job.say(problem.message)

    def _finished(self, job: Job, entry: Entry) -> Begun:
        """An upload that has nothing left to do."""
        assert entry.plan is not None, "begun"
        assert job.file is not None, "opened before"
        plan = PartPlan(job.file.size, entry.plan.part_size, entry.plan.part_count)
        session = Session(plan, self._engine.limits, algorithm=entry.plan.algorithm)
        session.was_looked_at(ingested=True, finalizing=False, now=self._engine.clock())
        return Begun(job.file, entry.plan.upload_id, session, self._caller)

    def _give_up(self, entry: Entry) -> None:
        """Abort what was begun, or may have been. What has ended over there needs no abort."""
        upload_id = None if entry.plan is None else entry.plan.upload_id
        if entry.state is State.INTENDED:
            try:
                upload_id = self._uploads.begin(entry.request, entry.key).upload_id
            except Problem as problem:
                if not problem.permanent:
                    raise
                return  # refused: then nothing was begun
        if upload_id is not None and entry.state is not State.DONE:
            try:
                self._uploads.abort(upload_id)
            except (NotFound, Conflict):
                return  # it is over

    # --- after the last -----------------------------------------------------------------------------------------------

    def _ended(self, job: Job, outcome: BaseException | None, *, keep: bool) -> None:
        entry, transfer = job.entry, job.transfer
        assert transfer is not None, "it has ended"
        begun = transfer.begun
        if outcome is None and begun is not None:
            job.result = self._result(job, begun)
            if not job.before:
                job.entry = self.journal.stored(entry, keep=keep)
            return
        job.error = outcome
        if job.pausing and isinstance(outcome, Stopped):
            job.error = Unavailable("paused", "Paused; `rushes resume` goes on with it.")
        if not isinstance(job.error, Problem):
            why: Problem = Unavailable("unexpected", f"{type(outcome).__name__}: {outcome}")
        else:
            why = job.error
        if why.code == "upload_elsewhere" or entry.state is State.DONE:
            return  # its row is another's, or that of an upload which is over
        if why.code in NOT_KEPT and entry.plan is None:
            self.journal.forget(entry)
            return
        self.journal.stopped(entry, why, None if begun is None else transfer.progress().held)

    def _result(self, job: Job, begun: Begun) -> UploadResult:
        plan, transfer = job.entry.plan, job.transfer
        assert plan is not None, "begun"
        assert transfer is not None, "it has ended"
        return UploadResult(
            upload_id=plan.upload_id,
            asset_id=plan.asset_id,
            title_id=plan.title_id,
            size=begun.file.size,
            part_size=plan.part_size,
            part_count=plan.part_count,
            checksum=encode(begun.session.crc()) if begun.session.complete else "",
            sent=transfer.sent,
            seconds=time.monotonic() - (job.began_at or time.monotonic()),
        )


def owner_of(token: str) -> str:
    """Whose uploads a token's are, as it says itself: its issuer, tenant and bearer; "" of one that says nothing.

    Nothing is verified here: it keeps the uploads of two people at one machine apart, the server guards them.
    """
    try:
        payload = token.split(".")[1]
        told = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
        return "/".join(str(told.get(name, "")) for name in ("iss", "tenant", "sub"))
    except (IndexError, ValueError, AttributeError):
        return ""


def _seen(uploads: Uploads, upload_id: UUID) -> UploadView:
    """The upload with what storage has of it; as the server knows it, when storage is away."""
    try:
        return uploads.get(upload_id, reconcile=True)
    except Unavailable:
        return uploads.get(upload_id)


def _gone(asset_id: UUID) -> str:
    return f"It was uploaded before (asset {asset_id}), which is not there any more; it is uploaded again."


def held_by(entry: Entry, who: Holder) -> Conflict:
    return Conflict("upload_elsewhere", f"{entry.path} is being uploaded by {who}: pause it first.", pid=who.pid)


def _same_or_gone(path: Path, identity: Identity) -> bool:
    """Whether nothing else lies at a file's other name: an inode's number alone may be that of another disk."""
    try:
        found = identity_of(path.stat())
    except OSError:
        return True
    return (found.device, found.inode) == (identity.device, identity.inode)


def _resolved(wish: Wish) -> Wish:
    return replace(wish, path=wish.path.resolve())


def _is_same(before: Identity, now: Identity) -> bool:
    return difference(before, now) is None and not was_touched(before, now)


def _changed(entry: Entry, changed: str, file: LocalFile) -> Conflict:
    since = datetime.fromtimestamp(entry.since, UTC).astimezone()
    return Conflict(
        "file_changed",
        f"{entry.path} is not what was being uploaded since {since:%Y-%m-%d %H:%M} any more. It {changed}"
        f" (last modified {file.modified()}). Nothing of it was mixed into the upload. To drop what was "
        "uploaded and begin with the file as it is now: rushes upload --anew.",
        path=str(entry.path),
    )
