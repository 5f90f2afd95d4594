"""Makes a sample clip with real picture detail and sound: `make_clip.py OUT [--seconds N] [--megabytes M]`.

A camera wanders over a mountain map with snow, woods and water while discs bounce and a seven-segment clock runs; the
sound is a slow chord progression, rising chirps and bursts of noise. Every byte follows from the arguments (and the
FFmpeg build).

The map is painted once, larger than the frame; a frame is a crop of it with discs, film grain and clock drawn on, a few
milliseconds each, handed to x264 as yuv420p. 20 s of 1080p take about 9 s on two cores.
"""

from __future__ import annotations

import argparse
import subprocess
import tempfile
import wave
from pathlib import Path

import imageio_ffmpeg
import numpy as np
import numpy.typing as npt

Bytes = npt.NDArray[np.uint8]
Plane = npt.NDArray[np.float32]
_RATE = 48000
_SEGMENTS = ("abcdef", "bc", "abged", "abgcd", "fgbc", "afgcd", "afgedc", "abc", "abcdefg", "abcdfg")
_PLACES = {
    "a": (0, 0, 5, 1),
    "b": (4, 0, 1, 5),
    "c": (4, 4, 1, 5),
    "d": (0, 8, 5, 1),
    "e": (0, 4, 1, 5),
    "f": (0, 0, 1, 5),
    "g": (0, 4, 5, 1),
}


def make_clip(
    out: Path,
    *,
    seconds: float = 20.0,
    megabytes: float | None = None,
    width: int = 1920,
    height: int = 1080,
    fps: int = 30,
    options: tuple[str, ...] = (),
) -> None:
    """Write an H.264 and AAC clip. `megabytes` sets the bit rate; otherwise the quality decides. `options` are ffmpeg
    output options.
    """
    rate = ["-crf", "20"] if megabytes is None else ["-b:v", f"{round(megabytes * 8e6 / seconds) - 192000}"]
    with tempfile.TemporaryDirectory() as scratch:
        sound = Path(scratch) / "sound.wav"
        write_sound(sound, seconds)
        command = [
            imageio_ffmpeg.get_ffmpeg_exe(),
            "-y",
            "-nostdin",
            "-loglevel",
            "error",
            "-f",
            "rawvideo",
            "-pix_fmt",
            "yuv420p",
            "-s",
            f"{width}x{height}",
        ]
        command += [
            "-r",
            str(fps),
            "-i",
            "pipe:0",
            "-i",
            str(sound),
            "-c:v",
            "libx264",
            "-preset",
            "ultrafast",
            "-profile:v",
            "high",
            "-pix_fmt",
            "yuv420p",
            *rate,
        ]
        command += [
            "-vf",
            "setparams=colorspace=bt709:color_primaries=bt709:color_trc=bt709:range=tv",
            "-g",
            str(2 * fps),
            "-threads",
            "4",
        ]
        command += ["-c:a", "aac", "-b:a", "192k"]
        command += ["-fflags", "+bitexact", "-movflags", "+faststart", *options, str(out)]
        frames = round(seconds * fps)
        with subprocess.Popen(command, stdin=subprocess.PIPE) as encoder:
            assert encoder.stdin is not None
            world = World(width, height)
            for number in range(frames):
                encoder.stdin.write(world.frame(number / fps))
            encoder.stdin.close()
        if encoder.returncode:
            raise SystemExit(f"ffmpeg failed with exit code {encoder.returncode}")


