"""What is made of sounds: pictures, peaks, loudness and previews, held against what is known of the sound or another reader."""

from __future__ import annotations

import asyncio
import json
import math
import random
import struct
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import av.error
import numpy as np
import pytest
from PIL import Image

from rushes.errors import Rejected
from rushes.media.audio import Sound, announced, first_sound, make_sound
from rushes.media.identify import identify
from rushes.media.info import AudioInfo, Loudness, MediaInfo
from rushes.media.inside.opened import Decoder
from rushes.media.inside.peaks import Peaks
from rushes.media.inside.reader import laid_over
from rushes.media.inside.spectrum import Spectrum
from rushes.media.outputs import Output
from rushes.media.previews import plan_previews, playable
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource
from tests.conftest import ROUNDS

from .clips import FFMPEG, SECONDS, Clips, ffmpeg
from .sounds import LARGE, ODD, large, tone, write_wav

PICTURES = ["waveform.json", "waveform.dat", "waveform.png", "spectrogram.png"]
PLAYED = ["preview.m4a", "hls-audio.mp4", "preview.mp3"]


async def _sound(sandbox: Sandbox, job: Path, path: Path, channels: int = 1) -> Sound:
    source = FileSource(path)
    return await make_sound(source, await identify(source, job, sandbox), job, sandbox, channels=channels)


def _by_name(sound: Sound) -> dict[str, Output]:
    return {output.name: output for output in sound.outputs}


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "base.mp4"])
async def test_waveforms(namespaces: Sandbox, job: Path, clips: Clips, name: str) -> None:
    made = _by_name(await _sound(namespaces, job, clips(name)))
    assert list(made) == PICTURES + (PLAYED if name != "base.mp4" else [])
    read = json.loads(made["waveform.json"].path.read_text())
    assert {key: read[key] for key in ("version", "channels", "bits", "sample_rate", "samples_per_pixel")} == {
        "version": 2, "channels": 1, "bits": 8, "sample_rate": 48000, "samples_per_pixel": 256,
    }  # fmt: skip
    assert len(read["data"]) == 2 * read["length"]
    assert read["length"] * 256 / 48000 == pytest.approx(SECONDS, abs=0.1)
    assert all(low <= high for low, high in zip(read["data"][::2], read["data"][1::2], strict=True))
    assert min(read["data"]) < -20 < 20 < max(read["data"])
    data = made["waveform.dat"].path.read_bytes()
    assert struct.unpack("<iIiiIi", data[:24]) == (2, 1, 48000, 256, read["length"], 1)
    assert list(struct.unpack(f"<{len(data) - 24}b", data[24:])) == read["data"]
    with Image.open(made["waveform.png"].path) as picture:
        assert picture.size == (made["waveform.png"].width, made["waveform.png"].height)
        assert picture.getchannel("A").getextrema() == (0, 255)


async def test_peaks_are_where_the_sound_is(sandbox: Sandbox, job: Path, tmp_path: Path) -> None:
    """Silence first, then a tone on the left only, at half of full scale."""
    left = np.concatenate([np.zeros((1, 48000)), tone(-6.02, 1)], axis=1)
    path = write_wav(tmp_path / "half.wav", np.concatenate([left, np.zeros_like(left)]))
    for channels, loudest in ((1, [32]), (2, [63, 0])):
        read = json.loads((await _sound(sandbox, job, path, channels)).outputs[0].path.read_text())
        assert (read["channels"], len(read["data"])) == (channels, 2 * channels * read["length"])
        data = np.array(read["data"]).reshape(read["length"], channels, 2)
        middle = read["length"] // 2
        assert data[: middle - 2].any() == False  # noqa: E712 - numpy's
        assert data[middle + 2 :, :, 1].max(axis=0).tolist() == pytest.approx(loudest, abs=1)


