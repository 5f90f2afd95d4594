"""What identify found in a file. Frozen values; `to_json` and `from_json` go through plain JSON values."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from pydantic import TypeAdapter

Scan = Literal["progressive", "tff", "bff", "unknown"]  # top or bottom field first; unknown where nothing says
Value = str | int | float | bool | list[Any]  # of an EXIF, IPTC or XMP field; lists are flat


@dataclass(frozen=True)
class Mastering:
    """The display a picture was mastered on (SMPTE ST 2086), and the content's own light (CTA-861.3)."""

    primaries: tuple[tuple[float, float], ...] = ()  # CIE 1931 x and y of red, green, blue, white
    min_luminance: float | None = None  # candela per square metre, as the rest
    max_luminance: float | None = None
    max_content: int | None = None  # MaxCLL
    max_average: int | None = None  # MaxFALL


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
    level: int | None = None  # as the codec numbers it
    level_name: str | None = None  # as people write it: "4.1", "Main"
    sample_aspect: str = "1:1"
    display_aspect: str | None = None  # of the upright picture
    chroma: str | None = None  # "4:2:0", "4:2:2", "4:4:4" …; "rgb" or "grey"
    scan: Scan = "unknown"
    fps: float | None = None  # average
    frame_rate: str | None = None  # exact, "30000/1001"
    vfr: bool = False
    bit_rate: int | None = None  # bits per second
    start: float | None = None  # seconds, of its first frame, on the same line as the file's
    duration: float | None = None  # seconds, where the container knows it for this stream
    frames: int | None = None  # where the container knows
    primaries: str | None = None  # this and the next three as FFmpeg names ITU-T H.273's values
    transfer: str | None = None
    matrix: str | None = None
    range: str | None = None
    hdr: Literal["hdr10", "pq", "hlg"] | None = None  # pq: without the metadata that makes it HDR10
    mastering: Mastering | None = None
    dolby_vision: bool = False
    dolby_vision_profile: str | None = None  # "5", "8.4"
    gop_seconds: float | None = None  # the longest way between key frames that the index shows
    b_frames: bool = False
    title: str | None = None
    language: str | None = None


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
    bit_depth: int | None = None  # of lossless sound
    bit_rate: int | None = None  # bits per second
    duration: float | None = None  # seconds
    language: str | None = None
    title: str | None = None
    default: bool = False
    loudness: Loudness | None = None  # known once the whole sound was heard


@dataclass(frozen=True)
class OtherStream:
    """Subtitles, data, attachments, covers and further pictures: named, not used."""

    index: int
    kind: str  # video, subtitle, data or attachment
    codec: str
    language: str | None = None
    title: str | None = None


@dataclass(frozen=True)
class ImageInfo:
    """A still picture; `width` and `height` are upright."""

    width: int
    height: int
    mode: str  # Pillow's: RGB, RGBA, L, P, CMYK, I;16 …
    has_alpha: bool
    orientation: int  # EXIF, 1 to 8
    frames: int = 1
    bit_depth: int | None = None  # of a channel, in the file
    icc: str | None = None  # the name that the embedded profile gives itself; "" for one without a name
    exif: dict[str, Value] = field(default_factory=dict)  # by EXIF's names; GPS as degrees and metres
    iptc: dict[str, Value] = field(default_factory=dict)  # by IIM's names
    xmp: dict[str, Value] = field(default_factory=dict)  # by prefix and name, "dc:creator"


@dataclass(frozen=True)
class Camera:
    make: str | None = None
    model: str | None = None
    lens: str | None = None
    serial: str | None = None
    reel: str | None = None
    software: str | None = None


@dataclass(frozen=True)
class Place:
    latitude: float  # degrees, north and east are positive
    longitude: float
    altitude: float | None = None  # metres above the sea


@dataclass(frozen=True)
class MediaInfo:
    kind: Literal["video", "audio", "image"]
    format: str  # FFmpeg's demuxer, as it names itself, or Pillow's format
    size: int  # bytes
    container: str = ""  # in words
    wrapper: str = ""  # in one word, as a tenant's formats name it: mp4, mov, mkv, webm, ts, jpeg …
    duration: float | None = None  # seconds
    bit_rate: int | None = None  # bits per second
    start: float | None = None  # seconds, of the first timestamp
    timecode: str | None = (
        None  # of the first frame, "10:00:00:00"; ";" before the frames: drop frame; of sound "10:00:00.000"
    )
    video: VideoInfo | None = None
    audio: tuple[AudioInfo, ...] = ()
    image: ImageInfo | None = None
    streams: int = 0
    counts: dict[str, int] = field(default_factory=dict)  # streams by kind
    others: tuple[OtherStream, ...] = ()
    cover: int | None = None  # the index of an attached picture
    chapters: int = 0
    created: str | None = None  # ISO 8601, with a zone where the file tells one
    camera: Camera | None = None
    place: Place | None = None
    tags: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        lists = {"audio": [asdict(audio) for audio in self.audio], "others": [asdict(other) for other in self.others]}
        return asdict(self) | lists

    @staticmethod
    def from_json(value: dict[str, Any]) -> MediaInfo:
        """Raises ValueError for anything that `to_json` did not make."""
        return _ADAPTER.validate_python(value)

    @property
    def seconds(self) -> float:
        """Duration for limits and progress; 0 where it is not known."""
        return self.duration or 0.0


_ADAPTER = TypeAdapter(MediaInfo)
