"""Uploads as a person follows them: one view, a line or a JSON object for each file, one summary, one exit code."""

from __future__ import annotations

import json
import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from rushes.cli import asset as asset_page
from rushes.cli import exits, words
from rushes.cli.connect import Link
from rushes.cli.overview import NoView, Overview, open_overview
from rushes.cli.view import View, open_view, under_way
from rushes.client import JobState, Overall, Stopped
from rushes.client.folder import Listing, Skipped
from rushes.client.job import Job
from rushes.client.journal import State
from rushes.client.many import follow_all
from rushes.client.uploader import REFUSED_TYPE
from rushes.errors import Problem, Unavailable
from rushes.wire import AssetView, StatusView

NAMED = 5  # files left out that are named one by one
ALIKE = 20  # files that failed for one reason that are
LOOK_EVERY = 0.5  # seconds between two looks at a file that another process uploads
FINE = frozenset({JobState.DONE, JobState.ELSEWHERE, JobState.SKIPPED})


@dataclass(slots=True)
class Line:
    """What became of one file."""

    path: Path
    job: Job | None = None
    error: BaseException | None = None
    asset: AssetView | None = None
    told: bool = False
    left_out: str = ""

    @property
    def state(self) -> JobState:
        if self.left_out:
            return JobState.SKIPPED
        if self.job is None or (self.error is not None and self.job.error is None):
            return JobState.STOPPED if isinstance(self.error, Stopped) else JobState.FAILED
        return self.job.state

    @property
    def code(self) -> int:
        return exits.OK if self.state in FINE or self.error is None else exits.code_of(self.error)

    @property
    def uploaded(self) -> bool:
        return self.job is not None and self.job.result is not None

    def to_json(self) -> dict[str, Any]:
        told: dict[str, Any] = {"file": str(self.path), "ok": self.code == exits.OK, "state": str(self.state)}
        if self.job is not None:
            told |= _facts(self.job)
        if self.left_out:
            told["notices"] = [self.left_out]
        if self.asset is not None:
            told["asset"] = self.asset.model_dump(mode="json")
        if self.error is not None:
            code = self.error.code if isinstance(self.error, Problem) else "unexpected"
            told["error"] = {"code": code, "message": exits.sentence(self.error)}
        return told


def _facts(job: Job) -> dict[str, Any]:
    told: dict[str, Any] = {"size": job.size}
    if job.entry.request.relative_path is not None:
        told["relative_path"] = job.entry.request.relative_path
    if job.entry.plan is not None:
        told |= {"upload_id": str(job.entry.plan.upload_id), "asset_id": str(job.entry.plan.asset_id)}
    if job.result is not None:
        told |= {
            "checksum": job.result.checksum,
            "sent": job.result.sent,
            "seconds": round(job.result.seconds, 3),
        }
    if job.notices:
        told["notices"] = list(job.notices)
    return told


