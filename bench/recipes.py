"""Three ways from a video to its renditions: ours, one ffmpeg run an output, and MediaCMS's as commands.

    python -m bench.recipes ours|each|mediacms SOURCE FOLDER

`each` is what most systems do, with our encoder settings: one run of ffmpeg for every height, the poster, the sprite sheet,
the waveform, the spectrogram and the loudness. `mediacms` follows files/helpers.py and files/tasks.py of MediaCMS
(https://github.com/mediacms-io/mediacms, read in November 2026): CRF 23, `medium` under 720 lines and `faster` from there,
key frames every 4 s, H.264 alone, then sprites and HLS by copying. All read a local file, run the same ffmpeg, and use as
many threads as they like.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import imageio_ffmpeg

from rushes.media.audio import make_sound
from rushes.media.identify import identify
from rushes.media.ladder import ENCODERS, LADDER
from rushes.media.posters import make_poster
from rushes.media.sandbox import detect
from rushes.media.source import FileSource
from rushes.media.sprites import make_sprite
from rushes.media.video import make_video

FFMPEG = imageio_ffmpeg.get_ffmpeg_exe()
HEIGHTS = (1080, 720, 360)
_MEDIACMS_KBITS = {1080: 4500, 720: 2500, 360: 500}  # of files/helpers.py, for up to 30 frames a second


async def ours(source: Path, folder: Path) -> None:
    """All that a worker makes of a video, in the sandbox, without storage and database."""
    sandbox, file = await detect(), FileSource(source)
    info = await identify(file, folder, sandbox)
    await make_video(file, info, folder, sandbox)
    await make_poster(file, info, folder, sandbox)
    await make_sprite(file, info, folder, sandbox)
    await make_sound(file, info, folder, sandbox)


def each(source: Path, folder: Path) -> Iterator[list[str]]:
    """One run an output."""
    for rung in LADDER:
        if rung.side in HEIGHTS:
            yield one(source, rung.side, folder / f"{rung.side}.mp4")
    yield run(source, "-vf", "thumbnail,scale=1280:-2,format=yuvj420p", "-frames:v", "1", folder / "poster.jpg")
    yield run(source, "-vf", "fps=1,scale=160:-2,tile=10x10,format=yuvj420p", "-frames:v", "1", folder / "sprite.jpg")
    yield run(source, "-lavfi", "showwavespic=s=1800x280", "-frames:v", "1", folder / "waveform.png")
    yield run(source, "-lavfi", "showspectrumpic=s=1800x512", "-frames:v", "1", folder / "spectrogram.png")
    yield run(source, "-vn", "-af", "ebur128=peak=true", "-f", "null", "-")


def one(source: Path, height: int, out: Path, kbits: float = 0) -> list[str]:
    """One rendition by our encoder settings; `kbits` a second instead of our quality."""
    rung = next(rung for rung in LADDER if rung.side == height)
    options = ENCODERS["x264"].for_rung(rung, 30.0, 0)
    if kbits:
        options = {name: value for name, value in options.items() if name != "crf"} | {"b": f"{kbits:.0f}k"}
    video = [word for name, value in options.items() for word in (f"-{name}:v", value)]
    return run(
        source, "-vf", f"scale=-2:{height}:flags=bicubic,format=yuv420p", "-c:v", "libx264", *video,
        "-force_key_frames", "expr:gte(t,n_forced*2)", "-c:a", "aac", "-b:a", "128k", "-ac", "2",
        "-movflags", "+faststart", out,
    )  # fmt: skip


def mediacms(source: Path, folder: Path) -> Iterator[list[str]]:
    """MediaCMS's commands for the same heights."""
    for height in HEIGHTS:
        kbits = _MEDIACMS_KBITS[height]
        out = folder / f"{height}.mp4"
        yield run(
            source, "-c:v", "libx264", "-filter:v", f"scale=-2:{height},fps=fps=30", "-pix_fmt", "yuv420p", "-crf", "23",
            "-c:a", "aac", "-b:a", "128k", "-ac", "2", "-maxrate", f"{kbits * 1.5:.0f}k", "-bufsize", f"{kbits * 1.5:.0f}k",
            "-force_key_frames", "expr:gte(t,n_forced*4)", "-x264-params", "keyint=240:keyint_min=120", "-preset",
            "faster" if height >= 720 else "medium", "-profile:v", "main", "-level", "4.2", "-strict", "-2",
            "-movflags", "+faststart", out,
        )  # fmt: skip
        yield run(
            out, "-c", "copy", "-f", "hls", "-hls_segment_type", "fmp4", "-hls_time", "4", folder / f"{height}.m3u8"
        )
    yield run(source, "-ss", "2", "-vf", "format=yuvj420p", "-frames:v", "1", folder / "thumbnail.jpg")
    yield run(
        source, "-vf", "fps=1/10,scale=160:-2,tile=1x100,format=yuvj420p", "-frames:v", "1", folder / "sprites.jpg"
    )


def run(source: Path, *arguments: str | Path) -> list[str]:
    return [FFMPEG, "-y", "-nostdin", "-loglevel", "error", "-i", str(source), *map(str, arguments)]


def main() -> None:
    name, source, folder = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    if name == "ours":
        asyncio.run(ours(source, folder))
        return
    for command in {"each": each, "mediacms": mediacms}[name](source, folder):
        subprocess.run(command, check=True)


if __name__ == "__main__":
    main()
