"""The stages of processing: what each reads, makes and records. Every one may run twice; only its owner's writes count."""

from __future__ import annotations

import asyncio
import errno
import logging
import random
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from rushes import checksum, events, kinds
from rushes.db import assets, jobs, parts, renditions, tenants, uploads
from rushes.errors import Problem, Rejected, Unavailable
from rushes.ingest.context import Context
from rushes.ingest.policy import as_what, check_kind
from rushes.ingest.process import end_job
from rushes.ingest.verify import Reading, feed
from rushes.media.audio import make_waveform
from rushes.media.identify import identify as identify_media
from rushes.media.info import MediaInfo
from rushes.media.outputs import Output
from rushes.media.sandbox import Sandbox
from rushes.media.stills import make_stills
from rushes.media.video import make_proxies
from rushes.model import Asset, ChecksumAlgorithm, JobState, Json, Rendition, new_id
from rushes.pipeline.insist import insist, may_pass
from rushes.pipeline.runs import Ownership, Replaced, claim, while_owned
from rushes.pipeline.source import StoredSource
from rushes.storage import put_file, rendition_key, rendition_prefix

log = logging.getLogger(__name__)

FIRST_PAUSE = 1.0  # seconds; doubles with each attempt, and is taken with full jitter
OWN_ERROR = "Processing met an error of our own; the worker's log has it."
DIGEST_CHUNK = 8 * 1024 * 1024
NAMED_PARTS = 1_000  # corrupt parts named in a problem
SNIFFED = 4096  # bytes that tell a document from an archive
CRC64NVME = ChecksumAlgorithm.CRC64NVME


@dataclass(frozen=True, slots=True)
class Bench:
    """What this worker gives its tools: a place for their files, and the sandbox they run in."""

    scratch: Path
    sandbox: Sandbox


@dataclass(frozen=True, slots=True)
class Stage:
    """What a stage works with."""

    ctx: Context
    bench: Bench
    own: Ownership
    asset: Asset
    source: StoredSource
    directory: Path  # the stage's own, gone when it ends

    def report(self, fraction: float, message: str) -> None:
        self.own.report(fraction, message)


async def run_stage(ctx: Context, bench: Bench, job_id: str) -> str:
    """Returns "succeeded", "failed", or "over" when the job was cancelled or taken over."""
    own = await insist(lambda: claim(ctx, UUID(job_id)))
    if own is None:
        return "over"
    try:
        if own.job.deaths >= ctx.settings.job_attempts:
            raise Rejected("worker_lost", "The worker died each time it ran this stage; see the job's log.")
        await while_owned(own, _attempts(ctx, own, bench))
    except Replaced:
        await _clear(own)
        return "over"
    except asyncio.CancelledError:
        await _put_back(own)
        raise
    except Problem as problem:
        state, message, described = JobState.FAILED, problem.message, _described(problem)
    except Exception as error:
        log.exception("job %s (%s) met an error of our own", own.job.id, own.job.type)
        state, message = JobState.FAILED, OWN_ERROR
        described = {"code": "internal", "message": OWN_ERROR, "kind": type(error).__name__}
    else:
        return await insist(lambda: _end(own, JobState.SUCCEEDED, "done", None))
    return await insist(lambda: _end(own, state, message, described))


async def _attempts(ctx: Context, own: Ownership, bench: Bench) -> None:
    """Run the stage's function, again after what may pass: full-jitter backoff, up to `job_attempts` times."""
    for attempt in range(1, ctx.settings.job_attempts + 1):
        directory = bench.scratch / f"{own.job.id}-{own.epoch}-{attempt}"
        try:
            await _attempt(ctx, own, bench, directory)
            return
        except Problem as problem:
            log.warning("job %s (%s), attempt %d: %s", own.job.id, own.job.type, attempt, problem.message)
            if not may_pass(problem) or attempt == ctx.settings.job_attempts:
                raise
            text = f"attempt {attempt}: {problem.message}"
        finally:
            await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)
        await insist(lambda: own.log(text, retry=True))  # noqa: B023 - awaited before the loop goes on
        await asyncio.sleep(random.uniform(0, FIRST_PAUSE * 2**attempt))  # noqa: S311 - jitter