@dataclass(slots=True)
class Batch:
    """The files of one command. `follow` goes on until they are published, `show` then shows what came out."""

    console: Console
    cancel: threading.Event
    as_json: bool = False
    quiet: bool = False
    follow: bool = False
    show: bool = False
    lines: list[Line] = field(default_factory=list)

    @property
    def begun(self) -> bool:
        """Whether anything was tried of any file."""
        return any(line.job is not None for line in self.lines)

    def listed(self, listing: Listing) -> None:
        """What was found wrong, or left out, before anything was begun."""
        for path, problem in listing.failed:
            self._tell(self._add(Line(path, error=problem)))
        for skipped in listing.skipped:
            line = self._add(Line(skipped.path, left_out=f"It {skipped.why}."))
            if self.as_json:
                self._tell(line)
        if listing.skipped and not self.as_json:
            self.say(_left_out(listing.skipped))

    def refused(self, paths: Sequence[Path], problem: Problem) -> None:
        """The same for all of them: no server, say."""
        for path in paths:
            self._tell(self._add(Line(path, error=problem)))

    def run(self, link: Link, jobs: Sequence[tuple[Path, Job]]) -> None:
        """Follow these to their end."""
        lines = [self._add(Line(path, job)) for path, job in jobs]
        if not lines:
            return
        if len(lines) == 1:
            self._one(link, lines[0])
        else:
            self._many(link, lines)

    # --- one file -----------------------------------------------------------------------------------------------------

    def _one(self, link: Link, line: Line) -> None:
        job = line.job
        assert job is not None, "these have one"
        view: View = NoView() if self.quiet else open_view(self.console, line.path.name)
        try:
            self._upload(link, [line], lambda _: self._uploading(view, job))
            self._others(link, [line], view.say)
            self._published(link, line, view)
        finally:
            view.close()
        self._tell(line)
        if self.show and line.asset is not None and not self.as_json and not self.quiet:
            asset_page.show(self.console, line.asset)

    def _uploading(self, view: View, job: Job) -> None:
        if job.began_at is not None and (progress := job.progress) is not None:
            view.uploading(progress)

    # --- many files ---------------------------------------------------------------------------------------------------

    def _many(self, link: Link, lines: list[Line]) -> None:
        view: Overview = NoView() if self.quiet else open_overview(self.console, len(lines))
        try:
            self._upload(link, lines, lambda overall: self._overall(view, lines, overall))
            self._others(link, lines, view.say)
            if self.follow:
                self._follow(link, lines, view)
        finally:
            view.close()
        often = self._often(lines)
        for line in lines:
            self._tell(line, often)

    def _often(self, lines: list[Line]) -> frozenset[str]:
        """Notices of many files alike, said once; of files uploaded before, at the end."""
        jobs = [line.job for line in lines if line.job is not None]
        told = Counter(notice for job in jobs if not job.before for notice in job.notices)
        often = {notice: number for notice, number in told.items() if number > NAMED}
        for notice, number in often.items() if not self.as_json else ():
            self.say(f"{_files(number)}: {notice}")
        return frozenset({*often, *(notice for job in jobs if job.before for notice in job.notices)})

    def _overall(self, view: Overview, lines: list[Line], overall: Overall) -> None:
        view.uploading(overall)
        for line in lines:
            if not line.told and line.job is not None and line.job.ended.is_set():
                line.error = line.job.error
                if self.as_json and not self.follow and line.state is not JobState.ELSEWHERE:
                    self._tell(line)

    def _follow(self, link: Link, lines: list[Line], view: Overview) -> None:
        for number, line in enumerate(lines):
            view.publishing(number, len(lines), line.path)
            self._published(link, line, None)
            if self.show and line.asset is not None and not self.as_json and not self.quiet:
                view.say(f"{exits.one_line(line.path.name)} is published: rushes status {line.asset.id}")

    # --- what both do -------------------------------------------------------------------------------------------------

    def _upload(self, link: Link, lines: list[Line], on_progress: Any) -> None:
        jobs = [line.job for line in lines if line.job is not None]
        follow_all(link.client.uploader, jobs, on_progress=on_progress, cancel=self.cancel)
        for line in lines:
            if line.job is not None:
                line.error = line.job.error

    def _others(self, link: Link, lines: list[Line], say: Any) -> None:
        """Wait for files that other processes upload, where somebody wants to see them published."""
        for line in lines:
            if not self.follow or line.state is not JobState.ELSEWHERE or line.job is None:
                continue
            say(f"{line.error} Waiting for it.")
            journal, entry = link.client.uploader.journal, line.job.entry
            while journal.holder(entry, line.job.identity) is not None and not self.cancel.wait(LOOK_EVERY):
                entry = journal.get(entry.id) or entry
            line.job.entry = now = journal.get(entry.id) or entry
            if self.cancel.is_set():
                line.error = Stopped("stopped", "Stopped waiting; the other process goes on.")
            elif journal.get(entry.id) is None or now.state in {State.STORED, State.DONE}:
                line.error = line.job.error = None
            else:
                why = f": {now.reason}" if now.reason else "."
                said = f"The other process ended without it{why} The same command goes on with it."
                line.error = line.job.error = Unavailable("elsewhere_stopped", said)

    def _published(self, link: Link, line: Line, view: View | None) -> None:
        """Wait until the asset is published, if that is wished for."""
        job = line.job
        if not self.follow or job is None or line.error is not None or job.entry.plan is None:
            return
        asset_id = job.entry.plan.asset_id

        def on_status(status: StatusView) -> None:
            if view is not None:
                view.processing(status, under_way(link.client, status))

        try:
            line.asset = link.client.wait(asset_id, on_status=on_status)
        except Stopped as error:
            line.error = error
            return
        except Problem as error:
            line.error = error
            if not error.permanent:
                return
        link.client.uploader.done(job)

    def _add(self, line: Line) -> Line:
        self.lines.append(line)
        return line

    def _tell(self, line: Line, often: frozenset[str] = frozenset()) -> None:
        if line.told:
            return
        line.told = True
        if self.as_json:
            print(json.dumps(line.to_json()), flush=True)
        elif line.job is not None and not self.quiet:
            for notice in line.job.notices:
                if notice not in often:
                    self.say(f"{exits.one_line(line.path.name)}: {notice}")

    # --- the end ------------------------------------------------------------------------------------------------------

    def conclude(self, *, started: bool = False) -> int:
        """Say what came of all; the exit code. `started`: the server runs for this command alone."""
        files = [line for line in self.lines if not line.left_out]
        failed = [line for line in files if line.code != exits.OK]
        self._done(files)
        if len(files) > 1:
            failed = self._of_other_types(failed)
        shared = len({id(line.error) for line in failed}) == 1 and (len(failed) > 1 or len(files) == 1)
        if shared:  # said once
            exits.report(failed[0].error or AssertionError("failed"))
        if failed and len(files) > 1:
            self._failures(failed, len(files), shared=shared)
        for text in _advice(failed, started=started):
            self.say(text)
        return exits.common_code(line.code for line in files)

    def _of_other_types(self, failed: list[Line]) -> list[Line]:
        """Say what was refused for its type, as files beside the pictures are; those that failed otherwise."""
        refused = [line for line in failed if _is_refused(line)]
        if refused:
            named = ", ".join(exits.one_line(str(line.path)) for line in refused[:NAMED])
            more = f" and {len(refused) - NAMED:,} more" if len(refused) > NAMED else ""
            what = f"{_files(len(refused))} of types that the server does not take, not uploaded and not kept"
            self.say(
                f"{what}: {named}{more}. {exits.sentence(refused[0].error or AssertionError('refused'))}", always=True
            )
        return [line for line in failed if not _is_refused(line)]

    def _done(self, files: list[Line]) -> None:
        elsewhere = [line for line in files if line.state is JobState.ELSEWHERE]
        for line in elsewhere[:NAMED]:
            self.say(f"{line.error} It is left to that one.")
        good = [line.job for line in files if line.uploaded and line.code == exits.OK and line.job is not None]
        if len(files) == 1 and good and not self.show:
            self.say(_sentence(files[0], good[0]))
        elif len(files) > 1 and good:
            self._many_done([job for job in good if not job.before], [job for job in good if job.before])

    def _many_done(self, done: Sequence[Job], before: Sequence[Job]) -> None:
        followed = ", published" if self.follow else ""
        if done:
            total, sent = sum(job.size for job in done), sum(job.result.sent for job in done if job.result is not None)
            again = "" if sent >= total else f", {words.size(total - sent)} of it before"
            self.say(f"{_files(len(done))} uploaded and verified{followed}: {words.size(total)}{again}.")
        if before:
            total, them = sum(job.size for job in before), "it" if len(before) == 1 else "them"
            self.say(
                f"{_files(len(before))} uploaded before{followed}: {words.size(total)}; --anew uploads {them} again."
            )

    def _failures(self, failed: list[Line], of: int, *, shared: bool) -> None:
        stopped = sum(line.state in {JobState.STOPPED, JobState.PAUSED} for line in failed)
        if stopped == len(failed) and stopped > NAMED:
            self.say(f"{len(failed)} of {of} files are not done.")
            return
        self.say(f"{len(failed)} of {of} files failed:", always=True)
        told: Counter[str] = Counter()
        for line in failed:
            error = line.error or AssertionError("failed")
            reason = "" if shared else f": {exits.sentence(error)}"
            told[reason] += 1
            if told[reason] <= ALIKE:
                self.say(f"  {exits.one_line(f'{line.path}{reason}')}", always=True)
            if not shared:
                exits.trace(error)
        for reason, number in told.items():
            if number > ALIKE:
                self.say(f"  {exits.one_line(f'and {_files(number - ALIKE)} more{reason}')}", always=True)

    def say(self, text: str, *, always: bool = False) -> None:
        """With `always`, also where nothing but errors is wanted: then on stderr."""
        if not self.quiet:
            self.console.print(Text(exits.printable(text)), soft_wrap=True)
        elif always:
            Console(stderr=True, highlight=False).print(Text(exits.printable(text)), soft_wrap=True)


