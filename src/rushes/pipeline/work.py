"""What each type of stage does: what it reads, makes and records. Every one may run twice; only its owner's writes count."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from rushes import events, kinds
from rushes.db import assets, parts, tenants, uploads
from rushes.errors import Rejected
from rushes.ingest.context import Context
from rushes.ingest.formats import check_formats
from rushes.ingest.policy import as_what, check_kind
from rushes.ingest.verify import Reading, feed
from rushes.media import audio, cover, ladder, posters, previews, sprites
from rushes.media import images as pictures
from rushes.media.audio import make_sound
from rushes.media.cover import make_cover
from rushes.media.identify import identify as identify_media
from rushes.media.images import make_images
from rushes.media.info import MediaInfo
from rushes.media.outputs import Output
from rushes.media.posters import make_poster
from rushes.media.sandbox import Sandbox
from rushes.media.sprites import make_sprite
from rushes.model import Asset, ChecksumAlgorithm, Json, Rendition
from rushes.pipeline import picture
from rushes.pipeline.agenda import RETIRED
from rushes.pipeline.room import Room
from rushes.pipeline.runs import Ownership
from rushes.pipeline.source import StoredSource
from rushes.pipeline.storing import store

NAMED_PARTS = 1_000  # corrupt parts named in a problem
SNIFFED = 4096  # bytes that tell a document from an archive
CRC64NVME = ChecksumAlgorithm.CRC64NVME


@dataclass(frozen=True, slots=True)
class Bench:
    """What this worker gives its tools: a place for their files, and the sandbox they run in."""

    scratch: Path
    sandbox: Sandbox
    scratch_bytes: int | None = None
    room: Room = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "room", Room(self.scratch, self.scratch_bytes))


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


async def identify(stage: Stage) -> None:
    """What the file really is."""
    stage.report(0.1, "reading the file's structure")
    asset = stage.asset
    async with stage.ctx.db.transaction() as conn:
        tenant = await tenants.get(conn, asset.tenant)
    try:
        info = await identify_media(stage.source, stage.directory, stage.bench.sandbox)
    except Rejected as refusal:
        if refusal.code != "not_media":
            raise
        kind, media = None, await _no_media(stage, tenant.types, refusal)
    else:
        check_kind(tenant.types, asset.filename, asset.content_type, info.kind)
        check_formats(tenant.formats, info)
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


async def poster(stage: Stage) -> None:
    """A good frame of a video, or a sound's cover, in three sizes."""
    info = _info(stage)
    make = make_cover if info.kind == "audio" else make_poster
    await _keep(stage, await make(stage.source, info, stage.directory, stage.bench.sandbox, stage.report))


async def stills(stage: Stage) -> None:
    """A video's sprite sheets and their WebVTT."""
    threads = stage.ctx.settings.worker_threads
    made = await make_sprite(
        stage.source, _info(stage), stage.directory, stage.bench.sandbox, stage.report, threads=threads
    )
    await _keep(stage, made)


async def images(stage: Stage) -> None:
    """A picture's posters and sizes."""
    made = await make_images(stage.source, _info(stage), stage.directory, stage.bench.sandbox, stage.report)
    await _keep(stage, made)


async def sound(stage: Stage) -> None:
    """Peaks, waveform, spectrogram, loudness; what is played of a sound file."""
    channels = stage.ctx.settings.waveform_channels
    made = await make_sound(
        stage.source, _info(stage), stage.directory, stage.bench.sandbox, stage.report, channels=channels
    )
    await _keep(stage, made.outputs)
    async with stage.own.fenced() as conn:
        loudness = {index: asdict(found) for index, found in made.loudness.items()}
        await assets.heard(conn, stage.asset.id, loudness, made.duration)


async def retired(stage: Stage) -> None:
    """A stage that a worker of an older release started: what it made is made by others now, which its run has too."""
    stage.report(1.0, "made by another stage")


FUNCTIONS: Mapping[str, Callable[[Stage], Awaitable[None]]] = {
    "identify": identify,
    "digest": digest,
    "poster": poster,
    "stills": stills,
    "images": images,
    "sound": sound,
    "copy": picture.copy,
    "encode": picture.encode,
    "join": picture.join,
    "extra": picture.extra,
    "extra_join": picture.extra_join,
} | dict.fromkeys(RETIRED, retired)


# Today's recipes: of what a stage makes, and of a type of rendition where that has its own.
RECIPES: Mapping[str | tuple[str, str], int] = {
    "poster": posters.RECIPE,
    ("poster", "cover"): cover.RECIPE,
    "images": pictures.RECIPE,
    "stills": sprites.RECIPE,
    "sound": audio.RECIPE,
    ("sound", "preview"): previews.RECIPE,
    ("sound", "hls_audio"): previews.RECIPE,
    "copy": ladder.RECIPE,
    "encode": ladder.RECIPE,
    "join": ladder.RECIPE,
    "extra": ladder.RECIPE,
    "extra_join": ladder.RECIPE,
}


def is_outdated(rendition: Rendition) -> bool:
    """Whether what makes it today would make it otherwise."""
    stage = rendition.stage
    return rendition.recipe < RECIPES.get((stage, rendition.type), RECIPES.get(stage, 0))


def _info(stage: Stage) -> MediaInfo:
    return MediaInfo.from_json(stage.asset.media or {})


async def _keep(stage: Stage, made: Sequence[Output]) -> None:
    await store(stage.ctx, stage.own, stage.asset, made)


def storable(value: Any) -> Any:
    """JSON as `jsonb` takes it: without the NULs and half surrogates that a file's tags may hold."""
    if isinstance(value, dict):
        return {storable(key): storable(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [storable(inner) for inner in value]
    return value.replace("\0", "").encode("utf-8", "replace").decode() if isinstance(value, str) else value
