"""A watch folder: what is put into it is uploaded once it is finished, and then moved away, or left and remembered.

Each round looks at the whole folder (network drives tell of no changes), asks `settling` what follows from that, begins
uploads by the journal (`uploader`), and settles those that have ended:

    stored           noted in the watch log, then moved to `done` or left where it is
    written to       given up, and begun anew once it has settled again
    taken away       given up; where the server is away, once it is back
    no server        tried again after a rest, for ever
    refused          moved to `failed` with a note of the reason, or left and remembered; never tried again by itself

After a kill the next run goes on: the journal knows the parts, the log knows what is done. A folder whose drive is away is
waited for; nothing in it counts as taken away meanwhile. Everything here happens in the thread that calls `run`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import PurePath
from queue import Empty, SimpleQueue

from rushes.client.api import Assets, Titles
from rushes.client.aside import Root, Sight, stamp_of
from rushes.client.claim import claimed
from rushes.client.fates import Fates
from rushes.client.job import Job, JobState
from rushes.client.journal import Entry, State
from rushes.client.settling import File, Settling, Stage
from rushes.client.uploader import Uploader
from rushes.client.watching import FATAL, Tally, TitleFrom, Told, Watching
from rushes.client.watchlog import Fate, WatchLog
from rushes.client.wish import Wishes, plain
from rushes.errors import Conflict, Invalid, Problem, Unavailable
from rushes.wire import NewTitle

LONGEST_LOOK = 2.0  # seconds between two looks, as long as a look takes less than a twentieth of that
PAUSES_EVERY = 1.0


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
        self._tell = tell
        self._assets = assets
        self._cancel = cancel or threading.Event()
        self._clock = clock
        self.root = Root.of(watching.folder)
        self._aside = [path.resolve() for path in (watching.done, watching.failed) if path is not None]
        self._check_aside()
        self.settling = Settling(watching.settle, watching.rest)
        self.jobs: dict[PurePath, Job] = {}  # under way, by the name they have now
        self._doomed: list[Job] = []  # of files that were taken away
        self._ended: SimpleQueue[Job] = SimpleQueue()
        self._later: list[Job] = []  # ended while the folder was away
        self._away = False
        self._paused_at = 0.0
        self._unread: set[PurePath] = set()
        self._log: WatchLog
        self._fates: Fates

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
            self._fates = Fates(
                self._watching,
                self.root,
                self._uploader,
                self._assets,
                self.settling,
                self._log,
                self._tell,
                self._clock,
            )
            stack.callback(self._leave)
            if self._watching.retry:
                self._log.forget_failed()
            self._say("watching", None, f"Watching {self.root.path}.")
            self._recover()
            idle_since = self._clock()
            while not self._cancel.is_set():
                pause = self._round()
                if self.jobs or self._doomed:
                    idle_since = self._clock()
                elif once and not self._is_left(idle_since):
                    break
                self._settle_ended(pause)
        self._fates.tally.waiting = len(self.settling.waiting) + len(self.jobs)
        return self._fates.tally

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
        self._fates.giving_up.again({job.entry.id for job in self.jobs.values()})
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
            if any(job.entry.path == self.root.path / path for job in self._doomed):
                # The journal's row is still that of the file that was here before: at the next look.
                self.settling.files[path].stage = Stage.SETTLING
            else:
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
                [wish],
                anew=file.anew,
                keep=True,
                watched=True,
                limits=self._watching.limits,
                on_end=self._ended.put,
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
            self._fates.failed(path, problem)
        else:
            self._fates.rest(path, problem)

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
                self._fates.put_away(
                    new, self.settling.files[new].stamp, None
                )  # renamed in the moment it was to be moved

    def _gone(self, path: PurePath) -> None:
        job = self.jobs.pop(path, None)
        if job is None:
            return
        self._log.forget(path)
        if job.ended.is_set() and job.state is JobState.DONE:
            self._uploader.seen(job)
            self._fates.tally.done += 1
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
            self._fates.drop(job)
        elif path is not None:
            del self.jobs[path]
            self._fates.settle(path, job)

    def _path_of(self, job: Job) -> PurePath | None:
        return next((path for path, other in self.jobs.items() if other is job), None)

    def _is_there(self, path: PurePath) -> bool:
        """Whether the file that is known by this name still has it."""
        now = stamp_of(self.root.path / path)
        return now is not None and now.is_same_file(self.settling.files[path].stamp)

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
            if stamp is None or (row.fate is not Fate.BEGUN and not row.is_about(stamp)):
                self._log.forget(old)
                continue
            if row.fate is Fate.BEGUN:
                continue  # the journal knows more of it
            self._log.rename([(old, path)])
            self.settling.files[path] = File(stamp, self._clock(), Stage.HANDLED)
            entry = pending.get(self.root.path / old)
            if entry is not None and entry.state is State.STORED:  # killed right after it was noted
                self._uploader.journal.forget(entry)
            if row.fate is Fate.DONE and self._watching.done is not None:
                self._fates.put_away(path, stamp, None)
            elif row.fate is Fate.FAILED:
                self._say("notice", path, f"{path} failed before and is left alone (--retry): {row.reason}")
        for entry in pending.values():
            if entry.watched and entry.path.is_relative_to(self.root.path) and self._is_lost(entry, sight):
                self._give_up(entry.path.relative_to(self.root.path), entry)

    def _is_lost(self, entry: Entry, sight: Sight) -> bool:
        """Whether nobody will go on with what a watch has begun: its file is neither where it was, nor, as it was, under
        another name."""
        path = entry.path.relative_to(self.root.path)
        if path in sight.files or stamp_of(entry.path) is not None or any(up in sight.unread for up in path.parents):
            return False
        before = entry.identity
        return before is None or not any(
            (now.device, now.inode, now.size, now.mtime_ns)
            == (before.device, before.inode, before.size, before.mtime_ns)
            for now in sight.files.values()
        )

    def _give_up(self, path: PurePath, entry: Entry) -> None:
        """A file that was taken away while nobody watched."""
        self._log.forget(path)
        if entry.state is State.STORED:
            self._uploader.journal.forget(entry)
            self._say("done", path, f"{path} is stored and verified, and was taken away by somebody")
            return
        self._fates.giving_up.drop(entry)
        self._say("gone", path, f"{path} was taken away before it was whole; its upload is given up")

    def _leave(self) -> None:
        """Stop what is under way, politely; it goes on with the next run."""
        jobs = [*self.jobs.values(), *self._doomed]
        for job in jobs:
            job.cancel()
        for job in jobs:
            job.ended.wait()
        for job in self._doomed:
            self._fates.drop(job)
        for path, job in list(self.jobs.items()):
            if job.state is JobState.DONE:
                del self.jobs[path]
                self._fates.stored(path, job)

    def _say(self, kind: str, path: PurePath | None, text: str, job: Job | None = None) -> None:
        self._fates.say(kind, path, text, job)
