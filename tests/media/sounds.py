"""Sounds for the tests, written sample by sample: what is in them is known without anybody's encoder."""

from __future__ import annotations

import base64
import struct
import wave
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from .clips import ffmpeg

RED = (200, 30, 30)

Wave = npt.NDArray[np.float64]  # a row a channel, -1 to 1


def tone(decibels: float, seconds: float, rate: int = 48000, hertz: float = 1000, phase: float = 0) -> Wave:
    """One channel of a sine whose peak is so far below full scale."""
    time = np.arange(round(seconds * rate)) / rate
    samples: Wave = 10 ** (decibels / 20) * np.sin(2 * np.pi * hertz * time + phase)
    return samples[None, :]


def write_wav(path: Path, samples: Wave, rate: int = 48000, bits: int = 16) -> Path:
    """Whole numbers of 16 or 24 bits, without a channel mask; up to 65,535 channels."""
    with wave.open(str(path), "wb") as file:
        file.setparams((len(samples), bits // 8, rate, 0, "NONE", ""))
        whole = np.round(samples.T.reshape(-1, 1) * (2 ** (bits - 1) - 1)).astype("<i4")
        file.writeframes(whole.view(np.uint8)[:, : bits // 8].tobytes())
    return path


def write_chunks(path: Path, form: bytes, chunks: Sequence[tuple[bytes, bytes]], size: int) -> Path:
    """A RIFF file, or its RF64 form (EBU Tech 3306), as it is given; `size` is what its head says."""
    body = b"".join(name + struct.pack("<I", len(data)) + data for name, data in chunks)
    path.write_bytes(form + struct.pack("<I", size) + b"WAVE" + body)
    return path


def pcm(kind: int, channels: int, rate: int, bits: int, mask: int | None = None) -> bytes:
    """A `fmt ` chunk: kind 1 whole numbers, 3 floating point; with a mask of loudspeakers the extensible form."""
    frame = channels * bits // 8
    plain = struct.pack("<HIIHH", channels, rate, rate * frame, frame, bits)
    if mask is None:
        return struct.pack("<H", kind) + plain
    rest = struct.pack("<HHIH", 22, bits, mask, kind) + bytes.fromhex("000000001000800000aa00389b71")
    return struct.pack("<H", 0xFFFE) + plain + rest


def float_wav(path: Path) -> Path:
    """Stereo of 32-bit floats, one side louder than full scale."""
    samples = np.concatenate([tone(-6, 1), tone(3, 1)]).T.astype("<f4").tobytes()
    return write_chunks(path, b"RIFF", [(b"fmt ", pcm(3, 2, 48000, 32)), (b"data", samples)], 36 + len(samples))


def surround_wav(path: Path) -> Path:
    """7.1 with its mask."""
    samples = np.concatenate([tone(-20 - channel, 1) for channel in range(8)])
    data = np.round(samples.T * 32767).astype("<i2").tobytes()
    return write_chunks(path, b"RIFF", [(b"fmt ", pcm(1, 8, 48000, 16, 0x63F)), (b"data", data)], 60 + len(data))


def rf64(path: Path) -> Path:
    """The 64-bit sizes are in ds64; the 32-bit ones say nothing."""
    data = np.round(tone(-20, 1).T * 32767).astype("<i2").tobytes()
    sizes = struct.pack("<QQQI", 72 + len(data), len(data), len(data) // 2, 0)
    head = b"RF64" + struct.pack("<I", 0xFFFFFFFF) + b"WAVE" + b"ds64" + struct.pack("<I", len(sizes)) + sizes
    form = b"fmt " + struct.pack("<I", 16) + pcm(1, 1, 48000, 16) + b"data" + struct.pack("<I", 0xFFFFFFFF)
    path.write_bytes(head + form + data)
    return path


def large(form: str) -> Callable[[Path], Path]:
    """A head, and 6 GB of silence that takes no room on the disk: RF64, W64, and plain WAV whose sizes have wrapped round
    or are left out.
    """

    def make(path: Path) -> Path:
        length = 6_000_000_000
        fmt, ds64 = pcm(1, 2, 96_000, 16), struct.pack("<QQQI", length + 72, length, length // 4, 0)
        plain = {"wrapped.wav": length % 2**32, "unknown.wav": 0xFFFFFFFF, "zero.wav": 0}
        if form == "large.w64":
            tail = bytes.fromhex("f3acd3118cd100c04f8edb8a")
            head = bytes.fromhex("726966662e91cf11a5d628db04c10000") + struct.pack("<Q", length + 104) + b"wave" + tail
            head += b"fmt " + tail + struct.pack("<Q", 40) + fmt + b"data" + tail + struct.pack("<Q", 24 + length)
        elif form == "large.rf64":
            head = b"RF64" + b"\xff" * 4 + b"WAVEds64" + struct.pack("<I", 28) + ds64
            head += b"fmt " + struct.pack("<I", 16) + fmt + b"data" + b"\xff" * 4
        else:
            head = b"RIFF" + struct.pack("<I", (plain[form] + 36) % 2**32) + b"WAVEfmt " + struct.pack("<I", 16) + fmt
            head += b"data" + struct.pack("<I", plain[form])
        with path.open("wb") as file:
            file.write(head)
            file.truncate(len(head) + length)
        return path

    return make


LARGE = ("large.w64", "large.rf64", "wrapped.wav", "unknown.wav", "zero.wav")


def many_channels(count: int) -> Callable[[Path], Path]:
    def make(path: Path) -> Path:
        return write_wav(path, np.concatenate([tone(-20, 0.5)] * count))

    return make


def one_sample(path: Path) -> Path:
    return write_wav(path, np.array([[0.5]]))


def silence(path: Path) -> Path:
    return write_wav(path, np.zeros((2, 48000)))


def telephone(path: Path) -> Path:
    return write_wav(path, tone(-20, 1, 8000), 8000)


def studio(path: Path) -> Path:
    return write_wav(path, np.concatenate([tone(-20, 0.5, 192_000)] * 2), 192_000, 24)


def _cover(path: Path, width: int = 960, height: int = 600) -> Path:
    Image.new("RGB", (width, height), RED).save(path)
    return path


def _ogg_tag(picture: Path) -> str:
    """FLAC's PICTURE block, as ogg keeps it in a comment (RFC 9639 §8.8)."""
    data = picture.read_bytes()
    block = struct.pack(">II", 3, 9) + b"image/png" + struct.pack(">IIIIII", 0, 960, 600, 24, 0, len(data)) + data
    return base64.b64encode(block).decode()


def with_cover(folder: Path, name: str) -> Path:
    sound, picture, out = write_wav(folder / "plain.wav", tone(-20, 1)), _cover(folder / "front.png"), folder / name
    if name.endswith(".ogg"):
        ffmpeg("-i", sound, "-c:a", "libvorbis", "-metadata", f"METADATA_BLOCK_PICTURE={_ogg_tag(picture)}", out)
    else:
        ffmpeg("-i", sound, "-i", picture, "-map", "0:a", "-map", "1:v", "-c:v", "copy",
               "-disposition:v", "attached_pic", out)  # fmt: skip
    return out


ODD: dict[str, tuple[Callable[[Path], Path], float]] = {  # and how long each is
    "one_sample.wav": (one_sample, 1 / 48000),
    "silence.wav": (silence, 1),
    "telephone.wav": (telephone, 1),
    "studio.wav": (studio, 0.5),
    "float.wav": (float_wav, 1),
    "surround.wav": (surround_wav, 1),
    "rf64.wav": (rf64, 1),
    "recorder9.wav": (many_channels(9), 0.5),
    "recorder33.wav": (many_channels(33), 0.5),
}