def _left_out(skipped: Sequence[Skipped]) -> str:
    named = "; ".join(f"{exits.one_line(str(one.path))} {one.why}" for one in skipped[:NAMED])
    more = f"; and {len(skipped) - NAMED} more" if len(skipped) > NAMED else ""
    return f"Left out {_files(len(skipped))}: {named}{more}."


def _files(number: int) -> str:
    return f"{number:,} file" if number == 1 else f"{number:,} files"


def _sentence(line: Line, job: Job) -> str:
    assert job.result is not None, "uploaded"
    name, size = exits.one_line(line.path.name), words.size(job.size)
    if line.asset is not None:
        return f"{name} is published ({size}): rushes status {job.result.asset_id}"
    if job.result.sent == 0 and not job.result.checksum:
        return f"{name} is uploaded and verified ({size}): rushes status {job.result.asset_id}"
    before = f", {words.size(job.size - job.result.sent)} of it before" if job.result.sent < job.size else ""
    rate = f" at {words.size(job.result.sent / job.result.seconds)}/s" if job.result.seconds > 1 else ""
    took = words.duration(job.result.seconds)
    return f"{name} is uploaded and verified: {size} in {took}{rate}{before}. rushes status {job.result.asset_id}"


def _advice(failed: Sequence[Line], *, started: bool) -> list[str]:
    """What can be done about files that did not get through."""
    told = []
    if stored := [line for line in failed if line.uploaded and line.job is not None]:
        asset_id = stored[0].job.result.asset_id if stored[0].job and stored[0].job.result else ""
        one = len(stored) == 1
        what = "The file is" if one else f"{_files(len(stored))} are"
        status = f": rushes status {asset_id}" if one else "."
        if isinstance(stored[0].error, Stopped):
            when = "when the stack runs again (`rushes up`)" if started else "by itself"
            told.append(f"{what} stored and verified. {'Its' if one else 'Their'} processing goes on {when}{status}")
        else:
            told.append(f"{what} stored and verified{status}")
    kept = [line for line in failed if line.job is not None and not line.uploaded and not _is_refused(line)]
    if not kept or all(_needs_anew(line) for line in kept):
        return told
    if all(line.code in {exits.REFUSED, exits.USAGE, exits.UNEXPECTED} for line in kept):
        told.append("Kept in the list (rushes pending): `rushes resume` tries again, `rushes cancel` forgets.")
    else:
        told.append(
            f"Nothing is lost{_for_days(kept)}: the same command goes on where it was, and so does `rushes resume`."
        )
    return told


def _is_refused(line: Line) -> bool:
    """For its type: nothing is kept of it."""
    return isinstance(line.error, Problem) and line.error.code == REFUSED_TYPE


def _needs_anew(line: Line) -> bool:
    return isinstance(line.error, Problem) and line.error.code in {"file_changed", "upload_cancelled"}


def _for_days(lines: Sequence[Line]) -> str:
    ends = [
        line.job.entry.plan.expires_at for line in lines if line.job is not None and line.job.entry.plan is not None
    ]
    if not ends:
        return ""
    days = max(1, round((min(ends) - datetime.now(UTC).timestamp()) / 86_400))
    return f" for {words.count(days, 'day')}"
