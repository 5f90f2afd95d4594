"""Downloads: an original or a rendition comes to this disk, in parallel ranges, verified.

    NAME.part, NAME.part.journal    while it is under way; a run that was killed goes on there
    NAME                            once every byte is what the server says it is; never in place of another file

The checksum of the whole file is combined from those of its blocks as they arrive, so that verifying costs no reading;
blocks that an earlier run wrote are read once. Links expire; they are asked for again while the download runs. Memory: one
libcurl buffer (512 KiB) for each of `parallel` lines, and 3 MB of blocks at the most.
"""

from __future__ import annotations

import hashlib
import re
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from rushes.checksum import Running, start, text_of
from rushes.client.api import Assets
from rushes.client.http import Reply, Request, Stopped, Transport
from rushes.client.pace import RateLimit
from rushes.client.partfile import PartFile, exists, safe_name
from rushes.client.progress import Meter
from rushes.client.ranges import Block, Check, End, Fetch, Ranges, Renew, Wait, block_size
from rushes.client.verdict import retry_after
from rushes.errors import Conflict, Invalid, Misconfigured, NotFound, Problem, Rejected, Unavailable
from rushes.model import ChecksumAlgorithm
from rushes.wire import AssetView

PARALLEL = 4
REPORT_EVERY = 0.2  # seconds between two calls of `on_progress`
COMBINING = frozenset({ChecksumAlgorithm.CRC64NVME, ChecksumAlgorithm.CRC32C})
GONE = frozenset({401, 403, 404, 410})  # of a link: expired, or for what is not there any more


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be downloaded, as the server describes it."""

    asset_id: UUID
    name: str  # of the rendition, or `original`
    filename: str  # what it may be called here
    size: int  # bytes
    algorithm: ChecksumAlgorithm
    checksum: str | None  # None: the server does not know one yet
    url: str
    sha256: str | None = None  # hex, of an original that was processed

    @property
    def identity(self) -> dict[str, object]:
        """What must stay the same for bytes of two runs to belong together."""
        return {
            "asset": str(self.asset_id),
            "name": self.name,
            "size": self.size,
            "algorithm": str(self.algorithm),
            "checksum": self.checksum,
        }


@dataclass(frozen=True, slots=True)
class DownloadProgress:
    size: int  # bytes
    held: int  # bytes that are on this disk
    rate: float  # bytes per second, of late
    checking: bool  # what an earlier run wrote is being read
    retries: int
    trouble: str | None  # what is being waited out, in a sentence

    @property
    def seconds_left(self) -> float | None:
        """None while nothing moves."""
        return max(0.0, (self.size - self.held) / self.rate) if self.rate > 0 else None


@dataclass(frozen=True, slots=True)
class Downloaded:
    path: Path
    asset_id: UUID
    name: str  # of the rendition, or `original`
    size: int
    verified: tuple[str, ...]  # by which checksums: `crc64nvme …`; empty when the server knows none yet
    received: int  # bytes that came over the line
    resumed: int  # bytes that an earlier run had brought
    seconds: float


OnDownload = Callable[[DownloadProgress], None]


def wanted(asset: AssetView, rendition: str | None) -> Wanted:
    """The original, or a rendition by its name. Raises `NotFound` (rendition_not_found), `Conflict` (not_stored)."""
    if rendition is None:
        if asset.original_url is None or asset.size is None:
            raise Conflict("not_stored", f"{asset.filename} is {asset.status}: its original is not stored yet.")
        known = asset.checksum.value if asset.checksum.algorithm in COMBINING else None
        return Wanted(
            asset.id,
            "original",
            safe_name(asset.filename, str(asset.id)),
            asset.size,
            asset.checksum.algorithm if known else ChecksumAlgorithm.CRC64NVME,
            known,
            asset.original_url,
            asset.sha256,
        )
    found = next((row for row in asset.renditions if row.name == rendition), None)
    if found is None:
        names = ", ".join(row.name for row in asset.renditions) or "none yet"
        raise NotFound("rendition_not_found", f"{asset.filename} has no rendition {rendition!r}. There are: {names}.")
    stem = Path(safe_name(asset.filename, str(asset.id))).stem
    return Wanted(
        asset.id,
        found.name,
        safe_name(f"{stem}-{found.name}", f"{asset.id}-{found.id}"),
        found.size,
        ChecksumAlgorithm.CRC64NVME,
        found.checksum,
        found.url,
    )


class Download:
    """One download. `to` is a folder, or what the file is to be called; without it, the current folder."""

    def __init__(
        self,
        assets: Assets,
        transport: Transport,
        what: Wanted,
        to: Path | None = None,
        *,
        force: bool = False,
        sha256: bool = False,
        parallel: int = PARALLEL,
        rate: RateLimit | None = None,
        patience: float = 300.0,
        on_progress: OnDownload | None = None,
        cancel: threading.Event | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._assets = assets
        self._transport = transport
        self._what = what
        self.target = _target(to, what.filename)
        self._force = force
        self._sha256 = sha256
        self._parallel = parallel
        self._rate = rate or RateLimit()
        self._patience = patience
        self._on_progress = on_progress
        self._cancel = cancel or threading.Event()
        self._clock = clock
        self._stop = threading.Event()
        self._changed = threading.Condition()  # guards all below
        self._meter = Meter(clock())
        self._url = what.url
        self._etag: str | None = None
        self._running = 0
        self._crash: BaseException | None = None

    def run(self) -> Downloaded:
        """Return when the file is there and verified. Raises what ended it otherwise; what came stays for the next run.

        Raises `Conflict` (file_exists, download_elsewhere, download_changed), `Rejected` (download_corrupt), `Unavailable`,
        `Misconfigured`, `NotFound`, `Stopped`, OSError of the disk.
        """
        started = self._clock()
        if (present := self._present()) is not None:
            return present
        block = block_size(self._what.size, PARALLEL)  # not of `parallel`, which may change from run to run
        with PartFile(self.target, {**self._what.identity, "block": block}, self._what.size) as part:
            if not self._force and _is_there(self.target):
                raise exists(self.target)  # another process has finished it in between
            ranges = self._fetched(part, block)
            if not self._is_right(part, ranges):
                part.start_over()  # no way to tell which bytes are wrong
                ranges = self._fetched(part, block)
                if not self._is_right(part, ranges):
                    part.drop()
                    raise self._corrupt()
            part.finish(force=self._force)
        return self._result(ranges.resumed, self._clock() - started)

    def _is_right(self, part: PartFile, ranges: Ranges) -> bool:
        """Whether every byte is what the server says; with `sha256`, read once more for that."""
        what = self._what
        if what.checksum is not None and ranges.checksum() != what.checksum:
            return False
        return not self._sha256 or what.sha256 is None or self._sha256_of(part.path) == what.sha256

    def _present(self) -> Downloaded | None:
        """The file is there already, byte by byte. Raises `Conflict` (file_exists) when another one has its name."""
        what, path = self._what, self.target
        if path.is_dir():
            raise Invalid("file_directory", f"{path} is a folder: name another place with -o.")
        if self._force or not _is_there(path):
            return None
        same_size = path.is_file() and path.stat().st_size == what.size
        if not same_size or what.checksum is None or text_of(self._read(path, start(what.algorithm))) != what.checksum:
            raise exists(path)
        if self._sha256 and what.sha256 is not None and self._sha256_of(path) != what.sha256:
            raise exists(path)
        return self._result(what.size, 0.0)

    def _sha256_of(self, path: Path) -> str:
        return self._read(path, hashlib.sha256()).digest().hex()

    def _read(self, path: Path, running: Running) -> Running:
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                if self._cancel.is_set():
                    raise Stopped("stopped", "Stopped.")
                running.update(block)
        return running

    def _result(self, resumed: int, seconds: float) -> Downloaded:
        what = self._what
        crc = () if what.checksum is None else (f"{what.algorithm} {what.checksum}",)
        verified = (*crc, f"sha256 {what.sha256}") if self._sha256 and what.sha256 is not None else crc
        return Downloaded(
            self.target, what.asset_id, what.name, what.size, verified, self._meter.sent, resumed, seconds
        )

    def _corrupt(self) -> Rejected:
        return Rejected(
            "download_corrupt",
            f"{self.target.name} was downloaded twice, and both times it was not what the server says it is. Nothing was "
            "kept. The network changes what it carries, or the stored file is damaged.",
        )

    def _fetched(self, part: PartFile, block: int) -> Ranges:
        """Bring every byte into `part`, in threads; this one watches."""
        ranges = Ranges(self._what.size, block, self._what.algorithm, part.claimed, self._patience)
        self._crash = None
        self._stop.clear()
        self._running = self._parallel + (1 if part.claimed else 0)
        threads = [
            threading.Thread(
                target=self._work, args=(ranges, part, n == self._parallel), name=f"rushes-get-{n}", daemon=True
            )
            for n in range(self._running)
        ]
        for thread in threads:
            thread.start()
        try:
            self._watch(ranges)
        finally:
            self._halt()
            for thread in threads:
                thread.join()
        if self._crash is not None:
            raise self._crash
        end = ranges.next(self._clock())
        if not isinstance(end, End):
            raise Stopped("stopped", f"The download was stopped; {part.path} keeps what came.")
        self._report(ranges)
        if end.problem is not None:
            raise end.problem
        return ranges

    def _watch(self, ranges: Ranges) -> None:
        while not self._cancel.is_set():
            with self._changed:
                if self._changed.wait_for(lambda: self._running == 0, REPORT_EVERY):
                    return
            self._report(ranges)

    def _halt(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    def _report(self, ranges: Ranges) -> None:
        if self._on_progress is None:
            return
        with self._changed:
            progress = DownloadProgress(
                size=ranges.size,
                held=ranges.held,
                rate=self._meter.rate(self._clock()),
                checking=ranges.checking,
                retries=ranges.retries,
                trouble=ranges.trouble,
            )
        self._on_progress(progress)

    # --- the threads ----------------------------------------------------------------------------------------------

    def _work(self, ranges: Ranges, part: PartFile, prefer_check: bool) -> None:
        try:
            while (action := self._next(ranges, prefer_check)) is not None:
                match action:
                    case Fetch():
                        self._fetch(ranges, part, action)
                    case Check():
                        running = start(self._what.algorithm)
                        part.read_into(running, action.start, action.length)
                        self._settle(lambda: ranges.was_checked(action.index, text_of(running)))  # noqa: B023 - at once
                    case Renew():
                        self._renew(ranges)
        except Stopped:
            return
        except BaseException as error:  # noqa: BLE001 - raised again by `run`, in the caller's thread
            self._crash = error
            self._halt()
        finally:
            with self._changed:
                self._running -= 1
                self._changed.notify_all()

    def _next(self, ranges: Ranges, prefer_check: bool) -> Fetch | Check | Renew | None:
        with self._changed:
            while not self._stop.is_set():
                now = self._clock()
                action = ranges.next(now, prefer_check=prefer_check)
                if isinstance(action, End):
                    self._changed.notify_all()
                    return None
                if not isinstance(action, Wait):
                    return action
                self._changed.wait(None if action.until is None else max(0.0, action.until - now))
        return None

    def _settle(self, outcome: Callable[[], Any]) -> None:
        with self._changed:
            outcome()
            self._changed.notify_all()

    def _fetch(self, ranges: Ranges, part: PartFile, action: Fetch) -> None:
        block = action.block
        headers = {"Range": f"bytes={block.at}-{block.end - 1}", "Accept-Encoding": "identity"}
        request = Request("GET", self._url, headers, fresh=action.fresh, sink=_Incoming(self, ranges, part, block))
        try:
            reply = self._transport.send(request, self._stop)
            problem = _refusal(reply) if not 200 <= reply.status < 300 else _short()
        except (Stopped, OSError):
            raise
        except Problem as error:
            broken = error
            self._settle(lambda: self._cut(ranges, part, block, broken, 0.0))
            return
        if 200 <= reply.status < 300 and block.got == block.length:
            self._settle(lambda: part.wrote(block.index, ranges.was_fetched(block)))
        elif reply.status in GONE:
            self._settle(lambda: ranges.was_refused(block, action.link, problem, self._clock()))
        else:
            self._settle(lambda: self._cut(ranges, part, block, problem, retry_after(reply)))

    def _cut(self, ranges: Ranges, part: PartFile, block: Block, problem: Problem, pause: float) -> None:
        if block.got == block.length:  # cut after its last byte
            part.wrote(block.index, ranges.was_fetched(block))
        else:
            ranges.was_cut(block, problem, self._clock(), pause)

    def _renew(self, ranges: Ranges) -> None:
        try:
            found = wanted(self._assets.get(self._what.asset_id), _rendition(self._what))
            if found.identity != self._what.identity:
                raise Conflict(
                    "download_changed",
                    f"{self._what.name} was made anew while it was being downloaded. Run the same command again to get the "
                    "new one.",
                )
        except Stopped:
            raise
        except Problem as error:
            problem, pause = error, float(error.details.get("retry_after", 0.0))
            self._settle(lambda: ranges.renewal_failed(problem, self._clock(), pause))
            return
        self._url = found.url
        self._settle(ranges.was_renewed)

    def wait_for_rate(self, count: int) -> None:
        """Return when so many bytes may have come. Raises `Stopped`. What is not read meanwhile, the other side does not send."""
        while count:
            taken = self._rate.take(count, self._stop.is_set)
            if not taken:
                raise Stopped("stopped", "Stopped.")
            count -= taken

    def arrived(self, ranges: Ranges, block: Block, count: int) -> None:
        """So many bytes of a block are in the file."""
        with self._changed:
            ranges.took(block, count, self._clock())
            self._meter.moved(0, self._meter.sent + count)

    def check_same(self, etag: str | None) -> None:
        """All ranges are of one object. Raises `Conflict` (download_changed)."""
        with self._changed:
            self._etag = self._etag or etag
            if etag != self._etag:
                raise Conflict("download_changed", f"{self._what.name} was replaced while it was being downloaded.")


class _Incoming:
    """The `Sink` of one range: into the file and into the block's checksum."""

    def __init__(self, download: Download, ranges: Ranges, part: PartFile, block: Block) -> None:
        self._download = download
        self._ranges = ranges
        self._part = part
        self._block = block

    def begin(self, status: int, headers: Mapping[str, str]) -> None:
        block, size = self._block, self._ranges.size
        if status == 206:
            told = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", headers.get("content-range", ""))
            right = told is not None and int(told[1]) == block.at and int(told[2]) == block.end - 1
            if right and told is not None and told[3] not in {str(size), "*"}:
                raise Conflict("download_changed", f"The stored file has {told[3]} bytes, not {size}.")
        else:  # the whole file, which is what was asked for when it is one block
            right = (block.at, block.end) == (0, size) and headers.get("content-length", str(size)) == str(size)
        if not right:
            raise Misconfigured(
                "ranges_refused", "What answers for the store sends other bytes than were asked for: a proxy between?"
            )
        self._download.check_same(headers.get("etag"))

    def write(self, chunk: bytes) -> None:
        block = self._block
        if len(chunk) > block.length - block.got:
            raise Misconfigured("ranges_refused", "What answers for the store sends more bytes than were asked for.")
        self._download.wait_for_rate(len(chunk))
        self._part.write(chunk, block.at)
        block.running.update(chunk)
        self._download.arrived(self._ranges, block, len(chunk))


def _refusal(reply: Reply) -> Problem:
    """What storage means by a reply that is none of the file."""
    if reply.status in GONE:
        return Rejected("link_refused", f"The object store refuses the server's link (HTTP {reply.status}).")
    if reply.status >= 500 or reply.status in {408, 425, 429}:
        return Unavailable("storage_unavailable", f"The object store cannot send now (HTTP {reply.status}).")
    return Rejected("download_refused", f"The object store refuses to send the file (HTTP {reply.status}).")


def _short() -> Unavailable:
    return Unavailable("network_broken", "The connection ended before the bytes did.")


def _rendition(what: Wanted) -> str | None:
    return None if what.name == "original" else what.name


def _target(to: Path | None, filename: str) -> Path:
    if to is None:
        return Path(filename)
    if to.is_dir():
        return to / filename
    if not to.parent.is_dir():
        raise Invalid("folder_missing", f"There is no folder {to.parent}.")
    return to


def _is_there(path: Path) -> bool:
    with suppress(OSError):
        path.lstat()
        return True
    return False
