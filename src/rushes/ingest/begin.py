"""Begin: quota reserved, part plan made, rows written, event appended, in one transaction and without storage."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from datetime import datetime, timedelta
from pathlib import PurePosixPath
from uuid import UUID

from rushes import events
from rushes.db import Conn, assets, tenants, titles, uploads
from rushes.db.uploads import IdempotencyKey
from rushes.errors import Invalid, NotFound, OverQuota
from rushes.ingest import declared, ownership, quota, staged, tokens
from rushes.ingest.algorithm import part_algorithm
from rushes.ingest.context import Context
from rushes.ingest.metadata import check_metadata
from rushes.ingest.policy import check_claim
from rushes.ingest.tokens import check_reach
from rushes.model import (
    Asset,
    AssetState,
    ChecksumAlgorithm,
    Layout,
    Principal,
    Tenant,
    Title,
    Upload,
    UploadState,
    new_id,
)
from rushes.plan import PartPlan, QuotaPlan, plan_parts
from rushes.storage import original_key
from rushes.wire import BeginUpload, NewTitle

SPARE_BYTES = 256_000_000  # left free on the store's disk, for the database and what is made of the file
MAX_TITLE = 500  # characters, as `NewTitle` takes them


async def begin(
    ctx: Context, who: Principal, wanted: BeginUpload, *, idempotency_key: str | None, origin: str
) -> tuple[Upload, str]:
    """Reserve a place for a file. Returns the upload and a token that is good for it alone, as long as it lives.

    The same request with the same idempotency key from the same creator gets the same upload, however often the reply was
    lost. `origin` says through which door and by which client the upload came. Raises `Invalid`, `Rejected`, `OverQuota`,
    `NotFound`, and `Unavailable` (place_shared) where another installation would sweep the upload away.
    """
    check_reach(who)
    ownership.check_known(ctx)
    if not wanted.content_type.isascii():
        raise Invalid("content_type_invalid", "A content type is plain ASCII, such as video/mp4.")
    if wanted.layout is Layout.STAGED:
        await staged.check_store(ctx)
    if wanted.region is not None:
        raise Invalid("region_unknown", "This server keeps everything in one place: leave the region out.")
    if wanted.size is not None and wanted.max_size is not None:
        raise Invalid("size_twice", "Give either `size` or, while it is not known, `max_size`; not both.")
    if wanted.size is not None:
        _plan(ctx, wanted, wanted.size)  # what cannot be is refused without a look at the database
    algorithm = await part_algorithm(ctx, wanted.checksum_algorithm)
    claimed = declared.parse(wanted.checksum)
    key = _key(wanted, idempotency_key) if idempotency_key else None
    now = ctx.now()
    async with ctx.db.transaction() as conn:
        upload = None if key is None else await _begun_before(conn, who, key)
        if upload is None:
            upload = await _begin(ctx, conn, who, wanted, algorithm, claimed, key, origin, now)
    lifetime = upload.created_at + timedelta(days=ctx.settings.upload_max_days) - now
    narrowed = Principal(who.tenant, upload.creator, plan=who.plan, upload=upload.id)
    return upload, tokens.mint_for(ctx.settings, narrowed, lifetime, now)


def _key(wanted: BeginUpload, text: str) -> IdempotencyKey:
    """The key with a digest of the request. Defaults do not count, so a field that a later release adds changes none."""
    if len(text) > 200:
        raise Invalid("idempotency_key_long", "An Idempotency-Key may have at most 200 characters.")
    if "\x00" in text:
        raise Invalid("idempotency_key_invalid", "An Idempotency-Key may not contain NUL characters.")
    if wanted.title is not None:
        check_metadata(wanted.title.metadata)  # what is too deep to keep is too deep to write out
    asked = json.dumps(wanted.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return IdempotencyKey(text, hashlib.sha256(asked.encode()).hexdigest())


async def _begun_before(conn: Conn, who: Principal, key: IdempotencyKey) -> Upload | None:
    """The upload that a request with this key began. Raises `Invalid` (idempotency_key_reused) if it asked for another
    (IETF draft-ietf-httpapi-idempotency-key-header, section 2.7).
    """
    upload = await uploads.by_idempotency_key(conn, who, key.text)
    if upload is None:
        return None
    elsewhere = who.title is not None and upload.title_id != who.title
    if elsewhere or not await uploads.asked_the_same(conn, upload.id, key.digest):
        raise Invalid(
            "idempotency_key_reused",
            "This Idempotency-Key began another upload, or the same one with other fields. Use a new key for each file, "
            "and repeat a request unchanged.",
        )
    return upload


async def _begin(
    ctx: Context,
    conn: Conn,
    who: Principal,
    wanted: BeginUpload,
    algorithm: ChecksumAlgorithm,
    claimed: Mapping[str, str],
    key: IdempotencyKey | None,
    origin: str,
    now: datetime,
) -> Upload:
    tenant = await tenants.get(conn, who.tenant)
    check_claim(tenant.types, wanted.filename, wanted.content_type)
    limits = quota.plan_of(tenant, who.plan)
    plan = _plan(ctx, wanted, await _reserve(ctx, conn, who, wanted, limits, tenant, now))
    idle_days = min(limits.idle_days or ctx.settings.upload_idle_days, ctx.settings.upload_max_days)
    title_id = await _title(conn, who, wanted, now)
    asset_id, upload_id = new_id(), new_id()
    place = ctx.storage.originals
    upload = Upload(
        id=upload_id,
        tenant=who.tenant,
        creator=who.creator,
        asset_id=asset_id,
        title_id=title_id,
        state=UploadState.INITIATED,
        filename=wanted.filename,
        size=plan.size,
        size_known=wanted.size is not None,
        content_type=wanted.content_type,
        layout=wanted.layout,
        part_size=plan.part_size,
        part_count=plan.part_count,
        checksum_algorithm=algorithm,
        bucket=place.bucket,
        key=original_key(place, who.tenant, who.creator, asset_id),
        storage_upload_id=None,
        source=wanted.source,
        upload_origin=origin,
        priority=wanted.priority,
        relative_path=wanted.relative_path,
        declared=dict(claimed),
        held_parts=0,
        held_bytes=0,
        attempt=0,
        verified_bytes=None,
        problem=None,
        created_at=now,
        updated_at=now,
        progress_at=now,
        expires_at=now + timedelta(days=idle_days),
        idle_seconds=max(1, round(idle_days * 86_400)),
        abandoned_at=None,
        warned_at=None,
    )
    await assets.insert(conn, _pending_asset(upload, now))
    await uploads.insert(conn, upload, key)
    await events.append(conn, "upload_started", upload, now, size=wanted.size, filename=upload.filename, origin=origin)
    return upload


def _plan(ctx: Context, wanted: BeginUpload, size: int) -> PartPlan:
    return plan_parts(size, wanted.part_size, ctx.storage.profile, body_limit=ctx.settings.storage_body_limit)


async def _reserve(
    ctx: Context, conn: Conn, who: Principal, wanted: BeginUpload, limits: QuotaPlan, tenant: Tenant, now: datetime
) -> int:
    """Reserve the file's size or, where it is not known, the most that it may become; returns what is reserved."""
    copies = 2 if wanted.layout is Layout.STAGED else 1  # which storage holds at a time
    free = await _free(ctx, conn)
    if wanted.size is not None:
        _check_room(free, wanted.size * copies)
        await quota.reserve(conn, who, limits, tenant, wanted.size, now)
        return wanted.size
    _check_room(free, copies)
    most = [ctx.settings.unknown_size_bytes, ctx.storage.profile.max_object]
    most += [] if wanted.max_size is None else [wanted.max_size]
    if free is not None:  # half of the disk for who names no size, or nobody else could begin before that one has ended
        most.append(max(1, free // copies // (2 if wanted.max_size is None else 1)))
    return await quota.reserve_most(conn, who, limits, tenant, min(most), now)


def _pending_asset(upload: Upload, now: datetime) -> Asset:
    return Asset(
        id=upload.asset_id,
        tenant=upload.tenant,
        creator=upload.creator,
        title_id=upload.title_id,
        upload_id=upload.id,
        state=AssetState.PENDING,
        kind=None,
        filename=upload.filename,
        content_type=upload.content_type,
        size=upload.size,
        bucket=upload.bucket,
        key=upload.key,
        etag=None,
        checksum_algorithm=upload.checksum_algorithm,
        checksum=None,
        sha256=None,
        verification=None,
        epoch=0,
        job_id=None,
        published_job_id=None,
        priority=upload.priority,
        media=None,
        problem=None,
        created_at=now,
        updated_at=now,
        published_at=None,
    )


async def _free(ctx: Context, conn: Conn) -> int | None:
    """Bytes that the disk of a store on this machine has left, beside what is announced already; None of other stores."""
    if ctx.settings.storage_dir is None:
        return None
    try:
        on_disk = shutil.disk_usage(ctx.settings.storage_dir).free
    except OSError:
        return None  # not made yet, or not ours to see: storage itself will say
    return max(0, on_disk - SPARE_BYTES - await uploads.outstanding(conn))


def _check_room(free: int | None, size: int) -> None:
    """Raise `OverQuota` when the store's disk cannot hold `size` more bytes."""
    if free is not None and size > free:
        raise OverQuota(
            "storage_full",
            f"The object store's disk has room for {free} more bytes; the upload needs {size}. Make room and try again.",
            free=free,
        )


async def _title(conn: Conn, who: Principal, wanted: BeginUpload, now: datetime) -> UUID:
    """The title that the upload is for: the one named, the one the token is for, or a new one."""
    title_id = wanted.title_id or who.title
    if title_id is None:
        name = PurePosixPath(wanted.filename).stem or wanted.filename
        fields = wanted.title or NewTitle(title=name[:MAX_TITLE])
        title = new_title(who, fields, now, project_id=wanted.project_id)
        await titles.insert(conn, title)
        return title.id
    if wanted.title is not None:
        raise Invalid("title_twice", "Give either `title_id` or `title`, not both.")
    if await titles.get(conn, who, title_id, lock=True) is None:
        raise NotFound("title_not_found", "There is no such title.")
    return title_id


def origin_of(door: str, user_agent: str) -> str:
    """Provenance for audit: the door an upload came through and the client's name, on one printable line."""
    client = "".join(char for char in user_agent if char.isprintable())[:200]
    return f"{door} {client}".strip()


def new_title(who: Principal, fields: NewTitle, now: datetime, project_id: str | None = None) -> Title:
    """Raises `Invalid` for metadata that cannot be kept."""
    check_metadata(fields.metadata)
    return Title(
        id=new_id(),
        tenant=who.tenant,
        creator=who.creator,
        title=fields.title,
        description=fields.description,
        genre=fields.genre,
        tags=list(dict.fromkeys(fields.tags)),
        release_date=fields.release_date,
        project_id=fields.project_id or project_id,
        metadata=fields.metadata,
        created_at=now,
        updated_at=now,
    )
