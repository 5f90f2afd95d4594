"""A watch folder: what is put into it is uploaded once it is finished, and then moved away, or left and remembered.

Each round looks at the whole folder (network drives tell of no changes), asks `settling` what follows from that, begins
uploads by the journal (`uploader`), and settles those that have ended:

    stored           noted in the watch log, then moved to `done` or left where it is
    written to       given up, and begun anew once it has settled again
    taken away       given up
    no server        tried again after a rest, for ever
    refused          moved to `failed` with a note of the reason, or left and remembered; never tried again by itself

After a kill the next run goes on: the journal knows the parts, the log knows what is done. A folder whose drive is away is
waited for; nothing in it counts as taken away meanwhile. Everything here happens in the thread that calls `run`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field, replace
from enum import StrEnum
from pathlib import Path, PurePath
from queue import Empty, SimpleQueue

from rushes.client.api import Assets, Titles
from rushes.client.aside import Root, Sight, move, stamp_of
from rushes.client.claim import claimed
from rushes.client.job import Job, JobState
from rushes.client.journal import Entry, State
from rushes.client.limits import Limits
from rushes.client.settling import File, Settling, Stage, Stamp
from rushes.client.uploader import Uploader
from rushes.client.watchlog import Fate, WatchLog
from rushes.client.wish import Wishes, plain
from rushes.errors import (
    Conflict,
    Forbidden,
    Invalid,
    Misconfigured,
    OverQuota,
    Problem,
    Unauthenticated,
    Unavailable,
)
from rushes.wire import AssetPatch, NewTitle

LONGEST_LOOK = 2.0  # seconds between two looks, as long as a look takes less than a twentieth of that
PAUSES_EVERY = 1.0
FATAL = (Unauthenticated, Forbidden, Misconfigured)  # the same for every file, until a person acts


class TitleFrom(StrEnum):
    NAME = "name"  # a title for each file
    FOLDER = "folder"  # one for all files of a folder


@dataclass(frozen=True, slots=True)
class Watching:
    """What is to be watched, and how. Without `done`, files stay where they are and are remembered."""

    folder: Path
    done: Path | None = None
    failed: Path | None = None
    settle: float = 10.0  # seconds without a change that make a file finished
    patterns: Sequence[str] = ()
    title_from: TitleFrom = TitleFrom.NAME
    wishes: Wishes = field(default_factory=Wishes)
    limits: Limits | None = None
    retry: bool = False  # try again what has failed and was left where it is


@dataclass(frozen=True, slots=True)
class Told:
    """Something that happened, in words; `kind` is for programs."""

    kind: str  # begun, done, failed, changed, renamed, gone, waiting, paused, away, back, notice
    path: Path | None
    text: str
    job: Job | None = None


@dataclass(slots=True)
class Tally:
    done: int = 0
    failed: int = 0
    waiting: int = 0  # not finished, or not to be uploaded now
    trouble: Problem | None = None  # why the last one waits that does not grow


class WatchFolder:
    """One folder, for one server and person. Raises `Invalid` (folder_missing, not_a_folder, other_drive), `Conflict`
    (watch_elsewhere) while another process watches it, `Unavailable` (journal_unavailable)."""

    def __init__(
        self,
        watching: Watching,
        uploader: Uploader,
        titles: Titles,
        assets: Assets,
        *,
        tell: Callable[[Told], None],
        cancel: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._watching = watching
        self._uploader = uploader
        self._titles = titles
        self._assets = assets
        self._tell = tell
        self._cancel = cancel or threading.Event()
        self._clock = clock
        self.root = Root.of(watching.folder)
        self._aside = [path.resolve() for path in (watching.done, watching.failed) if path is not None]
        self._check_aside()
        self.tally = Tally()
        self.settling = Settling(watching.settle)
        self.jobs: dict[PurePath, Job] = {}  # under way, by the name they have now
        self._doomed: list[Job] = []  # of files that were taken away
        self._ended: SimpleQueue[Job] = SimpleQueue()
        self._later: list[Job] = []  # ended while the folder was away
        self._away = False
        self._paused_at = 0.0
        self._unread: set[PurePath] = set()
        self._log: WatchLog

    def _check_aside(self) -> None:
        """Moving has to be renaming: a copy would be another file, and may fail half way."""
        for path in self._aside:
            there = path
            while not there.exists():
                there = there.parent
            if there.stat().st_dev != self.root.device:
                raise Invalid(
                    "other_drive", f"{path} is on another drive than {self.root.path}: name a folder on the same one."
                )

    def run(self, *, once: bool = False) -> Tally:
        """Watch until `cancel` is set; with `once`, until nothing is left that is finished. What came of it.

        Raises `Unauthenticated`, `Forbidden` and `Misconfigured`, after which what was under way goes on with the next run.
        """
        with ExitStack() as stack:
            stack.enter_context(self._alone())
            place = self._uploader.place
            self._log = WatchLog(self._uploader.journal.directory, f"{place.server}\n{place.owner}\n{self.root.path}")
            stack.callback(self._log.close)
            stack.callback(self._leave)
            if self._watching.retry:
                self._log.forget_failed()
            self._recover()
            idle_since = self._clock()
            while not self._cancel.is_set():
                pause = self._round()
                if self.jobs or self._doomed:
                    idle_since = self._clock()
                elif once and not self._is_left(idle_since):
                    break
                self._settle_ended(pause)
        self.tally.waiting = len(self.settling.waiting) + len(self.jobs)
        return self.tally

    def _is_left(self, idle_since: float) -> bool:
        """With nothing under way: whether something may still be finished soon. What grows now, or rests, is left."""
        waiting = bool(self.settling.waiting) or self._away
        return waiting and self._clock() - idle_since <= 2 * self._watching.settle + LONGEST_LOOK

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """One process at one folder."""
        locks = self._uploader.journal.directory / "locks"
        with ExitStack() as stack:
            try:
                stack.enter_context(claimed(locks, f"watch\n{self.root.device}:{self.root.inode}", self.root.path))
            except Conflict as error:
                who = f"process {error.details['pid']}" if "pid" in error.details else "another process"
                raise Conflict("watch_elsewhere", f"{self.root.path} is being watched already, by {who}.") from None
            yield

    # --- one round ------------------------------------------------------------------------------------------------

    def _round(self) -> float:
        """Look, and do what follows from it; the seconds until the next look."""
        started = self._clock()
        while self._later:
            self._ended.put(self._later.pop())
        self._see()
        now = self._clock()
        if now - self._paused_at >= PAUSES_EVERY:
            self._paused_at = now
            self._uploader.pauses(list(self.jobs.values()))
        soonest = self.settling.soonest(now)
        pause = min(
            LONGEST_LOOK, max(0.05, self._watching.settle / 4), LONGEST_LOOK if soonest is None else soonest + 0.01
        )
        return max(pause, 20 * (now - started), 0.02)

    def _see(self) -> None:
        sight = self._look()
        if sight is None:
            return
        decision = self.settling.look(sight.files, self._clock())
        for path in decision.gone:  # before another file takes its name
            self._gone(path)
        self._renamed(decision.renamed)
        for path in decision.begin:
            self._begin(path)

    def _look(self) -> Sight | None:
        """None while the folder is away."""
        try:
            sight = self.root.look(self._aside, self._watching.patterns)
        except Unavailable as problem:
            if not self._away:
                self._away = True
                self._say("away", None, f"{problem.message} Waiting for it.")
            return None
        if self._away:
            self._away = False
            self._say("back", None, f"{self.root.path} is there again.")
        for path in sight.unread:
            if path not in self._unread:
                self._unread.add(path)
                self._say("notice", path, f"{path} cannot be read; what is in it waits.")
            for known, file in self.settling.files.items():
                if path in known.parents or known == path:
                    sight.files.setdefault(known, file.stamp)  # not seen is not gone
        return sight

    def _begin(self, path: PurePath) -> None:
        file = self.settling.files[path]
        full = self.root.path / path
        try:
            relative = f"{self.root.path.name or 'files'}/{path.as_posix()}"
            wish = self._wishes(path).of(full, relative, file.stamp.size)
            self._log.put(path, file.stamp, Fate.BEGUN)
            (job,) = self._uploader.add(
                [wish], anew=file.anew, keep=True, limits=self._watching.limits, on_end=self._ended.put
            )
        except Problem as problem:
            self._not_begun(path, problem)
            return
        self.jobs[path] = job
        self._say("begun", path, f"{path} is being uploaded", job)

    def _not_begun(self, path: PurePath, problem: Problem) -> None:
        if isinstance(problem, FATAL):
            raise problem
        if isinstance(problem, Invalid):
            self._failed(path, problem)
        else:
            self._rest(path, problem)

    def _wishes(self, path: PurePath) -> Wishes:
        """The title is the server's to make of the file's name, or that of its folder, which is made once."""
        wishes = self._watching.wishes
        if self._watching.title_from is TitleFrom.NAME or wishes.title_id is not None:
            return wishes
        folder = path.parent
        title_id = self._log.title(folder)
        if title_id is None:
            name = plain(folder.name or self.root.path.name or "files", 500)
            title_id = self._titles.create(NewTitle(title=name)).id
            self._log.put_title(folder, title_id)
        return replace(wishes, title=None, title_id=title_id)

    def _renamed(self, pairs: Sequence[tuple[PurePath, PurePath]]) -> None:
        """All at once: files may have changed names with each other."""
        self._log.rename(pairs)
        jobs = [(old, new, self.jobs.pop(old, None)) for old, new in pairs]
        for old, new, job in jobs:
            if job is not None:
                self.jobs[new] = job
                self._say("renamed", new, f"{old} is {new} now; its upload goes on", job)
            elif self._watching.done is not None and (row := self._log.rows().get(new)) and row.fate is Fate.DONE:
                self._put_away(new, self.settling.files[new].stamp, None)  # renamed in the moment it was to be moved

    def _gone(self, path: PurePath) -> None:
        job = self.jobs.pop(path, None)
        if job is None:
            return
        self._log.forget(path)
        if job.ended.is_set() and job.state is JobState.DONE:
            self._uploader.done(job)
            self.tally.done += 1
            self._say("done", path, f"{path} is stored and verified, and was taken away by somebody", job)
            return
        self._doomed.append(job)
        job.cancel()
        self._say("gone", path, f"{path} was taken away before it was whole; its upload is given up", job)

    # --- what has ended -------------------------------------------------------------------------------------------

    def _settle_ended(self, seconds: float) -> None:
        """Settle what ends within so many seconds; sooner back when asked to stop."""
        until = self._clock() + seconds
        while not self._cancel.is_set():
            try:
                job = self._ended.get(timeout=max(0.0, min(0.1, until - self._clock())))
            except Empty:
                if self._clock() >= until:
                    return
                continue
            self._settle_job(job)

    def _settle_job(self, job: Job) -> None:
        path = self._path_of(job)
        if path is not None and not self._is_there(path):  # renamed or taken away since the last look
            self._see()
            path = self._path_of(job)
            if path is not None and self._away:
                self._later.append(job)
                return
        if job in self._doomed:
            self._doomed.remove(job)
            self._drop(job)
        elif path is not None:
            del self.jobs[path]
            self._settle_one(path, job)

    def _path_of(self, job: Job) -> PurePath | None:
        return next((path for path, other in self.jobs.items() if other is job), None)

    def _is_there(self, path: PurePath) -> bool:
        """Whether the file that is known by this name still has it."""
        now = stamp_of(self.root.path / path)
        return now is not None and now.is_same_file(self.settling.files[path].stamp)

    def _settle_one(self, path: PurePath, job: Job) -> None:
        for notice in job.notices:
            self._say("notice", path, f"{path}: {notice}", job)
        error = job.error
        code = error.code if isinstance(error, Problem) else ""
        if job.state is JobState.DONE:
            self._stored(path, job)
        elif isinstance(error, FATAL):
            self.settling.rest(path, self._clock())
            raise error
        elif code in {"file_changed", "file_differs", "file_missing", "file_empty"}:
            self.settling.changed(path, self._clock())
            self._say(
                "changed", path, f"{path} was written to while it was uploaded; it is begun anew once it is quiet", job
            )
        elif code == "title_not_found" and self._watching.title_from is TitleFrom.FOLDER:
            self._log.forget_title(path.parent)  # somebody deleted it: the next try makes another
            self._drop(job)  # its request names the old one
            self._rest(path, error)
        elif job.state is JobState.PAUSED and code == "paused":
            self.settling.handled(path)
            self._say("paused", path, f"{path} is paused; `rushes resume`, or the next start, goes on with it", job)
        elif job.state is JobState.ELSEWHERE or _may_pass(error):
            self._rest(path, error)
        else:
            self._drop(job)
            self._failed(path, error or Unavailable("unexpected", "It ended without a word."))

    def _stored(self, path: PurePath, job: Job) -> None:
        """Every byte is in storage. Noted first, so that a kill from here on uploads nothing twice."""
        self._uploader.done(job)
        now, then = stamp_of(self.root.path / path) or self.settling.files[path].stamp, job.identity
        if then is not None and (now.size, now.mtime_ns) != (then.size, then.mtime_ns):
            self.settling.changed(path, self._clock())
            self.settling.files[path].anew = False
            self._say("changed", path, f"{path} was written to after it was uploaded; it is uploaded again", job)
            return
        self._log.put(path, now, Fate.DONE)
        self._rename_there(path, job)
        self.tally.done += 1
        self._put_away(path, now, job)

    def _rename_there(self, path: PurePath, job: Job) -> None:
        """A file that was renamed while it was uploaded has its new name on the server as well."""
        name = plain(path.name, 1_000)
        if job.result is None or job.entry.request.filename == name:
            return
        try:
            self._assets.update(job.result.asset_id, AssetPatch(filename=name))
        except Problem as problem:
            self._say("notice", path, f"{path} keeps its old name on the server: {problem.message}", job)

    def _put_away(self, path: PurePath, stamp: Stamp, job: Job | None) -> None:
        where = ""
        if self._watching.done is None:
            self.settling.handled(path)
        else:
            try:
                name = move(self.root.path / path, self._watching.done / path, stamp)
            except (OSError, Conflict) as error:
                self.settling.handled(path)
                self._say("notice", path, f"{path} is uploaded, but cannot be moved: {_words(error)}", job)
            else:
                self.settling.forget(path)
                self._log.forget(path)
                where = f", moved to {name}"
        self._say("done", path, f"{path} is stored and verified{where}", job)

    def _failed(self, path: PurePath, error: BaseException) -> None:
        self.tally.failed += 1
        stamp, reason, where = self.settling.files[path].stamp, _words(error), ""
        self._log.put(path, stamp, Fate.FAILED, reason)
        self.settling.handled(path)
        if self._watching.failed is not None:
            try:
                name = move(self.root.path / path, self._watching.failed / path, stamp)
                name.with_name(f"{name.name}.reason.txt").write_text(f"{reason}\n", encoding="utf-8")
            except (OSError, Conflict) as problem:
                self._say("notice", path, f"{path} cannot be moved: {_words(problem)}")
            else:
                self.settling.forget(path)
                self._log.forget(path)
                where = f" It is in {name} now."
        self._say("failed", path, f"{path} cannot be uploaded: {reason}{where}")

    def _rest(self, path: PurePath, error: BaseException | None) -> None:
        seconds = self.settling.rest(path, self._clock())
        if isinstance(error, Problem):
            self.tally.trouble = error
        why = "" if error is None else f": {_words(error)}"
        self._say("waiting", path, f"{path} waits{why} Trying again in {seconds:.0f} seconds.")

    def _drop(self, job: Job) -> None:
        """Give up what was begun; where the server is away, its own time limit does."""
        if job.state is JobState.DONE:
            self._uploader.done(job)
            return
        with suppress(Problem):
            self._uploader.drop(job.entry)

    # --- the beginning and the end --------------------------------------------------------------------------------

    def _recover(self) -> None:
        """What the last run left: files done are put away, files gone are given up, those that failed are left alone."""
        while (sight := self._look()) is None:
            if self._cancel.wait(LONGEST_LOOK):
                return
        names = {stamp.inode: path for path, stamp in sight.files.items()}
        pending = {entry.path: entry for entry in self._uploader.journal.pending(self._uploader.place)}
        for old, row in self._log.rows().items():
            path = old if old in sight.files else names.get(row.inode, old)
            stamp = sight.files.get(path)
            if row.fate is Fate.BEGUN:
                if stamp is None and stamp_of(self.root.path / path) is None:
                    self._give_up(path, pending.get(self.root.path / path))
                continue
            if stamp is None or not row.is_about(stamp):
                self._log.forget(old)
                continue
            self._log.rename([(old, path)])
            self.settling.files[path] = File(stamp, self._clock(), Stage.HANDLED)
            entry = pending.get(self.root.path / old)
            if entry is not None and entry.state is State.STORED:  # killed right after it was noted
                self._uploader.journal.done(entry)
            if row.fate is Fate.DONE and self._watching.done is not None:
                self._put_away(path, stamp, None)
            elif row.fate is Fate.FAILED:
                self._say("notice", path, f"{path} failed before and is left alone (--retry): {row.reason}")

    def _give_up(self, path: PurePath, entry: Entry | None) -> None:
        """A file that was taken away while nobody watched."""
        self._log.forget(path)
        if entry is not None:
            with suppress(Problem):
                self._uploader.drop(entry)
            self._say("gone", path, f"{path} was taken away before it was whole; its upload is given up")

    def _leave(self) -> None:
        """Stop what is under way, politely; it goes on with the next run."""
        jobs = [*self.jobs.values(), *self._doomed]
        for job in jobs:
            job.cancel()
        for job in jobs:
            job.ended.wait()
        for job in self._doomed:
            self._drop(job)
        for path, job in list(self.jobs.items()):
            if job.state is JobState.DONE:
                del self.jobs[path]
                self._stored(path, job)

    def _say(self, kind: str, path: PurePath | None, text: str, job: Job | None = None) -> None:
        self._tell(Told(kind, None if path is None else self.root.path / path, text, job))


def _may_pass(error: BaseException | None) -> bool:
    """Whether the same file may be taken later: the server is back by then, or somebody made room."""
    return isinstance(error, OverQuota) or (isinstance(error, Problem) and not error.permanent)


def _words(error: BaseException) -> str:
    if isinstance(error, Problem):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {os.fspath(error.filename)}." if error.filename else f"{error.strerror}."
    return f"{type(error).__name__}: {error}."
