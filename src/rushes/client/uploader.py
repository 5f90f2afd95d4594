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

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from uuid import UUID

from rushes.client.again import another_asset, otherwise
from rushes.client.api import Uploads
from rushes.client.calls import ONCE, Caller
from rushes.client.claim import Seat
from rushes.client.digest import WholeDigest
from rushes.client.engine import Engine
from rushes.client.http import Reply, Request, Stopped, Transport
from rushes.client.job import Job, result_of
from rushes.client.journal import Entry, Journal, Place, State
from rushes.client.lane import Lane
from rushes.client.limits import Limits
from rushes.client.messages import UploadMessages
from rushes.client.owner import owner_of
from rushes.client.sameness import asset_gone, file_changed, held_by, is_same, same_or_gone
from rushes.client.session import Session
from rushes.client.source import Identity, LocalFile, difference, was_touched
from rushes.client.transfer import Begun, Transfer
from rushes.client.wish import Wish
from rushes.errors import Conflict, Forbidden, NotFound, Problem, Unauthenticated, Unavailable
from rushes.model import OverallStatus, UploadState
from rushes.plan import PartPlan, eager_part_size
from rushes.wire import UploadBegun, UploadView

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
        self._messages = UploadMessages(caller)
        self._lane = Lane(engine, transport, self)

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
        limits = limits or self._engine.limits
        usual = replace(limits, parallel=None) == replace(self._engine.limits, parallel=None)
        since = time.monotonic()  # for all of them: thousands do not wait a minute each
        short: dict[Job, Callable[[], Transfer]] = {}
        for job in jobs:
            make = self._way_to_start(job, since, keep=keep, limits=limits, on_end=on_end)
            plain = usual and not job.anew and not job.entry.declare and job.entry.state is State.QUEUED
            if plain and self._lane.takes(job):
                short[job] = make
            else:
                job.handle = self._engine.add(make())
        if short:
            self._lane.take(short, limits.parallel)
        return jobs

    def _way_to_start(
        self, job: Job, since: float, *, keep: bool, limits: Limits, on_end: Callable[[Job], None] | None
    ) -> Callable[[], Transfer]:
        """What makes the transfer of a job, when its turn comes."""

        def ended(outcome: BaseException | None) -> None:
            try:
                with job.open:
                    self._ended(job, outcome, keep=keep)
            except Exception as error:  # noqa: BLE001 - whoever waits for this file has to hear of its end in any case
                job.error = job.error or error
            finally:
                self.journal.afterwards(over)

        def over(problem: Problem | None) -> None:
            job.error = job.error or problem
            job.over()
            if on_end is not None:
                on_end(job)

        def transfer() -> Transfer:
            job.transfer = Transfer(
                self._engine,
                self._transport,
                job.size,
                prepare=lambda: self._prepared(job, limits),
                limits=limits,
                unanswered=lambda: 0.0 if self._caller.contact.made else time.monotonic() - since,
                on_end=ended,
            )
            return job.transfer

        return transfer

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
        if entry.state is State.INTENDED and (entry.identity is None or not is_same(entry.identity, identity)):
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
                self._keep(job, file, file.identify(), stack)
        assert job.identity is not None, "kept"
        return job.identity

    def _keep(self, job: Job, file: LocalFile, identity: Identity, stack: ExitStack, seat: Seat | None = None) -> None:
        stack.enter_context(self.journal.claim(self.place, identity, job.entry.path, seat))
        job.open, job.file, job.identity, job.size = stack.pop_all(), file, identity, identity.size
        if job.transfer is not None:
            job.transfer.size = identity.size

    # --- the same for a short file that nothing was begun of (`lane`) -------------------------------------------------

    def look_at_all(self, job: Job, most: int, seat: Seat) -> bytes | None:
        """Open, claim and read a file; None of one that has more than `most` bytes."""
        with ExitStack() as stack:
            file = stack.enter_context(LocalFile(job.entry.path))
            if file.size > most:
                return None
            content = file.whole()
            self._keep(job, file, file.identify(content), stack, seat)
            return content

    def intended(self, job: Job) -> Request | None:
        """What begins its upload, once that is written down; None where more has to be known first."""
        assert job.identity is not None, "looked at"
        if not self.journal.is_plain(job.entry, job.identity):
            return None
        job.began_at = job.noted_at = time.monotonic()
        entry = self._intend(job, job.entry, job.identity)
        return self._messages.begin(entry.request, entry.key)

    def begun(self, job: Job, came: Reply | Problem) -> Begun:
        """Its upload by what was answered. Raises what is wrong with it."""
        try:
            if isinstance(came, Problem):
                raise came
            return self._begun(job, self._messages.begun(came), self._engine.limits)
        except Problem as problem:
            self._not_begun(job, problem, unsure=False)
            raise

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
        if other is not None and same_or_gone(other.path, identity):
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
            job.say(asset_gone(plan.asset_id))
            return False
        job.before = True
        job.say(f"It was uploaded before (asset {plan.asset_id}); --anew uploads it again.")
        return True

    def _new(self, job: Job, entry: Entry, identity: Identity, limits: Limits) -> Begun:
        unsure = entry.state is State.INTENDED
        entry = self._intend(job, entry, identity)
        try:
            return self._begun(job, self._uploads.begin(entry.request, entry.key), limits)
        except Problem as problem:
            self._not_begun(job, problem, unsure=unsure)
            raise

    def _intend(self, job: Job, entry: Entry, identity: Identity) -> Entry:
        wanted = {"size": identity.size}
        if entry.request.part_size is None and (eager := eager_part_size(identity.size)) is not None:
            wanted["part_size"] = eager
        job.entry = self.journal.intend(entry, identity, entry.request.model_copy(update=wanted))
        return job.entry

    def _begun(self, job: Job, begun: UploadBegun, limits: Limits) -> Begun:
        entry = job.entry = self.journal.begun(job.entry, begun)
        assert job.file is not None, "opened before"
        session = Session(
            PartPlan(job.file.size, begun.part_size, begun.part_count), limits, algorithm=begun.checksum_algorithm
        )
        return self._on(job, entry, session, self._caller.bearing(begun.token), {})

    def _not_begun(self, job: Job, problem: Problem, *, unsure: bool) -> None:
        if problem.permanent and not (unsure and isinstance(problem, Unauthenticated | Forbidden)):
            job.entry = self.journal.anew(job.entry)  # refused: nothing was begun, another command may wish otherwise
        if problem.code == "idempotency_key_reused":
            raise Unavailable(problem.code, problem.message) from problem

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
                raise file_changed(entry, changed, job.file) from None
            raise
        if view.state == UploadState.INGESTED:
            if changed is not None:
                job.say(
                    f"What the file held before was uploaded whole (asset {view.asset_id}); what it holds now is new."
                )
                return None
            if view.status is OverallStatus.DELETED:
                job.say(asset_gone(view.asset_id))
                return None
            return self._finished(job, entry)
        if view.state in ENDED:
            why = f": {view.problem.message}" if view.problem is not None else ""
            job.say(f"The upload begun before is {view.state}{why}; it begins anew.")
            return None
        if changed is not None:
            raise file_changed(entry, changed, job.file)
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
            job.result = result_of(job, begun)
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


def _seen(uploads: Uploads, upload_id: UUID) -> UploadView:
    """The upload with what storage has of it; as the server knows it, when storage is away."""
    try:
        return uploads.get(upload_id, reconcile=True)
    except Unavailable:
        return uploads.get(upload_id)


def _resolved(wish: Wish) -> Wish:
    return replace(wish, path=wish.path.resolve())
