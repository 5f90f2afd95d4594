"""Pictures made to be shown: decoded at about the size that is wanted, upright, in 8-bit sRGB.

In this order, because each step is cheaper on what the one before leaves: reduced decoding where the format has it,
one of Pillow's plain modes, scaling, turning, colours.
"""

from __future__ import annotations

import io
import math
from typing import TYPE_CHECKING, Any

import numpy as np
import pillow_heif
from PIL import ExifTags, Image, ImageCms

from rushes.media.inside import profiles, talk, tonemap
from rushes.media.inside.picture import ALPHA, BROKEN, Opened

if TYPE_CHECKING:
    from rushes.media.inside.raw import Raw

_GAP = 3.0  # how much larger than wanted a picture may be before it is first shrunk by whole pixels
_PREVIEW_SHARE = 0.9  # of the raw picture's size that makes a smaller embedded preview good enough
_ADOBE_RGB = 2  # EXIF's ColorSpace where there is no profile, as many cameras write it
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def render(opened: Opened, side: int, max_pixels: int) -> Image.Image:
    """RGB, or RGBA where something is transparent; no side longer than `side`, never enlarged. Raises Refused."""
    if opened.raw is not None:
        return _raw(opened.raw, side, max_pixels)
    assert opened.image is not None, "one of the two opened it"
    if opened.transfer in {tonemap.PQ, tonemap.HLG}:
        return _toned(opened.image, opened, side, max_pixels)
    picture = _loaded(opened.image, side)
    if picture.width * picture.height > max_pixels:  # HEIC may turn out larger than its header says
        raise talk.Refused("too_many_pixels", f"The picture is {picture.width} by {picture.height}.")
    return _finished(picture, opened, side)


def flat(picture: Image.Image) -> Image.Image:
    """For formats without transparency: on white."""
    if picture.mode != "RGBA":
        return picture
    return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")


def shown_as(picture: Image.Image) -> Image.Image:
    """One frame of an animation, decoded, in sRGB."""
    return _to_srgb(_plain(picture), picture.info.get("icc_profile"))


def scaled(picture: Image.Image, side: int) -> Image.Image:
    """No side longer than `side`; itself where it already is so."""
    longest = max(picture.size)
    if longest <= side:
        return picture
    size = max(1, round(picture.width * side / longest)), max(1, round(picture.height * side / longest))
    return picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=_GAP)


def _raw(raw: Raw, side: int, max_pixels: int) -> Image.Image:
    """The embedded preview where it is large enough, for the camera developed it; else a demosaic; else the preview."""
    preview = raw.preview()
    wanted = min(side, max(raw.width, raw.height) * _PREVIEW_SHARE)
    if preview is not None and max(preview.size) < wanted:
        try:
            return scaled(raw.developed(side), side)
        except talk.Refused:
            pass  # a compression that LibRaw does not know
    if preview is None:
        return scaled(raw.developed(side), side)
    if preview.width * preview.height > max_pixels:
        raise talk.Refused("too_many_pixels", f"The preview is {preview.width} by {preview.height}.")
    opened = Opened("jpeg", preview)
    shown = _finished(_loaded(preview, side), opened, side)
    return shown if opened.orientation != 1 else raw.upright(shown)


def _loaded(picture: Image.Image, side: int) -> Image.Image:
    """Decoded, reduced where the format can. Raises Refused."""
    reduction = max(0, int(math.log2(max(picture.size) / side))) if max(picture.size) > side else 0
    try:
        if picture.format == "JPEG2000" and reduction:
            return _reduced(picture, min(reduction, 5))
        picture.draft("RGB", (side, side))
        picture.load()
    except (MemoryError, *BROKEN) as error:
        code = "truncated" if "truncated" in str(error) else "undecodable"
        raise talk.Refused(code, f"This picture is damaged or cut off: {error}.") from error
    return picture


def _toned(picture: Image.Image, opened: Opened, side: int, max_pixels: int) -> Image.Image:
    """A picture in PQ or HLG, of which a HEIC gives all its bits. Scaled as it is coded, then brought down."""
    if opened.format == "heif":
        try:
            coded = _all_bits(picture)
        except (MemoryError, *BROKEN) as error:
            raise talk.Refused("undecodable", f"This picture is damaged or cut off: {error}.") from error
    else:
        coded = np.asarray(_plain(_loaded(picture, side)))
    if coded.ndim != 3:  # of greys
        coded = np.repeat(coded[..., None], 3, axis=2)
    height, width, channels = coded.shape
    if width * height > max_pixels:
        raise talk.Refused("too_many_pixels", f"The picture is {width} by {height}.")
    most = np.float32(np.iinfo(coded.dtype).max)
    planes = [scaled(Image.fromarray(coded[..., n].astype(np.float32)), side) for n in range(channels)]
    values = np.clip(np.stack([np.asarray(plane) for plane in planes], axis=-1) / most, 0.0, 1.0)
    light = np.clip(tonemap.light(values[..., :3], opened.transfer, opened.primaries or 9), 0.0, 1.0)
    srgb = np.where(light <= 0.0031308, light * 12.92, 1.055 * light ** np.float32(1 / 2.4) - 0.055)  # IEC 61966-2-1
    shown = np.dstack([srgb, values[..., 3:]]) if channels == 4 and values[..., 3].min() < 1 else srgb
    turn = _TURNS.get(opened.orientation)
    made = Image.fromarray((shown * 255 + 0.5).astype(np.uint8))
    return made if turn is None else made.transpose(turn)


