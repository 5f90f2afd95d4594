"""The sounds of the corpus: Big Buck Bunny's, as ffmpeg's arguments, and a recorder's file that is put together here."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.corpus.clip import Clip, Sources, ffmpeg

Facts = Mapping[str, object]
Arguments = tuple[str, ...]

_SECONDS = 5.0
_TAGS: Arguments = ("-metadata", "title=Meadow", "-metadata", "artist=Ada", "-metadata", "date=2024-05-01")


@dataclass(frozen=True)
class Heard:
    """Made by ffmpeg from a master's sound; `cover` names a photograph that goes along."""

    arguments: Arguments
    cover: str | None = None

    def __call__(self, path: Path, sources: Sources) -> None:
        inputs: list[str | Path] = ["-i", sources.film("bunny")]
        maps = ["-map", "0:a"]
        if self.cover is not None:
            inputs += ["-i", sources.photo(self.cover)]
            maps += ["-map", "1:v", "-c:v", "mjpeg", "-disposition:v", "attached_pic"]
        ffmpeg(*inputs, *maps, *self.arguments, path)


def sound(
    name: str, traits: str, arguments: Arguments, expected: Facts, *, cover: str | None = None, channels: int = 2,
    make: Callable[[Path, Sources], None] | None = None,
) -> Clip:  # fmt: skip
    facts: dict[str, object] = {"kind": "audio", "video": None, "duration": _SECONDS, "counts.audio": 1}
    facts |= {"audio.0.channels": channels, "audio.0.sample_rate": 48000}
    facts |= {"audio.0.layout": {1: "mono", 2: "stereo"}[channels]} if channels < 3 else {}
    facts |= {"cover": 1} if cover else {"cover": None}
    made = make or Heard((*arguments, "-ac", str(channels)), cover)
    return Clip(name, "Big Buck Bunny", traits, {**facts, **expected}, made, master="bunny")


def _recorder(path: Path, sources: Sources) -> None:
    """A Broadcast Wave as field recorders write it (EBU Tech 3285): `bext` with a moment and samples since midnight."""
    tags = ("-metadata", "originator=Rushes recorder", "-metadata", "origination_date=2024-05-01",
            "-metadata", "origination_time=10:20:30", "-metadata", f"time_reference={48000 * 36_000}",
            "-metadata", "description=Scene 12 take 3")  # fmt: skip
    ffmpeg("-i", sources.film("bunny"), "-map", "0:a", "-ac", "2", "-c:a", "pcm_s24le", "-write_bext", "1", *tags, path)


SOUNDS: tuple[Clip, ...] = (
    sound("plain.wav", "16 bit", ("-c:a", "pcm_s16le"),
          {"wrapper": "wav", "audio.0.codec": "pcm_s16le", "audio.0.bit_depth": 16, "audio.0.bit_rate": 1_536_000}),
    sound("recorder.wav", "Broadcast Wave, 24 bit, time reference 10 h", (),
          {"wrapper": "wav", "audio.0.codec": "pcm_s24le", "audio.0.bit_depth": 24, "timecode": "10:00:00.000",
           "created": "2024-05-01T10:20:30"}, make=_recorder),
    sound("surround.wav", "5.1, 32-bit float", ("-c:a", "pcm_f32le"),
          {"wrapper": "wav", "audio.0.codec": "pcm_f32le", "audio.0.bit_depth": 32, "audio.0.layout": "5.1"}, channels=6),
    sound("large.w64", "Wave64", ("-c:a", "pcm_s16le"), {"wrapper": "w64", "audio.0.codec": "pcm_s16le"}),
    sound("deep.flac", "24 bit, 96 kHz", ("-c:a", "flac", "-sample_fmt", "s32", "-ar", "96000", *_TAGS),
          {"wrapper": "flac", "audio.0.codec": "flac", "audio.0.bit_depth": 24, "audio.0.sample_rate": 96000,
           "tags.title": "Meadow", "created": "2024-05-01"}),
    sound("cover.mp3", "ID3 tags and cover", ("-c:a", "libmp3lame", "-b:a", "192k", "-id3v2_version", "3", *_TAGS),
          {"wrapper": "mp3", "audio.0.codec": "mp3", "audio.0.bit_rate": 192_000, "tags.title": "Meadow",
           "tags.artist": "Ada"}, cover="flower"),
    sound("cover.m4a", "AAC with cover", ("-c:a", "aac", "-b:a", "128k", *_TAGS),
          {"wrapper": "mp4", "audio.0.codec": "aac", "audio.0.profile": "LC", "tags.title": "Meadow",
           "created": "2024-05-01"}, cover="rocket"),
    sound("lossless.m4a", "ALAC 24 bit", ("-c:a", "alac", "-sample_fmt", "s32p"),
          {"wrapper": "mp4", "audio.0.codec": "alac", "audio.0.bit_depth": 24}),
    sound("mono.opus", "Opus, one channel", ("-c:a", "libopus", "-b:a", "48k"),
          {"wrapper": "ogg", "audio.0.codec": "opus"}, channels=1),
    sound("vorbis.ogg", "Vorbis, 44.1 kHz", ("-c:a", "libvorbis", "-ar", "44100"),
          {"wrapper": "ogg", "audio.0.codec": "vorbis", "audio.0.sample_rate": 44100}),
    sound("surround.ac3", "AC-3 5.1", ("-c:a", "ac3", "-b:a", "384k"),
          {"wrapper": "ac3", "audio.0.codec": "ac3", "audio.0.layout": "5.1(side)", "audio.0.bit_rate": 384_000}, channels=6),
    sound("studio.aiff", "AIFF 24 bit", ("-c:a", "pcm_s24be"),
          {"wrapper": "aiff", "audio.0.codec": "pcm_s24be", "audio.0.bit_depth": 24}),
    sound("apple.caf", "Core Audio, ALAC", ("-c:a", "alac", "-sample_fmt", "s16p"),
          {"wrapper": "caf", "audio.0.codec": "alac", "audio.0.bit_depth": 16}),
    sound("windows.wma", "WMA 2", ("-c:a", "wmav2", "-b:a", "128k"), {"wrapper": "asf", "audio.0.codec": "wmav2"}),
    sound("radio.mp2", "MPEG-1 layer II", ("-c:a", "mp2", "-b:a", "192k"), {"wrapper": "mp3", "audio.0.codec": "mp2"}),
    sound("open_end.mp3", "variable bit rate, no index",
          ("-c:a", "libmp3lame", "-q:a", "5", "-write_xing", "0", "-id3v2_version", "0"),
          {"wrapper": "mp3", "audio.0.codec": "mp3"}),
    sound("stream.aac", "ADTS frames", ("-c:a", "aac", "-b:a", "128k"), {"wrapper": "aac", "audio.0.codec": "aac"}),
    sound("pack.wv", "WavPack", ("-c:a", "wavpack", "-sample_fmt", "s16p"),
          {"wrapper": "wv", "audio.0.codec": "wavpack", "audio.0.bit_depth": 16}),
    sound("voice.amr", "AMR, 8 kHz", ("-c:a", "libopencore_amrnb", "-ar", "8000", "-b:a", "12.2k"),
          {"wrapper": "amr", "audio.0.codec": "amr_nb", "audio.0.sample_rate": 8000}, channels=1),
    sound("lies.mp4", "a FLAC by the name of a film", ("-c:a", "flac", "-f", "flac"),
          {"wrapper": "flac", "audio.0.codec": "flac", "audio.0.bit_depth": 16}),
)  # fmt: skip
