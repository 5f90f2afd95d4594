"""What of a sound file is played: which files there are and how each is made, and whether they came out whole.

preview.m4a and hls-audio.mp4 are one AAC encode (or the source's own AAC), preview.mp3 one of LAME (or the source's own
MP3). Data and pure decisions; `inside/previews.py` writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rushes.errors import Unavailable
from rushes.media.info import AudioInfo
from rushes.media.ladder import audio_rate
from rushes.media.outputs import Output, collect
from rushes.model import Segments

RECIPE = 1
M4A, MP3, HLS = "preview.m4a", "preview.mp3", "hls-audio.mp4"
_BIT_RATES = {1: 96_000, 2: 128_000}  # by channels
_MOST_COPIED = 330_000  # bits per second
_HEADED = {"mov", "matroska"}  # containers that keep what an AAC decoder must know in their head, as MP4 does
_SEGMENT_SECONDS = 4
_SLACK = 0.25  # seconds that encoders may add or lose at the ends
# A head with an edit list and no samples, then fragments: what hls.js and Media Source Extensions take as it is.
_CMAF = {
    "movflags": "+cmaf+delay_moov+default_base_moof+skip_trailer",
    "frag_duration": str(_SEGMENT_SECONDS * 1_000_000),
}
_FASTER = {"aac": {"aac_coder": "fast"}, "libmp3lame": {"compression_level": "7"}}  # 0.6 and 0.5 of the usual CPU


def plan_previews(sound: AudioInfo, demuxer: str, *, copy: bool = True) -> list[dict[str, Any]]:
    """The arguments `previews` of the task `sound`. With `copy`, what players take as it is is not encoded again."""
    copied = playable(sound, demuxer) if copy else None
    channels, rate = min(2, sound.channels), audio_rate(sound.sample_rate)
    aac = [{"name": M4A, "format": "ipod", "options": {"movflags": "+faststart"}},
           {"name": HLS, "format": "mp4", "options": _CMAF}]  # fmt: skip
    mp3: list[dict[str, Any]] = [{"name": MP3, "format": "mp3", "options": {}}]
    return [
        {
            "codec": codec,
            "files": files,
            "copy": codec == copied,
            "frame_size": frame_size,
            "rate": rate,
            "layout": "mono" if channels == 1 else "stereo",
            "bit_rate": _BIT_RATES[channels],
            "options": _FASTER[codec],
        }
        for codec, files, frame_size in (("aac", aac, 1024), ("libmp3lame", mp3, 1152))
    ]


def playable(sound: AudioInfo, demuxer: str) -> str | None:
    """The encoder that is not needed, because browsers play this sound as it is, at no more than a preview's cost."""
    if sound.channels > 2 or sound.sample_rate not in {44_100, 48_000} or (sound.bit_rate or 0) > _MOST_COPIED:
        return None
    if sound.codec == "mp3":
        return "libmp3lame"
    return "aac" if sound.codec == "aac" and sound.profile == "LC" and demuxer in _HEADED else None


def check_heard(name: str, expected: float, heard: dict[str, Any]) -> None:
    """Raises Unavailable for a preview that is not as long as what was decoded, or whose ends do not decode."""
    seconds, first, last = (heard.get(what) for what in ("seconds", "first", "last"))
    if (
        not isinstance(seconds, (int, float))
        or abs(seconds - expected) > _SLACK + expected / 1000
        or not (first and last)
    ):
        raise Unavailable("tool_crashed", f"{name} came out with {seconds} s of sound, not {expected:.2f} s.")


def collected(job_dir: Path, name: str, one: dict[str, Any], sound: AudioInfo, seconds: float) -> Output:
    """A preview as it lies in the job's directory; `one` is its part of the plan."""
    common: dict[str, Any] = {"duration": seconds, "recipe": RECIPE, "copied": one["copy"]}
    if name != HLS:
        kind = "audio/mpeg" if name == MP3 else "audio/mp4"
        return collect(job_dir, name, "preview", kind, **common, codec="mp3" if name == MP3 else "aac")
    made = collect(job_dir, name, "hls_audio", "audio/mp4")
    laid = fragments(made.path)
    rates = [round(length * 8 / lasting) for length, lasting in zip(laid.lengths, laid.seconds, strict=True)]
    return collect(
        job_dir,
        name,
        "hls_audio",
        "audio/mp4",
        **common,
        segments=laid,
        codecs="mp4a.40.2",
        channels=1 if one["layout"] == "mono" else 2,
        language=sound.language,
        default=True,
        bandwidth=max(rates),
        average_bandwidth=round(sum(laid.lengths) * 8 / sum(laid.seconds)),
    )


def fragments(path: Path) -> Segments:
    """How a fragmented MP4 file of one track is laid out (ISO/IEC 14496-12 §8.8). Raises Unavailable when it is not."""
    init, lengths, seconds, scale = 0, [], [], 0
    with path.open("rb") as file:
        for kind, start, size in _boxes(file, 0, path.stat().st_size):
            if kind == b"moof":
                lengths.append(size)
                seconds.append(_ticks(file, start, size) / max(1, scale))
            elif lengths:
                lengths[-1] += size
            else:
                init += size
                if kind == b"moov":
                    scale = _scale(file, start, size)
    if not init or not lengths or not scale or min(seconds) <= 0:
        raise Unavailable("tool_crashed", f"{path.name} came out without segments.")
    return Segments(init, lengths, seconds)


def _boxes(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start, size) of each box; a box that does not fit is told of by Unavailable."""
    while start < end:
        file.seek(start)
        head = file.read(8)
        size = int.from_bytes(head[:4], "big")
        if len(head) < 8 or size < 8 or start + size > end:
            raise Unavailable("tool_crashed", "A media tool wrote a file that is not MP4.")
        yield head[4:], start, size
        start += size


def _inner(file: BinaryIO, start: int, size: int, *path: bytes) -> Iterator[bytes]:
    """The bodies of the boxes that lie along `path` below a box."""
    for kind, inner, length in _boxes(file, start + 8, start + size):
        if kind == path[0] and len(path) > 1:
            yield from _inner(file, inner, length, *path[1:])
        elif kind == path[0]:
            file.seek(inner + 8)
            yield file.read(length - 8)


def _scale(file: BinaryIO, start: int, size: int) -> int:
    """Ticks a second (mdhd, §8.4.2)."""
    body = next(_inner(file, start, size, b"trak", b"mdia", b"mdhd"), b"")
    return int.from_bytes(body[20:24] if body[:1] == b"\1" else body[12:16], "big")


def _ticks(file: BinaryIO, start: int, size: int) -> int:
    """How long a fragment lasts: its samples (trun, §8.8.8) at their own or the usual duration (tfhd, §8.8.7)."""
    head = next(_inner(file, start, size, b"traf", b"tfhd"), b"\0" * 8)
    flags, place = int.from_bytes(head[1:4], "big"), 8
    place += 8 * bool(flags & 0x1) + 4 * bool(flags & 0x2)
    usual = int.from_bytes(head[place : place + 4], "big") if flags & 0x8 else 0
    total = 0
    for run in _inner(file, start, size, b"traf", b"trun"):
        flags, count = int.from_bytes(run[1:4], "big"), int.from_bytes(run[4:8], "big")
        width = 4 * sum(bool(flags & bit) for bit in (0x100, 0x200, 0x400, 0x800))
        first = 8 + 4 * bool(flags & 0x1) + 4 * bool(flags & 0x4)
        if not flags & 0x100:
            total += usual * count
            continue
        total += sum(int.from_bytes(run[at : at + 4], "big") for at in range(first, first + count * width, width))
    return total
