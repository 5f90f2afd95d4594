"""Still pictures of every kind: identified, and shown upright in the right colours, in both sandboxes."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import cast

import numpy as np
import pillow_heif
import pytest
from PIL import Image, ImageCms, ImageOps, ImageStat

from rushes.errors import Rejected
from rushes.media.identify import identify
from rushes.media.images import make_images
from rushes.media.inside import profiles
from rushes.media.inside.picture import opened_picture
from rushes.media.inside.reader import Reader
from rushes.media.inside.rendering import render
from rushes.media.limits import Limits
from rushes.media.outputs import Output
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource

from .clips import Clips, ffmpeg
from .pictures import BLUE, GREEN, GREY, HDR, RED, corners, dng, hdr, quarters

UPRIGHT = [RED, GREEN, BLUE, GREY]
TURNED = [BLUE, RED, GREY, GREEN]  # a quarter turn clockwise


async def _images(sandbox: Sandbox, job: Path, path: Path) -> dict[str, Output]:
    source = FileSource(path)
    made = await make_images(source, await identify(source, job, sandbox), job, sandbox)
    return {output.name: output for output in made}


def _opened(output: Output) -> Image.Image:
    with Image.open(output.path) as picture:
        picture.load()
        return picture


async def _poster(sandbox: Sandbox, job: Path, path: Path) -> Image.Image:
    """The largest in JPEG."""
    made = await _images(sandbox, job, path)
    return _opened([output for name, output in made.items() if name.startswith("poster") and name.endswith("jpg")][-1])


def _near(picture: Image.Image, wanted: list[tuple[int, int, int]], slack: int = 8) -> None:
    found = corners(picture)
    assert np.abs(np.array(found) - np.array(wanted)).max() <= slack, found


def _heic(path: Path) -> None:
    pillow_heif.from_pillow(quarters()).save(path, quality=95)


def _heic_mif1(path: Path) -> None:
    _heic(path)
    data = bytearray(path.read_bytes())
    data[8:12] = b"mif1"
    path.write_bytes(data)


def _grey16(path: Path) -> None:
    levels = np.zeros((480, 640), np.uint16)
    levels[:240, :320], levels[:240, 320:], levels[240:, :320], levels[240:, 320:] = 0x1000, 0x4000, 0x8000, 0xF000
    Image.fromarray(levels).save(path)


def _cmyk(path: Path) -> None:
    quarters().convert("CMYK").save(path)


def _palette(path: Path) -> None:
    quarters().quantize(16).save(path)


def _pages(path: Path) -> None:
    quarters().save(path, save_all=True, append_images=[Image.new("RGB", (50, 50))])


def _plain(path: Path) -> None:
    quarters().save(path)


GREYS = [(level, level, level) for level in (0x10, 0x40, 0x80, 0xF0)]
KINDS: list[tuple[str, Callable[[Path], object], str, list[tuple[int, int, int]]]] = [
    ("a.heic", _heic, "heif", UPRIGHT),
    ("mif1.heic", _heic_mif1, "heif", UPRIGHT),
    ("a.avif", _plain, "avif", UPRIGHT),
    ("a.jp2", _plain, "jpeg2000", UPRIGHT),
    ("pages.tiff", _pages, "tiff", UPRIGHT),
    ("grey16.png", _grey16, "png", GREYS),
    ("grey16.tiff", _grey16, "tiff", GREYS),
    ("cmyk.jpg", _cmyk, "jpeg", UPRIGHT),
    ("palette.png", _palette, "png", UPRIGHT),
    ("preview.dng", lambda path: dng(path, preview=(640, 480)), "dng", UPRIGHT),
    ("turned.dng", lambda path: dng(path, preview=(640, 480), orientation=6), "dng", TURNED),
]


@pytest.mark.parametrize(("name", "make", "format_", "wanted"), KINDS, ids=[kind[0] for kind in KINDS])
async def test_kinds(
    namespaces: Sandbox,
    job: Path,
    tmp_path: Path,
    name: str,
    make: Callable[[Path], object],
    format_: str,
    wanted: list[tuple[int, int, int]],
) -> None:
    make(tmp_path / name)
    info = await identify(FileSource(tmp_path / name), job, namespaces)
    size = (480, 640) if wanted is TURNED else (640, 480)
    assert info.image is not None
    assert (info.kind, info.format, info.image.width, info.image.height) == ("image", format_, *size)
    shown = await _poster(namespaces, job, tmp_path / name)
    assert shown.size == size
    _near(shown, wanted)


@pytest.mark.parametrize("make", [lambda path: dng(path, orientation=6), _heic], ids=["dng", "heic"])
async def test_libraries_are_at_hand_in_both_sandboxes(
    sandbox: Sandbox, job: Path, tmp_path: Path, make: Callable[[Path], object]
) -> None:
    make(tmp_path / "a")
    assert max((await _poster(sandbox, job, tmp_path / "a")).size) == 640


@pytest.mark.parametrize("preview", [None, (160, 120)])
async def test_camera_raw_without_a_useful_preview_is_developed(
    namespaces: Sandbox, job: Path, tmp_path: Path, preview: tuple[int, int] | None
) -> None:
    """LibRaw brightens to its own measure: hues are compared, and the grey stays one."""
    shown = await _poster(namespaces, job, dng(tmp_path / "a.dng", orientation=8, preview=preview))
    assert shown.size == (480, 640)
    green, grey, red, blue = corners(shown)
    assert [int(np.argmax(colour)) for colour in (red, green, blue)] == [0, 1, 2]
    assert max(grey) - min(grey) <= 3


async def test_camera_raw_that_was_cut_off(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    dng(tmp_path / "cut.dng", cut=True)
    with pytest.raises(Rejected) as caught:
        await _images(namespaces, job, tmp_path / "cut.dng")
    assert caught.value.code in {"undecodable", "truncated"}


async def test_sizes_and_formats(sandbox: Sandbox, job: Path, tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "A camera\nmaker"
    quarters(1200, 800).save(tmp_path / "a.jpg", exif=exif, quality=95)
    made = await _images(sandbox, job, tmp_path / "a.jpg")
    posters = [f"poster-{side}.{ending}" for side in (320, 640, 1280) for ending in ("jpg", "webp")]
    images = [f"image-{side}.{ending}" for side in (320, 1024, 2048) for ending in ("webp", "jpg", "avif")]
    assert list(made) == posters + images
    for name, output in made.items():
        shown, side = _opened(output), int(name.split("-")[1].split(".")[0])
        assert (output.type, shown.size) == (name.split("-")[0], (output.width, output.height))
        assert max(shown.size) == min(side, 1200)
        assert not shown.getexif()
        assert output.content_type == f"image/{str(shown.format).lower()}"
        _near(shown, TURNED)


def _shown(path: Path) -> tuple[str, Image.Image]:
    """Rendered in this process, to save time: what is opened here is our own."""
    opened = opened_picture(cast("Reader", io.BytesIO(path.read_bytes())), 1 << 24)
    assert opened is not None
    return opened.format, render(opened, 2048, 1 << 24)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_orientation(tmp_path: Path, orientation: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    quarters().save(tmp_path / "a.jpg", exif=exif, quality=95)
    with Image.open(tmp_path / "a.jpg") as picture:
        wanted = ImageOps.exif_transpose(picture)
    _, shown = _shown(tmp_path / "a.jpg")
    assert shown.size == wanted.size
    assert np.abs(np.array(corners(shown)) - np.array(corners(wanted))).max() <= 4


def test_unusual_samples(tmp_path: Path) -> None:
    """CIELAB, YCbCr, floats up to 1, 32-bit numbers, and a JPEG that holds a second picture."""
    colours, grey = quarters(), np.asarray(quarters().convert("L"))
    srgb, lab = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
    in_lab = ImageCms.profileToProfile(colours, srgb, lab, outputMode="LAB")
    assert in_lab is not None
    in_lab.save(tmp_path / "lab.tiff")
    colours.convert("YCbCr").save(tmp_path / "ycc.tiff")
    colours.save(tmp_path / "two.jpg", "MPO", save_all=True, append_images=[colours.resize((64, 48))], quality=95)
    for name in ("lab.tiff", "ycc.tiff", "two.jpg"):
        format_, shown = _shown(tmp_path / name)
        assert format_ == ("jpeg" if name == "two.jpg" else "tiff")
        _near(shown, UPRIGHT)
    Image.fromarray((grey / 255).astype(np.float32)).save(tmp_path / "floats.tiff")
    Image.fromarray(grey.astype(np.int32) * 256).save(tmp_path / "numbers.tiff")
    for name in ("floats.tiff", "numbers.tiff"):
        assert np.abs(np.asarray(_shown(tmp_path / name)[1].convert("L")).astype(int) - grey).max() <= 1


async def test_a_small_picture_is_not_enlarged(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    quarters(100, 60).save(tmp_path / "a.png")
    made = await _images(namespaces, job, tmp_path / "a.png")
    assert list(made) == ["poster-320.jpg", "poster-320.webp", "image-320.webp", "image-320.jpg", "image-320.avif"]
    assert {(output.width, output.height) for output in made.values()} == {(100, 60)}


@pytest.mark.parametrize("kind", ["RGBA", "LA", "P", "RGB16"])
async def test_what_is_transparent_stays_so_where_the_format_can(
    namespaces: Sandbox, job: Path, tmp_path: Path, kind: str
) -> None:
    path, picture = tmp_path / "a.png", quarters(400, 300)
    holes = Image.new("L", (400, 300), 255)
    holes.paste(0, (200, 0, 400, 150))
    if kind == "P":
        picture = picture.quantize(8)
        picture.save(path, transparency=picture.getpixel((300, 50)))
    elif kind == "RGB16":
        _png_rgba16(path, picture, holes)
    else:
        picture = picture.convert(kind)
        picture.putalpha(holes)
        picture.save(path)
    made = await _images(namespaces, job, path)
    for name in ("image-320.webp", "image-320.avif", "poster-320.webp"):
        shown = _opened(made[name])
        assert shown.mode == "RGBA"
        assert (shown.getpixel((240, 60)) or (0,))[-1] < 8  # type: ignore[index]
        assert (shown.getpixel((80, 60)) or (0,))[-1] > 247  # type: ignore[index]
    flat = _opened(made["image-320.jpg"])
    assert min(corners(flat)[1]) > 250
    assert corners(flat)[3] == pytest.approx(GREY, abs=6)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def _png_rgba16(path: Path, picture: Image.Image, alpha: Image.Image) -> None:
    """A PNG of 16 bits a channel, written by hand: Pillow writes none."""
    deep = np.dstack([np.asarray(picture), np.asarray(alpha)]).astype(">u2") * 257
    lines = b"".join(b"\0" + line.astype(">u2").tobytes() for line in deep)

    head = struct.pack(">IIBBBBB", *picture.size, 16, 6, 0, 0, 0)
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(lines)) + _chunk(b"IEND", b"")
    )


# In Display P3 and in sRGB: a red beyond what sRGB holds, and a green by the matrix between them,
# ((1.2249, -0.2249, 0), (-0.0421, 1.0421, 0), (-0.0196, -0.0786, 1.0983)), in linear light.
WIDE = [((255, 0, 0), (255, 0, 0)), ((64, 128, 64), (32, 130, 55)), ((128, 128, 128), (128, 128, 128))]


@pytest.mark.parametrize("carrier", ["jpeg", "png", "named"])
async def test_wide_gamut_becomes_srgb(namespaces: Sandbox, job: Path, tmp_path: Path, carrier: str) -> None:
    """Once by an embedded profile, once only named by a HEIC's colour box."""
    path, picture = tmp_path / f"a.{carrier}", Image.new("RGB", (240, 80))
    for number, (coded, _) in enumerate(WIDE):
        picture.paste(coded, (80 * number, 0, 80 * number + 80, 80))
    if carrier == "named":
        nclx = {"color_primaries": 12, "transfer_characteristics": 13, "matrix_coefficients": 6, "full_range_flag": 1}
        pillow_heif.from_pillow(picture).save(path, quality=-1, chroma=444, save_nclx_profile=True, **nclx)
    else:
        picture.save(path, carrier.upper(), icc_profile=profiles.profile("display-p3"), quality=98)
    shown = _opened((await _images(namespaces, job, path))["image-320.webp"])
    assert "icc_profile" not in shown.info
    for number, (_, wanted) in enumerate(WIDE):
        assert shown.getpixel((80 * number + 40, 40)) == pytest.approx(wanted, abs=6)


