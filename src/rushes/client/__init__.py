"""The client: upload files, follow what becomes of them, read and change what the server knows.

    with Client("https://media.example", token) as client:
        result = client.upload("scene-12.mov", title="Scene 12", on_progress=print)
        asset = client.wait(result.asset_id)
        print(asset.media, [rendition.url for rendition in asset.renditions])

Imports nothing of the server. All uploads of a client share the lines and threads of one engine. Memory does not grow
with a file's size: 3 MB for each line (`limits.memory` bounds them together), and 3 MB for the ledger of the largest
upload. Every error raised on purpose is a `rushes.errors.Problem`.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from uuid import UUID, uuid4

from rushes import __version__
from rushes.checksum import encode
from rushes.client import stream, transports
from rushes.client.api import Assets, Jobs, Titles, Uploads, Usage, health, me
from rushes.client.calls import Caller, Patience
from rushes.client.download import PARALLEL, Download, Downloaded, DownloadProgress, OnDownload, wanted
from rushes.client.engine import Engine
from rushes.client.fileobj import OpenFile, Readable
from rushes.client.folder import gather
from rushes.client.http import Stopped, Transport
from rushes.client.job import JobState, UploadResult
from rushes.client.journal import Entry, Journal
from rushes.client.limits import Limits
from rushes.client.many import OnOverall, Outcome, Overall, follow_all, outcome_of
from rushes.client.progress import OnProgress, Progress
from rushes.client.session import Session
from rushes.client.source import LocalFile
from rushes.client.transfer import Begun, Transfer, follow
from rushes.client.uploader import Uploader
from rushes.client.watch import WatchFolder
from rushes.client.watching import Tally, Told, Watching
from rushes.client.wish import Wishes, plain
from rushes.errors import Conflict, Invalid, NotFound, Rejected, Unavailable
from rushes.kinds import content_type as content_type_of
from rushes.model import ChecksumAlgorithm, Layout, OverallStatus
from rushes.plan import PartPlan, eager_part_size
from rushes.wire import (
    AssetView,
    BeginUpload,
    Event,
    Health,
    HeldPart,
    Me,
    NewTitle,
    StatusView,
    UploadBegun,
    UploadView,
)

__all__ = [
    "ENDED",
    "Client",
    "DownloadProgress",
    "Downloaded",
    "JobState",
    "Journal",
    "Limits",
    "Outcome",
    "Overall",
    "Progress",
    "Stopped",
    "Tally",
    "Told",
    "UploadResult",
    "Watching",
    "Wishes",
]

ENDED = frozenset(
    {
        OverallStatus.PUBLISHED,
        OverallStatus.FAILED,
        OverallStatus.QUARANTINED,
        OverallStatus.DELETED,
        OverallStatus.REJECTED,
        OverallStatus.ABORTED,
        OverallStatus.EXPIRED,
    }
)


class Client:
    """One server and one token. Safe to use from many threads; close it, or use it as a context manager."""

    def __init__(
        self,
        url: str,
        token: str,
        *,
        transport: Transport | None = None,
        limits: Limits | None = None,
        cancel: threading.Event | None = None,
        journal: Journal | None = None,
    ) -> None:
        """`cancel`, once set, from any thread, stops what this client is doing with `Stopped`; methods that last take one
        of their own in its place, to be stopped alone. `limits` are those of all its uploads
        together. `journal` is where `upload_many` writes down what it does, by default this user's own, on disk. Raises
        `Misconfigured` (url_invalid)."""
        self.engine = Engine(limits)
        self._transport = transport or transports.choose(f"rushes/{__version__}")
        self._cancel = cancel or threading.Event()
        self._token = token
        self._journal = journal
        self._own_journal: Journal | None = None
        self._caller = Caller(self._transport, url, token, cancel=self._cancel)
        self.uploads = Uploads(self._caller)
        self.titles = Titles(self._caller)
        self.assets = Assets(self._caller)
        self.jobs = Jobs(self._caller)
        self.usage = Usage(self._caller)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stops what is under way, politely: uploads stay resumable."""
        self.engine.close()
        self._transport.close()
        if self._own_journal is not None:
            self._own_journal.close()

    @cached_property
    def uploader(self) -> Uploader:
        """What writes uploads down and goes on with them. Raises `Unavailable` (journal_unavailable)."""
        journal = self._journal
        if journal is None:
            journal = self._own_journal = Journal()
        return Uploader(self.engine, self._transport, self._caller, self._token, journal)

    def check(self) -> Health:
        """Whether a rushes API answers at this address; needs no token. Gives up after two tries."""
        return health(self._caller.but(patience=Patience(tries=2)))

    @property
    def reached(self) -> bool:
        """Whether the server has answered anything yet."""
        return self._caller.contact.made

    def me(self) -> Me:
        """Whom the token speaks for, and until when. Raises `Unauthenticated` for one that is not valid there."""
        return me(self._caller)

    def upload(
        self,
        path: str | os.PathLike[str] | Readable,
        *,
        filename: str | None = None,
        title: NewTitle | str | None = None,
        title_id: UUID | None = None,
        content_type: str | None = None,
        part_size: int | None = None,
        layout: Layout = Layout.MULTIPART,
        checksum_algorithm: ChecksumAlgorithm | None = None,
        checksum: Sequence[str] = (),
        priority: int = 0,
        source: str | None = None,
        relative_path: str | None = None,
        limits: Limits | None = None,
        on_begin: Callable[[UploadBegun], None] | None = None,
        on_progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> UploadResult:
        """Upload a file and return when it is ingested: every byte verified in storage. Processing goes on by itself.

        `path` may also be an open binary file, or anything that reads and seeks like one: what it holds from where it stands.
        `filename` is what people see, by default the file's own name; what has none needs one.
        Without `title` or `title_id` the server makes a title of the file's name. `on_begin` learns the upload's id
        before the first byte moves; `on_progress` is called five times a second, in the thread that called `upload`.
        `checksum` declares what the whole file must turn out to be, as "sha256:…", "md5:…", "xxh64:…", "xxh128:…";
        `checksum_algorithm` is a wish for what parts carry; with `layout` staged they can be read as they land.

        Raises `Invalid` (file_* for what is wrong with the file), `Conflict` (file_changed), `OverQuota`, `Rejected`,
        `Unauthenticated`, `Unavailable` (no_progress) when nothing moved for `limits.pause_after` seconds, and
        `Stopped`. After the last two, and after KeyboardInterrupt, `resume` goes on where this ended.
        """
        with _source(path, filename) as file:
            name = filename or file.path.name
            wanted = BeginUpload(
                filename=plain(name, 1_000),
                size=file.size,
                content_type=content_type or content_type_of(name),
                title_id=title_id,
                title=NewTitle(title=title) if isinstance(title, str) else title,
                part_size=part_size or eager_part_size(file.size),
                layout=layout,
                checksum_algorithm=checksum_algorithm,
                checksum=list(checksum),
                priority=priority,
                source=None if source is None else plain(source, 500),
                relative_path=None if relative_path is None else plain(relative_path, 4_000),
            )
            caller = self._caller.but(cancel=cancel)
            begun = Uploads(caller).begin(wanted, str(uuid4()))
            if on_begin is not None:
                on_begin(begun)
            plan = PartPlan(file.size, begun.part_size, begun.part_count)
            session = Session(plan, limits or self.engine.limits, algorithm=begun.checksum_algorithm)
            bearing = caller.bearing(begun.token)  # outlives ours
            return self._transfer(file, begun.upload_id, begun, session, bearing, on_progress, cancel)

    def resume(
        self,
        upload_id: UUID,
        path: str | Path,
        *,
        limits: Limits | None = None,
        on_progress: OnProgress | None = None,
        cancel: threading.Event | None = None,
    ) -> UploadResult:
        """Go on with an upload that was stopped. Parts held are compared with the file before they are skipped.

        Raises as `upload` does, and `Conflict` (file_differs) when the file has another size than the upload.
        """
        with LocalFile(path) as file:
            view = self._held(Uploads(self._caller.but(cancel=cancel)), upload_id)
            if view.size != file.size:
                raise Conflict(
                    "file_differs",
                    f"{file.path} has {file.size} bytes, the upload of {view.filename} has {view.size}.",
                )
            held: list[HeldPart] = view.parts or []
            plan = PartPlan(file.size, view.part_size, view.part_count)
            session = Session(plan, limits or self.engine.limits, held, algorithm=view.checksum_algorithm)
            return self._transfer(file, view.id, view, session, self._caller, on_progress, cancel)

    def upload_many(
        self,
        paths: Iterable[str | os.PathLike[str]],
        wishes: Wishes | None = None,
        *,
        anew: bool = False,
        limits: Limits | None = None,
        on_progress: OnOverall | None = None,
        cancel: threading.Event | None = None,
    ) -> list[Outcome]:
        """Upload files, patterns and folders, and return when all of them are ingested, or failed; what became of each.

        All is written down on this disk first. Called again with the same paths, after whatever ended it, it goes on
        where it was: with files that were not begun, and with parts that storage does not hold. A file that was changed
        meanwhile fails (file_changed) unless `anew` drops what was uploaded of it. One that was uploaded before, and is as it
        was, is done, with a notice, unless `anew` uploads it again. A title in `wishes` is one for all.

        After `cancel` (by default that of this client) is set, what is not done is told as stopped. Raises `Unavailable`
        (journal_unavailable) and what is wrong with `wishes`.
        """
        listing = gather(paths)
        found, wishes = listing.files, wishes or Wishes()
        wishes = self.one_title(wishes, [file.path for file in found])
        wanted = [wishes.of(file.path, file.relative_path, file.size) for file in found]
        jobs = self.uploader.add(wanted, anew=anew, limits=limits)
        follow_all(self.uploader, jobs, on_progress=on_progress, cancel=cancel or self._cancel)
        left_out = [Outcome(one.path, None, JobState.SKIPPED, None, None, (one.why,)) for one in listing.skipped]
        failed = [Outcome(path, None, JobState.FAILED, None, problem, ()) for path, problem in listing.failed]
        return [*failed, *left_out, *(outcome_of(job, file.path) for job, file in zip(jobs, found, strict=True))]

    def one_title(self, wishes: Wishes, paths: Sequence[Path]) -> Wishes:
        """Of several files with a title, all join one: that which an earlier call made for them, or a new one."""
        if wishes.title is None or len(paths) < 2:
            return wishes
        title = NewTitle(title=wishes.title) if isinstance(wishes.title, str) else wishes.title
        for title_id in self.uploader.titles_of(paths):
            try:
                if self.titles.get(title_id).title == title.title:
                    return replace(wishes, title=None, title_id=title_id)
            except NotFound:
                continue
        return replace(wishes, title=None, title_id=self.titles.create(title).id)

    def pending(self) -> list[Entry]:
        """What `upload_many` and `rushes upload` began here for this server and person and did not finish."""
        return self.uploader.journal.pending(self.uploader.place)

    def resume_pending(
        self,
        entries: Sequence[Entry] | None = None,
        *,
        anew: bool = False,
        limits: Limits | None = None,
        on_progress: OnOverall | None = None,
        cancel: threading.Event | None = None,
    ) -> list[Outcome]:
        """Go on with these, or with all that is pending; as `upload_many` otherwise."""
        jobs = self.uploader.go_on(self.pending() if entries is None else entries, anew=anew, limits=limits)
        follow_all(self.uploader, jobs, on_progress=on_progress, cancel=cancel or self._cancel)
        return [outcome_of(job) for job in jobs]

    @staticmethod
    def _held(uploads: Uploads, upload_id: UUID) -> UploadView:
        """The upload with what is held of it, as storage has it; as the server knows it, when storage is away."""
        try:
            return uploads.get(upload_id, reconcile=True)
        except Unavailable:
            return uploads.get(upload_id)

    def wait(
        self,
        asset_id: UUID,
        *,
        on_status: Callable[[StatusView], None] | None = None,
        timeout: float | None = None,
        every: float = 0.5,
        cancel: threading.Event | None = None,
    ) -> AssetView:
        """Return the asset when it is published.

        `on_status` is called with each look, `every` so many seconds. Raises `Rejected` when processing ended otherwise
        (the original is kept), `Unavailable` (wait_timeout) after `timeout` seconds, and `Stopped`.
        """
        cancel = cancel or self._cancel
        assets = Assets(self._caller.but(cancel=cancel))
        until = None if timeout is None else time.monotonic() + timeout
        while True:
            status = assets.status(asset_id)
            if on_status is not None:
                on_status(status)
            if status.status in ENDED:
                break
            if until is not None and time.monotonic() >= until:
                raise Unavailable(
                    "wait_timeout", f"Asset {asset_id} is still {status.status} after {timeout:g} seconds."
                )
            if cancel.wait(every):
                raise Stopped("stopped", "Stopped waiting; processing goes on by itself.")
        if status.status is not OverallStatus.PUBLISHED:
            raise _ended(status)
        return assets.get(asset_id)

    def download(
        self,
        asset_id: UUID,
        to: str | Path | None = None,
        *,
        rendition: str | None = None,
        force: bool = False,
        sha256: bool = False,
        parallel: int = PARALLEL,
        on_progress: OnDownload | None = None,
        cancel: threading.Event | None = None,
    ) -> Downloaded:
        """Bring an asset's original, or one of its renditions by name, to this disk; return when it is verified.

        `to` is a folder or the file's new name; without it, the asset's own name in the current folder. A download that was
        stopped or killed goes on when the same is called again. Another file of that name is never replaced unless by
        `force`. With `sha256` an original is read once more and compared with the SHA-256 that a worker computed; the checksum
        that all files are held to costs no reading. `on_progress` is called five times a second, in the calling thread.

        Raises `NotFound` (asset_not_found, rendition_not_found), `Conflict` (file_exists, download_elsewhere,
        download_changed, not_stored), `Rejected` (download_corrupt), `Unavailable`, and `Stopped`.
        """
        cancel = cancel or self._cancel
        assets = Assets(self._caller.but(cancel=cancel))
        what = wanted(assets.get(asset_id), rendition)
        place = None if to is None else Path(to)
        return Download(
            assets,
            self._transport,
            what,
            place,
            force=force,
            sha256=sha256,
            parallel=parallel,
            rate=self.engine.rate,
            on_progress=on_progress,
            cancel=cancel,
        ).run()

    def watch(
        self,
        watching: Watching,
        *,
        once: bool = False,
        on_told: Callable[[Told], None] | None = None,
        cancel: threading.Event | None = None,
    ) -> Tally:
        """Upload what is put into a folder, each file once it is finished, until `cancel` (by default that of this client)
        is set; with `once`, until nothing that is finished is left. What came of it all; `on_told` hears of each step, in
        this thread.

        Raises `Invalid` (folder_missing, not_a_folder, other_drive), `Conflict` (watch_elsewhere), `Unauthenticated`,
        `Forbidden`, `Misconfigured`, `Unavailable` (journal_unavailable).
        """
        tell = on_told or (lambda _told: None)
        folder = WatchFolder(
            watching, self.uploader, self.titles, self.assets, tell=tell, cancel=cancel or self._cancel
        )
        return folder.run(once=once)

    def events(
        self,
        *,
        upload_id: UUID | None = None,
        asset_id: UUID | None = None,
        after: str | None = None,
        follow: bool = True,
        patience: float = 300.0,
        cancel: threading.Event | None = None,
    ) -> Iterator[Event]:
        """What happens to all that the token may see, or to one upload or asset, as it happens.

        Of one upload or asset everything since begin comes first; of all, what comes from now on. With `after`, the `id` of
        an event (`0-0` for the start), it goes on right after that. Restarts of the server, other servers and broken lines
        lose no event and repeat none. With `follow=False` it ends when everything there is has been told.

        Raises `NotFound`, `Unauthenticated`, `Invalid` (cursor_invalid), `Conflict` (cursor_unknown), `Unavailable` when
        no server answered for `patience` seconds, and `Stopped`.
        """
        if upload_id is not None and asset_id is not None:
            raise Invalid("one_of_two", "Follow the events of an upload or of an asset, not of both.")
        path = "v1/events"
        if upload_id is not None:
            path = f"v1/uploads/{upload_id}/events"
        if asset_id is not None:
            path = f"v1/assets/{asset_id}/events"
        cancel = cancel or self._cancel
        caller = self._caller.but(cancel=cancel)
        return stream.follow(caller, path, after, live=follow, patience=patience, cancel=cancel)

    def _transfer(
        self,
        file: LocalFile,
        upload_id: UUID,
        begun: UploadBegun | UploadView,
        session: Session,
        caller: Caller,
        on_progress: OnProgress | None,
        cancel: threading.Event | None,
    ) -> UploadResult:
        started = time.monotonic()
        transfer = Transfer(
            self.engine,
            self._transport,
            file.size,
            begun=Begun(file, upload_id, session, caller),
            limits=session.limits,
        )
        follow(transfer, self.engine.add(transfer), on_progress=on_progress, cancel=cancel or self._cancel)
        return UploadResult(
            upload_id=upload_id,
            asset_id=begun.asset_id,
            title_id=begun.title_id,
            size=file.size,
            part_size=begun.part_size,
            part_count=begun.part_count,
            checksum=encode(session.crc()),
            sent=transfer.sent,
            seconds=time.monotonic() - started,
        )


def _source(path: str | os.PathLike[str] | Readable, filename: str | None) -> LocalFile:
    return LocalFile(path) if isinstance(path, str | os.PathLike) else OpenFile(path, filename)


def _ended(status: StatusView) -> Rejected:
    if status.problem is not None:
        return Rejected(
            status.problem.code, status.problem.message, asset_id=str(status.asset_id), status=status.status
        )
    message = f"The asset ended as {status.status}, not as published."
    return Rejected(f"asset_{status.status}", message, asset_id=str(status.asset_id), status=status.status)
