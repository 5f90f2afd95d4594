"""What identify tells of pictures beside their size, and that users' metadata stays bounded."""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import ExifTags, Image, ImageCms
from PIL.TiffImagePlugin import IFDRational

from rushes.media.identify import identify
from rushes.media.info import Camera, MediaInfo, Place
from rushes.media.inside import imagefacts
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource

from .pictures import dng

XMP = b"""<?xpacket begin="\xef\xbb\xbf" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
<rdf:Description rdf:about="" xmlns:dc="http://purl.org/dc/elements/1.1/" xmlns:xmp="http://ns.adobe.com/xap/1.0/"
 xmlns:xmpDM="http://ns.adobe.com/xmp/1.0/DynamicMedia/" xmp:Rating="4" xmpDM:tapeName="A001">
<dc:creator><rdf:Seq><rdf:li>Ada</rdf:li><rdf:li>Grace</rdf:li></rdf:Seq></dc:creator>
<dc:title><rdf:Alt><rdf:li xml:lang="x-default">Dawn</rdf:li></rdf:Alt></dc:title></rdf:Description></rdf:RDF></x:xmpmeta>
<?xpacket end="w"?>"""


def _exif() -> Image.Exif:
    exif = Image.Exif()
    exif[ExifTags.Base.Make], exif[ExifTags.Base.Model] = "Nikon\0", "Z 9"
    exif[ExifTags.Base.Orientation] = 6
    inner = exif.get_ifd(ExifTags.IFD.Exif)
    inner[ExifTags.Base.DateTimeOriginal], inner[ExifTags.Base.OffsetTimeOriginal] = "2024:05:01 12:20:30", "+02:00"
    inner[ExifTags.Base.FNumber], inner[ExifTags.Base.LensModel] = IFDRational(28, 10), "24-70"
    inner[ExifTags.Base.MakerNote] = bytes(range(256)) * 4
    gps = exif.get_ifd(ExifTags.IFD.GPSInfo)
    gps[1], gps[2] = "S", (IFDRational(33), IFDRational(51), IFDRational(36))
    gps[3], gps[4] = "E", (IFDRational(151), IFDRational(12), IFDRational(0))
    gps[5], gps[6] = b"\0", IFDRational(585, 10)
    return exif


def _iptc(**fields: str) -> bytes:
    numbers = {"headline": 105, "city": 90}
    data = b"".join(
        struct.pack(">BBBH", 0x1C, 2, numbers[name], len(text)) + text.encode() for name, text in fields.items()
    )
    return b"Photoshop 3.0\x00" + b"8BIM\x04\x04\0\0" + struct.pack(">I", len(data)) + data + b"\0" * (len(data) % 2)


async def _told(path: Path, sandbox: Sandbox, job: Path) -> MediaInfo:
    return await identify(FileSource(path), job, sandbox)


async def test_a_photograph_tells_all(sandbox: Sandbox, job: Path, tmp_path: Path) -> None:
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    path = tmp_path / "a.jpg"
    Image.new("RGB", (64, 48), "olive").save(path, exif=_exif(), icc_profile=profile, xmp=XMP)
    whole, block = path.read_bytes(), _iptc(headline="Dawn", city="Sydney")
    path.write_bytes(whole[:2] + b"\xff\xed" + struct.pack(">H", len(block) + 2) + block + whole[2:])
    info = await _told(path, sandbox, job)
    assert info.image is not None
    image = info.image
    assert (image.width, image.height, image.orientation, image.bit_depth) == (48, 64, 6, 8)
    assert image.icc == "sRGB built-in"
    assert image.exif["FNumber"] == pytest.approx(2.8)
    assert "MakerNote" not in image.exif
    assert image.iptc == {"Headline": "Dawn", "City": "Sydney"}
    assert image.xmp == {
        "xmp:Rating": "4",
        "xmpDM:tapeName": "A001",
        "dc:creator": ["Ada", "Grace"],
        "dc:title": ["Dawn"],
    }
    assert info.camera == Camera("Nikon", "Z 9", "24-70", reel="A001")
    assert info.place == Place(-33.86, 151.2, 58.5)
    assert info.created == "2024-05-01T12:20:30+02:00"
    assert (info.format, info.wrapper) == ("jpeg", "jpeg")


async def test_how_deep_pictures_are(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    grey = Image.fromarray(np.arange(64 * 48, dtype=np.uint16).reshape(48, 64) * 20)
    grey.save(tmp_path / "16.png")
    grey.save(tmp_path / "16.tif")
    Image.new("RGBA", (64, 48), (1, 2, 3, 100)).save(tmp_path / "8.png")
    Image.new("1", (64, 48)).save(tmp_path / "1.png")
    Image.new("RGB", (64, 48), "olive").save(tmp_path / "8.avif")
    pillow_heif.from_pillow(Image.new("RGB", (64, 48), "olive")).save(tmp_path / "8.heic", quality=50)
    depths = {}
    for name in ("1.png", "16.png", "16.tif", "8.avif", "8.heic", "8.png"):
        info = await _told(tmp_path / name, namespaces, job)
        assert info.image is not None
        depths[name] = (info.image.bit_depth, info.image.has_alpha)
    assert depths == {
        "1.png": (1, False), "16.png": (16, False), "16.tif": (16, False), "8.avif": (8, False), "8.heic": (8, False),
        "8.png": (8, True),
    }  # fmt: skip


async def test_camera_raw_tells_its_camera(sandbox: Sandbox, job: Path, tmp_path: Path) -> None:
    info = await _told(dng(tmp_path / "a.dng", orientation=6), sandbox, job)
    assert info.image is not None
    assert info.camera == Camera("Rushes", "Test camera")
    assert (info.image.exif["Orientation"], info.image.bit_depth) == (6, 16), "the mosaic's depth, not the thumbnail's"


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        b"<x" * 100_000,
        b"<a>" * 50_000,
        b'<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;">]><x:y>&b;</x:y>',
        '<?xml version="1.0" encoding="utf-16"?><!DOCTYPE x [<!ENTITY a "aaaa">]><x:y>&a;</x:y>'.encode("utf-16"),
        b'<!DOCTYPE x SYSTEM "file:///etc/passwd"><x:y>a</x:y>',
    ],
    ids=["nothing", "large", "deep", "entities", "utf-16", "external"],
)
def test_hostile_xmp_gives_nothing(packet: bytes) -> None:
    assert imagefacts.xmp(packet) == {}


def test_xmp_is_bounded() -> None:
    many = "".join(f"<a:f{n}>{'x' * 300}</a:f{n}>" for n in range(500))
    found = imagefacts.xmp(f"<rdf:Description>{many}</rdf:Description>".encode())
    assert len(found) == 200
    items = "".join(f"<rdf:li>{n}</rdf:li>" for n in range(500))
    assert len(imagefacts.xmp(f"<r:r><dc:s><rdf:Bag>{items}</rdf:Bag></dc:s></r:r>")["dc:s"]) == 32
