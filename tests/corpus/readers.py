"""Independent readers, and what they say in the words of `MediaInfo`: MediaInfo of films and sounds, ExifTool of pictures
and of where a file comes from. Neither shares code with FFmpeg, Pillow, libheif or LibRaw.

MediaInfo comes as a wheel (`readers.txt`), ExifTool from npm (`exiftool/package-lock.json`) for the machine's Perl.
"""

from __future__ import annotations

import importlib
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

from tests.corpus.packages import ROOT, installed
from tests.e2e.browser import npm, trusting

Facts = dict[str, Any]
_HERE = Path(__file__).parent


class Missing(Exception):
    """A reader cannot be had on this machine."""


def mediainfo(path: Path) -> Facts:
    """Raises Missing."""
    tracks = _tracks(path)
    general = next(track for track in tracks if track["@type"] == "General")
    videos = [track for track in tracks if track["@type"] == "Video"]
    facts = _known({
        "wrapper": _container(general),
        "duration": _number(general.get("Duration")),
        "counts.audio": _whole(general.get("AudioCount")),
        "tags.title": general.get("Title") if "Title" in general else None,
        "timecode": _timecode(tracks),
    })  # fmt: skip
    if (
        videos
        and general.get("Format") not in {"MPEG Audio", "FLAC"}
        and "Cover" not in str(videos[0].get("Title", ""))
    ):
        facts |= {f"video.{key}": value for key, value in _video(videos[0]).items()}
    for number, track in enumerate(track for track in tracks if track["@type"] == "Audio"):
        facts |= {f"audio.{number}.{key}": value for key, value in _audio(track).items()}
    return facts


def exiftool(path: Path) -> Facts:
    """Of pictures all, of films and sounds where they come from. Raises Missing."""
    told = _exiftool(path)
    first = _chooser(told)
    facts: Facts = {
        "camera.make": first("Make"),
        "camera.model": first("Model"),
        "camera.lens": first("LensModel"),
        "created": _moment(first("DateTimeOriginal", "CreationDate"), first("OffsetTimeOriginal")),
        "place.latitude": _rounded(first("Composite:GPSLatitude")),
        "place.longitude": _rounded(first("Composite:GPSLongitude")),
        "place.altitude": _rounded(first("Composite:GPSAltitude")),
        "wrapper": _FILES.get(str(first("FileType"))),
    }
    if str(first("MIMEType")).startswith("image/"):
        facts |= _picture(told)
    return _known(facts)


# --- MediaInfo ---

_CONTAINERS = {
    "Matroska": "mkv", "WebM": "webm", "MPEG-TS": "ts", "BDAV": "ts", "MPEG-PS": "mpg", "MXF": "mxf", "AVI": "avi",
    "Flash Video": "flv", "Windows Media": "asf", "Ogg": "ogg", "Wave": "wav", "Wave64": "w64", "FLAC": "flac",
    "MPEG Audio": "mp3", "AC-3": "ac3", "AIFF": "aiff", "CAF": "caf", "ADTS": "aac", "WavPack": "wv", "AMR": "amr", "DV": "dv",
    "AVC": "h264", "MPEG Video": "mpg",
}  # fmt: skip
_CODECS = {
    "AVC": "h264", "HEVC": "hevc", "VP8": "vp8", "VP9": "vp9", "AV1": "av1", "ProRes": "prores", "VC-3": "dnxhd",
    "MPEG-4 Visual": "mpeg4", "JPEG": "mjpeg", "FFV1": "ffv1", "Theora": "theora", "DV": "dvvideo", "Sorenson Spark": "flv1",
    "H.263": "h263", "WMV2": "wmv2", "CineForm": "cfhd", "JPEG 2000": "jpeg2000", "AAC": "aac", "AAC LC": "aac", "AC-3": "ac3",
    "E-AC-3": "eac3", "FLAC": "flac", "ALAC": "alac", "Opus": "opus", "Vorbis": "vorbis", "WavPack": "wavpack", "AMR": "amr_nb",
    "WMA": "wmav2",
}  # fmt: skip
_COLOURS = {"BT.709": "bt709", "BT.601 NTSC": "smpte170m", "BT.601": "smpte170m", "BT.2020": "bt2020",
            "BT.2020 non-constant": "bt2020nc", "PQ": "smpte2084", "HLG": "arib-std-b67",
            "BT.601 PAL": "bt470bg", "BT.470 System B/G": "bt470bg"}  # fmt: skip
_LANGUAGES = {"en": {"eng"}, "de": {"deu", "ger"}, "fr": {"fra", "fre"}, "ja": {"jpn"}}


def _container(general: Mapping[str, Any]) -> str | None:
    if general.get("Format") != "MPEG-4":
        return _CONTAINERS.get(str(general.get("Format")))
    profile = str(general.get("Format_Profile"))
    return "mov" if profile == "QuickTime" else "3gp" if profile.startswith("3GPP") else "mp4"


