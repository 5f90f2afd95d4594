"""The stages that make a video's renditions: copy, encode 0 … N-1, join; and when that set is published, the second one
by extra 0 … N-1 and extra_join.

`copy` also makes the plan that the others follow, and records it as its result; the second set's comes with its first
stage: a worker of another release goes on by it. A source of one span is encoded and joined in one go; pieces of several
travel through storage (`pieces.py`).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rushes.config import Settings
from rushes.db import jobs, renditions
from rushes.errors import Rejected
from rushes.media.info import MediaInfo
from rushes.media.ladder import LADDER, RECIPE, VideoSettings
from rushes.media.outputs import Output
from rushes.media.plan import VideoPlan, plan_video
from rushes.media.video import Piece, copy_source, encode_span, part, replan
from rushes.media.video import join as join_pieces
from rushes.model import Job, JobState, Json, Rendition
from rushes.pipeline.pieces import Kept, fetch, keep, kept_by
from rushes.pipeline.storing import store

if TYPE_CHECKING:
    from rushes.pipeline.work import Stage

SOUND_RATE = 40_000  # bytes a second, of one track
TWICE = 2  # what is joined lies there as pieces and as the whole


def video_settings(found: Settings) -> VideoSettings:
    """As the operator has set them."""
    return VideoSettings(
        encoder=found.video_encoder,
        device=found.video_device,
        tallest=found.video_tallest,
        proxy_height=found.video_proxy_height,
        second=found.video_second,
        threads=found.worker_threads,
        span_seconds=found.video_span_seconds,
    )


async def copy(stage: Stage) -> None:
    """The source's own tracks that browsers play; the plan for the rest."""
    info, settings = _info(stage), video_settings(stage.ctx.settings)
    room = stage.bench.room
    plan = plan_video(info, settings, copy=stage.asset.size <= room.most() // TWICE)
    made: list[Output] = []
    if plan.copies:
        size = stage.asset.size if plan.copied is not None else 0
        async with room.reserved(size + _sound_bytes(info, plan)):
            made = await copy_source(stage.source, info, plan, stage.directory, stage.bench.sandbox, stage.report)
            plan = replan(info, settings, plan, made)
            await store(stage.ctx, stage.own, stage.asset, made, {"plan": plan.to_json()})
        return
    await store(stage.ctx, stage.own, stage.asset, made, {"plan": plan.to_json()})


async def encode(stage: Stage) -> None:
    """One span of the source: a piece of every picture; all of it where it is the only one."""
    await _encode(stage, await _plan(stage))


async def extra(stage: Stage) -> None:
    """As `encode`, of the second set of pictures, in another codec."""
    await _encode(stage, await _second_plan(stage))


async def _encode(stage: Stage, plan: VideoPlan) -> None:
    info = _info(stage)
    alone = len(plan.spans) == 1
    size = _span_bytes(info, plan, stage.own.job.number)
    async with stage.bench.room.reserved(size * TWICE + _made_bytes(stage, info, plan) if alone else size):
        watch = part(stage.report, 0.0, 0.9) if alone else stage.report
        pieces = await encode_span(
            stage.source, info, plan, stage.own.job.number, stage.directory, stage.bench.sandbox, watch
        )
        if alone:
            await _join(stage, info, plan, [pieces])
        else:
            frames = {piece.file: piece.frames for piece in pieces}
            facts: Json = {"recipe": RECIPE, "frames": frames}
            await keep(stage.ctx, stage.own, stage.asset, [(piece.file, piece.path) for piece in pieces], facts)


async def join(stage: Stage) -> None:
    """Whole pictures of all pieces, and the progressive file."""
    await _join_all(stage, await _plan(stage), "encode")


async def extra_join(stage: Stage) -> None:
    """Whole pictures of the second set."""
    await _join_all(stage, await _second_plan(stage), "extra")


async def _join_all(stage: Stage, plan: VideoPlan, of: str) -> None:
    info = _info(stage)
    kept = kept_by([one for one in await _siblings(stage) if one.type == of]) if plan.targets else []
    size = sum(piece.size for pieces in kept for piece in pieces)
    async with stage.bench.room.reserved(size * TWICE + _made_bytes(stage, info, plan)):
        await _join(stage, info, plan, [await _fetched(stage, number, some) for number, some in enumerate(kept)])


async def _join(stage: Stage, info: MediaInfo, plan: VideoPlan, pieces: list[list[Piece]]) -> None:
    paths: dict[str, list[Path]] = {}
    for piece in (piece for some in pieces for piece in some):
        paths.setdefault(piece.file, []).append(piece.path)
    made = await _made(stage, plan)
    watch = part(stage.report, stage.own.progress, 1 - stage.own.progress)
    outputs = await join_pieces(info, plan, paths, made, stage.directory, stage.bench.sandbox, watch)
    await store(stage.ctx, stage.own, stage.asset, outputs)


async def _fetched(stage: Stage, number: int, kept: list[Kept]) -> list[Piece]:
    place, pieces = stage.ctx.storage.incoming, []
    for piece in kept:
        path = stage.directory / f"piece-{number}-{piece.file}"
        await fetch(stage.ctx, place.bucket, piece.key, path, size=piece.size, crc=piece.checksum)
        pieces.append(Piece(piece.file, path, 0))
    return pieces


async def _made(stage: Stage, plan: VideoPlan) -> dict[str, Path]:
    """What was copied and is needed for the progressive file, as files."""
    wanted = {track.file for track in plan.tracks} | ({plan.proxy.file} if plan.proxy is not None else set())
    found: dict[str, Path] = {}
    for row in await _copied(stage):
        if row.name in wanted:
            found[row.name] = stage.directory / row.name
            await fetch(stage.ctx, row.bucket, row.key, found[row.name], size=row.size, crc=row.checksum)
    return found


async def _copied(stage: Stage) -> list[Rendition]:
    assert stage.own.job.parent_id is not None, "stages are children of a run"
    async with stage.ctx.db.transaction() as conn:
        return [row for row in await renditions.of_job(conn, stage.own.job.parent_id) if row.stage == "copy"]


async def _siblings(stage: Stage) -> list[Job]:
    assert stage.own.job.parent_id is not None, "stages are children of a run"
    async with stage.ctx.db.transaction() as conn:
        return await jobs.children(conn, stage.own.job.parent_id)


async def _plan(stage: Stage) -> VideoPlan:
    for one in await _siblings(stage):
        if one.type == "copy" and one.state is JobState.SUCCEEDED:
            return VideoPlan.from_json(one.result["plan"])
    raise Rejected("plan_missing", "This stage was started without a plan; process the asset again.")


async def _second_plan(stage: Stage) -> VideoPlan:
    for one in await _siblings(stage):
        if one.type == "extra" and "plan" in one.arguments:
            return VideoPlan.from_json(one.arguments["plan"])
    raise Rejected("plan_missing", "This stage was started without a plan; process the asset again.")


def _info(stage: Stage) -> MediaInfo:
    return MediaInfo.from_json(stage.asset.media or {})


def _sound_bytes(info: MediaInfo, plan: VideoPlan) -> int:
    return int(len(plan.tracks) * SOUND_RATE * (info.seconds + 10))


def _made_bytes(stage: Stage, info: MediaInfo, plan: VideoPlan) -> int:
    """Of what was copied, as a file and in the progressive one."""
    copied = plan.copied is not None and plan.proxy == plan.copied
    return TWICE * ((stage.asset.size if copied else 0) + _sound_bytes(info, plan))


def _span_bytes(info: MediaInfo, plan: VideoPlan, number: int) -> int:
    """At the highest rates that the ladder has."""
    span = plan.spans[number]
    seconds = (span.end if span.end is not None else info.seconds) - span.start
    return int((max(seconds, 0.0) + 10) * sum(rung.max_kbits for rung in LADDER) * 1000 / 8)
