"""`rushes doctor`'s looking: at the database, the buckets and what storage does, the sandbox, the disk. Says nothing itself.

With `fix` the buckets are mended on the way: made, opened to pages (CORS), and given a rule that aborts what no upload
can want any more. What was mended is looked at again.
"""

from __future__ import annotations

import asyncio
import shutil
from datetime import UTC, datetime
from typing import Final

import httpx

from rushes.config import Settings
from rushes.db import Database, check_reachable, schema_is_current
from rushes.errors import Misconfigured, NotFound, Problem, Unavailable
from rushes.ingest import capabilities, ownership
from rushes.ingest.context import Context, Engine
from rushes.ingest.diagnosis import (
    Finding,
    cors_gaps,
    lifecycle_days,
    of_capabilities,
    of_cors,
    of_disk,
    of_lifecycle,
    of_pages,
    of_problem,
    of_sandbox,
)
from rushes.storage import (
    Capabilities,
    Place,
    Rule,
    Storage,
    abort_after,
    allow_origins,
    cors_rules,
    ensure_bucket,
    lifecycle_rules,
    probe,
)

REACH_SECONDS: Final = 5.0
NO_DATABASE: Final = Finding(
    "problem",
    "database",
    "No database is configured, and no stack runs on this data directory.",
    "Start `rushes up`, or set RUSHES_DATABASE_URL and the storage settings.",
)


async def database(url: str, db: Database, engine: Engine) -> list[Finding]:
    """Whether it answers, and whether both schemas are those of this program."""
    try:
        await asyncio.to_thread(check_reachable, url)
    except Problem as problem:
        return [of_problem("database", problem, "Start it, or correct RUSHES_DATABASE_URL.")]
    findings = []
    try:
        async with db.transaction() as conn:
            await schema_is_current(conn)
        async with db.transaction() as conn:
            await engine.check(conn)
    except Problem as problem:
        findings.append(of_problem("database", problem, "Run `rushes migrate`."))
    return findings or [Finding("ok", "database", "The database answers, and its schemas are those of this program.")]


async def storage(settings: Settings, store: Storage, ctx: Context | None, *, fix: bool, anew: bool) -> list[Finding]:
    """All about storage. Without `ctx` (there is no database) nothing is kept and everything is probed."""
    findings = []
    for bucket in store.buckets:
        try:
            findings.append(await _bucket(store, bucket, fix=fix))
        except Unavailable as problem:
            return [
                of_problem("storage", problem, f"Start {store.s3.endpoint.origin}, or correct RUSHES_STORAGE_ENDPOINT.")
            ]
    if any(finding.level == "problem" for finding in findings):
        return findings
    findings.append(await _reach(store))
    mended = False
    for bucket in store.buckets:
        finding, changed = await _cors(settings, store, bucket, fix=fix)
        findings.append(finding)
        mended = mended or changed
    for bucket in store.buckets:
        findings += await _lifecycle(settings, store, bucket, fix=fix)
    try:
        if ctx is not None:
            findings += [await _owner(ctx, place) for place in store.places]
        seen, at = await _seen(settings, store, ctx, anew=anew or mended)
    except Problem as problem:
        return [*findings, of_problem("storage", problem, "Until this is mended, no upload can begin.")]
    age = datetime.now(UTC) - at
    pages = of_pages(exposes_etag=seen.exposes_etag, origins=settings.cors_origins)
    return [*findings, *of_capabilities(seen, age), pages]


async def _bucket(store: Storage, bucket: str, *, fix: bool) -> Finding:
    try:
        if fix and await ensure_bucket(store.s3, bucket):
            return Finding("ok", "bucket", f"Bucket {bucket} was made.")
        async for _ in store.s3.list_objects(bucket, f"{store.originals.prefix}.rushes-ready"):
            break
    except NotFound:
        return _no_bucket(bucket)
    except Unavailable:
        raise
    except Problem as problem:
        if problem.code == "storage_bucket_unknown":
            return _no_bucket(bucket)
        return Finding("problem", "bucket", f"Bucket {bucket} cannot be used: {problem.message}")
    return Finding("ok", "bucket", f"Bucket {bucket} is there.")


def _no_bucket(bucket: str) -> Finding:
    return Finding("problem", "bucket", f"There is no bucket {bucket}.", "Create it: `rushes doctor --fix` does.")


async def _owner(ctx: Context, place: Place) -> Finding:
    """Whose the place is. Raises what storage says."""
    try:
        await ownership.check_own(ctx, place, claim=False)
    except Misconfigured as problem:
        if problem.code != "place_shared":
            raise
        return of_problem("owner", problem, "Until this is mended, no upload can begin and nothing is swept.")
    return Finding("ok", "owner", f"No other installation has marked {place.bucket}/{place.prefix} as its own.")