async def _attempt(ctx: Context, own: Ownership, bench: Bench, directory: Path) -> None:
    async with ctx.db.transaction() as conn:
        asset = await assets.load(conn, own.job.asset_id)
    assert asset is not None, "jobs refer to their asset"
    source = StoredSource(ctx.storage.s3, asset.bucket, asset.key, asset.size, asset.etag)
    try:
        await asyncio.to_thread(directory.mkdir, parents=True, mode=0o700)
        await FUNCTIONS[own.job.type](Stage(ctx, bench, own, asset, source, directory))
    except OSError as error:
        if error.errno not in {errno.ENOSPC, errno.EDQUOT}:
            raise
        raise Unavailable("disk_full", f"The disk that holds {bench.scratch} is full; make room.") from error


async def _end(own: Ownership, state: JobState, message: str, problem: Json | None) -> str:
    try:
        async with own.fenced() as conn:
            if problem is not None:
                await jobs.log(conn, own.job.id, _log_text(problem), own.ctx.now())
            await end_job(conn, own.job, state, own.ctx.now(), message, problem)
    except Replaced:
        if not await _has_ended(own, state):
            await _clear(own)
            return "over"
    return str(state)


async def _has_ended(own: Ownership, state: JobState) -> bool:
    """Whether this run has ended its job so already, in a commit whose answer was lost: what it stored is referred to."""
    async with own.ctx.db.transaction() as conn:
        job = await jobs.load(conn, own.job.id)
    return job is not None and (job.epoch, job.state) == (own.epoch, state)


async def _clear(own: Ownership) -> None:
    """Remove what this run has stored, rows first: another run makes it anew, or nobody wants it any more."""
    job, storage = own.job, own.ctx.storage
    prefix = rendition_prefix(storage.renditions, job.tenant, job.creator, job.asset_id, epoch=own.epoch)
    try:
        async with own.ctx.db.transaction() as conn:
            await renditions.delete_under(conn, storage.renditions.bucket, prefix)
        keys = [item.key async for item in storage.s3.list_objects(storage.renditions.bucket, prefix)]
        await storage.s3.delete_objects(storage.renditions.bucket, keys)
    except Problem as problem:
        log.warning("what job %s left under %s stays for now: %s", job.id, prefix, problem.message)


async def _put_back(own: Ownership) -> None:
    """The worker stops in good order: whoever runs this next is not making up for a death."""
    try:
        async with own.ctx.db.transaction() as conn:
            if await jobs.put_back(conn, own.job.id, own.epoch):
                await events.append_job(conn, own.job, JobState.QUEUED, own.ctx.now())
    except Problem as problem:
        log.warning("job %s could not be put back: %s", own.job.id, problem.message)


def _described(problem: Problem) -> Json:
    return {"code": problem.code, "message": problem.message} | problem.details


def _log_text(problem: Json) -> str:
    tool = problem.get("log")
    return f"{problem['message']}\n{tool}" if tool else str(problem["message"])


# --- the stages -------------------------------------------------------------------------------------------------------


async def identify(stage: Stage) -> None:
    """What the file really is."""
    stage.report(0.1, "reading the file's structure")
    asset = stage.asset
    async with stage.ctx.db.transaction() as conn:
        types = (await tenants.get(conn, asset.tenant)).types
    try:
        info = await identify_media(stage.source, stage.directory, stage.bench.sandbox)
    except Rejected as refusal:
        if refusal.code != "not_media":
            raise
        kind, media = None, await _no_media(stage, types, refusal)
    else:
        check_kind(types, asset.filename, asset.content_type, info.kind)
        kind, media = info.kind, storable(info.to_json())
    async with stage.own.fenced() as conn:
        await assets.change(conn, asset.id, stage.ctx.now(), kind=kind, media=media)
        await events.append(conn, "asset_identified", asset, stage.ctx.now(), kind=kind)


async def _no_media(stage: Stage, types: Sequence[str], refusal: Rejected) -> Json:
    """The facts of a file that is kept as it is, since its tenant takes such files. Raises `Rejected` where it does not."""
    asset, head = stage.asset, b""
    async for chunk in stage.source.read(0, min(asset.size, SNIFFED)):
        head += chunk
    type_ = as_what(types, asset.filename, asset.content_type, kinds.sniffed(head))
    if type_ is None:
        raise refusal
    return {"kind": None, "format": type_, "size": asset.size}


