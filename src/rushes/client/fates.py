"""What becomes of a file of a watched folder whose upload has ended: moved away, remembered, set aside, or tried again.

What happened is in the watch log before anything is done about it, so that a kill in between uploads nothing twice.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import PurePath

from rushes.client.api import Assets
from rushes.client.aside import Root, move, stamp_of, write_note
from rushes.client.giving_up import GivingUp
from rushes.client.job import Job, JobState
from rushes.client.settling import Settling, Stamp
from rushes.client.uploader import Uploader
from rushes.client.watching import FATAL, Tally, TitleFrom, Told, Watching
from rushes.client.watchlog import Fate, WatchLog
from rushes.client.wish import plain
from rushes.errors import Conflict, OverQuota, Problem, Unavailable
from rushes.wire import AssetPatch

CHANGED = frozenset({"file_changed", "file_differs", "file_missing", "file_empty"})


class Fates:
    """Of one watched folder."""

    def __init__(
        self,
        watching: Watching,
        root: Root,
        uploader: Uploader,
        assets: Assets,
        settling: Settling,
        log: WatchLog,
        tell: Callable[[Told], None],
        clock: Callable[[], float],
    ) -> None:
        self._watching = watching
        self._root = root
        self._uploader = uploader
        self._assets = assets
        self._settling = settling
        self._log = log
        self._tell = tell
        self._clock = clock
        self.tally = Tally()
        self.giving_up = GivingUp(uploader, watching.rest, clock)

    def say(self, kind: str, path: PurePath | None, text: str, job: Job | None = None) -> None:
        self._tell(Told(kind, None if path is None else self._root.path / path, text, job))

    def settle(self, path: PurePath, job: Job) -> None:
        """An upload has ended. Raises what has to end the watch."""
        for notice in job.notices:
            self.say("notice", path, f"{path}: {notice}", job)
        error = job.error
        code = error.code if isinstance(error, Problem) else ""
        if job.state is JobState.DONE:
            self.stored(path, job)
        elif isinstance(error, FATAL):
            self._settling.rest(path, self._clock())
            raise error
        elif code in CHANGED:
            self._settling.changed(path, self._clock())
            if job.entry.path != self._root.path / path:
                self.drop(job)  # renamed before: what begins anew begins under the new name, and knows nothing of this
            self.say(
                "changed", path, f"{path} was written to while it was uploaded; it is begun anew once it is quiet", job
            )
        elif code == "title_not_found" and self._watching.title_from is TitleFrom.FOLDER:
            self._log.forget_title(path.parent)  # somebody deleted it: the next try makes another
            self.drop(job)  # its request names the old one
            self.rest(path, error)
        elif job.state is JobState.PAUSED and code == "paused":
            self._settling.handled(path)
            self.say("paused", path, f"{path} is paused; `rushes resume`, or the next start, goes on with it", job)
        elif job.state is JobState.ELSEWHERE or _may_pass(error):
            self.rest(path, error)
        else:
            self.drop(job)
            self.failed(path, error or Unavailable("unexpected", "It ended without a word."))

    def stored(self, path: PurePath, job: Job) -> None:
        """Every byte is in storage."""
        now, then = stamp_of(self._root.path / path) or self._settling.files[path].stamp, job.identity
        if then is not None and (now.size, now.mtime_ns) != (then.size, then.mtime_ns):
            self._uploader.seen(job)
            self._settling.changed(path, self._clock())
            self._settling.files[path].anew = False
            self.say("changed", path, f"{path} was written to after it was uploaded; it is uploaded again", job)
            return
        self._log.put(path, now, Fate.DONE)
        self._uploader.seen(job)
        self._rename_there(path, job)
        self.put_away(path, now, job)

    def _rename_there(self, path: PurePath, job: Job) -> None:
        """A file that was renamed while it was uploaded has its new name on the server as well."""
        name = plain(path.name, 1_000)
        if job.result is None or job.entry.request.filename == name:
            return
        try:
            self._assets.update(job.result.asset_id, AssetPatch(filename=name))
        except Problem as problem:
            self.say("notice", path, f"{path} keeps its old name on the server: {problem.message}", job)

    def put_away(self, path: PurePath, stamp: Stamp, job: Job | None) -> None:
        """A stored file; without `job`, one of an earlier run."""
        where = ""
        self.tally.done += job is not None
        if self._watching.done is None:
            self._settling.handled(path)
        else:
            try:
                name = move(self._root.path / path, self._watching.done / path, stamp)
            except (OSError, Conflict) as error:
                self._settling.handled(path)
                self.say("notice", path, f"{path} is uploaded, but cannot be moved: {_words(error)}", job)
            else:
                self._forget(path)
                where = f", moved to {name}"
        self.say("done", path, f"{path} is stored and verified{where}", job)

    def failed(self, path: PurePath, error: BaseException) -> None:
        """Refused for good."""
        self.tally.failed += 1
        stamp, reason, where = self._settling.files[path].stamp, _words(error), ""
        self._log.put(path, stamp, Fate.FAILED, reason)
        self._settling.handled(path)
        if self._watching.failed is not None:
            try:
                name = move(self._root.path / path, self._watching.failed / path, stamp)
            except (OSError, Conflict) as problem:
                self.say("notice", path, f"{path} cannot be moved: {_words(problem)}")
            else:
                self._forget(path)
                where = f" It is in {name} now."
                try:
                    write_note(name.with_name(f"{name.name}.reason.txt"), reason)
                except OSError as problem:
                    self.say("notice", path, f"Why {path} failed cannot be written beside it: {_words(problem)}")
        self.say("failed", path, f"{path} cannot be uploaded: {reason}{where}")

    def rest(self, path: PurePath, error: BaseException | None) -> None:
        """Not now: it is tried again later."""
        seconds = self._settling.rest(path, self._clock())
        if isinstance(error, Problem):
            self.tally.trouble = error
        why = "" if error is None else f": {_words(error)}"
        self.say("waiting", path, f"{path} waits{why} Trying again in {seconds:.0f} seconds.")

    def drop(self, job: Job) -> None:
        """Give up what was begun."""
        if job.state is JobState.DONE:
            self._uploader.seen(job)
        else:
            self.giving_up.drop(job.entry)

    def _forget(self, path: PurePath) -> None:
        self._settling.forget(path)
        self._log.forget(path)


def _may_pass(error: BaseException | None) -> bool:
    """Whether the same file may be taken later: the server is back by then, somebody made room, its drive is mended."""
    if isinstance(error, OverQuota) or (isinstance(error, Problem) and error.code == "file_unreadable"):
        return True
    return isinstance(error, Problem) and not error.permanent


def _words(error: BaseException) -> str:
    if isinstance(error, Problem):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {os.fspath(error.filename)}." if error.filename else f"{error.strerror}."
    return f"{type(error).__name__}: {error}."
