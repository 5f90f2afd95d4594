"""Still pictures of every kind: identified, and shown upright in the right colours, in both sandboxes."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from rushes.errors import Rejected
from rushes.media.identify import identify
from rushes.media.outputs import Output
from rushes.media.sandbox import Sandbox
from rushes.media.source import FileSource
from rushes.media.stills import make_stills

from .pictures import BLUE, GREEN, GREY, RED, corners, dng, quarters

UPRIGHT = [RED, GREEN, BLUE, GREY]
TURNED = [BLUE, RED, GREY, GREEN]  # a quarter turn clockwise


async def _poster(sandbox: Sandbox, job: Path, path: Path) -> Image.Image:
    outputs = await _stills(sandbox, job, path)
    with Image.open(next(output.path for output in outputs if output.content_type == "image/jpeg")) as picture:
        picture.load()
        return picture


async def _stills(sandbox: Sandbox, job: Path, path: Path) -> list[Output]:
    source = FileSource(path)
    return await make_stills(source, await identify(source, job, sandbox), job, sandbox)


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
        await _stills(namespaces, job, tmp_path / "cut.dng")
    assert caught.value.code in {"undecodable", "truncated"}


async def test_a_tiff_whose_directories_go_in_circles_is_not_followed_for_ever(
    namespaces: Sandbox, job: Path, tmp_path: Path
) -> None:
    (tmp_path / "a.tiff").write_bytes(b"II*\0" + struct.pack("<IHHHIII", 8, 1, 330, 4, 1, 8, 8) + bytes(64))
    with pytest.raises(Rejected) as caught:
        await identify(FileSource(tmp_path / "a.tiff"), job, namespaces)
    assert caught.value.code == "not_media"
