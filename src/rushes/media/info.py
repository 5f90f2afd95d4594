"""What identify found in a file. Frozen values; `to_json` and `from_json` go through plain JSON values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter


@dataclass(frozen=True)
class VideoInfo:
    """The moving picture. `width` and `height` are as displayed: square pixels, upright."""

    index: int
    codec: str
    width: int
    height: int
    coded_width: int
    coded_height: int
    rotation: int  # degrees clockwise that a player turns the coded picture by
    pixel_format: str
    bit_depth: int
    profile: str | None = None
    level: int | None = None
    sample_aspect: str = "1:1"
    fps: float | None = None  # average
    frame_rate: str | None = None  # exact, "30000/1001"
    vfr: bool = False
    bit_rate: int | None = None  # bits per second
    duration: float | None = None  # seconds, where the container knows it for this stream
    frames: int | None = None  # where the container knows
    primaries: str | None = None  # this and the next three as FFmpeg names ITU-T H.273's values
    transfer: str | None = None
    matrix: str | None = None
    range: str | None = None
    hdr: Literal["pq", "hlg"] | None = None


@dataclass(frozen=True)
class Loudness:
    """By EBU R128; None where there is nothing but silence."""

    integrated: float | None  # LUFS
    true_peak: float | None  # dBTP
    range: float | None  # LU


@dataclass(frozen=True)
class AudioInfo:
    index: int
    codec: str
    channels: int
    layout: str
    sample_rate: int  # hertz
    profile: str | None = None
    bit_rate: int | None = None  # bits per second
    duration: float | None = None  # seconds
    language: str | None = None
    loudness: Loudness | None = None  # known once the whole sound was heard


@dataclass(frozen=True)
class ImageInfo:
    """A still picture; `width` and `height` are upright."""

    width: int
    height: int
    mode: str  # Pillow's: RGB, RGBA, L, P, CMYK, I;16 …
    has_alpha: bool
    orientation: int  # EXIF, 1 to 8
    frames: int = 1


@dataclass(frozen=True)
class MediaInfo:
    kind: Literal["video", "audio", "image"]
    format: str  # FFmpeg's demuxer, as it names itself, or Pillow's format
    size: int  # bytes
    container: str = ""  # in words
    duration: float | None = None  # seconds
    bit_rate: int | None = None  # bits per second
    start: float | None = None  # seconds, of the first timestamp
    video: VideoInfo | None = None
    audio: tuple[AudioInfo, ...] = ()
    image: ImageInfo | None = None
    streams: int = 0
    tags: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return asdict(self) | {"audio": [asdict(audio) for audio in self.audio]}

    @staticmethod
    def from_json(value: dict[str, Any]) -> MediaInfo:
        """Raises ValueError for anything that `to_json` did not make."""
        return _ADAPTER.validate_python(value)

    @property
    def seconds(self) -> float:
        """Duration for limits and progress; 0 where it is not known."""
        return self.duration or 0.0


_ADAPTER = TypeAdapter(MediaInfo)
