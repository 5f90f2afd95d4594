"""The pictures of the corpus: photographs of other packages saved by Pillow, pillow-heif or ffmpeg."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pillow_heif
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from tests.corpus.clip import Clip, Sources, ffmpeg
from tests.media.pictures import dng

Facts = Mapping[str, object]

_XMP = b"""<?xpacket begin="" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmp:Rating="4"><dc:creator><rdf:Seq><rdf:li>Ada</rdf:li><rdf:li>Grace</rdf:li></rdf:Seq></dc:creator>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Temple</rdf:li></rdf:Alt></dc:title></rdf:Description></rdf:RDF>
</x:xmpmeta><?xpacket end="w"?>"""
_IPTC: Mapping[int, str] = {105: "Summer Palace", 90: "Beijing", 101: "China", 80: "Ada Lovelace"}
_TAKEN: Facts = {
    "camera.make": "Nikon", "camera.model": "Z 9", "camera.lens": "24-70", "created": "2024-05-01T12:20:30+02:00",
    "place.latitude": -33.86, "place.longitude": 151.2, "place.altitude": 58.5, "image.exif.FNumber": 2.8,
    "image.exif.ISOSpeedRatings": 400,
}  # fmt: skip


def _exif(orientation: int = 1) -> Image.Exif:
    """As a camera writes it that knows where it is."""
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model], exif[ExifTags.Base.Orientation] = "Nikon", "Z 9", orientation
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal], inner[ExifTags.Base.OffsetTimeOriginal] = "2024:05:01 12:20:30", "+02:00"
    inner[ExifTags.Base.FNumber], inner[ExifTags.Base.LensModel] = IFDRational(28, 10), "24-70"
    inner[ExifTags.Base.ISOSpeedRatings] = 400
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[1], gps[2] = "S", (IFDRational(33), IFDRational(51), IFDRational(36))
    gps[3], gps[4] = "E", (IFDRational(151), IFDRational(12), IFDRational(0))
    gps[5], gps[6] = b"\0", IFDRational(585, 10)
    return exif


def _srgb() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


@dataclass(frozen=True)
class Saved:
    """By Pillow, in the format that the name says; `turned` is what EXIF says of the orientation, None for no EXIF."""

    photo: str
    mode: str = "RGB"
    turned: int | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    profile: bool = False
    form: str | None = None
    frames: int = 1

    def __call__(self, path: Path, sources: Sources) -> None:
        with Image.open(sources.photo(self.photo)) as opened:
            picture = opened.convert("RGB").convert(self.mode)
        options = dict(self.options)
        if self.turned is not None:
            options["exif"] = _exif(self.turned).tobytes()  # whole: TIFF is written without its parts otherwise
        if self.profile:
            options["icc_profile"] = _srgb()
        if self.frames > 1:
            rest = [picture.rotate(10 * number) for number in range(1, self.frames)]
            options |= {"save_all": True, "append_images": rest}
        picture.save(path, self.form, **options)


@dataclass(frozen=True)
class Converted:
    """By ffmpeg."""

    photo: str
    arguments: tuple[str, ...]

    def __call__(self, path: Path, sources: Sources) -> None:
        ffmpeg("-i", sources.photo(self.photo), *self.arguments, path)


def _press(path: Path, sources: Sources) -> None:
    """A press photograph: EXIF, XMP, a profile, and IPTC in Photoshop's segment (IPTC IIM 4.2)."""
    with Image.open(sources.photo("temple")) as picture:
        picture.save(path, exif=_exif(), xmp=_XMP, icc_profile=_srgb(), quality=90)
    data = b"".join(struct.pack(">BBBH", 0x1C, 2, number, len(text)) + text.encode() for number, text in _IPTC.items())
    block = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)
    whole = path.read_bytes()
    path.write_bytes(whole[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + whole[2:])


def _heic(*, deep: bool) -> Callable[[Path, Sources], None]:
    def make(path: Path, sources: Sources) -> None:
        with Image.open(sources.photo("flower")) as picture:
            if deep:
                data = b"".join(struct.pack("<H", value << 8) for value in picture.convert("RGB").tobytes())
                pillow_heif.encode("RGB;16", picture.size, data, path, quality=60)
            else:
                pillow_heif.from_pillow(picture).save(path, quality=60, exif=_exif(1).tobytes())

    return make


def _raw(path: Path, sources: Sources) -> None:
    with Image.open(sources.photo("coffee")) as picture:
        dng(path, 600, 400, 6, preview=(300, 200), of=picture.convert("RGB"))


def image(
    name: str, photo: str, traits: str, size: tuple[int, int], make: Callable[[Path, Sources], None], expected: Facts
) -> Clip:
    """`size` as it is seen."""
    facts: dict[str, object] = {"kind": "image", "video": None, "image.width": size[0], "image.height": size[1]}
    facts |= {"image.has_alpha": False, "image.orientation": 1, "image.frames": 1, "image.bit_depth": 8}
    return Clip(name, photo, traits, {**facts, **expected}, make)


def _turned(number: int, photo: str, size: tuple[int, int]) -> Clip:
    return image(f"orientation{number}.jpg", photo, f"EXIF orientation {number}", size, Saved(photo, turned=number),
                 {"wrapper": "jpeg", "image.orientation": number, **_TAKEN})  # fmt: skip


IMAGES: tuple[Clip, ...] = (
    image("press.jpg", "temple", "EXIF with GPS, IPTC, XMP, ICC profile", (640, 427), _press,
          {"wrapper": "jpeg", "image.icc": "sRGB built-in", "image.iptc.Headline": "Summer Palace", "image.iptc.City": "Beijing",
           "image.iptc.By-line": "Ada Lovelace", "image.xmp.xmp:Rating": "4", "image.xmp.dc:creator": ["Ada", "Grace"],
           "image.xmp.dc:title": ["Temple"], **_TAKEN}),
    _turned(3, "cat", (451, 300)),
    _turned(5, "flower", (427, 640)),
    _turned(6, "motorcycle", (500, 741)),
    _turned(8, "rocket", (427, 640)),
    image("progressive.jpg", "hubble", "progressive, 4:4:4", (1000, 872),
          Saved("hubble", options={"progressive": True, "subsampling": 0}), {"wrapper": "jpeg"}),
    image("grey.jpg", "grass", "one channel", (512, 512), Saved("grass", "L"), {"wrapper": "jpeg", "image.mode": "L"}),
    image("print.jpg", "coffee", "CMYK", (600, 400), Saved("coffee", "CMYK"), {"wrapper": "jpeg", "image.mode": "CMYK"}),
    image("alpha16.png", "astronaut", "16 bit with alpha", (512, 512),
          Converted("astronaut", ("-vf", "format=rgba64be,colorchannelmixer=aa=0.5", "-pix_fmt", "rgba64be")),
          {"wrapper": "png", "image.bit_depth": 16, "image.has_alpha": True}),
    image("palette.png", "cat", "palette with a transparent colour", (451, 300), Saved("cat", "P", options={"transparency": 3}),
          {"wrapper": "png", "image.has_alpha": True, "image.mode": "P"}),
    image("bilevel.png", "temple", "one bit", (640, 427), Saved("temple", "1"), {"wrapper": "png", "image.bit_depth": 1}),
    image("profile.png", "coffee", "ICC profile and EXIF", (600, 400), Saved("coffee", turned=1, profile=True),
          {"wrapper": "png", "image.icc": "sRGB built-in", **_TAKEN}),
    image("lossy.webp", "rocket", "EXIF", (640, 427), Saved("rocket", turned=1), {"wrapper": "webp", **_TAKEN}),
    image("animated.webp", "cat", "animated, with alpha", (451, 300),
          Saved("cat", "RGBA", frames=5, options={"duration": 100}),
          {"wrapper": "webp", "image.frames": 5, "image.has_alpha": True}),
    image("animated.gif", "coffee", "animated", (600, 400), Saved("coffee", "P", frames=4, options={"duration": 100}),
          {"wrapper": "gif", "image.frames": 4}),
    image("deep.tif", "astronaut", "16 bit", (512, 512), Converted("astronaut", ("-pix_fmt", "rgb48le")),
          {"wrapper": "tiff", "image.bit_depth": 16}),
    image("pages.tif", "temple", "two pages, LZW", (640, 427),
          Saved("temple", frames=2, options={"compression": "tiff_lzw"}), {"wrapper": "tiff", "image.frames": 2}),
    image("scan.tif", "motorcycle", "EXIF", (741, 500), Saved("motorcycle", turned=1), {"wrapper": "tiff", **_TAKEN}),
    image("phone.heic", "flower", "HEIC with EXIF", (640, 427), _heic(deep=False), {"wrapper": "heif", **_TAKEN}),
    image("deep.heic", "flower", "HEIC, 10 bit", (640, 427), _heic(deep=True), {"wrapper": "heif", "image.bit_depth": 10}),
    image("photo.avif", "motorcycle", "AVIF with EXIF", (741, 500), Saved("motorcycle", turned=1), {"wrapper": "avif", **_TAKEN}),
    image("deep.avif", "astronaut", "AVIF, 10 bit", (512, 512),
          Converted("astronaut", ("-c:v", "libaom-av1", "-still-picture", "1", "-cpu-used", "8", "-pix_fmt", "yuv420p10le")),
          {"wrapper": "avif", "image.bit_depth": 10}),
    image("camera.dng", "coffee", "DNG, 16-bit mosaic, held upright, JPEG preview", (400, 600), _raw,
          {"wrapper": "dng", "image.bit_depth": 16, "image.exif.Orientation": 6, "camera.make": "Rushes",
           "camera.model": "Test camera"}),
    image("photo.jp2", "rocket", "JPEG 2000", (640, 427), Saved("rocket"), {"wrapper": "jpeg2000"}),
    image("photo.bmp", "cat", "BMP", (451, 300), Saved("cat"), {"wrapper": "bmp"}),
    image("lies.mov", "temple", "a JPEG by the name of a film", (640, 427), Saved("temple", form="JPEG"), {"wrapper": "jpeg"}),
)  # fmt: skip
