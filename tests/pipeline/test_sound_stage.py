"""The stage `sound`: what it stores, and what it adds to the asset's facts without disturbing others'."""

from __future__ import annotations

from pathlib import Path

import pytest

from rushes.db import assets
from rushes.ingest.context import Context
from rushes.media.sandbox import detect
from rushes.model import Principal, Role
from rushes.pipeline.agenda import Picture, agenda
from rushes.pipeline.stages import run_stage
from rushes.pipeline.work import Bench
from tests.media.sounds import tone, with_cover, write_wav
from tests.pipeline.equipment import add_stage, claimed, ingest_without_worker, rows

WHO = Principal("sounds", "sam", Role.OPERATOR, "studio")


@pytest.fixture
def scratch(tmp_path: Path) -> Path:
    """As a worker's own directory: the sandbox's user goes through it."""
    tmp_path.chmod(0o711)
    return tmp_path / "bench"


@pytest.fixture
def beep(tmp_path: Path) -> bytes:
    return write_wav(tmp_path / "a.wav", tone(-20, 5)).read_bytes()


async def test_a_sound_and_its_loudness(alone: Context, scratch: Path, beep: bytes) -> None:
    bench = Bench(scratch, await detect())
    upload = await ingest_without_worker(alone, WHO, beep, "a.wav")
    (run,) = await claimed(alone, upload.asset_id)
    for _ in range(2):  # a stage may run twice
        for type_ in ("identify", "sound"):
            assert await run_stage(alone, bench, str(await add_stage(alone, run, type_))) == "succeeded"
            await rows(alone, "DELETE FROM jobs WHERE parent_id = %s RETURNING 1", run.job.id)
        async with alone.db.transaction() as conn:
            asset = await assets.load(conn, upload.asset_id)
        assert asset is not None
        assert asset.media is not None
        [track] = asset.media["audio"]
        assert track["loudness"] == {"integrated": pytest.approx(-23, abs=0.1), "true_peak": -20.0, "range": 0.0}
        assert (track["codec"], asset.media["duration"]) == ("pcm_s16le", 5.0)
    found = await rows(
        alone,
        """SELECT name, type, cardinality(lengths) FROM renditions LEFT JOIN segments ON rendition_id = renditions.id
        WHERE asset_id = %s ORDER BY name""",
        upload.asset_id,
    )
    assert found == [
        ("hls-audio.mp4", "hls_audio", 2), ("preview.m4a", "preview", None), ("preview.mp3", "preview", None),
        ("spectrogram.png", "spectrogram", None), ("waveform.dat", "waveform_data", None),
        ("waveform.json", "waveform", None), ("waveform.png", "waveform_image", None),
    ]  # fmt: skip


async def test_a_cover(alone: Context, scratch: Path, tmp_path: Path) -> None:
    bench = Bench(scratch, await detect())
    upload = await ingest_without_worker(alone, WHO, with_cover(tmp_path, "a.mp3").read_bytes(), "a.mp3")
    (run,) = await claimed(alone, upload.asset_id)
    for type_ in ("identify", "poster"):
        assert await run_stage(alone, bench, str(await add_stage(alone, run, type_))) == "succeeded"
    found = await rows(alone, "SELECT type FROM renditions WHERE asset_id = %s ORDER BY type", upload.asset_id)
    assert [type_ for (type_,) in found] == ["cover"] + ["poster"] * 6


def test_which_sounds_have_a_poster() -> None:
    media = {"kind": "audio", "duration": 7.0, "audio": [{"index": 0}]}
    assert [item.type for item in agenda(media, 1, Picture())] == ["identify", "digest", "sound"]
    assert "poster" in [item.type for item in agenda(media | {"cover": 1}, 1, Picture())]


async def test_what_is_heard_leaves_the_rest_as_it_is(alone: Context) -> None:
    upload = await ingest_without_worker(alone, WHO, b"x", "a.wav")
    media = {"kind": "audio", "duration": 7.0, "audio": [{"index": 3, "codec": "a"}, {"index": 1, "codec": "b"}]}
    loudness = {"integrated": -23.0, "true_peak": None, "range": 1.0}
    async with alone.db.transaction() as conn:
        await assets.change(conn, upload.asset_id, alone.now(), media=media)
        await assets.heard(conn, upload.asset_id, {1: loudness}, None)
        await assets.change(conn, upload.asset_id, alone.now(), sha256="0" * 64)
        asset = await assets.load(conn, upload.asset_id)
        assert asset is not None
        assert asset.media == media | {
            "audio": [{"index": 3, "codec": "a"}, {"index": 1, "codec": "b", "loudness": loudness}]
        }
        await assets.heard(conn, upload.asset_id, {}, 6.5)
        asset = await assets.load(conn, upload.asset_id)
    assert asset is not None
    assert (asset.media or {})["duration"] == 6.5
