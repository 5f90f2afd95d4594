"""Still pictures: how they are opened. Describing them is the work of `imagefacts`, rendering them of `rendering`."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, cast

from PIL import ExifTags, Image, UnidentifiedImageError

from rushes.media.formats import PICTURES
from rushes.media.inside import plugins, rawkind, talk
from rushes.media.inside.reader import Reader

if TYPE_CHECKING:
    from rushes.media.inside.raw import Raw

plugins.load()
Image.MAX_IMAGE_PIXELS = None  # the limit is checked here, with a sentence
warnings.simplefilter("ignore")  # about odd metadata; nobody reads them
BROKEN = (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError, TypeError, AttributeError, RuntimeError)
_SIGNATURES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")  # of formats that nothing else is
_UNREAD = {  # pictures that nothing here reads: for JPEG XL there was only a GPL wheel
    b"\xff\x0a": "JPEG XL", b"\0\0\0\x0cJXL \r\n\x87\n": "JPEG XL", b"8BPS": "Photoshop", b"v/1\x01": "OpenEXR",
    b"SDPX": "DPX", b"XPDS": "DPX",
}  # fmt: skip
_HEAD = 16 * 1024  # bytes
ALPHA = {"RGBA", "LA", "PA", "La", "RGBa"}


@dataclass(frozen=True)
class Opened:
    """A picture whose header was read and whose pixels were not: by Pillow, or by LibRaw for camera raw."""

    format: str  # Pillow's name in lower case (jpeg, heif, tiff …), or "dng" or "raw"
    image: Image.Image | None  # None for camera raw
    raw: Raw | None = None
    primaries: int | None = None  # by ITU-T H.273, where a HEIC or AVIF file has them in a colour box
    transfer: int | None = None  # likewise

    @property
    def orientation(self) -> int:
        """EXIF's, 1 to 8, of what is still to be turned. LibRaw and libheif turn by themselves."""
        try:
            value = int(self.exif().get(ExifTags.Base.Orientation, 1))
        except BROKEN:
            return 1
        return value if self.image is not None and 1 <= value <= 8 else 1

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright."""
        if self.image is None:
            assert self.raw is not None, "one of the two opened it"
            return self.raw.width, self.raw.height
        return self.image.size if self.orientation < 5 else self.image.size[::-1]

    def exif(self) -> Image.Exif:
        """The main directory; empty where there is none or it is broken."""
        try:
            return self.raw.exif if self.raw is not None else cast("Image.Image", self.image).getexif()
        except BROKEN:
            return Image.Exif()


def opened_picture(reader: Reader, max_pixels: int) -> Opened | None:
    """The file opened as a picture, None when it is none. Reads headers only; all of a HEIC, AVIF or raw file.

    Raises Refused for one with too many pixels, for one that begins like a picture and cannot be read as one, and for
    one of a kind that is not read.
    """
    kind = rawkind.format_of(reader)
    if kind is not None:
        from rushes.media.inside.raw import Raw  # noqa: PLC0415 - LibRaw and numpy cost 0.2 s, and few files are raw

        raw = Raw(reader)
        _check(raw.raw_width, raw.raw_height, max_pixels)
        return Opened(kind, None, raw)
    primaries, transfer = _colours(reader)
    reader.seek(0)
    try:
        picture = Image.open(cast("IO[bytes]", reader), formats=PICTURES)
    except (UnidentifiedImageError, OverflowError, *BROKEN) as error:
        reader.seek(0)
        head = reader.read(12)
        if name := next((name for magic, name in _UNREAD.items() if head.startswith(magic)), None):
            raise talk.Refused(
                "not_media", f"This is a picture in {name}, which is not read here: send it as TIFF, PNG or JPEG."
            ) from error
        if head.startswith(_SIGNATURES):
            raise talk.Refused(
                "undecodable", "This picture is damaged, or written in a way that is not known."
            ) from error
        return None
    _check(*picture.size, max_pixels)
    name = str(picture.format).lower()
    if name == "heif":  # it tells what the primary picture has, wherever in the file that lies
        named = picture.info.get("nclx_profile") or {}
        primaries, transfer = named.get("color_primaries"), named.get("transfer_characteristics")
    # MPO: a JPEG with others behind it
    return Opened("jpeg" if name == "mpo" else name, picture, primaries=primaries, transfer=transfer)


def _colours(reader: Reader) -> tuple[int | None, int | None]:
    """Primaries and transfer, read from the file's head, where the boxes of a HEIC or AVIF lie: Pillow does not give those
    of AVIF. The first colour box is the picture's own; those of a gain map come later.
    """
    reader.seek(0)
    head = reader.read(_HEAD)
    place = head.find(b"colrnclx")
    if head[4:8] != b"ftyp" or place < 0:
        return None, None
    return int.from_bytes(head[place + 8 : place + 10]), int.from_bytes(head[place + 10 : place + 12])


def _check(width: int, height: int, max_pixels: int) -> None:
    if width * height > max_pixels:
        raise talk.Refused("too_many_pixels", f"The picture is {width} by {height}; {max_pixels} pixels are allowed.")
