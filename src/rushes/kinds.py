"""What a file's name, its declared type and its first bytes say of it. Tables and pure functions.

The table of media extensions is our own, so that a name means the same on every machine; cameras' raw formats are in it.
Other extensions are looked up in the table that comes with Python, never in the machine's.
"""

from __future__ import annotations

import mimetypes
from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Final

UNKNOWN = "application/octet-stream"

_VIDEO = """
mp4 mp4 | m4v x-m4v | mov quicktime | qt quicktime | mkv x-matroska | mk3d x-matroska | webm webm | avi x-msvideo
divx x-msvideo | mxf mxf | gxf gxf | mpg mpeg | mpeg mpeg | mpe mpeg | m2v mpeg | m1v mpeg | mpv mpeg | vob mpeg | mod mpeg
tod mpeg | ts mp2t | mts mp2t | m2ts mp2t | m2t mp2t | tp mp2t | trp mp2t | wmv x-ms-wmv | asf x-ms-asf | wtv x-ms-wtv
flv x-flv | f4v mp4 | ogv ogg | ogm ogg | 3gp 3gpp | 3g2 3gpp2 | dv dv | dif dv | nut x-nut | ivf x-ivf | y4m x-yuv4mpeg
h264 h264 | 264 h264 | avc h264 | h265 h265 | hevc h265 | 265 h265 | obu av1 | vc1 vc1 | rm vnd.rn-realmedia
rmvb vnd.rn-realmedia | insv mp4 | lrv mp4 | 360 mp4 | r3d x-red-r3d | braw x-blackmagic-raw | crm x-canon-crm
nev x-nikon-nev | ari x-arri | arx x-arri | mlv x-magic-lantern | cine x-phantom-cine
"""
_AUDIO = """
wav wav | wave wav | bwf wav | rf64 wav | w64 x-w64 | aif aiff | aiff aiff | aifc aiff | caf x-caf | flac flac | mp3 mpeg
mp2 mpeg | m4a mp4 | m4b mp4 | aac aac | ac3 ac3 | eac3 eac3 | ec3 eac3 | dts vnd.dts | dtshd vnd.dts.hd | thd truehd
mlp vnd.dolby.mlp | ogg ogg | oga ogg | opus ogg | spx ogg | mka x-matroska | wma x-ms-wma | amr amr | ape x-ape
wv x-wavpack | tta x-tta | tak x-tak | mpc x-musepack | au basic | snd basic | voc x-voc | rso x-rso | atmos x-dolby-atmos
"""
_IMAGE = """
jpg jpeg | jpeg jpeg | jpe jpeg | jfif jpeg | png png | gif gif | webp webp | tif tiff | tiff tiff | bmp bmp | dib bmp
heic heic | heif heif | hif heif | avif avif | jxl jxl | jp2 jp2 | j2k jp2 | jpf jp2 | jpx jpx | j2c jp2 | ico x-icon
tga x-tga | dpx x-dpx | cin x-cineon | exr x-exr | hdr vnd.radiance | psd vnd.adobe.photoshop | svg svg+xml
dng x-adobe-dng | cr3 x-canon-cr3 | cr2 x-canon-cr2 | crw x-canon-crw | nef x-nikon-nef | nrw x-nikon-nrw | arw x-sony-arw
sr2 x-sony-sr2 | srf x-sony-srf | raf x-fuji-raf | orf x-olympus-orf | rw2 x-panasonic-rw2 | pef x-pentax-pef
srw x-samsung-srw | x3f x-sigma-x3f | iiq x-phaseone-iiq | 3fr x-hasselblad-3fr | fff x-hasselblad-fff
rwl x-leica-rwl | gpr x-gopro-gpr | kdc x-kodak-kdc | dcr x-kodak-dcr | erf x-epson-erf | mef x-mamiya-mef
"""
# Of others only what Python's table lacks, or calls differently from one version to the next.
_OTHER = """
docx vnd.openxmlformats-officedocument.wordprocessingml.document | xlsx vnd.openxmlformats-officedocument.spreadsheetml.sheet
pptx vnd.openxmlformats-officedocument.presentationml.presentation | odt vnd.oasis.opendocument.text | pdf pdf | zip zip
xml xml | fcpxml xml | xmp xml | aaf x-aaf | 7z x-7z-compressed | rar vnd.rar | iso x-iso9660-image | dmg x-apple-diskimage
apk vnd.android.package-archive | jar java-archive | msi x-msdownload | exe x-msdownload | dll x-msdownload | com x-msdownload
scr x-msdownload | bat x-msdownload | cmd x-msdownload | ps1 x-msdownload | js javascript | json json | bin octet-stream
"""