def _video(track: Mapping[str, Any]) -> Facts:
    rate = _rate(track)
    hdr = str(track.get("HDR_Format", "")) + str(track.get("HDR_Format_Compatibility", ""))
    transfer = _COLOURS.get(str(track.get("transfer_characteristics")))
    return _known({
        "codec": _video_codec(track),
        "profile": track.get("Format_Profile"),
        "level_name": track.get("Format_Level"),
        "coded_width": _whole(track.get("Width")),
        "coded_height": _whole(track.get("Height")),
        "sample_aspect": _number(track.get("PixelAspectRatio")),
        "frame_rate": rate,
        "vfr": {"VFR": True, "CFR": False}.get(str(track.get("FrameRate_Mode"))),
        "frames": _whole(track.get("FrameCount")),
        "rotation": _whole(track.get("Rotation")),
        "scan": _scan(track),
        "bit_depth": _whole(track.get("BitDepth")),
        "chroma": track.get("ChromaSubsampling"),
        "primaries": _COLOURS.get(str(track.get("colour_primaries"))),
        "transfer": transfer,
        "matrix": _COLOURS.get(str(track.get("matrix_coefficients"))),
        "range": {"Limited": "tv", "Full": "pc"}.get(str(track.get("colour_range"))),
        "hdr": "hdr10" if "ST 2086" in hdr or "HDR10" in hdr else "hlg" if transfer == "arib-std-b67" else None,
        "dolby_vision": "Dolby Vision" in hdr or None,
        "mastering.max_content": _whole(str(track.get("MaxCLL", "")).removesuffix(" cd/m2")),
        "mastering.max_average": _whole(str(track.get("MaxFALL", "")).removesuffix(" cd/m2")),
    })  # fmt: skip


def _video_codec(track: Mapping[str, Any]) -> str | None:
    form, version = str(track.get("Format")), str(track.get("Format_Version"))
    if form == "MPEG Video":
        return {"1": "mpeg1video", "2": "mpeg2video"}.get(version)
    if form == "YUV":
        return str(track.get("CodecID")) if track.get("CodecID") == "v210" else None
    if form == "MPEG-4 Visual" and str(track.get("CodecID", "")).upper() in {"MP43", "DIV3"}:
        return "msmpeg4v3"
    return _CODECS.get(form)


def _rate(track: Mapping[str, Any]) -> Fraction | None:
    if track.get("FrameRate_Mode") == "VFR":
        return None
    if "FrameRate_Num" in track:
        return Fraction(int(track["FrameRate_Num"]), int(track["FrameRate_Den"]))
    return Fraction(track["FrameRate"]) if "FrameRate" in track else None


def _scan(track: Mapping[str, Any]) -> str | None:
    if track.get("ScanType") == "Progressive":
        return "progressive"
    return {"TFF": "tff", "BFF": "bff"}.get(str(track.get("ScanOrder"))) if "ScanType" in track else None


def _audio(track: Mapping[str, Any]) -> Facts:
    codec = _audio_codec(track)
    lossless = codec in {"flac", "alac", "wavpack"} or str(codec).startswith("pcm")
    return _known({
        "codec": codec,
        "channels": _whole(track.get("Channels")),
        "sample_rate": _whole(track.get("SamplingRate")),
        "bit_depth": _whole(track.get("BitDepth")) if lossless else None,
        "language": track.get("Language"),
        "title": track.get("Title"),
    })  # fmt: skip


def _audio_codec(track: Mapping[str, Any]) -> str | None:
    form = str(track.get("Format"))
    if form == "MPEG Audio":
        return {"Layer 3": "mp3", "Layer 2": "mp2"}.get(str(track.get("Format_Profile")))
    if form == "PCM":
        bits, settings = track.get("BitDepth"), str(track.get("Format_Settings_Endianness", "Little"))
        kind = "f" if track.get("Format_Profile") == "Float" else "s"
        return f"pcm_{kind}{bits}{'be' if settings == 'Big' else 'le'}"
    return _CODECS.get(form)


def _timecode(tracks: list[dict[str, Any]]) -> str | None:
    recorded = [track.get("Delay_String3") for track in tracks if "bext" in str(track.get("Delay_Source"))]
    told = [track.get("TimeCode_FirstFrame") for track in tracks]
    return next((str(one) for one in (*told, *recorded) if one), None)


# --- ExifTool ---

_FILES = {
    "JPEG": "jpeg", "PNG": "png", "APNG": "png", "WEBP": "webp", "Extended WEBP": "webp",
    "GIF": "gif", "TIFF": "tiff", "HEIC": "heif",
    "AVIF": "avif", "DNG": "dng", "JP2": "jpeg2000", "BMP": "bmp", "MOV": "mov", "MP4": "mp4", "MKV": "mkv", "WEBM": "webm",
    "AVI": "avi", "MXF": "mxf", "FLV": "flv", "M2TS": "ts", "MTS": "ts",
    "WMV": "asf", "ASF": "asf", "MPEG": "mpg", "M4A": "mp4", "3GP": "3gp",
    "WAV": "wav", "FLAC": "flac", "MP3": "mp3", "OGG": "ogg", "OGV": "ogg", "OPUS": "ogg", "AIFF": "aiff", "DV": "dv",
}  # fmt: skip


