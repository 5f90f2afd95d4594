"""Loads Pillow's readers and writers of the pictures we take, and no others; not on demand, when they may be out of
reach.
"""

from __future__ import annotations

import importlib

import pillow_heif
from PIL import Image

_NAMES = ("Avif", "Bmp", "Gif", "Jpeg2K", "Jpeg", "Mpo", "Png", "Tiff", "WebP")


def load() -> None:
    Image.preinit()
    for name in _NAMES:
        importlib.import_module(f"PIL.{name}ImagePlugin")
    pillow_heif.register_heif_opener(thumbnails=False, depth_images=False, aux_images=False)