def _read(family: str, table: str) -> dict[str, str]:
    rows = (row.split() for line in table.strip().splitlines() for row in line.split("|"))
    return {extension: f"{family}/{subtype}" for extension, subtype in rows}


MEDIA: Final[Mapping[str, str]] = _read("image", _IMAGE) | _read("audio", _AUDIO) | _read("video", _VIDEO)
_OTHERS: Final[Mapping[str, str]] = _read("application", _OTHER)

_EITHER = "mp4 mov qt mkv webm mxf gxf ts mts m2ts asf 3gp 3g2 ogg mpg mpeg nut avi rm"
EITHER: Final = frozenset(_EITHER.split())  # containers that hold sound alone as well as pictures

# Declared types that are a way of not saying what is inside: the name has to, and the file's bytes will. The last three are
# what browsers say of .ts and .mts.
_VAGUE = """
application/octet-stream binary/octet-stream application/mxf application/x-mxf application/gxf application/ogg
application/mp4 application/x-matroska application/vnd.rn-realmedia application/vnd.ms-asf application/x-troff-msvideo
text/vnd.trolltech.linguist text/vnd.qt.linguist model/vnd.mts
"""
VAGUE: Final = frozenset(_VAGUE.split())

_ELSE: Final = mimetypes.MimeTypes(filenames=())

MAGIC: Final = (
    (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"),
    (b"PK\x05\x06", "application/zip"),
    (b"\x1f\x8b", "application/gzip"),
    (b"7z\xbc\xaf\x27\x1c", "application/x-7z-compressed"),
    (b"Rar!\x1a\x07", "application/vnd.rar"),
    (b"\xfd7zXZ\x00", "application/x-xz"),
    (b"BZh", "application/x-bzip2"),
    (b"\x28\xb5\x2f\xfd", "application/zstd"),
    (b"\x7fELF", "application/x-executable"),
    (b"MZ", "application/x-msdownload"),
    (b"\xcf\xfa\xed\xfe", "application/x-mach-binary"),
    (b"\xca\xfe\xba\xbe", "application/x-mach-binary"),
    (b"#!", "text/x-script"),
    (b"{\\rtf", "application/rtf"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "application/x-ole-storage"),
    (b"SQLite format 3\x00", "application/vnd.sqlite3"),
    (b"<?xml", "application/xml"),
    (b"<!DOCTYPE html", "text/html"),
    (b"<html", "text/html"),
    (b"wOFF", "font/woff"),
    (b"wOF2", "font/woff2"),
)
# What these are inside, another type names better: a .docx is a zip, an .edl is text.
CARRIERS: Final = frozenset(
    {"application/zip", "application/gzip", "application/xml", "application/x-ole-storage", "text/plain"}
)


def family(content_type: str) -> str:
    return content_type.partition("/")[0]


def bare(content_type: str) -> str:
    """`Video/MP4; codecs=avc1` as `video/mp4`."""
    return content_type.partition(";")[0].strip().lower()


def extension(filename: str) -> str:
    """Without the dot, in lower case; empty where there is none."""
    return PurePosixPath(filename.replace("\\", "/")).suffix.lower().removeprefix(".")


def named(filename: str) -> str | None:
    """The content type that a file's name says, None where it says nothing: without an extension, or with a strange one."""
    suffix = extension(filename)
    if not suffix:
        return None
    return (
        MEDIA.get(suffix) or _OTHERS.get(suffix) or _ELSE.guess_type(f"x.{suffix}", strict=False)[0] or _packed(suffix)
    )


def _packed(suffix: str) -> str | None:
    """`.gz` and the like are encodings to Python's table, not types."""
    return f"application/x-{suffix}" if f".{suffix}" in _ELSE.encodings_map else None


def content_type(filename: str) -> str:
    """What to declare for a file of this name."""
    return named(filename) or UNKNOWN


def is_media(type_: str) -> bool:
    return family(type_) in {"video", "audio", "image"}


def sniffed(head: bytes) -> str | None:
    """What the first few kilobytes of a file that is no media show, None where they show nothing."""
    for magic, type_ in MAGIC:
        if head.startswith(magic):
            return type_
    return "text/plain" if head and _is_text(head) else None


def _is_text(head: bytes) -> bool:
    try:
        text = head.decode()
    except UnicodeDecodeError as error:
        if error.start < len(head) - 3:  # else a character that the end of `head` cuts
            return False
        text = head[: error.start].decode()
    return all(char.isprintable() or char in "\r\n\t\f" for char in text)