@pytest.mark.parametrize("transfer", HDR)
@pytest.mark.parametrize("name", ["a.heic", "a.avif"])
async def test_hdr_is_as_bright_as_it_was_graded(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips, name: str, transfer: str
) -> None:
    """A picture put into HDR with its white at 203 cd/m²: what comes out is the picture again, its highlights rolled off."""
    with Image.open(clips("a.png")) as found:
        wanted = found.convert("RGB")
    made = await _images(namespaces, job, hdr(tmp_path / name, wanted, transfer))
    was = np.asarray(wanted.convert("L").resize((160, 90))).astype(int)
    for shown in (_opened(made["image-320.webp"]), _opened(made["poster-320.jpg"])):
        luma = np.asarray(shown.convert("L").resize((160, 90))).astype(int)
        assert luma.mean() == pytest.approx(was.mean(), abs=8)
        assert np.abs(luma - was)[was < 100].mean() < 5
        for one, other in zip(ImageStat.Stat(shown).mean, ImageStat.Stat(wanted).mean, strict=True):
            assert one == pytest.approx(other, abs=12)


@pytest.mark.parametrize("boxed", [False, True])
async def test_jpeg_xl_is_named_in_its_refusal(
    namespaces: Sandbox, job: Path, tmp_path: Path, clips: Clips, boxed: bool
) -> None:
    """As ffmpeg writes it, and in the boxes of ISO/IEC 18181-2."""
    path = tmp_path / "a.jxl"
    ffmpeg("-i", clips("a.png"), "-c:v", "libjxl", "-effort", "1", path)
    bare = path.read_bytes()
    assert bare.startswith(b"\xff\x0a")
    if boxed:
        head = b"\0\0\0\x0cJXL \r\n\x87\n" + b"\0\0\0\x14ftypjxl \0\0\0\0jxl "
        path.write_bytes(head + struct.pack(">I", 8 + len(bare)) + b"jxlc" + bare)
    with pytest.raises(Rejected) as caught:
        await identify(FileSource(path), job, namespaces)
    assert caught.value.code == "not_media"
    assert caught.value.message == "This is a picture in JPEG XL, which is not read here: send it as TIFF, PNG or JPEG."