def _picture(told: Mapping[str, Any]) -> Facts:
    first = _chooser(told)
    orientation = _whole(first("IFD0:Orientation")) or 1
    wide, high = _whole(first("SubIFD:ImageWidth", "ImageWidth")), _whole(first("SubIFD:ImageHeight", "ImageHeight"))
    width, height = (wide, high) if orientation < 5 else (high, wide)
    depth = first("SubIFD:BitsPerSample", "PNG:BitDepth", "ImagePixelDepth", "BitsPerSample")
    fields = {
        f"image.iptc.{name.removeprefix('IPTC:')}": value for name, value in told.items() if name.startswith("IPTC:")
    }
    fields |= {
        "image.width": width, "image.height": height, "image.orientation": orientation,
        "image.bit_depth": _whole(str(depth).split(" ", maxsplit=1)[0]) if depth is not None else None,
        "image.icc": first("ProfileDescription"), "image.exif.FNumber": first("FNumber"),
        "image.exif.ISOSpeedRatings": first("ISO"),
        "image.xmp.dc:creator": first("XMP-dc:Creator"), "image.frames": _whole(first("GIF:FrameCount")),
        "image.xmp.xmp:Rating": first("XMP-xmp:Rating"),
    }  # fmt: skip
    return fields


def _moment(stamp: Any, zone: Any) -> str | None:
    match = re.fullmatch(r"(\d{4}):(\d\d):(\d\d) (\d\d:\d\d:\d\d)([+-]\d\d:\d\d)?", str(stamp))
    return None if match is None else f"{match[1]}-{match[2]}-{match[3]}T{match[4]}{match[5] or zone or ''}"


def _chooser(told: Mapping[str, Any]) -> Callable[..., Any]:
    """The first of several fields, with or without its group's name."""

    def first(*names: str) -> Any:
        for name in names:
            for key, value in told.items():
                if name in {key, key.partition(":")[2]}:
                    return value
        return None

    return first


# --- both ---


def _known(facts: Facts) -> Facts:
    return {key: value for key, value in facts.items() if value is not None}


def _number(value: Any) -> float | None:
    return float(value) if value not in {None, ""} else None


def _whole(value: Any) -> int | None:
    return int(float(value)) if re.fullmatch(r"\d+(\.\d+)?", str(value).strip()) else None


def _rounded(value: Any) -> float | None:
    return round(float(value), 6) if value is not None else None


def agree(fact: str, ours: Any, theirs: Any) -> bool:
    """Whether two readers say the same, as well as each of them writes it down."""
    match fact.rpartition(".")[2], ours, theirs:
        case "duration", float(), float():
            return abs(ours - theirs) <= 0.1
        case "frame_rate", str(), Fraction():
            return abs(float(Fraction(ours) / theirs) - 1) < 1e-4
        case "sample_aspect", str(), float():
            return abs(float(Fraction(ours.replace(":", "/"))) - theirs) < 0.005
        case "language", str(), str():
            return ours == theirs or ours in _LANGUAGES.get(theirs, ())
        case "level_name", str(), str() if re.fullmatch(r"[\d.]+", ours + theirs):
            return float(ours) == float(theirs)
        case "profile", str(), str():
            return ours.lower() in theirs.lower() or theirs.lower() in ours.lower()
        case "xmp:Rating", _, _:
            return str(ours) == str(theirs)
        case _, float() | int(), float() | int():
            return abs(ours - theirs) <= abs(ours) * 1e-5
    return bool(ours == theirs)


# --- programs ---


def _tracks(path: Path) -> list[dict[str, Any]]:
    place = str(installed(ROOT / "readers", _HERE / "readers.txt"))
    if place not in sys.path:
        sys.path.append(place)
    whole = json.loads(importlib.import_module("pymediainfo").MediaInfo.parse(path, output="JSON"))
    tracks: list[dict[str, Any]] = whole["media"]["track"]
    return tracks


def _exiftool(path: Path) -> dict[str, Any]:
    if shutil.which("perl") is None:
        raise Missing("ExifTool needs perl")
    command = ["perl", str(_program()), "-j", "-n", "-G1", "-api", "largefilesupport=1", "--", str(path)]
    ended = subprocess.run(command, check=False, capture_output=True, timeout=120)
    if b"Can't locate" in ended.stderr:  # Debian's perl-base lacks parts of Perl's library
        raise Missing(f"ExifTool needs more of Perl: {ended.stderr.decode(errors='replace')[:200]}")
    told: dict[str, Any] = json.loads(ended.stdout)[0]
    return told


def _program() -> Path:
    directory, lock = ROOT / "exiftool", _HERE / "exiftool" / "package-lock.json"
    program = directory / "node_modules" / "exiftool-vendored.pl" / "bin" / "exiftool"
    if program.exists() and (directory / lock.name).read_bytes() == lock.read_bytes():
        return program
    directory.mkdir(parents=True, exist_ok=True)
    for file in lock.parent.iterdir():
        shutil.copyfile(file, directory / file.name)
    command = [*npm(), "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(command, cwd=directory, env=trusting(), check=True, capture_output=True, timeout=600)
    return program
