"""Files for the tests, made by ffmpeg from one small clip with real detail."""

from __future__ import annotations

import asyncio
import importlib.util
import random
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import imageio_ffmpeg

from . import films

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
SECONDS = 3
_SCRIPT = Path(__file__).parents[2] / "scripts" / "make_clip.py"


def make_clip(out: Path, **options: object) -> Path:
    """`scripts/make_clip.py`'s function of the same name."""
    spec = importlib.util.spec_from_file_location("make_clip", _SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.make_clip(out, **options)
    return out


def ffmpeg(*arguments: str | Path) -> None:
    subprocess.run([FFMPEG, "-y", "-nostdin", "-loglevel", "error", *map(str, arguments)], check=True)


class Clips:
    """Every file by name, made when first asked for."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.base = make_clip(folder / "base.mp4", seconds=SECONDS, width=640, height=360)

    def __call__(self, name: str) -> Path:
        path = self._folder / name
        if not path.exists():
            _MAKERS[name](self, path)
        return path


def _ffmpeg(*arguments: str) -> Callable[[Clips, Path], None]:
    def make(clips: Clips, path: Path) -> None:
        ffmpeg("-i", clips.base, *arguments, path)

    return make


def _cut(name: str) -> Callable[[Clips, Path], None]:
    def make(clips: Clips, path: Path) -> None:
        whole = clips(name).read_bytes()
        path.write_bytes(whole[: len(whole) * 6 // 10])

    return make


def _text(text: str) -> Callable[[Clips, Path], None]:
    def make(_: Clips, path: Path) -> None:
        path.write_text(text)

    return make


def _rotated(clips: Clips, path: Path) -> None:
    ffmpeg("-display_rotation", "-90", "-i", clips.base, "-c", "copy", path)


def _flipped(name: str) -> Callable[[Clips, Path], None]:
    """A tenth of a per mille of the samples' bits turned over."""

    def make(clips: Clips, path: Path) -> None:
        chance = random.Random(1)
        data = bytearray(clips(name).read_bytes())
        for _ in range(150):
            data[chance.randrange(50_000, len(data) - 50_000)] ^= 1 << chance.randrange(8)
        path.write_bytes(data)

    return make


def _long(_: Clips, path: Path) -> None:
    make_clip(path, seconds=12, width=320, height=180)


def _film(base: str, arguments: tuple[str, ...]) -> Callable[[Clips, Path], None]:
    def make(clips: Clips, path: Path) -> None:
        ffmpeg("-i", clips(base), *arguments, path)

    return make


def _black_start(clips: Clips, path: Path) -> None:
    black = "drawbox=t=fill:color=black:enable='lt(t,1.6)'"
    ffmpeg("-i", clips.base, "-vf", black, "-c:v", "libx264", "-preset", "ultrafast", "-g", "15", "-an", path)


def _late_sound(clips: Clips, path: Path) -> None:
    ffmpeg("-i", clips.base, "-itsoffset", "1", "-i", clips.base, "-map", "0:v", "-map", "1:a", "-c", "copy", path)


def _hidden(clips: Clips, path: Path) -> None:
    """Begins within a group of pictures, by an edit list."""
    ffmpeg("-ss", "1.3", "-i", clips.base, "-c", "copy", path)


_X264 = ("-c:v", "libx264", "-preset", "ultrafast")
_MAKERS: dict[str, Callable[[Clips, Path], None]] = {
    "back.mp4": _ffmpeg("-c", "copy"),
    "a.mkv": _ffmpeg("-c", "copy"),
    "a.webm": _ffmpeg("-c:v", "libvpx-vp9", "-deadline", "realtime", "-cpu-used", "8", "-c:a", "libopus"),
    "turned.mov": _rotated,
    "cut.mp4": _hidden,
    "a.ts": _ffmpeg("-c", "copy"),
    "plain.mxf": _ffmpeg("-r", "25", "-c:v", "mpeg2video", "-b:v", "4M", "-c:a", "pcm_s16le"),
    "a.wav": _ffmpeg("-vn"),
    "a.flac": _ffmpeg("-vn"),
    "a.mp3": _ffmpeg("-vn"),
    "a.ogg": _ffmpeg("-vn", "-c:a", "libvorbis"),
    "a.jpg": _ffmpeg("-frames:v", "1"),
    "a.png": _ffmpeg("-frames:v", "1"),
    "a.webp": _ffmpeg("-frames:v", "1"),
    "a.tiff": _ffmpeg("-frames:v", "1"),
    "a.gif": _ffmpeg("-frames:v", "1"),
    "a.bmp": _ffmpeg("-frames:v", "1"),
    "silent.mp4": _ffmpeg("-an", "-c", "copy"),
    "odd.mp4": _ffmpeg("-vf", "crop=321:241:0:0:exact=1,format=yuv444p", *_X264, "-t", "1"),
    "tiny.mp4": _ffmpeg("-vf", "scale=34:18", *_X264, "-t", "1"),
    "vfr.mp4": _ffmpeg("-vf", "select='not(mod(n,3))+not(mod(n,7))'", "-fps_mode", "vfr", *_X264),
    "anamorphic.mpg": _ffmpeg("-vf", "scale=720:576,setsar=16/15", "-c:v", "mpeg2video", "-b:v", "4M", "-t", "1"),
    "a.dv": _ffmpeg("-vf", "scale=720:576,fps=25", "-c:v", "dvvideo", "-pix_fmt", "yuv420p", "-t", "1"),
    "hdr.mp4": _ffmpeg(
        "-vf", "format=yuv420p10le,setparams=color_primaries=bt2020:color_trc=smpte2084:colorspace=bt2020nc",
        "-c:v", "libx265", "-preset", "ultrafast", "-x265-params", "log-level=error", "-t", "1",
    ),
    "large.mp4": _ffmpeg("-vf", "scale=1920:1080", *_X264, "-frames:v", "12", "-shortest"),
    "upright.mp4": _ffmpeg("-vf", "scale=1280:720,transpose", *_X264, "-frames:v", "12", "-shortest"),
    "black_start.mp4": _black_start,
    "late_sound.mkv": _late_sound,
    "cut_front.mp4": _cut("base.mp4"),
    "cut_back.mp4": _cut("back.mp4"),
    "cut.mkv": _cut("a.mkv"),
    "cut.wav": _cut("a.wav"),
    "cut.jpg": _cut("a.jpg"),
    "cut.png": _cut("a.png"),
    "flipped.mp4": _flipped("base.mp4"),
    "flipped_safe.mp4": _flipped("safe.mp4"),
    "long_base.mp4": _long,
    "text.mp4": _text("The quick brown fox is not a film.\n" * 200),
    "subtitles.mp4": _text("1\n00:00:01,000 --> 00:00:02,000\nHello\n\n" * 20),
    "zeros.mp4": _text("\0" * 4096),
}  # fmt: skip
_MAKERS |= {name: _film("base.mp4", arguments) for name, arguments in films.SHORT.items()}
_MAKERS |= {name: _film("long_base.mp4", arguments) for name, arguments in films.LONG.items()}


class Counted:
    """A file as a source that counts what was read, and fails after `fail_after` bytes or gives short."""

    def __init__(self, path: Path, *, fail_after: int | None = None, short: bool = False, delay: float = 0.0) -> None:
        self._data = path.read_bytes()
        self.size = len(self._data)
        self.bytes_read = 0
        self._fail_after = fail_after
        self._short = short
        self._delay = delay

    async def read(self, start: int, length: int) -> AsyncIterator[bytes]:
        for offset in range(start, start + length, 65536):
            piece = self._data[offset : min(offset + 65536, start + length)]
            await asyncio.sleep(self._delay)
            self.bytes_read += len(piece)
            if self._fail_after is not None and self.bytes_read > self._fail_after:
                if self._short:
                    return
                raise ConnectionResetError("the storage hung up")
            yield piece