async def test_a_broken_profile_is_no_reason_to_have_no_picture(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    quarters().save(tmp_path / "a.jpg", icc_profile=b"nonsense" * 40, quality=95)
    _near(await _poster(namespaces, job, tmp_path / "a.jpg"), UPRIGHT)


@pytest.mark.parametrize("name", ["a.gif", "a.webp", "a.png"])
async def test_an_animation_gets_a_small_film(namespaces: Sandbox, job: Path, tmp_path: Path, name: str) -> None:
    """90 frames of 40 ms: the film has at most 60, and lasts as long."""
    frames = [Image.new("RGB", (400, 200), (step * 97 % 256, step * 31 % 256, 90)) for step in range(90)]
    frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], duration=40, loop=0)
    film = (await _images(namespaces, job, tmp_path / name))["animated.webp"]
    assert (film.type, film.width, film.height, film.extra) == ("image", 320, 160, {"frames": 45})
    with Image.open(film.path) as opened:
        assert opened.n_frames == 45  # type: ignore[attr-defined]
        lasting = 0
        for number in range(45):
            opened.seek(number)
            opened.load()
            lasting += opened.info["duration"]
    assert lasting == 3600


async def test_a_tiff_whose_directories_go_in_circles_is_not_followed_for_ever(
    namespaces: Sandbox, job: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.tiff").write_bytes(b"II*\0" + struct.pack("<IHHHIII", 8, 1, 330, 4, 1, 8, 8) + bytes(64))
    with pytest.raises(Rejected) as caught:
        await identify(FileSource(tmp_path / "a.tiff"), job, namespaces)
    assert caught.value.code == "not_media"


@pytest.mark.parametrize("kind", [b"zTXt", b"iCCP"])
async def test_a_text_that_unpacks_to_far_more_is_refused(
    namespaces: Sandbox, job: Path, tmp_path: Path, kind: bytes
) -> None:
    quarters(64, 64).save(tmp_path / "a.png")
    whole, bomb = (tmp_path / "a.png").read_bytes(), zlib.compress(bytes(64 << 20), 9)
    (tmp_path / "a.png").write_bytes(whole[:33] + _chunk(kind, b"Comment\0\0" + bomb) + whole[33:])
    with pytest.raises(Rejected) as caught:
        await identify(FileSource(tmp_path / "a.png"), job, namespaces, Limits(memory=1 << 30))
    assert caught.value.code == "undecodable"


async def test_adobe_rgb_that_only_exif_names(namespaces: Sandbox, job: Path, tmp_path: Path) -> None:
    """(160, 80, 80) there is (182, 79, 79) in sRGB, by the matrices of both; greys stay."""
    exif = Image.Exif()
    exif.get_ifd(0x8769)[0xA001] = 2
    picture = Image.new("RGB", (64, 64), (160, 80, 80))
    picture.save(tmp_path / "a.jpg", exif=exif, quality=98, subsampling=0)
    shown = await _poster(namespaces, job, tmp_path / "a.jpg")
    assert corners(shown)[0] == pytest.approx((182, 79, 79), abs=4)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.webp", "a.tiff", "a.gif", "a.bmp"])
async def test_real_detail(sandbox: Sandbox, job: Path, clips: Clips, name: str) -> None:
    shown = await _poster(sandbox, job, clips(name))
    with Image.open(clips(name)) as wanted:
        assert shown.size == wanted.size == (640, 360)
        small = [np.asarray(picture.convert("RGB").resize((160, 90))).astype(int) for picture in (shown, wanted)]
    assert np.abs(small[0] - small[1]).mean() < 6


@pytest.mark.parametrize("name", ["cut.jpg", "cut.png"])
async def test_a_picture_that_was_cut_off(sandbox: Sandbox, job: Path, clips: Clips, name: str) -> None:
    source = FileSource(clips(name))
    info = await identify(source, job, sandbox)
    with pytest.raises(Rejected) as caught:
        await make_images(source, info, job, sandbox)
    assert caught.value.code == "truncated"