async def digest(stage: Stage) -> None:
    """Read the whole original: its SHA-256, and proof that it still is what was uploaded, part by part.

    An original that was read before it counted, and of which nothing is published yet, is not read again.
    """
    asset = stage.asset
    if asset.sha256 is not None and asset.published_at is None:
        return
    async with stage.ctx.db.transaction() as conn:
        upload = await uploads.load(conn, asset.upload_id)
        rows = await parts.all_of(conn, asset.upload_id)
    assert upload is not None, "assets refer to their upload"
    reading = Reading(upload.checksum_algorithm, rows, () if asset.checksum is None else (asset.checksum_algorithm,))

    async def report(done: int) -> None:
        stage.report(done / asset.size, "computing the SHA-256")

    await feed(stage.source.read(0, asset.size), reading, report)
    found = reading.value(asset.checksum_algorithm) if asset.checksum is not None else None
    if reading.wrong or found != asset.checksum or reading.done != asset.size:
        raise Rejected(
            "original_corrupt",
            "The original in storage is not the file that was uploaded; nothing was published.",
            expected=asset.checksum,
            found=found,
            parts=reading.wrong[:NAMED_PARTS],
        )
    changes: Json = {"sha256": reading.value("sha256")}
    if asset.checksum is None:
        changes |= {"checksum_algorithm": CRC64NVME, "checksum": reading.value(CRC64NVME)}
    async with stage.own.fenced() as conn:
        await assets.change(conn, asset.id, stage.ctx.now(), **changes)


async def proxies(stage: Stage) -> None:
    """The video ladder."""
    threads = stage.ctx.settings.worker_threads
    made = await make_proxies(
        stage.source, _info(stage), stage.directory, stage.bench.sandbox, stage.report, threads=threads
    )
    await _store(stage, made)


async def stills(stage: Stage) -> None:
    """Poster, sprite sheet, WebVTT."""
    await _store(
        stage, await make_stills(stage.source, _info(stage), stage.directory, stage.bench.sandbox, stage.report)
    )


async def waveform(stage: Stage) -> None:
    """Peaks and their picture."""
    await _store(
        stage, await make_waveform(stage.source, _info(stage), stage.directory, stage.bench.sandbox, stage.report)
    )


FUNCTIONS: dict[str, Callable[[Stage], Awaitable[None]]] = {
    "identify": identify,
    "digest": digest,
    "proxies": proxies,
    "stills": stills,
    "waveform": waveform,
}


def _info(stage: Stage) -> MediaInfo:
    return MediaInfo.from_json(stage.asset.media or {})


async def _store(stage: Stage, made: Sequence[Output]) -> None:
    """Put the files under this run's epoch, then record them, if this run still owns the job."""
    asset, place, own = stage.asset, stage.ctx.storage.renditions, stage.own
    assert own.job.parent_id is not None, "stages are children of a run"
    rows: list[Rendition] = []
    for output in made:
        key = rendition_key(place, asset.tenant, asset.creator, asset.id, epoch=own.epoch, name=output.name)
        crc = checksum.encode(await asyncio.to_thread(_crc_of, output.path))
        await put_file(
            stage.ctx.storage.s3,
            place.bucket,
            key,
            output.path,
            size=output.size,
            checksum=crc,
            content_type=output.content_type,
        )
        rows.append(
            Rendition(
                id=new_id(),
                asset_id=asset.id,
                job_id=own.job.parent_id,
                name=output.name,
                type=output.type,
                content_type=output.content_type,
                bucket=place.bucket,
                key=key,
                size=output.size,
                width=output.width,
                height=output.height,
                duration=output.duration,
                checksum=crc,
                extra=dict(output.extra),
                created_at=stage.ctx.now(),
            )
        )
    async with own.fenced() as conn:
        for row in rows:
            await renditions.put(conn, row)


def _crc_of(path: Path) -> int:
    crc = 0
    with path.open("rb") as file:
        while chunk := file.read(DIGEST_CHUNK):
            crc = checksum.crc64nvme(chunk, crc)
    return crc


def storable(value: Any) -> Any:
    """JSON as `jsonb` takes it: without the NULs and half surrogates that a file's tags may hold."""
    if isinstance(value, dict):
        return {storable(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [storable(inner) for inner in value]
    return value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else value
