"""Broken and hostile files, each through a real worker: all end, nothing outside is touched, and the next job succeeds."""

from __future__ import annotations

import asyncio
import json
import random
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from uuid import UUID

import imageio_ffmpeg
import pytest

from rushes import main
from rushes.config import Settings
from rushes.ingest.context import Context
from rushes.model import AssetState, Principal, Role
from tests.conftest import ROUNDS, SEED
from tests.hostile.bombs import bombs
from tests.hostile.canary import Canary, canary
from tests.hostile.damaged import NAMES, damaged
from tests.hostile.scripts import scripts
from tests.media.clips import Clips
from tests.pipeline.equipment import database_apart, ingest_without_worker, picture, rows, settled, started

WHO = Principal("mallory", "mal", Role.OPERATOR, "studio")
PATIENCE = 280  # seconds that a loaded machine is given for all of them; alone each takes a second or two
SOME = 24  # files of a short run, another selection with each seed
# Faults of ours, or a tool that broke down: nothing that a file may bring about.
NOT_CLEAR = {"internal", "worker_lost", "sandbox_failed", "sandbox_slow", "source_unreadable"}


@pytest.fixture(scope="module")
def own(settings: Settings) -> Iterator[Settings]:
    with database_apart(settings.model_copy(update={"worker_jobs": 3})) as found:
        yield found


@pytest.fixture(scope="module")
async def ctx(own: Settings) -> AsyncIterator[Context]:
    async with main.open_context(own) as found:
        yield found


@pytest.fixture(scope="module")
async def bird(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Canary]:
    folder = tmp_path_factory.mktemp("aviary")
    for parent in (folder, folder.parent, folder.parent.parent):
        parent.chmod(0o755)  # whoever runs a media tool could go there
    async with canary(folder) as found:
        yield found


@pytest.fixture(scope="module")
def corpus(bird: Canary, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """All of them by name; at least sixty, or the promise is not shown."""
    clips = Clips(tmp_path_factory.mktemp("good"))
    good = {name: (clips.base if name == "base.mp4" else clips(name)).read_bytes() for name in NAMES}
    small = (good["back.mp4"], good["a.mkv"], good["a.ts"])
    found = [*scripts(bird.path, bird.address), *bombs(*small), *damaged(good, SEED)]
    assert len({name for name, _ in found}) == len(found) > 60
    return dict(found)


async def test_the_canary_sings(bird: Canary, tmp_path: Path) -> None:
    """Without a sandbox scripts do open the file and do call the address: what the other test shows can fail."""
    bird.opened()
    for target in (str(bird.path), f"http://{bird.address}/x.ts"):
        script = tmp_path / "script.mp4"
        script.write_text(f"ffconcat version 1.0\nfile '{target}'\n")
        bare = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-safe", "0", "-protocol_whitelist", "file,http,tcp"]
        command = [*bare, "-i", str(script), "-f", "null", "-"]
        await asyncio.to_thread(subprocess.run, command, capture_output=True, timeout=120, check=False)
    assert bird.opened()
    assert bird.calls
    bird.calls.clear()


@pytest.mark.timeout(PATIENCE * 4 * ROUNDS)
async def test_all_of_them_end(
    ctx: Context, own: Settings, bird: Canary, corpus: dict[str, bytes], record_property: Callable[[str, object], None]
) -> None:
    names = list(corpus) if ROUNDS > 1 else random.Random(SEED).sample(list(corpus), SOME)
    bird.opened()
    async with started(own) as worker:
        begun = {name: (await ingest_without_worker(ctx, WHO, corpus[name], name)).asset_id for name in names}
        outcomes = await asyncio.gather(*(_outcome(ctx, name, asset) for name, asset in begun.items()))
        after = await ingest_without_worker(ctx, WHO, picture(1), "next.png")
        assert (await settled(ctx, after.asset_id)).state is AssetState.PUBLISHED, "the job after them succeeds"
        assert worker.returncode is None, "the worker lives"
    assert not bird.opened(), "a file outside the job's directory was opened"
    assert not bird.calls, "a socket was opened"
    slowest = max(outcomes, key=lambda outcome: outcome[2])
    counts = Counter(code for _, code, _ in outcomes)
    record_property("saw", f"{len(names)} files, {dict(counts)}; the slowest was {slowest[0]} with {slowest[2]:.1f} s")
    assert not [outcome for outcome in outcomes if outcome[1] in NOT_CLEAR]
    if ROUNDS > 1:
        assert slowest[2] < 60, slowest  # alone the slowest takes ten
    await _kept_secret(ctx, bird, list(begun.values()))


async def _outcome(ctx: Context, name: str, asset_id: UUID) -> tuple[str, str, float]:
    """(name, `published` or the problem's code, seconds that its stages took one after the other)."""
    asset = await settled(ctx, asset_id, PATIENCE * max(1, ROUNDS))
    ((took,),) = await rows(
        ctx,
        """SELECT sum(extract(epoch FROM finished_at - started_at))::float FROM jobs
        WHERE asset_id = %s AND parent_id IS NOT NULL AND finished_at IS NOT NULL""",
        asset_id,
    )
    if asset.state is AssetState.PUBLISHED:
        return name, "published", took
    assert asset.problem is not None, name
    assert asset.problem["message"].endswith("."), (name, asset.problem)
    return name, asset.problem["code"], took


async def _kept_secret(ctx: Context, bird: Canary, assets: list[UUID]) -> None:
    """Neither facts, logs nor renditions hold what the canary knows."""
    told = await rows(ctx, "SELECT media, problem FROM assets WHERE id = ANY(%s)", assets)
    logs = await rows(ctx, "SELECT log, problem, message FROM jobs WHERE asset_id = ANY(%s)", assets)
    assert bird.secret not in json.dumps([told, logs], default=str)
    for bucket, key, size in await rows(
        ctx, "SELECT bucket, key, size FROM renditions WHERE asset_id = ANY(%s) AND type NOT LIKE 'hls%%'", assets
    ):
        data = b"".join([piece async for piece in ctx.storage.s3.get_range(bucket, key, start=0, length=size)])
        assert bird.secret.encode() not in data