class World:
    """The picture at any time."""

    def __init__(self, width: int, height: int) -> None:
        self._width, self._height = width, height
        random = np.random.default_rng(7)
        margin = 256
        terrain = _terrain(random, height + 2 * margin, width + 2 * margin)
        shade = np.diff(terrain, axis=1, append=terrain[:, -1:]) * (width / 12)
        water = terrain < 0.38
        self._luma = np.clip(np.where(water, 70 + 60 * terrain, 50 + 140 * terrain + 160 * shade), 16, 235).astype(
            np.uint8
        )
        low = terrain[::2, ::2]
        self._blue = np.where(low < 0.38, 170, np.where(low < 0.7, 105, 128)).astype(np.uint8)
        self._red = np.where(low < 0.38, 100, np.where(low < 0.7, 110 + 60 * (low - 0.38), 128)).astype(np.uint8)
        self._grain = random.normal(0, 5, (height + 64, width + 64)).astype(np.int8)
        self._margin = margin
        self._discs = random.uniform(0.1, 0.9, (12, 6))

    def frame(self, time: float) -> bytes:
        """One yuv420p frame."""
        width, height, margin = self._width, self._height, self._margin
        left = 2 * round((margin + margin * 0.98 * np.sin(time * 0.53)) / 2)
        top = 2 * round((margin + margin * 0.98 * np.cos(time * 0.41)) / 2)
        luma = self._luma[top : top + height, left : left + width].copy()
        blue = self._blue[top // 2 : (top + height) // 2, left // 2 : (left + width) // 2].copy()
        red = self._red[top // 2 : (top + height) // 2, left // 2 : (left + width) // 2].copy()
        for disc in self._discs:
            self._draw_disc(luma, blue, red, disc, time)
        shift = int(time * 1000)
        grain = self._grain[shift % 61 : shift % 61 + height, shift % 53 : shift % 53 + width]
        np.add(luma, grain, out=luma, casting="unsafe")
        np.clip(luma, 16, 235, out=luma)
        self._draw_clock(luma, time)
        return bytes(luma.tobytes() + blue.tobytes() + red.tobytes())

    def _draw_disc(self, luma: Bytes, blue: Bytes, red: Bytes, disc: npt.NDArray[np.float64], time: float) -> None:
        x, y, speed_x, speed_y, size, tint = disc
        radius = max(2, int(self._height * 0.03 * (1 + 2 * size))) & ~1
        centre_x = int(_bounce(x + speed_x * time * 0.3) * (self._width - 2 * radius)) & ~1
        centre_y = int(_bounce(y + speed_y * time * 0.4) * (self._height - 2 * radius)) & ~1
        rows, columns = np.ogrid[-radius:radius, -radius:radius]
        inside = rows**2 + columns**2 < radius**2
        stripes = (60 + 140 * (((rows + columns + int(time * 90)) // 6) % 2)).astype(np.uint8)
        window = (slice(centre_y, centre_y + 2 * radius), slice(centre_x, centre_x + 2 * radius))
        luma[window] = np.where(inside, stripes, luma[window])
        small = (slice(centre_y // 2, centre_y // 2 + radius), slice(centre_x // 2, centre_x // 2 + radius))
        blue[small] = np.where(inside[::2, ::2], np.uint8(60 + 140 * tint), blue[small])
        red[small] = np.where(inside[::2, ::2], np.uint8(200 - 140 * tint), red[small])

    def _draw_clock(self, luma: Bytes, time: float) -> None:
        unit = max(1, self._height // 120)
        digits = f"{int(time) // 60:02d}{int(time) % 60:02d}{int(time * 100) % 100:02d}"
        for place, digit in enumerate(digits):
            origin = unit * (4 + 7 * place + 2 * (place // 2))
            for segment in _SEGMENTS[int(digit)]:
                x, y, wide, high = (unit * value for value in _PLACES[segment])
                luma[unit * 4 + y : unit * 4 + y + high, origin + x : origin + x + wide] = 235


def _terrain(random: np.random.Generator, height: int, width: int) -> Plane:
    """Eight octaves of value noise, 0 to 1: detail at every scale, as in a landscape."""
    total = np.zeros((height, width), np.float32)
    weight = 1.0
    for octave in range(8):
        cells = 3 * 2**octave
        grid = random.random((cells + 2, cells + 2), dtype=np.float32)
        total += np.float32(weight) * _stretch(grid, height, width, cells)
        weight *= 0.62
    total -= total.min()
    scaled: Plane = (total / total.max()).astype(np.float32)
    return scaled


def _stretch(grid: Plane, height: int, width: int, cells: int) -> Plane:
    """Bilinear, first down then across."""
    rows = np.arange(height, dtype=np.float32) * (cells / height)
    columns = np.arange(width, dtype=np.float32) * (cells / width)
    row, column = rows.astype(np.intp), columns.astype(np.intp)
    down = (rows - row)[:, None]
    across = (columns - column)[None, :]
    tall = grid[row] * (1 - down) + grid[row + 1] * down
    stretched: Plane = (tall[:, column] * (1 - across) + tall[:, column + 1] * across).astype(np.float32)
    return stretched


def _bounce(value: float) -> float:
    """A triangle wave between 0 and 1."""
    return 1 - abs(value % 2 - 1)


def write_sound(path: Path, seconds: float) -> None:
    """16-bit stereo WAV: chords that change every two seconds, a chirp every three, a noise burst every second."""
    time = np.arange(round(seconds * _RATE)) / _RATE
    roots = np.array([220.0, 174.61, 261.63, 196.0])[(time // 2).astype(int) % 4]
    phase = 2 * np.pi * np.cumsum(roots) / _RATE
    chord = sum(np.sin(phase * ratio) * 0.12 for ratio in (1, 1.26, 1.498, 2)) * np.exp(-0.7 * (time % 2))
    sweep = time % 3
    chirp = 0.2 * np.sin(2 * np.pi * (200 * sweep + 900 * sweep**2)) * (sweep < 1)
    burst = np.random.default_rng(3).normal(0, 0.2, time.size) * np.exp(-25 * (time % 1))
    left, right = chord + chirp + burst * 0.6, chord + chirp * 0.4 + burst
    samples = (np.clip(np.stack([left, right], axis=1), -0.98, 0.98) * 32767).astype("<i2")
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2)
        file.setsampwidth(2)
        file.setframerate(_RATE)
        file.writeframes(samples.tobytes())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--megabytes", type=float, default=50.0)
    arguments = parser.parse_args()
    make_clip(arguments.out, seconds=arguments.seconds, megabytes=arguments.megabytes)


if __name__ == "__main__":
    main()
