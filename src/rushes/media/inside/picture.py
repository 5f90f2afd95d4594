"""Still pictures by Pillow: what they are, and a poster of them."""

from __future__ import annotations

import io
import warnings
from typing import IO, Any, cast

from PIL import ExifTags, Image, ImageCms, ImageOps, UnidentifiedImageError

from rushes.media.formats import PICTURES
from rushes.media.inside import plugins, talk
from rushes.media.inside.reader import Reader

plugins.load()
Image.MAX_IMAGE_PIXELS = None  # the limit is checked here, with a sentence
warnings.simplefilter("ignore")  # about odd metadata; nobody reads them
_EXIF_TEXT = ("Make", "Model", "Software", "DateTime", "Artist", "Copyright", "ImageDescription")
_ALPHA = {"RGBA", "LA", "PA", "La", "RGBa"}


def identify(reader: Reader, max_pixels: int) -> dict[str, Any] | None:
    """Format, `ImageInfo` and tags as JSON values; None when it is no picture. Reads the header only."""
    picture = _open(reader)
    if picture is None:
        return None
    _check(picture, max_pixels)
    try:
        exif = picture.getexif()
        orientation = int(exif.get(ExifTags.Base.Orientation, 1))
    except (OSError, ValueError, SyntaxError, TypeError, KeyError, AttributeError):
        exif, orientation = Image.Exif(), 1
    width, height = picture.size if orientation < 5 else picture.size[::-1]
    image = {
        "width": width,
        "height": height,
        "mode": picture.mode,
        "has_alpha": picture.mode in _ALPHA or "transparency" in picture.info,
        "orientation": orientation if 1 <= orientation <= 8 else 1,
        "frames": int(getattr(picture, "n_frames", 1)),
    }
    names = ((name, exif.get(ExifTags.Base[name])) for name in _EXIF_TEXT)
    tags = {name: str(value).strip("\0 ")[:1000] for name, value in names if value}
    return {"format": str(picture.format).lower(), "image": image, "tags": tags}


def poster(reader: Reader, max_pixels: int, side: int) -> Image.Image:
    """The first picture upright, in sRGB, on white where it is transparent, no side longer than `side`.

    Raises Refused.
    """
    picture = _open(reader)
    if picture is None:
        raise talk.Refused("undecodable", "This picture cannot be read.")
    _check(picture, max_pixels)
    try:
        picture.draft("RGB", (side, side))
        picture.load()
    except (OSError, ValueError, SyntaxError, EOFError, IndexError, KeyError) as error:
        code = "truncated" if "truncated" in str(error) else "undecodable"
        raise talk.Refused(code, f"This picture is damaged or cut off: {error}.") from error
    upright = ImageOps.exif_transpose(picture)
    upright.thumbnail((side, side), Image.Resampling.LANCZOS)
    return _flatten(_to_srgb(upright))


def _open(reader: Reader) -> Image.Image | None:
    reader.seek(0)
    try:
        return Image.open(cast("IO[bytes]", reader), formats=PICTURES)
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, OverflowError):
        return None


def _check(picture: Image.Image, max_pixels: int) -> None:
    width, height = picture.size
    if width * height > max_pixels:
        raise talk.Refused("too_many_pixels", f"The picture is {width} by {height}; {max_pixels} pixels are allowed.")


def _to_srgb(picture: Image.Image) -> Image.Image:
    profile = picture.info.get("icc_profile")
    if not profile or picture.mode not in {"RGB", "RGBA", "L", "CMYK"}:
        return picture
    mode = "RGBA" if picture.mode == "RGBA" else "RGB"
    try:
        converted = ImageCms.profileToProfile(
            picture, ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB"), outputMode=mode
        )
    except (ImageCms.PyCMSError, OSError, ValueError):
        return picture  # a broken profile is no reason to have no poster
    return converted or picture


def _flatten(picture: Image.Image) -> Image.Image:
    if picture.mode in {"I;16", "I;16B", "I;16L", "I"}:
        picture = picture.point(lambda value: value / 256).convert("L")
    if picture.mode in _ALPHA or "transparency" in picture.info:
        white = Image.new("RGBA", picture.size, "white")
        return Image.alpha_composite(white, picture.convert("RGBA")).convert("RGB")
    return picture.convert("RGB")