def _all_bits(picture: Any) -> Any:
    """The primary picture of a HEIC, in 16 bits if it has more than 8."""
    picture.fp.seek(0)
    found = pillow_heif.open_heif(picture.fp, convert_hdr_to_8bit=False)
    return np.asarray(found[found.primary_index])


def _reduced(picture: Any, reduction: int) -> Image.Image:
    """JPEG 2000 holds its picture in halvings, usually five; how many shows when there are fewer."""
    reader = picture.fp
    try:
        picture.reduce = reduction
        picture.load()
    except BROKEN:
        reader.seek(0)
        picture = Image.open(reader, formats=("JPEG2000",))
        picture.load()
    return picture  # type: ignore[no-any-return]


def _finished(picture: Image.Image, opened: Opened, side: int) -> Image.Image:
    info, turn = picture.info, _TURNS.get(opened.orientation)
    shown = scaled(_plain(picture), side)
    if turn is not None:
        shown = shown.transpose(turn)
    return _to_srgb(shown, info.get("icc_profile") or _named_profile(opened))


def _plain(picture: Image.Image) -> Image.Image:
    """One of RGB, RGBA, L, LA, CMYK, LAB, with 8 bits a channel. Deeper samples are scaled, not clipped."""
    mode = picture.mode
    if mode.startswith("I;16"):
        return Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
    if mode in {"I", "F"}:
        return _squeezed(np.asarray(picture))
    if "transparency" in picture.info and mode in {"1", "L", "RGB", "P"}:
        return picture.convert("RGBA")
    if mode in {"RGB", "RGBA", "L", "LA", "CMYK", "LAB"}:
        return picture
    if mode == "1":
        return picture.convert("L")
    return picture.convert("RGBA" if mode in ALPHA else "RGB")


def _squeezed(values: Any) -> Image.Image:
    """Samples of 32 bits. Where white is, they do not say: at the least of 1 (floats), 255, 65,535 that holds them all,
    else at the brightest.
    """
    finite = np.nan_to_num(values.astype(np.float32), nan=0.0, posinf=0.0, neginf=0.0)
    most = float(finite.max(initial=0.0))
    whites = ([1.0] if values.dtype.kind == "f" else []) + [255.0, 65535.0]
    white = next((value for value in whites if most <= value), most)
    return Image.fromarray((np.clip(finite / white, 0.0, 1.0) * 255 + 0.5).astype(np.uint8))


def _named_profile(opened: Opened) -> bytes | None:
    """Wide gamut that is named only: by a HEIC's or AVIF's colour box, or by EXIF."""
    name = profiles.NAMED.get(opened.primaries or 0)
    try:
        if name is None and opened.exif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.ColorSpace) == _ADOBE_RGB:
            name = "adobe-rgb"
    except BROKEN:
        return None
    return profiles.profile(name) if name else None


def _to_srgb(picture: Image.Image, profile: bytes | None) -> Image.Image:
    alpha = picture.getchannel("A") if picture.mode in {"RGBA", "LA"} else None
    colours = picture.convert("RGB" if picture.mode == "RGBA" else "L") if alpha is not None else picture
    converted = (_by_profile(colours, profile) if profile else None) or _without_profile(colours)
    if alpha is not None and alpha.getextrema() != (255, 255):
        converted.putalpha(alpha)
    converted.info.clear()  # of the source: Pillow would write its profile, now wrong, and its EXIF with the place
    return converted


def _by_profile(picture: Image.Image, profile: bytes) -> Image.Image | None:
    """None where the profile is broken or is another kind's: no reason to have no picture."""
    try:
        return ImageCms.profileToProfile(
            picture,
            ImageCms.ImageCmsProfile(io.BytesIO(profile)),
            ImageCms.createProfile("sRGB"),
            renderingIntent=ImageCms.Intent.RELATIVE_COLORIMETRIC,
            outputMode="RGB",
            flags=ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError, ValueError, TypeError):
        return None


def _without_profile(picture: Image.Image) -> Image.Image:
    if picture.mode == "LAB":
        lab, srgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
        return ImageCms.profileToProfile(picture, lab, srgb, outputMode="RGB") or picture.convert("RGB")
    return picture.convert("RGB")