async def _reach(store: Storage) -> Finding:
    """Whether the address that clients are given answers from here. Whether it does from there, nobody here can know."""
    public = store.public.origin
    if not store.reachable:
        text = "No storage address is configured that clients can reach: their parts pass through the API."
        return Finding("ok", "address", text, "For direct uploads set RUSHES_STORAGE_PUBLIC_ENDPOINT.")
    try:
        async with httpx.AsyncClient(timeout=REACH_SECONDS, trust_env=not store.public.is_loopback) as http:
            await http.get(f"{public}{store.public.path}/")
    except httpx.HTTPError as error:
        text = f"Clients are sent to {public}, which does not answer from here: {error or type(error).__name__}."
        return Finding(
            "problem", "address", text, "Correct RUSHES_STORAGE_PUBLIC_ENDPOINT, or start what answers there."
        )
    if store.public.is_loopback:
        text = f"Clients are sent to {public}: only those on this machine get there."
        return Finding(
            "ok", "address", text, "For others, set RUSHES_STORAGE_PUBLIC_ENDPOINT to a name they can reach."
        )
    return Finding("ok", "address", f"Clients are sent to {public}, which answers.")


async def _cors(settings: Settings, store: Storage, bucket: str, *, fix: bool) -> tuple[Finding, bool]:
    """(what to say, whether it was mended)."""
    origins, mended = settings.cors_origins, False
    try:
        rules = await cors_rules(store.s3, bucket)
        if fix and cors_gaps(rules, origins):
            await allow_origins(store.s3, store.places_in(bucket), origins)
            rules, mended = await cors_rules(store.s3, bucket), True
    except Problem as problem:
        text = f"The CORS of bucket {bucket} cannot be {'set' if fix else 'read'}: {problem.message}"
        return Finding(
            "warning", "cors", text, "Where it matters, the line `browsers` says what a page really gets."
        ), False
    return of_cors(bucket, rules, origins), mended


async def _lifecycle(settings: Settings, store: Storage, bucket: str, *, fix: bool) -> list[Finding]:
    places = store.places_in(bucket)
    days = settings.upload_max_days
    try:
        if fix:
            await abort_after(store.s3, places, lifecycle_days(days))
        rules = await lifecycle_rules(store.s3, bucket)
    except Problem as problem:
        text = f"The lifecycle of bucket {bucket} cannot be {'set' if fix else 'read'}: {problem.message}"
        if isinstance(problem, Misconfigured) and problem.code == "storage_unsupported":
            return [Finding("ok", "lifecycle", f"{text} Then it deletes nothing either; the sweep gives up uploads.")]
        return [Finding("warning", "lifecycle", text, "A rule that aborts uploads too early would destroy them.")]
    return [finding for place in places for finding in _of_place(store, place, rules, days)]


def _of_place(store: Storage, place: Place, rules: list[Rule], days: float) -> list[Finding]:
    return of_lifecycle(place, rules, days, scratch=place == store.incoming)


async def _seen(
    settings: Settings, store: Storage, ctx: Context | None, *, anew: bool
) -> tuple[Capabilities, datetime]:
    now = datetime.now(UTC)
    if ctx is None:
        return await probe(store, at=now, origin=capabilities.page_of(settings)), now
    found = None if anew else await capabilities.kept(ctx)
    return (found.capabilities, found.probed_at) if found else (await capabilities.probe_now(ctx), now)


async def media(settings: Settings) -> list[Finding]:
    """How this machine confines media tools, and whether the encoders that are named work here."""
    from rushes.media.sandbox import detect  # noqa: PLC0415 - processes without workers never load it
    from rushes.media.tryout import try_encoders  # noqa: PLC0415

    named = (settings.video_encoder, settings.video_second)
    try:
        found = await detect()
    except Problem as problem:
        return [of_problem("sandbox", problem, "It matters where workers run.")]
    findings = [of_sandbox(found.describe())]
    try:
        tried = await try_encoders(found, named, settings.video_device)
    except Problem as problem:
        return [*findings, of_problem("encoder", problem, "It matters where workers run: they do not start with it.")]
    return findings + [Finding("ok", "encoder", f"The encoder {name} works.") for name in tried]


def disk(settings: Settings) -> list[Finding]:
    """The disk of an object store on this machine; nothing about others."""
    if settings.storage_dir is None:
        return []
    try:
        found = shutil.disk_usage(settings.storage_dir)
    except OSError as error:
        return [Finding("warning", "disk", f"The object store's disk cannot be looked at: {error.strerror}.")]
    return [of_disk(found.free, found.total, str(settings.storage_dir))]