async def test_a_spectrogram_shows_pitch_and_time(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    path = write_wav(
        tmp_path / "steps.wav", np.concatenate([tone(-20, 1, hertz=200), tone(-20, 1, hertz=5000)], axis=1)
    )
    output = _by_name(await _sound(namespaces, job, path))["spectrogram.png"]
    with Image.open(output.path) as picture:
        assert picture.size == (output.width, output.height)
        light = np.asarray(picture.convert("L")).astype(int)
    assert {"lowest": 30, "highest": 24000, "scale": "log"}.items() <= output.extra.items()
    for share, hertz in ((0.25, 200), (0.75, 5000)):
        column = light[:, round(share * light.shape[1])]
        above = math.log(hertz / 30) / math.log(24000 / 30)
        assert 1 - column.argmax() / len(column) == pytest.approx(above, abs=0.02)
        assert column.mean() < 40


def _ffmpeg_loudness(path: Path) -> Loudness:
    run = [FFMPEG, "-hide_banner", "-nostats", "-i", str(path), "-map", "0:a:0"]
    run += ["-af", "ebur128=peak=true:framelog=quiet", "-f", "null", "-"]
    said = subprocess.run(run, capture_output=True, check=True, text=True).stderr
    found = dict(line.split(":", 1) for line in said.split("Summary:")[1].splitlines() if ":" in line)
    value = {name.strip(): text.split() for name, text in found.items()}
    return Loudness(float(value["I"][0]), float(value["Peak"][0]), float(value["LRA"][0]))


@pytest.mark.parametrize("name", ["a.wav", "base.mp4", "a.ogg"])
async def test_loudness_as_another_ffmpeg_measures_it(namespaces: Sandbox, job: Path, clips: Clips, name: str) -> None:
    found = (await _sound(namespaces, job, clips(name))).loudness
    wanted = _ffmpeg_loudness(clips(name))
    [loudness] = found.values()
    for side in ("integrated", "true_peak", "range"):
        assert getattr(loudness, side) == pytest.approx(getattr(wanted, side), abs=0.11)


async def test_loudness_as_the_ebu_wants_it(sandbox: Sandbox, job: Path, tmp_path: Path) -> None:
    """EBU Tech 3341: case 1 in short, and a true peak between the samples like case 17's."""
    path = write_wav(tmp_path / "minus23.wav", np.concatenate([tone(-23, 3)] * 2))
    assert (await _sound(sandbox, job, path)).loudness[0].integrated == pytest.approx(-23, abs=0.1)
    between = tone(-6.02, 1, hertz=12000, phase=math.pi / 4) * np.hanning(48000)
    path = write_wav(tmp_path / "between.wav", between)
    assert (await _sound(sandbox, job, path)).loudness[0].true_peak == pytest.approx(-6, abs=0.2)


async def test_every_track_is_measured(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    loud, quiet = write_wav(tmp_path / "loud.wav", tone(-10, 1)), write_wav(tmp_path / "quiet.wav", tone(-40, 1))
    both = tmp_path / "both.mka"
    ffmpeg("-i", loud, "-i", quiet, "-map", "0", "-map", "1", "-c", "copy", both)
    found = (await _sound(namespaces, job, both)).loudness
    assert [round(found[index].integrated or 0) for index in (0, 1)] == [-13, -43]


def _decoded(path: Path) -> float:
    with av.open(str(path)) as container:
        return sum(frame.samples / frame.sample_rate for frame in container.decode(audio=0))


@pytest.mark.parametrize("name", ["a.flac", "a.mp3"])
async def test_previews_play_as_long_as_the_sound(sandbox: Sandbox, job: Path, clips: Clips, name: str) -> None:
    made = _by_name(await _sound(sandbox, job, clips(name)))
    for file in PLAYED:
        assert _decoded(made[file].path) == pytest.approx(SECONDS, abs=0.1)
    hls = made["hls-audio.mp4"]
    assert hls.segments is not None
    assert hls.segments.init + sum(hls.segments.lengths) == hls.size
    assert sum(hls.segments.seconds) == pytest.approx(SECONDS, abs=0.1)
    assert {"codecs": "mp4a.40.2", "channels": 2, "default": True}.items() <= hls.extra.items()


async def test_each_segment_plays_after_the_head(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    path = write_wav(tmp_path / "long.wav", tone(-20, 10, 44100), 44100)
    hls = _by_name(await _sound(namespaces, job, path))["hls-audio.mp4"]
    assert hls.segments is not None
    assert [round(seconds) for seconds in hls.segments.seconds] == [4, 4, 2]
    whole, at = hls.path.read_bytes(), hls.segments.init
    for length, seconds in zip(hls.segments.lengths, hls.segments.seconds, strict=True):
        alone = tmp_path / "alone.mp4"
        alone.write_bytes(whole[: hls.segments.init] + whole[at : at + length])
        assert _decoded(alone) == pytest.approx(seconds, abs=0.03)
        at += length


@pytest.mark.parametrize(
    ("codec", "name", "preview"), [("aac", "a.m4a", "preview.m4a"), ("mp3", "b.mp3", "preview.mp3")]
)
async def test_what_players_take_is_copied(
    namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path, codec: str, name: str, preview: str
) -> None:
    path = tmp_path / name
    ffmpeg("-i", clips.base, "-vn", "-c:a", codec, path)
    made = _by_name(await _sound(namespaces, job, path))
    assert made[preview].extra["copied"] is True
    assert _packets(made[preview].path) == _packets(path)
    if codec == "aac":
        assert _packets(made["hls-audio.mp4"].path) == _packets(path)
    assert _decoded(made[preview].path) == pytest.approx(SECONDS, abs=0.1)


def _packets(path: Path) -> list[bytes]:
    with av.open(str(path)) as container:
        return [bytes(packet) for packet in container.demux(audio=0) if packet.size]


@pytest.mark.parametrize("name", list(ODD))
async def test_odd_sounds(sandbox: Sandbox, job: Path, tmp_path: Path, name: str) -> None:
    make, seconds = ODD[name]
    sound = await _sound(sandbox, job, make(tmp_path / name))
    made = _by_name(sound)
    assert list(made) == PICTURES + PLAYED
    for file in PLAYED:
        assert _decoded(made[file].path) == pytest.approx(seconds, abs=0.1)
    if name in {"silence.wav", "one_sample.wav"}:
        assert (sound.loudness[0].integrated, sound.loudness[0].range) == (None, None)
    else:
        assert sound.loudness[0].integrated is not None
    if name == "float.wav":
        assert sound.loudness[0].true_peak == pytest.approx(3, abs=0.2)


async def test_a_stream_whose_length_was_only_guessed(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    """It ends with silence, which takes few bits: by the first megabytes it is shorter. What was heard is what counts."""
    noise = np.random.default_rng(1).uniform(-0.9, 0.9, (6, 48000 * 4))
    for name, samples in (("noise", noise), ("silence", np.zeros((6, 48000 * 10)))):
        ffmpeg(
            "-i", write_wav(tmp_path / f"{name}.wav", samples), "-b:a", "1500k", "-ac", "6", tmp_path / f"{name}.aac"
        )
    loud, silent = ((tmp_path / name).read_bytes() for name in ("noise.aac", "silence.aac"))
    times = 1 + 4_500_000 // len(loud)
    (tmp_path / "a.aac").write_bytes(loud * times + silent)
    info = await identify(FileSource(tmp_path / "a.aac"), job, namespaces)
    assert info.duration == pytest.approx(times * 4, rel=0.05)
    sound = await _sound(namespaces, job, tmp_path / "a.aac")
    assert sound.duration == pytest.approx(times * 4 + 10, rel=0.02)


@pytest.mark.parametrize("name", LARGE)
async def test_more_than_four_gigabytes(namespaces: Sandbox, job: Path, tmp_path: Path, name: str) -> None:
    info = await identify(FileSource(large(name)(tmp_path / name)), job, namespaces)
    assert info.duration == pytest.approx(6_000_000_000 / 4 / 96_000, abs=0.01)


@pytest.mark.parametrize(
    ("start", "wanted"), [(0, b"ab12ef"), (3, b"2e"), (2, b"12"), (1, b"b1"), (4, b"ef"), (0, b"a")]
)
def test_what_is_read_instead(start: int, wanted: bytes) -> None:
    assert laid_over(b"abcdef"[start : start + len(wanted)], start, 2, b"12") == wanted


async def test_a_sound_that_was_cut_off(sandbox: Sandbox, job: Path, clips: Clips, tmp_path: Path) -> None:
    whole = clips("a.flac").read_bytes()
    (tmp_path / "cut.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(Rejected) as caught:
        await _sound(sandbox, job, tmp_path / "cut.flac")
    assert caught.value.code == "truncated"


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3", "a.ogg", "b.m4a", "b.aac"])
async def test_damage_is_heard_or_refused(
    namespaces: Sandbox, job: Path, clips: Clips, tmp_path: Path, name: str
) -> None:
    """Bits turned over anywhere: a tool never breaks down over it."""
    path = clips(name) if name.startswith("a") else tmp_path / name
    if name.startswith("b"):
        ffmpeg("-i", clips.base, "-vn", "-t", "1", "-c:a", "aac", path)
    whole, damaged = path.read_bytes(), tmp_path / f"damaged-{name}"
    for seed in range(ROUNDS):
        chance, data = random.Random(f"{name} {seed}"), bytearray(whole)
        for _ in range(chance.choice([1, 5, 50, 500])):
            data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(data)
        ended = await asyncio.gather(_sound(namespaces, job, damaged), return_exceptions=True)
        match ended:
            case [Sound(outputs)]:
                assert outputs
            case [Rejected() as refusal]:
                assert refusal.code in {"undecodable", "truncated", "not_media", "unsupported"}
            case _:
                pytest.fail(f"{name}, seed {seed}: {ended}")


def test_whatever_a_decoder_calls_damage() -> None:
    """FFmpeg's AAC decoder says "operation not permitted" of some."""

    class Packet:
        def decode(self) -> list[object]:
            raise av.error.PermissionError(1, "Operation not permitted")

    decoder = Decoder()
    assert decoder.frames(Packet()) == []
    assert decoder.bad == 1


async def test_a_rate_that_is_none(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    with pytest.raises(Rejected) as caught:
        await _sound(namespaces, job, write_wav(tmp_path / "slow.wav", tone(-20, 100, 10, 1), 10))
    assert caught.value.code == "unsupported"


def test_pictures_stay_small_however_long_a_sound_is() -> None:
    spectrum, peaks = Spectrum(1000, 10, 8, 30), Peaks(1000, 1)
    for number in range(100):
        part = tone(-6, 100, 1000, 300)[0] * (number >= 75) * 32767
        spectrum.add(part.astype(np.float32))
        peaks.add(np.tile(part.astype(np.int16), 20)[None, :])
    columns = spectrum.finish()
    assert 10 <= len(columns) <= 40
    assert (columns.max(axis=1) > 0.1).mean() == pytest.approx(0.25, abs=0.05)
    assert columns.max() == pytest.approx(0.25, rel=0.2)
    lows, _ = peaks.finish()
    assert lows.shape[1] * peaks.scale == pytest.approx(200_000_000 / 1000, rel=0.01) or lows.shape[1] <= 65536


SOUND = AudioInfo(0, "aac", 2, "stereo", 48000, "LC", bit_rate=128_000, duration=10.0)


@pytest.mark.parametrize(
    ("changes", "demuxer", "copied"),
    [
        ({}, "mov", "aac"),
        ({}, "aac", None),  # without a head
        ({"profile": "HE-AAC"}, "mov", None),
        ({"channels": 6}, "mov", None),
        ({"bit_rate": 500_000}, "mov", None),
        ({"sample_rate": 96_000}, "mov", None),
        ({"codec": "mp3", "profile": None}, "mp3", "libmp3lame"),
        ({"codec": "flac", "profile": None}, "flac", None),
    ],
)
def test_what_is_copied(changes: dict[str, Any], demuxer: str, copied: str | None) -> None:
    sound = replace(SOUND, **changes)
    assert playable(sound, demuxer) == copied
    assert [one["copy"] for one in plan_previews(sound, demuxer)] == [copied == "aac", copied == "libmp3lame"]
    assert not any(one["copy"] for one in plan_previews(sound, demuxer, copy=False))


def test_which_durations_are_guesses() -> None:
    def info(format_: str, size: int) -> MediaInfo:
        return MediaInfo("audio", format_, size, duration=10.0, audio=(SOUND,))

    assert announced(info("aac", 160_000), SOUND) is None
    assert announced(info("mp3", 80_000), SOUND) == 10.0  # by its table of contents; half of it is missing
    assert announced(info("mov,mp4", 160_000), SOUND) == 10.0
    assert first_sound(MediaInfo("video", "mov", 1)) is None
